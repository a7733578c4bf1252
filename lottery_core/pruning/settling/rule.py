"""The rule that says when the mask that pruning would give has settled; it knows masks and lengths, and no score.

Early-bird tickets (arXiv 1909.11957, section 4.1) stop when the masks of the last five epochs differ by less than a
threshold. Such a distance depends on the number of checks, and is small under a small learning rate, however far the
mask has still to go. Here distances are scaled to a twentieth of the training, each mask is also compared with the one
at half the time, and a mask that moves as fast as it did on average since the start has not settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lottery_core.errors import MaskError
from lottery_core.pruning.settling.distance import PackedMask, changed

CHECKS = 20  # the least number of checks in a training; distances are scaled to the time between two of as many
_PARTS = 2 * CHECKS  # of a training, of each of which one mask is kept to look back at
_SLOW = 0.8  # of the average speed since the start
_LAST = 3  # the largest of so many last distances must lie below the threshold


def _part(share: float) -> int:
    return int(share * _PARTS + 1e-9)


@dataclass(frozen=True)
class Look:
    """What a check of the mask has found. Distances are shares of the next round's survivors.

    :param share: share of the training that was done at the check, in (0, 1]
    :param distance: share of the survivors that change in a twentieth of the training: since the check before or since
        the check at half the time, whichever is more
    :param slows: whether the mask has moved since the start, and now moves clearly more slowly than on average
    """

    share: float
    distance: float
    slows: bool


class Settling:
    """Compares the mask that pruning would give now with earlier ones.

    :param start: the mask that pruning at the start would give, from the magnitudes of the start values
    """

    def __init__(self, start: PackedMask) -> None:
        self._masks: list[tuple[float, PackedMask]] = [(0.0, start)]
        self.looks: list[Look] = []

    def add(self, share: float, mask: PackedMask) -> Look:
        """Compare the mask of a check with those before it.

        :param share: share of the training that is done, in (0, 1], larger than at the check before
        :param mask: the mask that pruning now would give
        :raises MaskError: the share is not larger than at the check before, or the mask is of another pool
        """
        before_share, before = self._masks[-1]
        if not before_share < share <= 1:
            raise MaskError(f"a check at {share:g} of the training cannot follow one at {before_share:g}")
        half_share, half = min(self._masks, key=lambda entry: (abs(entry[0] - share / 2), entry[0]))
        start = self._masks[0][1]
        since_half = changed(mask, half) / (share - half_share)
        since_before = changed(mask, before) / (share - before_share)
        since_start = changed(mask, start) / share
        look = Look(share, max(since_half, since_before) / CHECKS, since_half < _SLOW * since_start)
        self.looks.append(look)
        # Later checks compare with half of a longer time, so earlier masks are needed no more; and of a training with
        # many checks one mask in each of these parts is enough.
        kept = [entry for entry in self._masks[1:] if entry[0] >= half_share]
        if len(kept) > 1 and _part(kept[-1][0]) == _part(kept[-2][0]):
            kept.pop()
        self._masks = [self._masks[0], *kept, (share, mask)]
        return look

    def state(self) -> dict[str, Any]:
        """Return the masks and checks as plain values and uint8 tensors, for a checkpoint."""
        return {
            "shares": [share for share, _ in self._masks],
            "bits": [torch.from_numpy(mask.bits) for _, mask in self._masks],
            "sizes": [self._masks[0][1].pool, self._masks[0][1].surviving],
            "looks": [[look.share, look.distance, float(look.slows)] for look in self.looks],
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Settling:
        """Return what :meth:`state` described.

        :param state: the values
        """
        pool, surviving = state["sizes"]
        masks = [PackedMask(bits.cpu().numpy(), pool, surviving) for bits in state["bits"]]
        settling = cls(masks[0])
        settling._masks = list(zip(state["shares"], masks, strict=True))
        settling.looks = [Look(share, distance, bool(slows)) for share, distance, slows in state["looks"]]
        return settling

    def settled(self, threshold: float) -> bool:
        """Return whether the mask has settled: the last distances lie below the threshold, and the mask slows.

        :param threshold: share of the next round's survivors, in (0, 1)
        """
        return has_settled(self.looks, threshold)


def has_settled(looks: list[Look], threshold: float) -> bool:
    """Return whether the last of some checks found a settled mask.

    :param looks: the checks so far
    :param threshold: share of the next round's survivors that may change in a twentieth of the training
    """
    last = looks[-_LAST:]
    return len(last) == _LAST and max(look.distance for look in last) < threshold and last[-1].slows


def settles_at(looks: list[Look], threshold: float) -> float | None:
    """Return the share of a training at which a search round with this threshold would have stopped.

    :param looks: all checks of a training
    :param threshold: share of the next round's survivors
    :returns: the share; ``None`` if the mask never settles
    """
    for end in range(1, len(looks) + 1):
        if has_settled(looks[:end], threshold):
            return looks[end - 1].share
    return None
