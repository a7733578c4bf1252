"""One training run: how long it is, what is recorded on the way, and its score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch.utils.hooks import RemovableHandle

from lottery_core.errors import ConfigError, RunError
from lottery_core.files import write_atomically
from lottery_core.kinds import CHAINS, CONTROLS, DENSE, FRESH
from lottery_core.layout import INIT, REWIND, TICKET
from lottery_core.plan import Run
from lottery_core.points import Point
from lottery_core.results import Score, write_score
from lottery_core.runner import make_control
from lottery_core.ticket import Ticket
from lottery_core.weights import Weights
from sb3_lottery.callback import LotteryCallback
from sb3_lottery.episodes import Episodes
from sb3_lottery.policy import optimizers_of, weights_of

MODEL = "model.zip"
UNITS = ("episodes", "updates", "timesteps")
_NO_END = 2**31 - 1  # timesteps, where episodes or updates end the training
Report = Callable[[Mapping[str, Any]], None]


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


class Recorder(BaseCallback):
    """Counts episodes, updates and timesteps; ends the training, keeps the rewind point, tells the progress.

    An update is one optimizer step. A rewind point in updates is taken right after that step, one in episodes or
    timesteps at the environment step that reaches it.

    :param spec: lengths and points
    :param keep: called with the weights at the rewind point; ``None`` where there is nothing to keep
    :param report: called at every epoch's end
    """

    def __init__(self, spec: TrainingSpec, keep: Callable[[Weights], None] | None, report: Report) -> None:
        super().__init__()
        self.spec, self.keep, self.report = spec, keep, report
        self.episodes = Episodes(spec.score_episodes)
        self.updates = self.epoch = 0
        self.kept = keep is None
        self._hook: RemovableHandle | None = None

    def _on_training_start(self) -> None:
        self._hook = optimizers_of(self.model)[0].register_step_post_hook(self._after_update)
        self._keep_if_reached()

    def _after_update(self, *_: object) -> None:
        self.updates += 1
        if self.spec.rewind is not None and self.spec.rewind.unit == "updates":
            self._keep_if_reached()

    def _reached(self, unit: str) -> int:
        return {"episodes": self.episodes.count, "updates": self.updates, "timesteps": self.num_timesteps}[unit]

    def _keep_if_reached(self) -> None:
        point = self.spec.rewind
        if self.kept or self.keep is None or point is None or self._reached(point.unit) < point.count:
            return
        self.kept = True
        self.keep(weights_of(self.model))

    def _on_step(self) -> bool:
        self.episodes.add(self.locals)
        self._keep_if_reached()
        length, epoch = self.spec.length, self.spec.epoch
        reached = self._reached(length.unit)
        if reached >= epoch.count * (self.epoch + 1):
            self.epoch = min(reached // epoch.count, self.spec.epochs)
            text = f"epoch {self.epoch}/{self.spec.epochs}, score {self.episodes.score:.4g}"
            self.report({"epoch": self.epoch, "epochs": self.spec.epochs, "steps": self.num_timesteps, "text": text})
        return length.unit == "timesteps" or reached < length.count

    def _on_rollout_end(self) -> None:
        if self.keep is not None:  # dense; a ticket's callback logs its own
            self.logger.record("lottery/round", 0)
            self.logger.record("lottery/surviving", 1.0)
            self.logger.record("lottery/score", self.episodes.score)

    def _on_training_end(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if not self.kept and self.keep is not None and self.spec.rewind is None:
            self.kept = True
            self.keep(weights_of(self.model))


def check_model(model: BaseAlgorithm, spec: TrainingSpec) -> None:
    """Refuse before the training what could not work.

    :raises ConfigError: episodes that nobody counts, an exploration schedule without an end
    :raises OptimizerError: no optimizer, or one with ``eps=0``
    """
    from lottery_core.keeping import check_optimizer

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


def train(model: BaseAlgorithm, spec: TrainingSpec, folder: Path, ticket: Ticket | None, report: Report) -> Score:
    """Train ``model`` as one run and leave ``model.zip`` and ``score.json`` in ``folder``.

    Without a ticket it is the dense run: ``init.safetensors`` and ``rewind.safetensors`` are left too.

    :param model: fresh, with its environment
    :param spec: how long, and what is the score
    :param folder: of the run; made when missing
    :param ticket: to train
    :param report: called with the progress, at every epoch's end
    :raises ConfigError: see :func:`check_model`
    :raises RunError: the rewind point was not reached, or no episode ended
    :raises WriteError: a file cannot be written
    """
    check_model(model, spec)
    wall, cpu = time.perf_counter(), time.process_time()
    keep = None
    if ticket is None:
        weights_of(model).save(folder / INIT)
        keep = lambda weights: weights.save(folder / REWIND)  # noqa: E731
    recorder = Recorder(spec, keep, report)
    callbacks: list[BaseCallback] = [recorder]
    if ticket is not None:
        lottery = LotteryCallback(ticket, restart=True, score_episodes=spec.score_episodes)
        lottery.warns = False
        callbacks.insert(0, lottery)
    length = spec.length
    model.learn(length.count if length.unit == "timesteps" else _NO_END, callback=CallbackList(callbacks))
    episodes = recorder.episodes
    if not recorder.kept:
        raise RunError(
            f"the rewind point {spec.rewind} was not reached in {length}: "
            f"{episodes.count} episodes, {recorder.updates} updates, {model.num_timesteps} timesteps",
            status=2,
        )
    if not episodes.count:
        raise RunError(
            "no episode ended in the training, so there is no score: train longer, or wrap the environment in Monitor"
        )
    write_atomically(folder / MODEL, lambda file: model.save(file))  # type: ignore[arg-type]
    score = Score(
        score=episodes.score,
        score_se=episodes.standard_error,
        returns=len(episodes.returns),
        steps=model.num_timesteps,
        wall_seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
    )
    write_score(folder, score)
    return score


def train_run(
    out: Path, run: Run, make_model: Callable[[int], BaseAlgorithm], spec: TrainingSpec, report: Report
) -> Score:
    """Train one run of the experiment in ``out``: its model, its ticket, :func:`train`.

    A control is made here, where the model's own initialiser can draw its fresh values.

    :param make_model: makes a fresh model, seeded
    :raises LotteryError: see :func:`train`
    """
    folder = out / run.folder
    control = CONTROLS.get(run.kind)
    model = make_model(run.control_seed if control and control.needs == FRESH else run.seed)
    try:
        ticket = None
        if control:
            ticket = make_control(out, run, weights_of(model))
            ticket.save(folder / TICKET)
        elif run.kind != DENSE:
            ticket = Ticket.load(folder / TICKET)
            if not spec.rate_restarts and CHAINS[run.kind].rewinds:
                model.learning_rate = last_rate(model)
                model._setup_lr_schedule()
        return train(model, spec, folder, ticket, report)
    finally:
        if model.env is not None:
            model.env.close()
