"""Divide the survivors of a round among the tensors and networks of a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.pruning.criteria import LAYER, Criterion
from lottery_core.tickets import SEPARATE, TOGETHER, network_of_each


def check_scope_shares(scope_shares: str, pool: Iterable[str] = (), names: Iterable[str] = ()) -> str:
    """Check a value of the scope shares and return it unchanged.

    :param scope_shares: ``"together"`` or ``"separate"``
    :param pool: names in the pool, if they are known already
    :param names: names of all parameters
    :raises ConfigError: the value is unknown, or the shares are separate and the pool is of a single network
    """
    if scope_shares not in (TOGETHER, SEPARATE):
        raise unknown_choice(scope_shares, "scope shares", (TOGETHER, SEPARATE))
    chosen = list(pool)
    if scope_shares == SEPARATE and chosen:
        owners = network_of_each(names)
        networks = sorted({owners[name] for name in chosen})
        if len(networks) < 2:
            raise ConfigError(
                f"scope shares '{SEPARATE}' need a pool of several networks (actor and critic, encoder and decoder), "
                f"and this one has only '{networks[0]}': leave them '{TOGETHER}'"
            )
    return scope_shares


def groups(names: Sequence[str], criterion: Criterion, networks: Mapping[str, str] | None) -> list[list[int]]:
    """Group the tensors, by index, so that each group keeps the same share.

    :param names: names of the tensors
    :param criterion: ranks parameters over all tensors, or within each
    :param networks: tensor name -> its network, if each network is a group; ``None`` if all are one group
    """
    found: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        found.setdefault(name if criterion.share == LAYER else networks[name] if networks else "", []).append(index)
    return list(found.values())


def share_out(left: Sequence[int], survivors: int, least: Sequence[int]) -> list[int]:
    """Divide survivors among groups: the same share of each, rounded by largest remainders so that the sum is exact.

    :param left: number of parameters left in each group
    :param survivors: number of survivors in all groups together, at least the sum of ``least``
    :param least: minimum number of survivors of each group
    :returns: number of survivors in each group
    """
    total = sum(left)
    counts = [survivors * each // total for each in left]
    missing = survivors - sum(counts)
    by_remainder = sorted(range(len(left)), key=lambda index: -(survivors * left[index] % total))
    for index in by_remainder[:missing]:
        counts[index] += 1
    counts = [max(count, minimum) for count, minimum in zip(counts, least, strict=True)]
    for _ in range(sum(counts) - survivors):
        richest = max(range(len(counts)), key=lambda index: counts[index] - least[index])
        counts[richest] -= 1
    return counts
