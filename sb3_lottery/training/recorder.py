"""The callback that counts episodes and updates of a run, saves its rewind point and ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch.utils.hooks import RemovableHandle

from lottery_core.experiments import Point
from lottery_core.files import CurveFile, CurvePoint
from lottery_core.masking import follow_before_steps
from lottery_core.pruning import Look, MaskWatch
from lottery_core.tickets import Weights
from sb3_lottery.models import own_optimizers_of, weights_of
from sb3_lottery.training.episodes import Episodes, check_returns
from sb3_lottery.training.spec import UNITS, TrainingSpec

Report = Callable[[Mapping[str, Any]], None]
KeepPoint = Callable[[Weights, Mapping[str, int]], None]


def new_statistics(model: BaseAlgorithm, spec: TrainingSpec) -> str | None:
    """Return a warning if rewound weights would meet observations that are normalised as at the start.

    :param model: model with its environment
    :param spec: length of training, rewind point and score
    """
    statistics, point = model.get_vec_normalize_env(), spec.rewind
    if statistics is None or not statistics.norm_obs or point is None or not point.count:
        return None
    return (
        f"WARNING: the statistics of VecNormalize are not rewound: tickets that start from the weights at {point} see "
        "observations normalised by statistics that start anew, unlike kinds with fresh values; --rewind init avoids it"
    )


class Recorder(BaseCallback):
    """A callback that counts a run's episodes and updates, keeps its rewind point, reports progress, and ends the run.

    An update is one optimizer step. With actor and critic it is one gradient step: one step of the critic, whether or
    not the actor steps too (TD3, CrossQ). For TRPO it is one step of the value function, since the line search of the
    policy takes a varying number of steps. A rewind point in updates is the state from which the next update starts;
    one in episodes or timesteps is taken at the environment step that reaches it.

    :param spec: length of training, rewind point and score
    :param keep: called with the weights at the rewind point; ``None`` if they are not needed
    :param report: called with the progress at the end of every epoch
    :param begin: unit -> number at which the counts begin, for a ticket that trains what remains after the rewind point
    :param curve: where the score at the end of every epoch is kept; ``None`` keeps none
    :param watch: watches the mask that pruning would give, logs its distance, and ends a search run; ``None`` for none
    :param points: further points of the run with what keeps the weights there, given how far the run has come by unit
    """

    def __init__(
        self,
        spec: TrainingSpec,
        keep: Callable[[Weights], None] | None,
        report: Report,
        begin: Mapping[str, int] | None = None,
        curve: CurveFile | None = None,
        watch: MaskWatch | None = None,
        points: Sequence[tuple[Point, KeepPoint]] = (),
    ) -> None:
        super().__init__()
        self.spec, self.keep, self.report = spec, keep, report
        self.episodes = Episodes(spec.score_episodes)
        self.begin = dict(begin or {})
        self.curve, self.watch = curve, watch
        self.updates = 0
        self.epoch = self.begin.get(spec.length.unit, 0) // spec.epoch.count
        self.kept = keep is None
        self.kept_at: dict[str, int] = {}
        self.points = list(points)
        self._hook: RemovableHandle | None = None

    def _on_training_start(self) -> None:
        # The last optimizer (the critic's) steps at every update, before the actor's.
        self.episodes.watch(self.training_env)
        self._hook = follow_before_steps(own_optimizers_of(self.model)[-1], self._before_update)
        if self.watch is not None:
            self.watch.start(weights_of(self.model).tensors)
        self._keep_if_reached()

    def _before_update(self, *_: object) -> None:
        points = [point for point, _ in self.points] + [self.spec.rewind]
        if any(point is not None and point.unit == "updates" for point in points):
            self._keep_if_reached()
        self.updates += 1

    def _reached(self, unit: str) -> int:
        if unit == "timesteps":
            return self.num_timesteps  # SB3's count already includes what was trained before
        return self.begin.get(unit, 0) + {"episodes": self.episodes.count, "updates": self.updates}[unit]

    def share(self) -> float:
        """Return the share of the training that is done."""
        unit = self.spec.length.unit
        begin = self.begin.get(unit, 0)
        return (self._reached(unit) - begin) / max(1, self.spec.length.count - begin)

    def _keep_if_reached(self) -> None:
        for point, keep in [pair for pair in self.points if self._reached(pair[0].unit) >= pair[0].count]:
            self.points.remove((point, keep))
            keep(weights_of(self.model), {unit: self._reached(unit) for unit in UNITS})
        rewind = self.spec.rewind
        if self.kept or self.keep is None or rewind is None or self._reached(rewind.unit) < rewind.count:
            return
        self.kept = True
        self.kept_at = {unit: self._reached(unit) for unit in UNITS}
        weights = weights_of(self.model)
        self.keep(weights)
        if self.watch is not None:
            self.watch.rewind(weights.tensors)

    def _look(self) -> Look | None:
        # The mask is checked at the end of every epoch, and more often in a training of few epochs.
        share = self.share()
        if self.watch is None or not self.watch.due(share):
            return None
        look = self.watch.check(share, weights_of(self.model).tensors)
        if look is not None:
            self.logger.record("lottery/mask_distance", look.distance)
        return look

    def _point(self, look: Look | None) -> None:
        if self.curve is not None:
            distance, slows = (None, None) if look is None else (look.distance, look.slows)
            self.curve.add(
                CurvePoint(self.epoch, self.num_timesteps, self.episodes.score, distance=distance, slows=slows)
            )

    def _on_step(self) -> bool:
        finished = self.episodes.add(self.locals)
        check_returns(list(self.episodes.returns)[-finished:] if finished else ())  # before the rest is trained in vain
        self._keep_if_reached()
        length, epoch = self.spec.length, self.spec.epoch
        reached = self._reached(length.unit)
        look = self._look()
        # A rollout may continue beyond the end of the last epoch.
        if self.epoch < self.spec.epochs and reached >= epoch.count * (self.epoch + 1):
            self.epoch = min(reached // epoch.count, self.spec.epochs)
            self._point(look)
            text = f"epoch {self.epoch}/{self.spec.epochs}, score {self.episodes.score:.4g}"
            self.report({"epoch": self.epoch, "epochs": self.spec.epochs, "steps": self.num_timesteps, "text": text})
        elif look is not None:
            self._point(look)
        if self.watch is not None and self.watch.stopped:
            return False
        return length.unit == "timesteps" or reached < length.count

    def _on_rollout_end(self) -> None:
        if self.keep is not None:  # a dense run: LotteryCallback logs these values for a ticket
            self.logger.record("lottery/round", 0)
            self.logger.record("lottery/surviving", 1.0)
            if self.episodes.count:
                self.logger.record("lottery/score", self.episodes.score)

    def _on_training_end(self) -> None:
        self._keep_if_reached()
        if self.curve is not None:
            self.curve.write()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if not self.kept and self.keep is not None and self.spec.rewind is None:
            self.kept = True
            self.keep(weights_of(self.model))
