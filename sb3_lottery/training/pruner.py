"""Prune a model between its rollouts, while it trains."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lottery_core.errors import ConfigError
from lottery_core.experiments import Point
from lottery_core.masking import MaskKeeper, follow_before_steps
from lottery_core.pruning import IN_TRAINING, GradientSums, PruningInTraining, PruningSchedule, parse_search
from sb3_lottery.models import bare_policy, mask_targets, own_optimizers_of, writes_beside_optimizers
from sb3_lottery.training.checks import first_update, rollout_length, why_first
from sb3_lottery.training.spec import TrainingSpec

log = logging.getLogger("sb3_lottery")


class _Loss:
    """The sums of gradient x value of what one optimizer steps, which has a loss of its own.

    :param parameters: the parameters of the pool that it steps, by name
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters, self.sums = parameters, GradientSums(parameters)
        self.stepped = False  # since the last step of pruning

    def __bool__(self) -> bool:
        return bool(self.sums.values)

    def add(self) -> None:
        """Add the gradients of an update; those of before the last step of pruning are dropped."""
        if not self.stepped:
            self.sums.clear()
        self.stepped = True
        for name, parameter in self._parameters.items():
            self.sums.add(name, parameter)


class Pruner:
    """Prunes the policy of a model that trains; masks change only between rollouts.

    A policy that changed within a rollout would learn from actions that another policy took.

    :param pruning: finds the masks
    :param model: the model
    :param keeper: holds the masks over the policy
    :param parameters: the parameters of the pool by name
    :param share: returns the share of the training that is done
    :raises ConfigError: the algorithm steps parameters without an optimizer (TRPO), and the kind ranks by gradients; or
        the schedule has more steps than the training has rollouts
    """

    def __init__(
        self,
        pruning: PruningInTraining,
        model: BaseAlgorithm,
        keeper: MaskKeeper,
        parameters: Mapping[str, Sequence[nn.Parameter]],
        share: Callable[[], float],
    ) -> None:
        self._pruning, self._keeper, self._share = pruning, keeper, share
        self._policy = bare_policy(model)
        self._parameters = {name: parameters[name][0] for name in pruning.masks}
        self._losses: dict[int, _Loss] = {}  # by the id of their optimizers
        self._hooks: list[RemovableHandle] = []
        if pruning.kind.by_gradient and writes_beside_optimizers(model):
            raise ConfigError(
                f"{type(model).__name__} steps its policy without an optimizer, so the kind {pruning.kind.name} does "
                "not see its gradients"
            )
        check_pruning(model, pruning.schedule, by_gradient=pruning.kind.by_gradient)
        if pruning.kind.by_gradient and not pruning.complete:
            names: dict[Tensor, str] = {parameter: name for name, parameter in self._parameters.items()}
            for optimizer in own_optimizers_of(model):
                # Only what this optimizer steps: the actor's loss leaves gradients in the critic, too.
                every = [each for group in optimizer.param_groups for each in group["params"]]
                own = {names[each]: each for each in every if each in names}
                if own:
                    self._losses[id(optimizer)] = _Loss(own)
                    self._hooks.append(follow_before_steps(optimizer, self._before_step))

    def _before_step(self, optimizer: Optimizer, *_: object) -> None:
        self._losses[id(optimizer)].add()

    def before_rollout(self) -> bool:
        """Do the steps of pruning that are due; return whether the masks have changed."""
        pruning, share = self._pruning, self._share()
        if pruning.complete or not pruning.is_due(share):
            return False
        losses = self._losses.values()
        if pruning.kind.by_gradient and not (all(loss.stepped for loss in losses) and any(losses)):
            return False  # not every loss has updated its network since the last step: TD3's actor waits for the critic
        self._prune(share)
        for loss in losses:
            loss.stepped = False
        return True

    def finish(self) -> bool:
        """Do the steps of pruning that are left at the end of the training; return whether the masks have changed.

        Only a schedule that ends with the training has one left; of others a warning says how many there are.

        :raises RunError: parameters are ranked by their gradients, and there was no update at all
        """
        self.detach()
        changed = not self._pruning.complete
        self._warn_of_steps_left()
        while not self._pruning.complete:
            self._prune(1.0)  # sums of gradients serve all steps that are left
        return changed

    def _warn_of_steps_left(self) -> None:
        schedule, done = self._pruning.schedule, self._pruning.done
        left = schedule.steps - done
        at_the_end = 1 if schedule.end == 1 and self._share() >= 1 else 0
        if left > at_the_end:
            others = f"other {left}" if left > 1 else "last one"
            log.warning(
                f"WARNING: the training ended at step {done} of {schedule.steps} of the schedule of pruning: the "
                f"{others} came at its end, and nothing was trained after that"
            )

    def _prune(self, share: float) -> None:
        values: Mapping[str, Tensor] = self._parameters
        if self._pruning.kind.by_gradient:
            values = together([loss.sums for loss in self._losses.values()]).over(self._parameters)
        masks = self._pruning.prune(values, share)
        self._keeper.change(masks)
        mask_targets(self._policy, masks)
        if self._pruning.complete:
            self.detach()

    def detach(self) -> None:
        """Remove the hooks; calling it twice is safe."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()


def together(losses: Sequence[GradientSums]) -> GradientSums:
    """Return sums of several losses that can be ranked together: those of each are divided by their total magnitude.

    The losses of actor and critic have different scales. A single loss is left as it is.

    :param losses: the sums of gradient x value of each loss
    """
    if len(losses) == 1:
        return losses[0]
    result = GradientSums(name for loss in losses for name in loss.names)
    for loss in losses:
        total = sum(float(values.abs().sum()) for values in loss.values.values()) or 1.0
        for name, values in loss.values.items():
            result.values[name] = result.values.get(name, 0.0) + values / total
    return result


def check_room(
    model: BaseAlgorithm,
    spec: TrainingSpec,
    kinds: Iterable[str],
    gradual: PruningSchedule,
    search: str,
    n_envs: int | None = None,
) -> None:
    """Check that trainings have room for the pruning within them, and search rounds for an update.

    :param model: model with its environment
    :param spec: length of training, rewind point and score
    :param kinds: kinds of ticket
    :param gradual: schedule of tickets of kind ``"gradual"``
    :param search: how far search rounds train, see ``--search``
    :param n_envs: number of environments in training; ``None`` is that of the model
    :raises ConfigError: there is no room
    """
    _check_search(model, spec, search, n_envs)
    for kind in (IN_TRAINING[name] for name in kinds if name in IN_TRAINING):
        length = (spec.remaining if kind.rewinds else None) or spec.length
        check_pruning(model, gradual.for_kind(kind, spec.epochs), length, n_envs, kind.by_gradient)


def _check_search(model: BaseAlgorithm, spec: TrainingSpec, search: str, n_envs: int | None = None) -> None:
    # Rounds that search for a share of the training must update the network, as far as that is known.
    share, first, length = parse_search(search).share, first_update(model, n_envs), spec.remaining or spec.length
    if share is None or first is None or length.unit != "timesteps" or share * length.count > first:
        return
    raise ConfigError(
        f"--search {search} of {length} ends before the first update, which {type(model).__name__} makes after "
        f"{first:,} timesteps ({why_first(model)}), so it would prune untrained weights: search longer"
    )


def check_pruning(
    model: BaseAlgorithm,
    schedule: PruningSchedule,
    length: Point | None = None,
    n_envs: int | None = None,
    by_gradient: bool = False,
) -> None:
    """Check that the training has a rollout for each step of pruning, as far as its length is known in timesteps.

    :param model: model with its environment
    :param schedule: when the steps of pruning are due
    :param length: length of the training; ``None`` is that of the ``learn`` that has begun
    :param n_envs: number of environments in training; ``None`` is that of the model
    :param by_gradient: whether each step needs the updates of a rollout of its own
    :raises ConfigError: there are more steps of pruning than rollouts, or no fewer than rollouts with an update
    """
    rollout, before = rollout_length(model, n_envs), 0
    if length is None:
        before = model._num_timesteps_at_start
        length = Point("timesteps", model._total_timesteps - before)
    if not rollout or length.unit != "timesteps":
        return
    rollouts = math.ceil(length.count / rollout)
    if not by_gradient:
        schedule.check_fits(rollouts, f"rollouts of {rollout:,} timesteps")
        return
    updating = rollouts - max(0, (first_update(model, n_envs) or 0) - before - rollout) // rollout
    if updating <= schedule.steps:
        raise ConfigError(
            f"pruning by gradients in {schedule.steps} steps needs more than {schedule.steps} rollouts that end "
            "with an "
            f"update, and only {max(0, updating)} of the {rollouts} rollouts of {rollout:,} timesteps do: train longer"
        )
