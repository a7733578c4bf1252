"""Checks before a training run: lengths, schedules and rewind points that could not work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from lottery_core.errors import ConfigError
from lottery_core.experiments import REMAINING, Point, coinciding, parse_point
from lottery_core.masking import check_optimizer
from lottery_core.pruning import (
    BEST_OF,
    BUDGET,
    CONTROLS,
    GRADUAL,
    IN_TRAINING,
    REWIND,
    UNPRUNED,
    WINNING,
    PruningSchedule,
)
from lottery_core.tickets import ALL, Ticket
from sb3_lottery.backends import env_spec
from sb3_lottery.models import optimizers_of
from sb3_lottery.training.spec import UNITS, TrainingSpec

_REWOUND = [name for name, control in CONTROLS.items() if control.needs == REWIND]
_SCHEDULED_KINDS = [name for name, each in IN_TRAINING.items() if not each.steps]
_SCHEDULED = {"lr_schedule": "learning_rate", "clip_range": "clip_range", "clip_range_vf": "clip_range_vf"}


def check_model(model: BaseAlgorithm, spec: TrainingSpec, n_envs: int | None = None) -> None:
    """Check that a model can be trained as specified.

    :param model: model with its environment
    :param spec: length of training, rewind point and score
    :param n_envs: number of environments in training; ``None`` is that of the model
    :raises ConfigError: there is no environment, a schedule needs a length in timesteps, the run would make no update,
        or the rewind point lies beyond the end of the run
    :raises OptimizerError: there is no optimizer, or one has ``eps=0``
    """
    for optimizer in optimizers_of(model):
        check_optimizer(optimizer)
    _check_schedules(model, spec)
    if model.env is None:
        raise ConfigError("the model has no environment")
    _check_frequency(model, n_envs or model.env.num_envs)
    most = most_reached(model, spec.length, n_envs)
    if getattr(model, "gradient_steps", 1) == 0:
        raise ConfigError(
            f"{type(model).__name__} with gradient_steps=0 never updates: set it to at least 1, or to -1 for one "
            "gradient step per timestep"
        )
    if most.get("updates") == 0:
        raise ConfigError(
            f"{type(model).__name__} would not update once in {spec.length}: train longer, or set a smaller "
            f"learning_starts (now {getattr(model, 'learning_starts', 0)} timesteps)"
        )
    if spec.remaining is not None and most_reached(model, spec.remaining, n_envs).get("updates") == 0:
        raise ConfigError(
            f"{type(model).__name__} would not update once in the {spec.remaining} that remain after the rewind point: "
            "it collects learning_starts timesteps again; use a smaller learning_starts or an earlier rewind point"
        )
    if not spec.rate_restarts:
        last_rate(model)
    if spec.rewind is not None and spec.rewind.count > most.get(spec.rewind.unit, spec.rewind.count):
        raise ConfigError(
            f"the rewind point {spec.rewind} lies beyond the training length {spec.length}, "
            f"which has at most {most[spec.rewind.unit]} {spec.rewind.unit}"
        )


def _check_schedules(model: BaseAlgorithm, spec: TrainingSpec) -> None:
    if hasattr(model, "exploration_fraction") and spec.length.unit != "timesteps":
        raise ConfigError(
            f"{type(model).__name__} explores for a share of all timesteps: give the length in timesteps, "
            f"not {spec.length.unit} (e.g. --epoch timesteps:5000)"
        )
    for name in _SCHEDULED:
        rate = getattr(model, name, None)
        if spec.length.unit != "timesteps" and callable(rate) and rate(1.0) != rate(0.0):
            raise ConfigError(
                f"the schedule of {_SCHEDULED[name]} follows the timesteps: give the length in timesteps, "
                f"not {spec.length.unit} (e.g. --epoch timesteps:5000)"
            )


def _check_frequency(model: BaseAlgorithm, envs: int) -> None:
    frequency = getattr(model, "train_freq", None)
    if isinstance(frequency, TrainFreq) and frequency.unit == TrainFrequencyUnit.EPISODE and envs > 1:
        raise ConfigError(f"{type(model).__name__} with train_freq in episodes takes one environment, not {envs}")


def last_rate(model: BaseAlgorithm) -> float:
    """Return the learning rate at the end of the model's schedule.

    :param model: any SB3 model
    :raises ConfigError: the rate is 0, so that a ticket could not train with it
    """
    rate = float(model.lr_schedule(0.0))
    if rate <= 0:
        raise ConfigError(
            f"the learning rate ends at {rate:g}, so a ticket that continues with it would not train: "
            "restart the schedule (sb3-lottery: --rewind-what lr; find_tickets: rewind='lr')"
        )
    return rate


def first_update(model: BaseAlgorithm, n_envs: int | None = None) -> int | None:
    """Return the number of timesteps before the first update: up to there the weights are the initial ones.

    :param model: model with its environment
    :param n_envs: number of environments in training; ``None`` is that of the model
    :returns: ``None`` if the algorithm does not say
    """
    if model.env is None:
        return None
    envs = n_envs or model.env.num_envs
    steps = getattr(model, "n_steps", None)
    if isinstance(model, OnPolicyAlgorithm) and steps:
        return int(steps) * envs
    if not isinstance(model, OffPolicyAlgorithm):
        return None
    frequency = model.train_freq
    if not isinstance(frequency, TrainFreq) or frequency.unit != TrainFrequencyUnit.STEP:
        return int(model.learning_starts)
    rollout = frequency.frequency * envs
    return (model.learning_starts // rollout + 1) * rollout


def early_rewind(model: BaseAlgorithm, spec: TrainingSpec, n_envs: int | None = None) -> str | None:
    """Return a warning if the rewind point lies before the first update, as far as that is known beforehand.

    :param model: model with its environment
    :param spec: length of training, rewind point and score
    :param n_envs: number of environments in training; ``None`` is that of the model
    """
    point, first, longest = spec.rewind, first_update(model, n_envs), _longest_episode(model)
    if point is None or not point.count or first is None:
        return None
    reached = {"timesteps": point.count}
    if longest is not None and model.env is not None:
        envs = n_envs or model.env.num_envs
        reached["episodes"] = math.ceil(point.count / envs) * longest * envs  # at the latest
    if reached.get(point.unit, first + 1) > first:
        return None
    return (
        f"WARNING: the rewind point {point} lies before the first update, which {type(model).__name__} makes after "
        f"{first:,} timesteps ({why_first(model)}), so tickets would be rewound to the initialisation: choose a later "
        "point, or say init"
    )


def check_points(
    model: BaseAlgorithm, spec: TrainingSpec, words: Sequence[str], n_envs: int | None = None
) -> list[str]:
    """Check that the training reaches every candidate point of a stability probe, and that something remains after it.

    :param model: model with its environment
    :param spec: length of training and score
    :param words: the points
    :param n_envs: number of environments in training; ``None`` is that of the model
    :returns: lines for the user about points between which no update lies
    :raises ConfigError: see :func:`check_model`, or no update remains after a point
    """
    most = most_reached(model, spec.length, n_envs).get("updates", math.inf)
    rollouts: dict[int, list[str]] = {}
    for word in words:
        one = replace(spec, rewind=parse_point(word, UNITS, "--points"), after_rewind=REMAINING)
        check_model(model, one, n_envs)
        assert one.rewind is not None
        if one.rewind.unit == "updates" and one.rewind.count >= most:
            raise ConfigError(f"no update remains after the point {one.rewind}: the training has at most {most}")
        number = _rollouts_before(model, one, n_envs)
        if number is not None:
            rollouts.setdefault(number, []).append(word)
    return [coinciding(same) for same in rollouts.values() if len(same) > 1]


def _rollouts_before(model: BaseAlgorithm, spec: TrainingSpec, n_envs: int | None) -> int | None:
    # Whole rollouts before the rewind point, as far as they are known: between two of them the weights stay.
    point, length = spec.rewind, rollout_length(model, n_envs)
    if point is not None and (not point.count or early_rewind(model, spec, n_envs) is not None):
        return 0
    if point is None or point.unit != "timesteps" or length is None:
        return None
    return math.ceil(point.count / length) - 1


def why_first(model: BaseAlgorithm) -> str:
    """Return what the number of timesteps before the first update comes from, for messages."""
    return "n_steps x environments" if isinstance(model, OnPolicyAlgorithm) else "learning_starts"


def _longest_episode(model: BaseAlgorithm) -> int | None:
    spec = None if model.env is None else env_spec(model.env)
    return getattr(spec, "max_episode_steps", None)


def whole_rollouts(model: BaseAlgorithm, length: Point, n_envs: int | None = None) -> str | None:
    """Return a line for the user if whole rollouts exceed the length by more than 1%, otherwise ``None``.

    :param model: model with its environment
    :param length: length of the run
    :param n_envs: number of environments in training; ``None`` is that of the model
    """
    steps = getattr(model, "n_steps", None)
    if not isinstance(model, OnPolicyAlgorithm) or not steps or length.unit != "timesteps" or model.env is None:
        return None
    rollout = int(steps) * (n_envs or model.env.num_envs)
    trained = math.ceil(length.count / rollout) * rollout
    if trained <= 1.01 * length.count:
        return None
    return (
        f"{length.count:,} timesteps are asked for and {trained:,} will be trained: {type(model).__name__} collects "
        f"whole rollouts of n_steps x environments = {rollout:,}"
    )


def most_reached(model: BaseAlgorithm, length: Point, n_envs: int | None = None) -> dict[str, int]:
    """Return the largest numbers of episodes and updates in a training run of a given length.

    An episode has at least one timestep. The number of updates is left out for off-policy algorithms that train after
    episodes.

    :param model: model with its environment
    :param length: length of the run
    :param n_envs: number of environments in training; ``None`` is that of the model
    :returns: ``"episodes"`` and ``"updates"`` -> number; empty for a length in units other than timesteps
    """
    if length.unit != "timesteps" or model.env is None:
        return {}
    most, envs = {"episodes": length.count}, n_envs or model.env.num_envs
    steps = getattr(model, "n_steps", None)
    if isinstance(model, OnPolicyAlgorithm) and steps:
        rollout = steps * envs
        batches = math.ceil(rollout / getattr(model, "batch_size", rollout))
        # TRPO's optimizer steps the value function only, n_critic_updates times over the rollout.
        passes = getattr(model, "n_epochs", getattr(model, "n_critic_updates", 1))
        most["updates"] = math.ceil(length.count / rollout) * batches * passes
    if isinstance(model, OffPolicyAlgorithm):
        frequency = model.train_freq
        if isinstance(frequency, TrainFreq) and frequency.unit == TrainFrequencyUnit.STEP:
            rollout = frequency.frequency * envs
            trainings = math.ceil(length.count / rollout) - model.learning_starts // rollout
            each = model.gradient_steps if model.gradient_steps >= 0 else rollout
            most["updates"] = max(0, trainings * each)
    return most


def rollout_length(model: BaseAlgorithm, n_envs: int | None = None) -> int | None:
    """Return the number of timesteps in a rollout; ``None`` if rollouts end with episodes.

    :param model: model with its environment
    :param n_envs: number of environments in training; ``None`` is that of the model
    """
    envs = n_envs or (1 if model.env is None else model.env.num_envs)
    frequency = getattr(model, "train_freq", None)
    if isinstance(frequency, TrainFreq):
        return frequency.frequency * envs if frequency.unit == TrainFrequencyUnit.STEP else None
    steps = getattr(model, "n_steps", None)
    return int(steps) * envs if isinstance(model, OnPolicyAlgorithm) and steps else None


def check_makeable(kind: str, ticket: str | Path | Ticket | None) -> None:
    """Check that a kind of ticket exists outside an experiment, and can be made from a ticket if one is given.

    :param kind: a known kind
    :param ticket: the ticket, or its file; ``None`` if there is none. A file is read only where its kind matters
    :raises ConfigError: it cannot
    :raises TicketError: the file cannot be read
    """
    experiments_only = kind in (*UNPRUNED, *BUDGET, *BEST_OF)
    if (ticket is None and not experiments_only) or (kind in (WINNING, *CONTROLS) and not experiments_only):
        return
    given = "" if ticket is None else (ticket if isinstance(ticket, Ticket) else Ticket.load(ticket)).origin.kind
    if given == kind:
        return
    if experiments_only:
        raise ConfigError(f"the kind '{kind}' exists in experiments only: train it with find_tickets or sb3-lottery")
    if kind in IN_TRAINING:
        raise ConfigError(f"a {kind} ticket is found while it trains: leave the ticket out and give surviving")
    kinds = [WINNING, *(name for name in CONTROLS if name not in (*BUDGET, *BEST_OF))]
    raise ConfigError(
        f"a ticket of kind '{kind}' cannot be made from one of kind '{given}'; kind accepts {', '.join(kinds)}"
    )


def check_effects(
    kind: str,
    from_ticket: bool,
    scope: str | Sequence[str],
    schedule: PruningSchedule,
    rewind: str | Path | None,
    outside: str,
) -> None:
    """Check that no option of a :class:`~sb3_lottery.LotteryCallback` was given that has no effect on its kind.

    :param kind: a known kind
    :param from_ticket: whether a ticket was given
    :param scope: which parameters are in the pool
    :param schedule: schedule of kind ``"gradual"``
    :param rewind: path of the weights at the rewind point
    :param outside: where parameters outside the scope start
    :raises ConfigError: an option has no effect, or there is no such file
    """
    if from_ticket and scope != ALL:
        raise ConfigError("scope is for a kind without a ticket: the ticket says which parameters are in the pool")
    if schedule != GRADUAL and (from_ticket or kind not in _SCHEDULED_KINDS):
        raise ConfigError(f"gradual is for kind {' or '.join(_SCHEDULED_KINDS)} without a ticket, not for '{kind}'")
    if not from_ticket and outside != REWIND:
        raise ConfigError("outside is for controls that are made from a ticket")
    if rewind is not None and not (from_ticket and kind in _REWOUND):
        raise ConfigError(f"rewind is for kind {' or '.join(_REWOUND)} made from a ticket, not for '{kind}'")
    if rewind is not None and not Path(rewind).is_file():
        raise ConfigError(f"there are no weights at {rewind}: No such file")
