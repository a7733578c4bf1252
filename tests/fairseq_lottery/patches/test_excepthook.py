"""Errors as one line and an exit status; tracebacks where they are not ours."""

from __future__ import annotations

import io
import sys
from typing import Any

import fairseq_cli.train
import pytest
import torch
from hydra._internal.utils import run_and_report

from fairseq_lottery.patches import ended_badly, excepthook, is_fairseq_command
from lottery_core.errors import ConfigError, RunError
from tests.fairseq_lottery.patches.upstream import source


def test_upstream_handles_no_error() -> None:
    command = source(fairseq_cli.train.cli_main)
    assert "distributed_utils.call_main(cfg, main)" in command
    assert "except" not in command
    assert "sys.stderr = buf = io.StringIO()" in source(torch.distributed.init_process_group)
    spawn = source(torch.multiprocessing.ProcessContext.join)
    assert "raise ProcessRaisedException(msg, error_index, failed_process.pid)" in spawn


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Errors that reached the hook that was there before; the new one is in force."""
    errors: list[Any] = []
    monkeypatch.setattr(sys, "argv", ["bin/fairseq-train"])
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: errors.append(error))
    monkeypatch.setattr(sys, "__stderr__", io.StringIO())
    monkeypatch.setattr(excepthook, "_ended_badly", False)
    excepthook.install()
    return errors


def raised(error: BaseException) -> Any:
    sys.excepthook(type(error), error, None)


@pytest.mark.parametrize(("error", "status"), [(ConfigError("no such folder"), 2), (RunError("it failed"), 1)])
def test_our_errors_are_one_line(error: ConfigError, status: int, shown: list[Any]) -> None:
    assert not ended_badly()
    with pytest.raises(SystemExit) as ended:
        raised(error)
    assert ended.value.code == status
    assert sys.__stderr__
    assert sys.__stderr__.getvalue() == f"fairseq-train: error: {error}\n"  # type: ignore[attr-defined]
    assert not shown
    assert ended_badly()


def test_other_errors_keep_their_traceback(shown: list[Any]) -> None:
    error = KeyError("a")
    raised(error)
    assert shown == [error]


def test_installing_twice_wraps_once(shown: list[Any]) -> None:
    hook = sys.excepthook
    excepthook.install()
    assert sys.excepthook is hook


def fail(rank: int) -> None:
    raise ConfigError(f"no such folder on rank {rank}")


def test_the_error_of_a_spawned_rank() -> None:
    with pytest.raises(torch.multiprocessing.ProcessRaisedException) as ended:
        torch.multiprocessing.spawn(fail, nprocs=1)
    assert excepthook.line_of(ended.value) == ("no such folder on rank 0", 2)


@pytest.mark.parametrize(
    ("argv0", "ours"), [("bin/fairseq-train", True), ("fairseq_cli/train.py", True), ("train.py", False)]
)
def test_scripts_keep_their_hook(argv0: str, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def before(*_: object) -> None: ...

    monkeypatch.setattr(sys, "argv", [argv0])
    monkeypatch.setattr(sys, "excepthook", before)
    excepthook.install()
    assert is_fairseq_command() == ours
    assert (sys.excepthook is not before) == ours


def test_hydra_leaves_errors_to_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it prints a traceback, and the end of the training looks like one without an error."""
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    for command, expected in (("fairseq-train", SystemExit), ("fairseq-hydra-train", ConfigError)):
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", [f"bin/{command}"])
        monkeypatch.setattr(sys, "excepthook", lambda *_: None)
        excepthook.install()
        with pytest.raises(expected):
            run_and_report(lambda: fail(0))
