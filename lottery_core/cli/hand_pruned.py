"""What the files given to ``lottery prune`` say about the rewind point."""

from __future__ import annotations

from pathlib import Path

from lottery_core.checkpoints import Facts
from lottery_core.experiments import paths
from lottery_core.files import read_object
from lottery_core.pruning import INIT
from lottery_core.tickets import Ticket

_UNKNOWN = "unknown"


def rewind_word(trained: Path, earlier: Path, facts: Facts, facts_earlier: Facts, previous: Ticket | None) -> str:
    """The rewind point for the ticket: what the earlier weights are.

    :param trained: file of the trained weights
    :param earlier: file of the weights at the rewind point
    :param facts: what the first file says about its training
    :param facts_earlier: what the second one says
    :param previous: the ticket that was trained
    :returns: ``unknown`` where nothing says it
    """
    for unit, count in facts_earlier.steps.items():
        if count:
            return f"{unit}:{count}"
    if facts_earlier.steps.keys() - {"epochs"}:  # epochs are often counted from 0
        return INIT
    if earlier.absolute().parent == trained.absolute().parent:  # both are of one dense run
        if earlier.name == paths.INIT:
            return INIT
        if earlier.name == paths.REWIND and "rewind_point" in facts.origin:
            return _written(earlier, str(facts.origin["rewind_point"]))
    return _UNKNOWN if previous is None else previous.origin.rewind


def _written(earlier: Path, word: str) -> str:
    # The option of the last training may have changed since the weights were written; what lies beside them has not.
    unit, colon, _ = word.partition(":")
    count = read_object(earlier.parent / paths.REWIND_COUNTS).get(unit) if colon else None
    return f"{unit}:{count}" if type(count) is int and count else word
