"""Tickets whose masks another experiment found: partners by name and shape, exact counts, the control's shares."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from lottery_core import Masks, Ticket, Weights, prune
from lottery_core.errors import ConfigError
from lottery_core.pruning import Partners, Rename, partners, prune_masks, transferred


def network(seed: int, inputs: int, outputs: int, prefix: str = "") -> Weights:
    """A trunk of two layers and a head, as weights with seeded values."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"trunk.0": (8, inputs), "trunk.2": (8, 8), "head": (outputs, 8)}
    tensors: dict[str, Tensor] = {}
    for name, shape in sizes.items():
        tensors[f"{prefix}{name}.weight"] = torch.randn(shape, generator=generator)
        tensors[f"{prefix}{name}.bias"] = torch.randn(shape[0], generator=generator)
    return Weights(tensors)


OTHER = network(1, inputs=4, outputs=2)
THERE = prune(network(2, inputs=4, outputs=2), OTHER, survivors=60, rewind_point="updates:5")
HERE, TRAINED = network(3, inputs=6, outputs=3), network(4, inputs=6, outputs=3)
CARRIED = ("trunk.0.bias", "trunk.2.bias", "trunk.2.weight")
ALONE = ("head.bias", "head.weight", "trunk.0.weight")


def half(pool: int) -> int:
    return pool - pool // 2


def made(kind: str = "transfer", **changes: object) -> Ticket:
    options = {"unmatched": "dense", "seed": 7, "rewind_point": "updates:9", **changes}
    return transferred(kind, THERE, HERE, TRAINED, half, **options)  # type: ignore[arg-type]


def starts_at(ticket: Ticket, values: Mapping[str, Tensor], names: tuple[str, ...]) -> bool:
    return all(torch.equal(ticket.weights[name], values[name].masked_fill(~ticket.masks[name], 0)) for name in names)


def test_tensors_of_the_same_name_and_shape_take_over_their_masks() -> None:
    ticket = made()
    assert ticket.origin.carried == CARRIED
    assert all(torch.equal(ticket.masks[name], THERE.masks[name]) for name in CARRIED)
    assert all(ticket.masks[name].all() for name in ALONE)
    carried = sum(int(THERE.masks[name].sum()) for name in CARRIED)
    assert ticket.masks.surviving == carried + 8 * 6 + 3 * 8 + 3
    assert starts_at(ticket, HERE.tensors, (*CARRIED, *ALONE))
    assert (ticket.origin.parent, ticket.origin.rewind) == (THERE.digest, "updates:9")


def test_tensors_without_a_partner_are_pruned_together_to_the_schedules_share() -> None:
    ticket = made(unmatched="prune")
    alone = {name: TRAINED.tensors[name] for name in ALONE}
    pool = sum(tensor.numel() for tensor in alone.values())
    assert {name: ticket.masks[name].tolist() for name in ALONE} == {
        name: mask.tolist() for name, mask in prune_masks(alone, ALONE, half(pool)).items()
    }
    assert sum(int(ticket.masks[name].sum()) for name in ALONE) == half(pool)
    assert all(torch.equal(ticket.masks[name], THERE.masks[name]) for name in CARRIED)


def test_values_come_from_there_where_there_is_a_partner_and_frozen_ones_stay() -> None:
    ticket = made("transfer-values")
    assert ticket.masks == made().masks
    assert starts_at(ticket, THERE.start(), CARRIED)
    assert starts_at(ticket, HERE.tensors, ALONE)
    assert ticket.origin.rewind == "updates:5"
    frozen = Weights(HERE.tensors, frozen=frozenset(["trunk.2.bias"]))
    kept = transferred("transfer-values", THERE, frozen, TRAINED, half, scope="trainable")
    assert torch.equal(kept.rest["trunk.2.bias"], HERE.tensors["trunk.2.bias"])
    assert "trunk.2.bias" not in kept.masks


@pytest.mark.parametrize("unmatched", ["dense", "prune"])
def test_the_control_has_the_same_shares_in_other_places(unmatched: str) -> None:
    ticket = made(unmatched=unmatched)
    control, other = (made("transfer-random", unmatched=unmatched, shuffle_seed=seed) for seed in (1, 2))
    assert control.masks.survivors() == other.masks.survivors() == ticket.masks.survivors()
    assert control.masks != ticket.masks
    assert control.masks != other.masks
    assert starts_at(control, HERE.tensors, (*CARRIED, *ALONE))
    assert control.to_bytes() == made("transfer-random", unmatched=unmatched, shuffle_seed=1).to_bytes()


def test_the_origin_is_kept_in_the_file(tmp_path) -> None:
    made().save(tmp_path / "ticket.safetensors")
    assert Ticket.load(tmp_path / "ticket.safetensors").origin.carried == CARRIED
    assert "carried" not in THERE.origin.as_json(), "other tickets have the bytes that they had"


