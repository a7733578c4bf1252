"""Bad input as one line and exit status 2 from fairseq's commands, which would show a traceback and exit with 1."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import TracebackType

import torch

from lottery_core.errors import LotteryError

# What torch.multiprocessing says when one of our errors ended a spawned rank: the traceback as text.
_IN_A_RANK = re.compile(r"^lottery_core\.errors\.(\w+): (.+)$", re.MULTILINE)
_ended_badly = False


def ended_badly() -> bool:
    """Whether an exception is what ends this command of fairseq."""
    return _ended_badly


def program() -> str:
    """The name of this command, also of ``python -m fairseq_cli.train``."""
    path = Path(sys.argv[0])
    return f"fairseq-{path.stem.replace('_', '-')}" if path.suffix == ".py" else path.name


def is_fairseq_command() -> bool:
    """Whether this process is fairseq-train or another of fairseq's commands, not somebody's own script."""
    return Path(sys.argv[0]).name.startswith("fairseq-") or "fairseq_cli" in Path(sys.argv[0]).parts


def install() -> None:
    """Print our errors as one line where a command of fairseq ends with one; scripts keep their tracebacks."""
    if not is_fairseq_command() or getattr(sys.excepthook, "of_lottery", False):
        return
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _ended_badly
        _ended_badly = True
        found = line_of(error)
        if found is None:
            before(kind, error, trace)
            return
        line, status = found
        sys.stdout.flush()
        # fairseq silences print on every rank but the first, and torch.distributed holds sys.stderr back in a hook.
        stream = sys.__stderr__ or sys.stderr
        stream.write(f"{program()}: error: {line}\n")
        stream.flush()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # gloo's threads abort a rank (exit 134) that ends in good order while another rank is gone already.
            os._exit(status)
        sys.exit(status)

    hook.of_lottery = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def line_of(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit status for one of our errors, also one from a spawned rank; ``None`` for any other."""
    if isinstance(error, LotteryError):
        return str(error), error.status
    if type(error).__name__ == "ProcessRaisedException":
        match = _IN_A_RANK.search(str(error))
        if match:
            return match.group(2), 1 if match.group(1) == "RunError" else 2
    return None
