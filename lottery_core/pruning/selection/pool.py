"""Find the k-th smallest score of many tensors, exactly, without concatenating them.

A sample brackets the answer, one pass counts the scores below the bracket and gathers those inside it, and a small
sort finishes. Where many equal scores make the bracket useless, bisection by counting takes over: slower, still exact,
and with no more memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_core.errors import PruneError
from lottery_core.pruning.criteria import MAGNITUDE, Criterion

_SAMPLE = 1 << 16
_CHUNK = {"cpu": 1 << 17}  # half a megabyte of float32 stays in a core's cache
_CHUNK_ELSEWHERE = 1 << 24


@dataclass(frozen=True)
class Candidate:
    """A tensor of the pool.

    :param name: the tensor's name
    :param trained: trained values
    :param mask: mask of the present survivors, of the same shape; ``None`` if everything survives
    :param rewind: values at the rewind point, for criteria that use them
    """

    name: str
    trained: Tensor
    mask: Tensor | None = None
    rewind: Tensor | None = None


class Pool:
    """A view of several tensors as one long list of scores, of which only those of survivors count.

    :param candidates: the tensors in the order of the pool, in which ties are broken
    :param criterion: computes the scores
    :raises PruneError: the criterion's scores do not have the shape of the weights
    """

    def __init__(self, candidates: Sequence[Candidate], criterion: Criterion = MAGNITUDE) -> None:
        self.candidates = candidates
        self.criterion = criterion
        double = any(each.trained.dtype == torch.float64 for each in candidates)
        self.dtype = torch.float64 if double else torch.float32
        self.names = [each.name for each in candidates]
        self._sources = [self._source(each) for each in candidates]
        self._masks = [None if each.mask is None else each.mask.reshape(-1) for each in candidates]
        self.left = sum(
            values.numel() if mask is None else int(mask.sum())
            for (values, _), mask in zip(self._sources, self._masks, strict=True)
        )

    def _source(self, each: Candidate) -> tuple[Tensor, Tensor]:
        # The flat tensors from which scores are computed; if a criterion needs whole tensors, its scores, twice.
        trained = each.trained.detach()
        rewind = trained if each.rewind is None else each.rewind.detach()
        if not self.criterion.elementwise:
            trained = self.criterion.scores(trained.to(self.dtype), rewind.to(self.dtype))
            if trained.shape != each.trained.shape:
                raise PruneError(
                    f"the criterion {self.criterion.name} gives scores of shape {tuple(trained.shape)} for "
                    f"'{each.name}' of shape {tuple(each.trained.shape)}"
                )
            rewind = trained
        return trained.reshape(-1), rewind.reshape(-1)

    def _scores(self, source: tuple[Tensor, Tensor], piece: slice) -> Tensor:
        trained = source[0][piece].to(self.dtype)
        if not self.criterion.elementwise:
            return trained
        if not self.criterion.uses_rewind:
            return self.criterion.scores(trained, trained)
        return self.criterion.scores(trained, source[1][piece].to(self.dtype))

    def chunks(self) -> Iterator[tuple[str, int, Tensor, Tensor | None]]:
        """Yield (name, start within the flat tensor, scores, mask or ``None``) in cache-sized pieces."""
        for name, source, mask in zip(self.names, self._sources, self._masks, strict=True):
            size = _CHUNK.get(source[0].device.type, _CHUNK_ELSEWHERE)
            for start in range(0, source[0].numel(), size):
                piece = slice(start, start + size)
                scores = self._scores(source, piece)
                yield name, start, scores, None if mask is None else mask[piece].to(scores.device)

    def sample(self) -> Tensor:
        """Return about 65,000 scores of survivors, sorted; taken at a fixed stride, so the same every time."""
        stride = max(1, self.left // _SAMPLE) | 1  # odd: an even one would hit the same columns of even-length rows
        piece = slice(None, None, stride)
        picked = []
        for source, mask in zip(self._sources, self._masks, strict=True):
            scores = self._scores(source, piece)
            picked.append((scores if mask is None else scores[mask[piece].to(scores.device)]).cpu())
        return torch.cat(picked).sort().values

    def scores_of(self, name: str) -> Tensor:
        """Return all scores of a tensor, in its shape."""
        index = self.names.index(name)
        return self._scores(self._sources[index], slice(None)).reshape(self.candidates[index].trained.shape)

    def sizes(self) -> dict[str, int]:
        """Map the name of each tensor to its number of elements."""
        return {name: source[0].numel() for name, source in zip(self.names, self._sources, strict=True)}

    def check_finite(self) -> None:
        """Check that the weights and their scores are finite.

        :raises PruneError: a weight or score is NaN or infinite; the message names the first such tensor
        """
        for each, source in zip(self.candidates, self._sources, strict=True):
            bad = _not_finite(each.trained)
            if bad:
                raise PruneError(
                    f"cannot prune: {bad} weights of '{each.name}' are NaN or infinite (training diverged?)"
                )
            bad = _not_finite(self._scores(source, slice(None)))
            if bad:
                raise PruneError(
                    f"cannot prune: the criterion {self.criterion.name} gives {bad} scores of '{each.name}' that are "
                    "NaN or infinite"
                )


def _not_finite(values: Tensor) -> int:
    return 0 if bool(torch.isfinite(values).all()) else int((~torch.isfinite(values)).sum())


def smallest(pool: Pool, k: int) -> tuple[float, int]:
    """Return the k-th smallest score among the survivors of ``pool``, and the number of strictly smaller scores.

    :param pool: the tensors and their survivors
    :param k: rank of the score, from 1 to ``pool.left``
    :raises PruneError: a weight is NaN or infinite
    """
    low, high = _bracket(pool.sample(), k / pool.left)
    limit = max(_SAMPLE, pool.left // 8)
    below, gathered, inside = 0, 0, []
    signed = pool.criterion is not MAGNITUDE
    for _, _, scores, mask in pool.chunks():
        if not bool(torch.isfinite(scores.max())) or (signed and not bool(torch.isfinite(scores.min()))):
            pool.check_finite()
        reach = scores >= low
        within = reach & (scores <= high)
        if mask is None:
            below += scores.numel() - int(reach.sum())
        else:
            below += int((mask > reach).sum())  # survives and is below, in one pass over bytes
            within &= mask
        if gathered <= limit:
            inside.append(scores[within])
            gathered += inside[-1].numel()
    if gathered <= limit and below < k <= below + gathered:
        candidates = torch.cat([part.cpu() for part in inside]).sort().values
        threshold = candidates[k - below - 1]
        return float(threshold), below + int(torch.searchsorted(candidates, threshold))
    return _by_bisection(pool, k)


def _bracket(sample: Tensor, quantile: float) -> tuple[float, float]:
    # Five standard errors either side of the sample's quantile: misses are rare and cost only time.
    count = sample.numel()
    if count == 0:
        return -float("inf"), float("inf")
    middle = quantile * count
    spread = 5 * (quantile * (1 - quantile) * count) ** 0.5 + 2
    first, last = int(middle - spread), int(middle + spread)
    low = -float("inf") if first < 0 else float(sample[first])
    high = float("inf") if last >= count else float(sample[last])
    return low, high


def _by_bisection(pool: Pool, k: int) -> tuple[float, int]:
    # Maps floats to integers in the same order, so that bisecting the integers finds the exact float.
    def key(values: Tensor) -> Tensor:
        bits = (values + 0.0).view(integer)  # -0.0 becomes 0.0: the two are equal
        return torch.where(bits < 0, bits ^ torch.iinfo(integer).max, bits)

    def count_below(limit: int) -> int:
        total = 0
        for _, _, scores, mask in pool.chunks():
            smaller = key(scores) < limit
            total += int((smaller if mask is None else smaller & mask).sum())
        return total

    integer = torch.int64 if pool.dtype == torch.float64 else torch.int32
    infinite = torch.tensor([-float("inf"), float("inf")], dtype=pool.dtype, device="cpu")
    low, high = (int(value) for value in key(infinite))
    while low < high:  # the largest value with fewer than k strictly below it
        middle = (low + high + 1) // 2
        if count_below(middle) < k:
            low = middle
        else:
            high = middle - 1
    bits = torch.tensor(low if low >= 0 else low ^ torch.iinfo(integer).max, dtype=integer, device="cpu")
    return float(bits.view(pool.dtype)), count_below(low)


def survivors_above(pool: Pool, threshold: float, ties: int) -> dict[str, Tensor]:
    """Return flat masks of the survivors of ``pool`` without those below the threshold and the first few equal to it.

    :param pool: the tensors and their survivors
    :param threshold: a score, from :func:`smallest`
    :param ties: number of survivors equal to the threshold that are pruned, the first in the order of the pool
    :returns: name -> bool tensor on the CPU, flat, in the order of the pool
    """
    result = {name: torch.empty(size, dtype=torch.bool, device="cpu") for name, size in pool.sizes().items()}
    for name, start, scores, mask in pool.chunks():
        keep = scores >= threshold
        if mask is not None:
            keep &= mask
        if ties:
            equal = (keep & (scores == threshold)).nonzero().squeeze(1)[:ties]
            keep[equal] = False
            ties -= equal.numel()
        result[name][start : start + keep.numel()] = keep
    return result


def tied(pool: Pool, threshold: float) -> Tensor:
    """Positions in the pool, counted over all its tensors, of the survivors whose score is the threshold.

    :param pool: the survivors
    :param threshold: from :func:`smallest`
    :returns: int64 on the CPU, ascending
    """
    starts, position = {}, 0
    for name, size in pool.sizes().items():
        starts[name] = position
        position += size
    found = []
    for name, start, scores, mask in pool.chunks():
        equal = scores == threshold if mask is None else (scores == threshold) & mask
        found.append(equal.nonzero().squeeze(1).cpu() + (starts[name] + start))
    return torch.cat(found)


def without(masks: Mapping[str, Tensor], positions: Tensor) -> None:
    """Prune what lies at some positions of a pool, in place.

    :param masks: name -> bool tensor on the CPU, flat, in the order of the pool
    :param positions: from :func:`tied`, in any order
    """
    positions, start = positions.sort().values, 0
    for mask in masks.values():
        first, last = (int(torch.searchsorted(positions, end)) for end in (start, start + mask.numel()))
        mask[positions[first:last] - start] = False
        start += mask.numel()
