"""Prune a model between its rollouts, while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lottery_core.errors import ConfigError
from lottery_core.masking import MaskKeeper
from lottery_core.pruning import GradientSums, PruningInTraining
from sb3_lottery.models import bare_policy, mask_targets, optimizers_of, writes_beside_optimizers
from sb3_lottery.training.checks import check_pruning


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
        if not pruning.kind.by_gradient:
            check_pruning(model, pruning.schedule)
        elif writes_beside_optimizers(model):
            raise ConfigError(
                f"{type(model).__name__} steps its policy without an optimizer, so the kind {pruning.kind.name} does "
                "not see its gradients"
            )
        elif not pruning.complete:
            names: dict[Tensor, str] = {parameter: name for name, parameter in self._parameters.items()}
            for optimizer in optimizers_of(model):
                # Only what this optimizer steps: the actor's loss leaves gradients in the critic, too.
                every = [each for group in optimizer.param_groups for each in group["params"]]
                own = {names[each]: each for each in every if each in names}
                if own:
                    self._losses[id(optimizer)] = _Loss(own)
                    self._hooks.append(optimizer.register_step_pre_hook(self._before_step))

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

        :raises RunError: parameters are ranked by their gradients, and there was no update at all
        """
        self.detach()
        changed = not self._pruning.complete
        while not self._pruning.complete:
            self._prune(1.0)  # sums of gradients serve all steps that are left
        return changed

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
