"""How survivors are shared out among the tensors and networks of a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.pruning.criteria import LAYER, Criterion
from lottery_core.tickets import SEPARATE, TOGETHER, network_of_each


def check_scope_shares(scope_shares: str, pool: Iterable[str] = (), names: Iterable[str] = ()) -> str:
    """Return a word for the scope shares unchanged.

    :param scope_shares: ``"together"`` or ``"separate"``
    :param pool: names in the pool, where they are known already
    :param names: names of all parameters
    :raises ConfigError: another word, or separate shares of a pool that is not of several networks
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
    """Return the tensors that share one pool, by index; each group keeps the same share.

    :param names: names of the tensors
    :param criterion: how parameters are ranked: over all tensors, or within each
    :param networks: name -> its network, where each network is a group; ``None`` where all are one
    """
    found: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        found.setdefault(name if criterion.share == LAYER else networks[name] if networks else "", []).append(index)
    return list(found.values())


def share_out(left: Sequence[int], survivors: int, least: Sequence[int]) -> list[int]:
    """Share survivors among groups: the same share of each, by largest remainders, so that the sum is exact.

    :param left: how many parameters are left in each group
    :param survivors: how many are to survive in all, at least the sum of ``least``
    :param least: how many each group keeps in any case
    :returns: how many survive in each group
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
