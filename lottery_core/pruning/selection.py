"""The k-th smallest magnitude of many tensors, exactly, without putting them side by side.

A sample brackets the answer, one pass counts what lies below the bracket and gathers what lies inside, and a
small sort inside finishes. Where many equal values make the bracket useless, halving the range by counting
does: slower, still exact, and no more memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lottery_core.errors import PruneError

_SAMPLE = 1 << 16
_CHUNK = {"cpu": 1 << 17}  # half a megabyte of float32 stays in a core's cache
_CHUNK_ELSEWHERE = 1 << 24


class Pool:
    """Tensors seen as one long list of magnitudes, of which only survivors count.

    :param named: (name, tensor, mask or None) in the order of the pool; mask of the tensor's shape, bool, True survives
    """

    def __init__(self, named: Sequence[tuple[str, Tensor, Tensor | None]]) -> None:
        self.named = [(name, t.detach().reshape(-1), None if m is None else m.reshape(-1)) for name, t, m in named]
        double = any(tensor.dtype == torch.float64 for _, tensor, _ in self.named)
        self.dtype = torch.float64 if double else torch.float32
        self.left = sum(tensor.numel() if mask is None else int(mask.sum()) for _, tensor, mask in self.named)

    def chunks(self) -> Iterator[tuple[str, int, Tensor, Tensor | None]]:
        """(name, start within the tensor, magnitudes, mask or None), in cache-sized pieces."""
        for name, tensor, mask in self.named:
            size = _CHUNK.get(tensor.device.type, _CHUNK_ELSEWHERE)
            for start in range(0, tensor.numel(), size):
                magnitudes = tensor[start : start + size].to(self.dtype).abs()
                yield name, start, magnitudes, None if mask is None else mask[start : start + size].to(tensor.device)

    def sample(self) -> Tensor:
        """About 65,000 magnitudes of survivors, evenly strided and so the same every time, sorted."""
        stride = max(1, self.left // _SAMPLE) | 1  # odd: no beat with even row lengths
        picked = []
        for _, tensor, mask in self.named:
            some = tensor[::stride].to(self.dtype).abs()
            picked.append((some if mask is None else some[mask[::stride].to(some.device)]).cpu())
        return torch.cat(picked).sort().values

    def check_finite(self) -> None:
        """:raises PruneError: a NaN or infinite weight, by the name of its tensor"""
        for name, tensor, _ in self.named:
            if not bool(torch.isfinite(tensor).all()):
                bad = int((~torch.isfinite(tensor)).sum())
                raise PruneError(f"cannot prune: {bad} weights of '{name}' are NaN or infinite (training diverged?)")


def smallest(pool: Pool, k: int) -> tuple[float, int]:
    """The k-th smallest magnitude among the survivors of ``pool``, and how many are strictly smaller.

    :param pool: the survivors
    :param k: 1 <= k <= ``pool.left``
    :raises PruneError: a weight is NaN or infinite
    """
    low, high = _bracket(pool.sample(), k / pool.left)
    limit = max(_SAMPLE, pool.left // 8)
    below, gathered, inside = 0, 0, []
    for _, _, magnitudes, mask in pool.chunks():
        if not bool(torch.isfinite(magnitudes.max())):
            pool.check_finite()
        reach = magnitudes >= low
        within = reach & (magnitudes <= high)
        if mask is None:
            below += magnitudes.numel() - int(reach.sum())
        else:
            below += int((mask > reach).sum())  # survives and is below, in one pass over bytes
            within &= mask
        if gathered <= limit:
            inside.append(magnitudes[within])
            gathered += inside[-1].numel()
    if gathered <= limit and below < k <= below + gathered:
        candidates = torch.cat([part.cpu() for part in inside]).sort().values
        threshold = candidates[k - below - 1]
        return float(threshold), below + int(torch.searchsorted(candidates, threshold))
    return _by_halving(pool, k)


def _bracket(sample: Tensor, quantile: float) -> tuple[float, float]:
    # Five standard errors either side of the sample's quantile: misses are rare and cost only time.
    count = sample.numel()
    if count == 0:
        return 0.0, float("inf")
    middle = quantile * count
    spread = 5 * (quantile * (1 - quantile) * count) ** 0.5 + 2
    first, last = int(middle - spread), int(middle + spread)
    low = 0.0 if first < 0 else float(sample[first])
    high = float("inf") if last >= count else float(sample[last])
    return low, high


def _by_halving(pool: Pool, k: int) -> tuple[float, int]:
    # The bits of non-negative floats order as the floats do, so halving the integers finds the exact float.
    integer = torch.int64 if pool.dtype == torch.float64 else torch.int32
    low, high = 0, int(torch.tensor(float("inf"), dtype=pool.dtype).view(integer))

    def count_below(bits: int) -> int:
        total = 0
        for _, _, magnitudes, mask in pool.chunks():
            smaller = magnitudes.view(integer) < bits
            total += int((smaller if mask is None else smaller & mask).sum())
        return total

    while low < high:  # the largest value with fewer than k strictly below it
        middle = (low + high + 1) // 2
        if count_below(middle) < k:
            low = middle
        else:
            high = middle - 1
    return float(torch.tensor(low, dtype=integer).view(pool.dtype)), count_below(low)


def survivors_above(pool: Pool, threshold: float, ties: int) -> dict[str, Tensor]:
    """New flat masks: survivors of ``pool`` but for those below ``threshold`` and the first ``ties`` equal to it.

    :returns: name -> bool tensor on the CPU, flat, in the order of the pool
    """
    result = {name: torch.empty(tensor.numel(), dtype=torch.bool) for name, tensor, _ in pool.named}
    for name, start, magnitudes, mask in pool.chunks():
        keep = magnitudes >= threshold
        if mask is not None:
            keep &= mask
        if ties:
            equal = (keep & (magnitudes == threshold)).nonzero().squeeze(1)[:ties]
            keep[equal] = False
            ties -= equal.numel()
        result[name][start : start + keep.numel()] = keep
    return result
