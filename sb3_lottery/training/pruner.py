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
        self._sums = GradientSums(pruning.masks)
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
            self._hooks = [
                optimizer.register_step_pre_hook(lambda optimizer, *_: self._add(optimizer, names))
                for optimizer in optimizers_of(model)
            ]

    def _add(self, optimizer: Optimizer, names: Mapping[Tensor, str]) -> None:
        # Only what this optimizer steps: the actor's loss leaves gradients in the critic, too.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter in names:
                    self._sums.add(names[parameter], parameter)

    def before_rollout(self) -> bool:
        """Do the steps of pruning that are due; return whether the masks have changed."""
        pruning, share = self._pruning, self._share()
        if pruning.complete or not pruning.is_due(share):
            return False
        if pruning.kind.by_gradient and not self._sums.values:
            return False  # no update since the last step
        self._prune(share)
        self._sums.clear()
        return True

    def finish(self) -> bool:
        """Do the steps of pruning that are left at the end of the training; return whether the masks have changed.

        :raises RunError: parameters are ranked by their gradients, and there was no update
        """
        self.detach()
        changed = not self._pruning.complete
        while not self._pruning.complete:
            self._prune(1.0)  # sums of gradients serve all steps that are left
        return changed

    def _prune(self, share: float) -> None:
        by_gradient = self._pruning.kind.by_gradient
        values: Mapping[str, Tensor] = self._sums.over(self._parameters) if by_gradient else self._parameters
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
