"""Names of wrapped models, of files that were saved from them, and of tickets: one rule for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from lottery_core import Ticket, Weights, apply_ticket, prune, read_weights, snapshot
from lottery_core.errors import MismatchError
from lottery_core.tickets import matching
from lottery_core.tickets.names import plain_file_names, plain_names
from tests.lottery_core.helpers import mlp


def compiled(model: nn.Module) -> nn.Module:
    result: nn.Module = torch.compile(model, backend="eager")  # type: ignore[assignment]
    return result


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "compiled in parallel": lambda model: nn.DataParallel(compiled(model)),
    "parallel, compiled": lambda model: compiled(nn.DataParallel(model)),
    "a part compiled": lambda model: nn.Sequential(compiled(model[0]), *model[1:]),  # type: ignore[index]
    "checkpointed": checkpoint_wrapper,
    "a part checkpointed": lambda model: nn.Sequential(*model[:4], checkpoint_wrapper(model[4])),  # type: ignore[index]
    "a part checkpointed, in parallel": lambda model: nn.DataParallel(WRAPPERS["a part checkpointed"](model)),
}
PREFIXES = ["module.", "_orig_mod.", "model.", "model._orig_mod.", "module._orig_mod.", "_orig_mod.module.", "a.b."]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrapped_models_have_the_names_of_bare_ones(wrap: str) -> None:
    bare = mlp()
    model = WRAPPERS[wrap](mlp())
    assert list(snapshot(model).tensors) == list(snapshot(bare).tensors)
    start = snapshot(bare)
    ticket = prune(start, start, rate=0.5)
    with apply_ticket(ticket, model) as keeper:
        model(torch.randn(3, 4)).sum().backward()
        keeper.check()
    plain = plain_names(model)
    for name, parameter in model.named_parameters():
        assert int((parameter == 0).sum()) == int((~ticket.masks[plain(name)]).sum())


@pytest.mark.parametrize("prefix", PREFIXES)
def test_files_of_wrapped_models_fit_bare_ones_and_their_tickets(prefix: str, tmp_path: Path) -> None:
    start, late = snapshot(mlp(0)), snapshot(mlp(1))
    torch.save({"state_dict": {prefix + name: value for name, value in late.tensors.items()}}, tmp_path / "late.pt")
    wrapped = read_weights(tmp_path / "late.pt")
    expected = prune(late, start, rate=0.5)
    assert prune(wrapped, start, rate=0.5).digest == expected.digest
    assert (
        prune(wrapped, start, rate=0.5, previous=expected).digest
        == prune(late, start, rate=0.5, previous=expected).digest
    )
    ticket = prune(wrapped, wrapped, rate=0.5)
    ticket.save(tmp_path / "t")
    for model in (mlp(), nn.DataParallel(mlp()), compiled(mlp())):
        with apply_ticket(Ticket.load(tmp_path / "t"), model) as keeper:
            keeper.check()
        Ticket.load(tmp_path / "t").load_into(model)


def test_what_a_ticket_says_of_itself_follows_its_names() -> None:
    start = snapshot(mlp())
    ticket = prune(start, start, rate=0.5).with_origin(spared={"0.weight": 2}, carried=("0.weight", "2.bias"))
    wrapped = Weights({f"model.{name}": value for name, value in ticket.weights.items()})
    renamed = ticket.named_as(wrapped.tensors)
    assert renamed.origin.spared == {"model.0.weight": 2}
    assert renamed.origin.carried == ("model.0.weight", "model.2.bias")
    assert prune(wrapped, wrapped, rate=0.5, previous=ticket).origin.parent == ticket.digest != renamed.digest


def test_only_whole_words_are_wrappers() -> None:
    names = ["pre_orig_mod.weight", "my_module.weight", "submodule.x"]
    assert plain_file_names(names) == {name: name for name in names}
    assert plain_file_names(["a._orig_mod.x", "b._checkpoint_wrapped_module.x", "_orig_mod._orig_mod.y"]) == {
        "a._orig_mod.x": "a.x",
        "b._checkpoint_wrapped_module.x": "b.x",
        "_orig_mod._orig_mod.y": "y",
    }
    assert plain_file_names(["module.x", "y"]) == {"module.x": "module.x", "y": "y"}  # not before all
    assert plain_file_names(["module.module.x", "module.y"]) == {"module.module.x": "module.x", "module.y": "y"}


def test_names_that_would_fall_together_stay() -> None:
    names = ["a.weight", "a._orig_mod.weight"]
    assert plain_file_names(names) == {name: name for name in names}
    assert matching(["x.a.weight", "x.a.module.weight"], ["a.weight", "a.module.weight"]) is None


@pytest.mark.parametrize("ours", [["a.x", "b.x"], ["c.x"], ["x"], []])
def test_other_names_do_not_match(ours: list[str]) -> None:
    assert matching(ours, ["a.x", "b.y"]) is None


def test_a_surplus_is_only_allowed_where_it_is_asked_for() -> None:
    ours = ["module.a", "module.b", "module.c"]
    assert matching(ours, ["a", "b"]) is None
    assert matching(ours, ["a", "b"], optional=["c"]) == {"module.a": "a", "module.b": "b", "module.c": "c"}
    assert matching(ours, ["a", "b"], surplus=True) == {"module.a": "a", "module.b": "b", "module.c": "c"}


def test_what_cannot_be_matched_says_which_prefix_to_strip() -> None:
    start = snapshot(mlp())
    other = Weights({f"model.{name}": value for name, value in start.tensors.items()} | {"head": torch.ones(2)})
    with pytest.raises(MismatchError, match=r"names in .* begin with 'model.': strip that prefix"):
        prune(Weights({**other.tensors}), Weights(start.tensors | {"tail": torch.ones(2)}), rate=0.5)


def test_names_of_strangers_take_no_time() -> None:
    """A million wrappers before a name, and names that all end alike."""
    long = "module." * 200_000
    assert plain_file_names([long + "a", long + "b"]) == {long + "a": "a", long + "b": "b"}
    alike = ["x." * count + "a" for count in range(800)]
    assert matching(alike, [f"y.{name}b" for name in alike]) is None
