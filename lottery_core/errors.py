"""The named exceptions of the project: every one carries a single line that a person can act on.

A command prints that line and exits with 2 (see :func:`lottery_core.cli.lottery.run_command`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class LotteryError(ValueError):
    """Base of all errors that a user can cause: the message is one line, ``status`` a command's exit status."""

    status = 2


class ScopeError(LotteryError):
    """The scope selects nothing, or is not a regular expression."""


class MaskError(LotteryError):
    """A mask holds something other than 0 and 1, or masks do not fit together."""


class PruneError(LotteryError):
    """Pruning was asked for something impossible: a rate outside (0, 1), NaN weights, an empty pool."""


class TicketError(LotteryError):
    """A ticket file is corrupted, truncated, foreign or of a later format."""


class MismatchError(LotteryError):
    """A ticket or a checkpoint belongs to another architecture."""


class CheckpointError(LotteryError):
    """A file of weights cannot be read."""


class OptimizerError(LotteryError):
    """The optimizer cannot keep pruned parameters at zero."""


class ConfigError(LotteryError):
    """An option has a value that cannot work, or an experiment was run with other options before."""


class BusyError(LotteryError):
    """Another process works in the same experiment folder."""


class WriteError(LotteryError):
    """A file cannot be written: no permission, no space, no such folder."""


class RunError(LotteryError):
    """A training run failed; the message names its log.

    :param status: exit status of the command: 1, or 2 where the run's own input or disk was at fault
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class LostError(RunError):
    """A training run failed in a way that another attempt may mend: its node died, or its job was cancelled."""


class DamagedError(LotteryError):
    """A file that a finished run left cannot be read any more.

    :param folder: of the run
    """

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


class PrunedWeightAlive(LotteryError):
    """A parameter that the mask removed is not zero."""


def unknown_choice(word: str, what: str, accepted: Iterable[str]) -> ConfigError:
    """The error for a ``word`` that is not among the ``accepted`` ones; names the near ones first.

    :param word: what the user typed
    :param what: what it should have been, e.g. ``"kind"``
    :param accepted: the words that work
    """
    known = sorted(accepted)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"accepted: {', '.join(known[:40])}"
    return ConfigError(f"unknown {what} '{word}': {hint}")
