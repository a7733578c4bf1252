"""Watch the mask that pruning now would give, while a run trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from lottery_core.errors import LotteryError
from lottery_core.pruning.criteria import MAGNITUDE, criterion_named
from lottery_core.pruning.selection import rounded_to, select
from lottery_core.pruning.settling.distance import PackedMask
from lottery_core.pruning.settling.rule import CHECKS, Look, Settling
from lottery_core.pruning.settling.words import Search
from lottery_core.pruning.units import Layout
from lottery_core.tickets import SEPARATE, TOGETHER, Masks, network_of_each

_TOLERANCE = 1e-9  # of a share of the training, which is a quotient


class MaskWatch:
    """Watches a training: the distance of the mask at each check, and whether a search round ends there.

    :param masks: the masks of the ticket that trains, or the names of the pool of a dense run
    :param survivors: number of parameters that the next round leaves
    :param search: how far the run trains; full for a scored run
    :param epochs: epochs of the training; there are at least :data:`CHECKS` checks, and one at the end of each epoch
    :param criterion: how parameters are ranked
    :param scope_shares: whether all networks are one pool, or each is pruned at the same rate
    :param layout: the units of the pool, if they are pruned whole; ``None`` if parameters are pruned one by one
    """

    def __init__(
        self,
        masks: Masks | Sequence[str],
        survivors: int,
        search: Search | None = None,
        epochs: int = 1,
        criterion: str = MAGNITUDE.name,
        scope_shares: str = TOGETHER,
        layout: Layout | None = None,
    ) -> None:
        self.search = search or Search()
        self.criterion, self.scope_shares = criterion_named(criterion), scope_shares
        self._masks = masks if isinstance(masks, Masks) else None
        self._names = list(masks)
        self._layout = layout
        self._survivors = survivors
        self.parts = epochs * -(-CHECKS // max(1, epochs))  # checks divide each epoch evenly
        self._settling: Settling | None = None
        self._early: dict[str, Tensor] | None = None
        self._checked = 0.0
        self.look: Look | None = None
        self.stopped = False

    def start(self, values: Mapping[str, Tensor]) -> None:
        """Take the mask of the start values, before the first update.

        :param values: name -> start value, see :meth:`next_masks`
        """
        self.rewind(values)
        with suppress(LotteryError):  # too little is left to prune: then there is no distance, and no early end
            self._settling = Settling(PackedMask.of(self.next_masks(values)))

    def rewind(self, values: Mapping[str, Tensor]) -> None:
        """Note the values at the rewind point, with which some criteria compare.

        :param values: name -> value at the rewind point
        """
        if self.criterion.uses_rewind:
            self._early = {name: values[name].detach().cpu().clone() for name in self._names}

    def due(self, share: float) -> bool:
        """Return whether a check, or the end of the search round, is due.

        :param share: share of the training that is done
        """
        if self._settling is None:
            return self._ends(share)
        passed = int(share * self.parts + _TOLERANCE) > int(self._checked * self.parts + _TOLERANCE)
        return passed or self._ends(share)

    def check(self, share: float, values: Mapping[str, Tensor]) -> Look | None:
        """Compare the mask that pruning now would give with the earlier ones.

        :param share: share of the training that is done
        :param values: name -> present value, see :meth:`next_masks`
        :returns: the distance; ``None`` if there is none, because a weight is NaN or infinite (pruning itself reports
            that) or the training is over
        """
        share = min(share, 1.0)
        if share > self._checked:
            self._checked, self.look = share, None
            with suppress(LotteryError):
                if self._settling is not None:
                    self.look = self._settling.add(share, PackedMask.of(self.next_masks(values)))
        threshold, rule = self.search.threshold, self._settling
        settled = threshold is not None and rule is not None and self.look is not None and rule.settled(threshold)
        self.stopped = self.stopped or self._ends(share) or (settled and share < 1)
        return self.look

    def next_masks(self, values: Mapping[str, Tensor]) -> Masks:
        """Return the masks that pruning now would give.

        :param values: name -> present value, of the pool and of what lies outside it: a norm there may divide a weight
        :raises PruneError: a weight is NaN or infinite
        """
        pool = [values[name] for name in self._names]
        networks = network_of_each(values) if self.scope_shares == SEPARATE else None
        ties = None if rounded_to(pool) is None else [0, 0]
        early = self._early if self.criterion.uses_rewind else None
        rule = self.criterion, early, networks, ties, self._layout
        tensors = {name: value.detach() for name, value in values.items()}
        return select(tensors, self._names, self._masks, self._survivors, *rule)[0]

    def state(self) -> dict[str, Any]:
        """Return what a killed search run needs to stop where an undisturbed one does; empty if it needs nothing."""
        if self.search.threshold is None or self._settling is None:
            return {}
        return {"checked": self._checked, **self._settling.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned.

        :param state: the values, from a checkpoint
        """
        self._checked, self._settling = float(state["checked"]), Settling.of_state(state)
        self.look = self._settling.looks[-1] if self._settling.looks else None

    def _ends(self, share: float) -> bool:
        end = self.search.share
        return end is not None and share >= end - _TOLERANCE

    @property
    def share(self) -> float:
        """The share of the training that was done at the last check."""
        return self._checked

    def outcome(self) -> str:
        """Return how a search round ended, for users."""
        if self.search.threshold is None or self.stopped:
            how = "settled" if self.search.threshold is not None else "stopped"
            distance = "" if self.look is None else f", mask distance {self.look.distance:.2g}"
            return f"{how} at {self.share:.0%} of the training{distance}"
        last = "" if self.look is None else f" (mask distance {self.look.distance:.2g} at the end)"
        return f"never settled below {self.search.threshold:g}: trained in full{last}"