def test_names_there_can_be_changed() -> None:
    renamed = network(3, inputs=6, outputs=3, prefix="policy.")
    with pytest.raises(ConfigError, match=r"no tensor has a partner .*policy\.head\.bias: no such tensor there"):
        partners(renamed, "all", THERE.masks)
    found = partners(renamed, "all", THERE.masks, [Rename.parse("^(?=trunk)=policy.")])
    assert set(found.names.items()) == {(f"policy.{name}", name) for name in CARRIED}
    with pytest.raises(ConfigError, match=r"the same name, policy\.head\.bias"):
        partners(renamed, "all", THERE.masks, [Rename.parse(".*bias$=policy.head.bias")])


def test_several_names_may_become_one_that_nothing_has_here() -> None:
    found = partners(OTHER, "all", THERE.masks, [Rename.parse(".*trunk.*=none")])
    assert set(found.names) == {"head.bias", "head.weight"}
    values = made("transfer-values", renames=[Rename.parse(".*trunk.*weight=none"), Rename.parse("head=none")])
    assert set(values.origin.carried) == {"trunk.0.bias", "trunk.2.bias"}


def test_values_come_only_with_a_mask() -> None:
    outside = prune(network(2, inputs=4, outputs=2), OTHER, survivors=40, scope=["trunk"], rewind_point="updates:5")
    same = network(3, inputs=4, outputs=2)
    ticket = transferred("transfer-values", outside, same, network(4, 4, 2), half, rewind_point="updates:9")
    assert starts_at(ticket, same.tensors, ("head.weight", "head.bias"))
    assert starts_at(ticket, OTHER.tensors, ticket.origin.carried)


def test_what_is_carried_over_is_counted() -> None:
    found = partners(HERE, "all", THERE.masks)
    assert isinstance(found, Partners)
    assert (found.carried, found.pool) == (8 + 8 + 64, 8 * 6 + 8 + 64 + 8 + 24 + 3)
    assert found.alone["trunk.0.weight"] == "(8, 6) here, (8, 4) there"
    line = found.describe("dense")
    assert line.startswith(
        "carried over: the masks of 3 of 6 tensors, 80 of 155 parameters (51.6%); without a partner,"
    )
    assert "so that they stay dense: head.bias ((3,) here, (2,) there)" in line
    whole = partners(OTHER, "all", THERE.masks)
    assert whole.describe("prune").endswith("of 6 tensors, 130 of 130 parameters (100.0%)")
    outside = Masks({name: mask for name, mask in THERE.masks.items() if name != "trunk.2.weight"})
    assert partners(HERE, "all", outside).alone["trunk.2.weight"] == "no such tensor there"


@pytest.mark.parametrize("word", ["features", "=x", "(=x", r"a=\2"])
def test_a_map_that_is_not_understood(word: str) -> None:
    with pytest.raises(ConfigError, match="--map '"):
        Rename.parse(word)


@pytest.mark.parametrize(
    ("norm", "shape", "weight"),
    [("norm.original0", (8, 1), "norm.original1"), ("norm.0._u", (8,), "norm.original"), ("w_g", (1, 8), "w_v")],
)
def test_a_mask_that_would_empty_a_slice_of_a_normalised_weight_is_refused(
    norm: str, shape: tuple[int, ...], weight: str
) -> None:
    """Such a slice is divided by its norm, 0."""
    here = Weights({norm: torch.ones(shape), weight: torch.randn(8, 8), "head.bias": torch.randn(2)}, frozenset([norm]))
    mask = torch.ones(8, 8, dtype=torch.bool)
    masks = Masks({weight: mask, "head.bias": torch.ones(2)})
    assert weight in partners(here, "all", masks).names
    if norm == "norm.0._u":
        mask[:] = False
    else:
        mask.t()[3] = mask[5] = False
    why = (
        f"{weight} in the other experiment leaves no survivor in 1 of the slices of {weight}, each of which is divided"
    )
    with pytest.raises(ConfigError, match=why):
        partners(here, "all", masks)
    ticket = Ticket.of(masks, here.tensors, THERE.origin)
    with pytest.raises(ConfigError, match=why):
        transferred("transfer", ticket, here, here, half)
    left_out = [Rename.parse(f"^{weight}$=none")]
    assert weight in partners(here, "all", masks, left_out).alone


def test_unknown_words() -> None:
    with pytest.raises(ConfigError, match="unknown kind of transferred ticket 'winning'"):
        made("winning")
    with pytest.raises(
        ConfigError, match="unknown treatment of tensors without a partner 'prunes': did you mean prune"
    ):
        made(unmatched="prunes")
