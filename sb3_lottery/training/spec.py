"""How long a run trains, where it is rewound to and what its score is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments import KEPT, LEARNING_RATE, NOTHING, Point, parse_point
from sb3_lottery.training.episodes import Episodes

UNITS = ("episodes", "updates", "timesteps")


@dataclass(frozen=True)
class TrainingSpec:
    """How a run is trained and scored (PAPER, Table A1).

    :param epoch: M, the length of an epoch
    :param epochs: N
    :param rewind: the rewind point; ``None`` where the survivors keep their trained weights
    :param score_episodes: L, the training episodes at the end that are the score
    :param rate_restarts: the learning rate's schedule begins anew; else a chain goes on at its last rate
    :raises ConfigError: an empty epoch, no epoch, a rewind point beyond the end
    """

    epoch: Point
    epochs: int
    rewind: Point | None
    score_episodes: int
    rate_restarts: bool = True

    def __post_init__(self) -> None:
        if self.epoch.count < 1:
            raise ConfigError("an epoch must be at least 1 long")
        if self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1, not {self.epochs}")
        Episodes(self.score_episodes)
        point = self.rewind
        if point is not None and point.unit == self.length.unit and point.count > self.length.count:
            raise ConfigError(f"the rewind point {self.rewind} lies beyond the training length {self.length}")

    @property
    def length(self) -> Point:
        """The length of the whole training."""
        return self.epoch.times(self.epochs)


def rewind_of(
    word: str, epoch: Point | None = None, option: str = "--rewind", words: Sequence[str] = (NOTHING,)
) -> dict[str, Any]:
    """What a rewind point's word says to :class:`~sb3_lottery.training.train.TrainingSpec`.

    :param word: a point, ``lr`` or ``none``
    :param epoch: what ``epoch:N`` counts in
    :param option: the option's name, for messages
    :param words: those of ``lr`` and ``none`` that the option takes, for messages
    :raises ConfigError: another word
    """
    if word in KEPT:
        return {"rewind": None, "rate_restarts": word == LEARNING_RATE}
    return {"rewind": parse_point(word, UNITS, option, epoch, words)}
