"""How long a run trains, where it is rewound to and what its score is; and which models that suits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from lottery_core.errors import ConfigError
from lottery_core.keeping import check_optimizer
from lottery_core.points import KEPT, LEARNING_RATE, Point, parse_point
from sb3_lottery.episodes import Episodes
from sb3_lottery.policy import optimizers_of

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


def rewind_of(word: str, epoch: Point | None = None, option: str = "--rewind") -> dict[str, Any]:
    """What a rewind point's word says to :class:`~sb3_lottery.training.TrainingSpec`.

    :param word: a point, ``lr`` or ``none``
    :param epoch: what ``epoch:N`` counts in
    :raises ConfigError: another word
    """
    if word in KEPT:
        return {"rewind": None, "rate_restarts": word == LEARNING_RATE}
    return {"rewind": parse_point(word, UNITS, option, epoch)}


def check_model(model: BaseAlgorithm, spec: TrainingSpec) -> None:
    """Refuse before the training what could not work.

    :raises ConfigError: episodes that nobody counts, an exploration schedule without an end
    :raises OptimizerError: no optimizer, or one with ``eps=0``
    """
    for optimizer in optimizers_of(model):
        check_optimizer(optimizer)
    if hasattr(model, "exploration_fraction") and spec.length.unit != "timesteps":
        raise ConfigError(
            f"{type(model).__name__} explores for a share of all timesteps: give the length in timesteps, "
            f"not {spec.length.unit} (e.g. --epoch timesteps:5000)"
        )
    if model.env is None:
        raise ConfigError("the model has no environment")
    if not spec.rate_restarts:
        last_rate(model)
    most = most_reached(model, spec.length)
    if spec.rewind is not None and spec.rewind.count > most.get(spec.rewind.unit, spec.rewind.count):
        raise ConfigError(
            f"the rewind point {spec.rewind} lies beyond the training length {spec.length}, "
            f"which has at most {most[spec.rewind.unit]} {spec.rewind.unit}"
        )


def last_rate(model: BaseAlgorithm) -> float:
    """The learning rate at the end of the model's schedule.

    :raises ConfigError: it is 0, so that going on with it would train nothing
    """
    rate = float(model.lr_schedule(0.0))
    if rate <= 0:
        raise ConfigError(
            f"the learning rate ends at {rate:g}, so a ticket that goes on with it would not train: "
            "let the schedule restart, --rewind-what lr"
        )
    return rate


def most_reached(model: BaseAlgorithm, length: Point) -> dict[str, int]:
    """How many episodes and updates a ``length`` in timesteps can have at most; empty for other units.

    An episode has at least one timestep. Updates are told for on-policy algorithms only.
    """
    if length.unit != "timesteps":
        return {}
    most = {"episodes": length.count}
    steps, env = getattr(model, "n_steps", None), model.env
    if isinstance(model, OnPolicyAlgorithm) and steps and env is not None:
        rollout = steps * env.num_envs
        batches = math.ceil(rollout / getattr(model, "batch_size", rollout))
        most["updates"] = math.ceil(length.count / rollout) * batches * getattr(model, "n_epochs", 1)
    return most
