"""One training run: how long it is, what is recorded on the way, and its score."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from torch.utils.hooks import RemovableHandle

from lottery_core.errors import RunError
from lottery_core.experiments import Run, Score, make_control, paths, write_score
from lottery_core.files import write_atomically
from lottery_core.pruning import CHAINS, CONTROLS, DENSE, FRESH
from lottery_core.tickets import Ticket, Weights
from sb3_lottery.models import optimizers_of, weights_of
from sb3_lottery.training.callback import LotteryCallback
from sb3_lottery.training.checks import check_model, last_rate
from sb3_lottery.training.episodes import Episodes
from sb3_lottery.training.spec import TrainingSpec

MODEL = "model.zip"
NORMALIZE = "vecnormalize.pkl"  # the name that rl_zoo3 gives it
_NO_END = 2**31 - 1  # timesteps, where episodes or updates end the training
Report = Callable[[Mapping[str, Any]], None]


class Recorder(BaseCallback):
    """Counts episodes, updates and timesteps; ends the training, keeps the rewind point, tells the progress.

    An update is one optimizer step; of actor and critic, one gradient step: one of the critic, whether the actor takes
    its own then or not (TD3, CrossQ); of TRPO, one of the value function (the policy's line search follows no count).
    A rewind point in updates is what the next update starts from, one in episodes or timesteps is taken at the
    environment step that reaches it.

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
        # The last optimizer steps at every update, and first: the actor's comes after it.
        self._hook = optimizers_of(self.model)[-1].register_step_pre_hook(self._before_update)
        self._keep_if_reached()

    def _before_update(self, *_: object) -> None:
        if self.spec.rewind is not None and self.spec.rewind.unit == "updates":
            self._keep_if_reached()
        self.updates += 1

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
        # A rollout may go on for longer than the last epoch.
        if self.epoch < self.spec.epochs and reached >= epoch.count * (self.epoch + 1):
            self.epoch = min(reached // epoch.count, self.spec.epochs)
            text = f"epoch {self.epoch}/{self.spec.epochs}, score {self.episodes.score:.4g}"
            self.report({"epoch": self.epoch, "epochs": self.spec.epochs, "steps": self.num_timesteps, "text": text})
        return length.unit == "timesteps" or reached < length.count

    def _on_rollout_end(self) -> None:
        if self.keep is not None:  # dense; a ticket's callback logs its own
            self.logger.record("lottery/round", 0)
            self.logger.record("lottery/surviving", 1.0)
            if self.episodes.count:
                self.logger.record("lottery/score", self.episodes.score)

    def _on_training_end(self) -> None:
        self._keep_if_reached()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if not self.kept and self.keep is not None and self.spec.rewind is None:
            self.kept = True
            self.keep(weights_of(self.model))


def train(
    model: BaseAlgorithm,
    spec: TrainingSpec,
    folder: Path,
    ticket: Ticket | None,
    report: Report,
    evaluate: Callable[[BaseAlgorithm, Score], Score] | None = None,
) -> Score:
    """Train ``model`` as one run and leave ``model.zip`` and ``score.json`` in ``folder``.

    Without a ticket it is the dense run: ``init.safetensors`` and ``rewind.safetensors`` are left too; with
    ``VecNormalize`` around the environments ``vecnormalize.pkl``, for ``VecNormalize.load``.

    :param model: fresh, with its environment
    :param spec: how long, and what is the score
    :param folder: of the run; made when missing
    :param ticket: to train
    :param report: called with the progress, at every epoch's end
    :param evaluate: adds an evaluation to the score of the trained model
    :raises ConfigError: see :func:`check_model`
    :raises RunError: the rewind point was not reached, or no episode ended
    :raises WriteError: a file cannot be written
    """
    check_model(model, spec)
    wall, cpu = time.perf_counter(), time.process_time()
    keep = None
    if ticket is None:
        weights_of(model).save(folder / paths.INIT)
        keep = lambda weights: weights.save(folder / paths.REWIND)  # noqa: E731
    recorder = Recorder(spec, keep, report)
    callbacks: list[BaseCallback] = [recorder]
    if ticket is not None:
        lottery = LotteryCallback(ticket, restart=True, score_episodes=spec.score_episodes)
        lottery.warns = False
        callbacks.insert(0, lottery)
    length = spec.length
    if not model.verbose and model.tensorboard_log is None and not model._custom_logger:
        # SB3's own logger of nothing leaves an empty folder among the temporary files for every learn().
        model.set_logger(Logger(None, []))
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
    statistics = model.get_vec_normalize_env()
    if statistics is not None:
        write_atomically(folder / NORMALIZE, lambda file: pickle.dump(statistics, file))  # VecNormalize.save
    score = Score(
        score=episodes.score,
        score_se=episodes.standard_error,
        returns=len(episodes.returns),
        steps=model.num_timesteps,
        wall_seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
    )
    if evaluate is not None:
        score = evaluate(model, score)
    write_score(folder, score)
    return score


def train_run(
    out: Path,
    run: Run,
    make_model: Callable[[int], BaseAlgorithm],
    spec: TrainingSpec,
    report: Report,
    evaluate: Callable[[BaseAlgorithm, Score], Score] | None = None,
) -> Score:
    """Train one run of the experiment in ``out``: its model, its ticket, :func:`train`.

    A control is made here, where the model's own initialiser can draw its fresh values.

    :param make_model: makes a fresh model, seeded
    :param evaluate: see :func:`train`
    :raises LotteryError: see :func:`train`
    """
    folder = out / run.folder
    control = CONTROLS.get(run.kind)
    model = make_model(run.control_seed if control and control.needs == FRESH else run.seed)
    try:
        ticket = None
        if control:
            ticket = make_control(out, run, weights_of(model))
            ticket.save(folder / paths.TICKET)
        elif run.kind != DENSE:
            ticket = Ticket.load(folder / paths.TICKET)
            if not spec.rate_restarts and CHAINS[run.kind].rewinds:
                model.learning_rate = last_rate(model)
                model._setup_lr_schedule()
        return train(model, spec, folder, ticket, report, evaluate)
    finally:
        if model.env is not None:
            model.env.close()
