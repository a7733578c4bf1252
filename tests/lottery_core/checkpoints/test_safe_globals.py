"""The allow-list is in force while our own loading runs, in the thread that loads."""

from __future__ import annotations

import pickle
import threading
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from lottery_core.checkpoints import safe_loading


@pytest.fixture
def read(tmp_path: Path) -> Callable[[], Any]:
    """Reads a file that holds a ``Namespace``, as anybody's code would."""
    torch.save({"options": Namespace(a=1)}, tmp_path / "c.pt")
    return lambda: torch.load(tmp_path / "c.pt", weights_only=True)


def test_before_within_and_after(read: Callable[[], Any]) -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace"):
        read()
    with safe_loading():
        with safe_loading():
            read()
        read()
        assert not {Namespace}.intersection(torch.serialization.get_safe_globals())
    with pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace"):
        read()


def test_other_threads_have_no_part_in_it(read: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(1) as other, safe_loading():
        read()
        with pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace"):
            other.submit(read).result()


def test_threads_do_not_end_each_others(read: Callable[[], Any]) -> None:
    """One begins and ends within another, and the reverse; the list of the process is as before."""
    before = set(torch.serialization.get_safe_globals())
    turn = threading.Barrier(2, timeout=300)

    def first() -> None:
        with safe_loading():
            turn.wait()
            turn.wait()  # the second has ended
            read()

    def second() -> None:
        turn.wait()
        with safe_loading():
            read()
        turn.wait()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert set(torch.serialization.get_safe_globals()) == before


def test_what_others_have_allowed_stays(tmp_path: Path) -> None:
    torch.save([Fraction, Namespace], tmp_path / "c.pt")
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([Fraction])
    try:
        with safe_loading():
            assert torch.load(tmp_path / "c.pt", weights_only=True) == [Fraction, Namespace]
        assert Fraction in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def test_more_names(tmp_path: Path) -> None:
    torch.save(Fraction, tmp_path / "c.pt")
    with safe_loading(["fractions.Fraction", "no_such_package.X"]):
        assert torch.load(tmp_path / "c.pt", weights_only=True) is Fraction
        with safe_loading():
            assert torch.load(tmp_path / "c.pt", weights_only=True) is Fraction
    with safe_loading(), pytest.raises(pickle.UnpicklingError, match=r"fractions\.Fraction"):
        torch.load(tmp_path / "c.pt", weights_only=True)
