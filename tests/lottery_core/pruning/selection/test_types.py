"""Parameters whose magnitudes have no order, or whose type no file holds: one line, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lottery_core import Ticket, Weights, prune, snapshot
from lottery_core.cli import main
from lottery_core.errors import PruneError, TicketError
from lottery_core.pruning import prune_masks

GOOD = torch.randn(4, 4)
BAD: dict[str, tuple[Tensor, str]] = {
    "complex": (torch.complex(GOOD, GOOD), "is complex"),
    "int8": (torch.ones(4, 4, dtype=torch.int8), "has the type int8"),
    "bool": (torch.ones(4, 4, dtype=torch.bool), "has the type bool"),
    "float8": (GOOD.to(torch.float8_e4m3fn), "has the type float8_e4m3fn"),
    "float8 of powers": (GOOD.to(torch.float8_e8m0fnu), "has the type float8_e8m0fnu"),
}


@pytest.mark.parametrize("kind", BAD)
def test_they_are_not_ranked_and_nothing_starts_from_them(kind: str) -> None:
    value, words = BAD[kind]
    bad, good = Weights({"a": value, "b": GOOD}), Weights({"a": GOOD, "b": GOOD})
    for trained, rewind in ((bad, bad), (bad, good), (good, bad)):
        for amount in ({"rate": 0.5}, {"survivors": 32}, {"fraction": 0.1}):
            with pytest.raises(PruneError, match=rf"'a' {words}: such parameters cannot be ranked"):
                prune(trained, rewind, **amount)  # type: ignore[arg-type]
    with pytest.raises(PruneError, match=words):
        prune_masks(bad.tensors, ["a", "b"], 5)


def test_a_complex_parameter_of_a_live_model_is_refused_at_once() -> None:
    model = nn.ParameterDict(
        {"a": nn.Parameter(torch.randn(2, 2, dtype=torch.cfloat)), "b": nn.Parameter(GOOD.clone())}
    )
    start = snapshot(model)
    with pytest.raises(PruneError, match="'a' is complex"):
        prune(start, start, rate=0.5)
    assert list(prune(start, start, rate=0.5, scope="b").masks) == ["b"]


@pytest.mark.parametrize("kind", BAD)
def test_outside_the_scope_they_are_kept_or_told(kind: str, tmp_path: Path) -> None:
    weights = Weights({"a": BAD[kind][0], "b": GOOD})
    ticket = prune(weights, weights, rate=0.5, scope="b")
    if kind == "float8 of powers":
        with pytest.raises(TicketError, match="'a' has the type float8_e8m0fnu, which no file of this project holds"):
            ticket.save(tmp_path / "t")
        assert not (tmp_path / "t").exists()
    else:
        ticket.save(tmp_path / "t")
        assert Ticket.load(tmp_path / "t").rest["a"].dtype == BAD[kind][0].dtype


@pytest.mark.parametrize("kind", BAD)
def test_the_command_says_one_line(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for shift, name in enumerate(("late", "early")):
        torch.save({"a.weight": BAD[kind][0], "b.weight": GOOD + shift}, tmp_path / name)
    command = ["prune", str(tmp_path / "late"), "--rewind", str(tmp_path / "early"), "--rate", "0.5"]
    code = main([*command, "-o", str(tmp_path / "t")])
    if kind in ("int8", "bool"):  # no numbers that train, so they are outside any scope
        assert code == 0
        assert list(Ticket.load(tmp_path / "t").masks) == ["b.weight"]
    else:
        assert code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert BAD[kind][1] in line
        assert not (tmp_path / "t").exists()
