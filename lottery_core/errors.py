"""The exceptions of the project; the message of each is one line that says what to change.

A command prints that line and exits with the exception's status (see :func:`lottery_core.cli.run_command`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class LotteryError(ValueError):
    """Base class of all errors that a user can cause.

    The message is one line; :attr:`status` is the exit status of a command.
    """

    status = 2


class ScopeError(LotteryError):
    """The scope selects no parameter, or is not a valid regular expression."""


class MaskError(LotteryError):
    """A mask holds values other than 0 and 1, or masks do not match."""


class PruneError(LotteryError):
    """Pruning is impossible: a rate outside (0, 1), NaN weights or an empty pool."""


class TicketError(LotteryError):
    """A ticket file is damaged, truncated, not a ticket, or of a later format."""


class MismatchError(LotteryError):
    """A ticket or a checkpoint belongs to another architecture."""


class CheckpointError(LotteryError):
    """A file of weights cannot be read or exported."""


class OptimizerError(LotteryError):
    """The optimizer cannot keep pruned parameters at zero."""


class ConfigError(LotteryError):
    """An option has an invalid value, or the experiment's folder was started with other options."""


class BusyError(LotteryError):
    """Another process uses the same experiment folder."""


class WriteError(LotteryError):
    """A file cannot be written: permission denied, disk full or no such folder."""


class RunError(LotteryError):
    """A training run failed; the message names its log.

    :param message: one line
    :param status: exit status of the command: 1, or 2 if the run's input or disk was at fault
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class LostError(RunError):
    """A training run failed and may succeed if tried again: its node died, or its job was cancelled."""


class DamagedError(LotteryError):
    """A file of a finished run can no longer be read.

    :param message: one line
    :param folder: the run's folder
    """

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


class PrunedWeightAlive(LotteryError):
    """A pruned parameter is not zero."""


def unknown_choice(word: str, what: str, accepted: Iterable[str]) -> ConfigError:
    """Make the error for a word that is not accepted; it suggests similar words, or lists the accepted ones.

    :param word: the word that the user typed
    :param what: its role, e.g. ``"kind"``
    :param accepted: every accepted word
    :returns: the error, to be raised by the caller
    """
    known = sorted(accepted)
    similar = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    words = " or ".join(filter(None, [", ".join(similar[:-1]), *similar[-1:]]))
    hint = f"did you mean {words}?" if similar else f"accepted: {', '.join(known[:40])}"
    return ConfigError(f"unknown {what} '{word}': {hint}")
