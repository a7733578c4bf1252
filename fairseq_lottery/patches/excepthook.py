"""Report bad input to fairseq's commands in one line and with exit status 2.

Mends ``fairseq_cli/train.py:cli_main`` and its siblings: ``distributed_utils.call_main(cfg, main)`` runs there without
an exception handler, so an error ends the command with a traceback and exit status 1. Other upstream lines matter, too:

- ``sys.stderr = buf = io.StringIO()`` (``torch/distributed/distributed_c10d.py:init_process_group``) wraps the hook and
  loses what it writes before it exits, so the line goes to ``sys.__stderr__``;
- ``traceback.print_exception(None, value=ex, tb=final_tb)`` and ``sys.exit(1)``
  (``hydra/_internal/utils.py:run_and_report``) end ``fairseq-hydra-train`` without the hook, unless
  ``HYDRA_FULL_ERROR`` is set;
- ``raise ProcessRaisedException(msg, error_index, failed_process.pid)`` (``torch/multiprocessing/spawn.py``) hands over
  the error of a spawned rank as the text of its traceback, so the error is recognised in that text.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import TracebackType

import torch

from lottery_core import errors
from lottery_core.errors import LotteryError

_IN_A_RANK = re.compile(r"^(?:lottery_core\.errors\.)?(\w+): (.+)$", re.MULTILINE)
_STOPPED = "fairseq stopped the training: "  # the loss or the gradients are NaN or infinite, or differ between ranks
_ended_badly = False


def ended_badly() -> bool:
    """Return whether this fairseq command is ending with an exception."""
    return _ended_badly


def program() -> str:
    """Return the name of this command, also if it was started as ``python -m fairseq_cli.train``."""
    path = Path(sys.argv[0])
    return f"fairseq-{path.stem.replace('_', '-')}" if path.suffix == ".py" else path.name


def is_fairseq_command() -> bool:
    """Return whether this process is ``fairseq-train`` or another of fairseq's commands, not a user's script."""
    return Path(sys.argv[0]).name.startswith("fairseq-") or "fairseq_cli" in Path(sys.argv[0]).parts


def install() -> None:
    """Replace ``sys.excepthook`` in fairseq's commands, once; scripts keep their tracebacks."""
    if not is_fairseq_command() or getattr(sys.excepthook, "of_lottery", False):
        return
    before = sys.excepthook
    if "hydra" in program():
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _ended_badly
        _ended_badly = True
        line_and_status = line_of(error)
        if line_and_status is None:
            before(kind, error, trace)
            return
        line, status = line_and_status
        sys.stdout.flush()
        stream = sys.__stderr__ or sys.stderr
        stream.write(f"{program()}: error: {line}\n")
        stream.flush()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # After another rank has ended, gloo's threads abort a rank that exits normally (exit 134).
            os._exit(status)
        sys.exit(status)

    hook.of_lottery = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def line_of(error: BaseException) -> tuple[str, int] | None:
    """Return the line and the exit status for an error of this project, or for NaN or infinite gradients.

    :param error: the error, or torch's report of an error that ended a spawned rank
    :returns: ``None`` for any other error
    """
    if isinstance(error, LotteryError):
        return str(error), error.status
    if isinstance(error, FloatingPointError):
        return _STOPPED + str(error).partition("\n")[0], 1
    if type(error).__name__ == "ProcessRaisedException":
        for kind, line in _IN_A_RANK.findall(str(error)):
            if kind == FloatingPointError.__name__:
                return _STOPPED + line, 1
            if isinstance(getattr(errors, kind, None), type):
                return line, 1 if kind == "RunError" else 2
    return None
