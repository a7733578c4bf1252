"""What users type about the cost of an experiment: shares, levels, and how far search rounds train."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lottery_core.errors import ConfigError

SEARCH_FULL = "full"
SETTLED = "settled"
_MOST_ROUNDS = 1000
_SAME = 0.05  # by how much the shares of one level may differ, relatively
THRESHOLD = 0.02  # share of the survivors that may change in a twentieth of the training


@dataclass(frozen=True)
class Search:
    """How far a search round trains before its weights are pruned.

    :param share: share of the training, in (0, 1); ``None`` unless search rounds stop at a share. Of a range it is the
        share of the first search round
    :param threshold: share of the next round's survivors that may still change, in (0, 1); ``None`` unless search
        rounds stop when the mask has settled
    :param last: share of the last search round, larger than ``share``: it rises by equal steps from round to round;
        ``None`` if all search rounds train alike
    """

    share: float | None = None
    threshold: float | None = None
    last: float | None = None

    @property
    def full(self) -> bool:
        """Whether search rounds train in full, as scored ones do."""
        return self.share is None and self.threshold is None

    @property
    def mean(self) -> float | None:
        """Mean share of the training over all search rounds; ``None`` unless they stop at a share."""
        return self.share if self.share is None or self.last is None else (self.share + self.last) / 2

    def of_round(self, round_: int, rounds: int) -> Search:
        """Return how far one search round trains.

        :param round_: the round whose ticket it trains, from 1 to ``rounds - 1``
        :param rounds: the last round of the chain, which is not searched in
        """
        if self.share is None or self.last is None:
            return self
        done = (round_ - 1) / (rounds - 2) if rounds > 2 else 0.0
        return Search(share=self.share + (self.last - self.share) * done)

    def __str__(self) -> str:
        if self.share is not None:
            return _word(self.share) if self.last is None else f"{_word(self.share)}-{_word(self.last)}"
        return SEARCH_FULL if self.threshold is None else f"{SETTLED}:{_word(self.threshold)}"


def _word(share: float) -> str:
    # Read again it is the same number, and as short as one that was typed.
    return f"{share:g}" if float(f"{share:g}") == share else repr(share)


def parse_search(word: str, option: str = "--search") -> Search:
    """Parse how far search rounds train: ``full``, a share such as ``0.5`` or ``50%``, shares that rise from the first
    search round to the last such as ``0.2-0.6``, ``settled`` or ``settled:0.02``.

    :param word: the word
    :param option: the option's name, for messages
    :raises ConfigError: the word is none of these, a number is outside (0, 1), or a range does not rise
    """
    word = word.strip()
    if word == SEARCH_FULL:
        return Search()
    if word == SETTLED:
        return Search(threshold=THRESHOLD)
    kind, colon, number = word.partition(":")
    if number and kind == SETTLED:
        return Search(threshold=parse_share(number, f"the threshold of {option}"))
    if colon or not word[:1].isdigit():
        raise ConfigError(
            f"{option} '{word}' is not understood; accepted: {SEARCH_FULL}, a share of the training (0.5 or 50%), "
            f"shares that rise (0.2-0.6), {SETTLED}, or {SETTLED}:X with the share of survivors that may change "
            f"({SETTLED}:{THRESHOLD:g})"
        )
    begin, *more = re.split(r"(?<!e)-", word, maxsplit=1, flags=re.IGNORECASE)  # 1e-3 is one number
    if not more:
        return Search(share=parse_share(word, option))
    share, last = parse_share(begin, option), parse_share(more[0], option)
    if last <= share:
        raise ConfigError(f"{option} {word}: the shares must rise from the first search round to the last")
    return Search(share=share, last=last)


def parse_share(word: str, option: str) -> float:
    """Parse a share: ``50%`` or ``0.5``.

    :param word: the word
    :param option: the option's name, for messages
    :raises ConfigError: the word is not a number, or lies outside (0, 1)
    """
    try:
        value = float(word[:-1]) / 100 if word.endswith("%") else float(word)
    except ValueError as error:
        raise ConfigError(
            f"{option} '{word}' is not a share: give a percentage such as 50%, or a number such as 0.5"
        ) from error
    if not 0 < value < 1:
        raise ConfigError(f"{option} must lie strictly between 0 and 1 (0% and 100%), not {word}")
    return value


def parse_levels(words: Sequence[str], option: str = "--score-at") -> tuple[float, ...]:
    """Parse levels, shares of the pool that survive, from the largest to the smallest: ``50% 20% 10%``.

    :param words: the words
    :param option: the option's name, for messages
    :raises ConfigError: a word is no share, or the levels do not fall
    """
    levels = tuple(parse_share(word, option) for word in words)
    for before, after in pairwise(levels):
        if after >= before:
            raise ConfigError(f"{option}: the levels must fall, but {after:g} follows {before:g}")
    return levels


def level_after(round_: int, rate: float, first: float | None = None) -> float:
    """Return the share of the pool that survives after a round, before counts are rounded.

    :param round_: the round; 0 is the dense network
    :param rate: share of the remaining parameters that each round prunes, in (0, 1)
    :param first: share of the pool that survives the first round; ``None`` if it prunes as the others do
    """
    if round_ < 1:
        return 1.0
    return (1 - rate if first is None else first) * (1 - rate) ** (round_ - 1)


def rounds_of_levels(levels: Sequence[float], rate: float, first: float | None = None) -> tuple[int, ...]:
    """Return the rounds whose levels are nearest to the given ones, by ratio.

    :param levels: shares of the pool, falling, see :func:`parse_levels`
    :param rate: share of the remaining parameters that each round prunes, in (0, 1)
    :param first: share of the pool that survives the first round; ``None`` if it prunes as the others do
    :returns: rounds from 1, rising
    :raises ConfigError: two levels have the same nearest round
    """
    rounds: dict[int, float] = {}
    for level in levels:
        begin, step = math.log(level_after(1, rate, first)), math.log1p(-rate)
        exact = 1 + (math.log(level) - begin) / step
        if exact > _MOST_ROUNDS:
            raise ConfigError(
                f"--score-at: at the prune rate {rate:g} the level {level:.3g} takes more than {_MOST_ROUNDS} rounds"
            )
        candidates = (max(1, math.floor(exact)), max(1, math.ceil(exact)))
        nearest = min(candidates, key=lambda round_: abs(begin + (round_ - 1) * step - math.log(level)))
        if nearest in rounds:
            raise ConfigError(
                f"--score-at: {rounds[nearest]:.3g} and {level:.3g} are both nearest to round {nearest} "
                f"({level_after(nearest, rate, first):.3g} of the pool) at the prune rate {rate:g}: leave one out"
            )
        rounds[nearest] = level
    return tuple(rounds)


def same_level(one: float, other: float) -> bool:
    """Return whether two surviving shares belong to one level, so that scores of tickets that keep them are comparable.

    :param one: a share of the pool
    :param other: another one
    :returns: whether the larger one is at most 5% above the smaller
    """
    return abs(one - other) <= _SAME * min(one, other)
