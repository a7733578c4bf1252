"""The specification of a training run: its length, its rewind point and its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments import FULL, KEPT, LEARNING_RATE, NOTHING, REMAINING, Point, parse_point
from sb3_lottery.training.episodes import Episodes

UNITS = ("episodes", "updates", "timesteps")
_EPOCHS = 20  # how often the progress of find_tickets is reported


@dataclass(frozen=True)
class TrainingSpec:
    """The specification of how a run is trained and scored (arXiv 1906.02768, Table A1).

    :param epoch: M, the length of an epoch
    :param epochs: N, the number of epochs
    :param rewind: the rewind point; ``None`` if the survivors keep their trained weights
    :param score_episodes: L, the number of last training episodes whose mean return is the score
    :param rate_restarts: whether the learning rate schedule restarts; otherwise a chain continues at its last rate
    :param after_rewind: how long tickets train after the rewind point, see :class:`lottery_core.experiments.Experiment`
    :raises ConfigError: an epoch is empty, there is none, or the rewind point lies beyond the end of the run
    """

    epoch: Point
    epochs: int
    rewind: Point | None
    score_episodes: int
    rate_restarts: bool = True
    after_rewind: str = FULL

    def __post_init__(self) -> None:
        if self.epoch.count < 1:
            raise ConfigError("an epoch must be at least 1 of its unit long, e.g. timesteps:5000")
        if self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1, not {self.epochs}")
        Episodes(self.score_episodes)
        point = self.rewind
        if point is not None and point.unit == self.length.unit and point.count > self.length.count:
            raise ConfigError(f"the rewind point {self.rewind} lies beyond the training length {self.length}")
        if self.remaining is not None and self.remaining.count < 1:
            raise ConfigError(f"nothing remains of {self.length} after the rewind point {self.rewind}")

    @property
    def length(self) -> Point:
        """The length of a whole run."""
        return self.epoch.times(self.epochs)

    @property
    def remaining(self) -> Point | None:
        """The length that tickets train after the rewind point; ``None`` if it is the whole length or not yet known."""
        point = self.rewind
        if self.after_rewind != REMAINING or point is None or (point.count and point.unit != self.length.unit):
            return None
        return Point(self.length.unit, self.length.count - point.count)

    def of_whole_search(self, rounds: int, rewound: int = 0) -> TrainingSpec:
        """Return the specification of a run as long as a search: dense, and a ticket in each round.

        Schedules stretch over the whole length.

        :param rounds: number of rounds
        :param rewound: length before the rewind point, which tickets do not train; 0 if they train the whole length
        """
        length = self.length
        if not rewound:
            return replace(self, epochs=self.epochs * (rounds + 1), after_rewind=FULL)
        total = length.count + rounds * (length.count - rewound)
        epochs = next(count for count in range(self.epochs * (rounds + 1), 0, -1) if total % count == 0)
        return replace(self, epoch=Point(length.unit, total // epochs), epochs=epochs, after_rewind=FULL)

    @property
    def rewind_word(self) -> str:
        """The rewind point as a word: ``unit:N``, ``init``, ``lr`` or ``none``, see :func:`parse_rewind`."""
        if self.rewind is not None:
            return str(self.rewind)
        return LEARNING_RATE if self.rate_restarts else NOTHING

    def as_json(self) -> dict[str, Any]:
        """Return JSON values for the settings of an experiment; the rewind point is its own entry there."""
        return {"epoch": str(self.epoch), "epochs": self.epochs, "score_episodes": self.score_episodes}

    @classmethod
    def from_json(cls, settings: Mapping[str, Any], rewind: str, after_rewind: str = FULL) -> TrainingSpec:
        """Make a specification from the values that :meth:`as_json` returned.

        :param settings: settings of an experiment
        :param rewind: rewind point of the experiment, see :attr:`rewind_word`
        :param after_rewind: how long tickets train after the rewind point, as set in the experiment
        """
        epoch = parse_point(settings["epoch"], UNITS, "epoch")
        point, rate_restarts = parse_rewind(rewind)
        return cls(epoch, settings["epochs"], point, settings["score_episodes"], rate_restarts, after_rewind)


def spec_of_length(total_timesteps: int, rewind: str | None, score_episodes: int, after_rewind: str) -> TrainingSpec:
    """Return the specification of a run whose length is in timesteps, as for ``find_tickets``.

    :param total_timesteps: length in timesteps
    :param rewind: rewind point; ``None`` is a twentieth of the length
    :param score_episodes: L, the number of training episodes in the score
    :param after_rewind: see :class:`TrainingSpec`
    :raises ConfigError: the length is below 1, or the rewind point is not understood
    """
    if total_timesteps < 1:
        raise ConfigError(f"total_timesteps must be at least 1, not {total_timesteps}")
    # The number of epochs divides the length, so that the length is exact.
    epochs = next(count for count in range(min(_EPOCHS, total_timesteps), 0, -1) if total_timesteps % count == 0)
    word = f"timesteps:{total_timesteps // _EPOCHS}" if rewind is None else str(rewind)
    point, rate_restarts = parse_rewind(word, option="rewind", words=KEPT)
    epoch = Point("timesteps", total_timesteps // epochs)
    return TrainingSpec(epoch, epochs, point, score_episodes, rate_restarts, after_rewind)


def parse_rewind(
    word: str, epoch: Point | None = None, option: str = "--rewind", words: Sequence[str] = (NOTHING,)
) -> tuple[Point | None, bool]:
    """Parse a rewind point: ``unit:N``, ``init``, ``lr`` or ``none``.

    :param word: the word
    :param epoch: length of an epoch for ``epoch:N``; ``None`` if that is not accepted
    :param option: name of the option, for messages
    :param words: which of ``lr`` and ``none`` the option accepts, for messages
    :returns: ``rewind`` and ``rate_restarts`` of :class:`TrainingSpec`
    :raises ConfigError: the word is none of these
    """
    if word in KEPT:
        return None, word == LEARNING_RATE
    return parse_point(word, UNITS, option, epoch, words), True
