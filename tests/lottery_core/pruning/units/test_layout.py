"""Masks of whole units: the counts are those of the masks, and nothing but units dies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lottery_core import Weights
from lottery_core.dialects import Part, UnitFinder, UnitGroup
from lottery_core.errors import CheckpointError, ConfigError, PruneError, ScopeError
from lottery_core.pruning import check_granularity, check_reachable, layout_of
from lottery_core.pruning.units import Layout, Survivors, drop_lowest
from lottery_core.tickets import Masks

# A convolution whose channels are flattened, a linear layer, an LSTM, an output.
SHAPES = {
    "a.weight": (3, 2, 2, 2),
    "a.bias": (3,),
    "b.weight": (4, 12),
    "b.bias": (4,),
    "r.weight_ih_l0": (20, 4),
    "r.weight_hh_l0": (20, 5),
    "r.bias_ih_l0": (20,),
    "r.bias_hh_l0": (20,),
    "out.weight": (2, 5),
    "out.bias": (2,),
}


def layout() -> Layout:
    find = UnitFinder(SHAPES)
    top = find.lstm("r", find.layer("b", find.layer("a", None)))
    find.layer("out", top)
    return Layout(SHAPES, find.groups())


def alive_but(**dead: list[int]) -> dict[str, torch.Tensor]:
    result = layout().alive()
    for layer, units in dead.items():
        result[layer.replace("r", "r.0")][units] = False
    return result


def test_the_units_are_those_of_the_layers_that_are_read() -> None:
    assert layout().counts == {"a": 3, "b": 4, "r.0": 5}


def test_a_dead_unit_loses_its_row_its_bias_and_its_columns_and_nothing_else() -> None:
    masks = layout().masks(alive_but(a=[1], b=[0], r=[4]))
    expected = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    expected["a.weight"][1] = expected["a.bias"][1] = False
    expected["b.weight"][:, 4:8] = False  # channel 1 at its four positions
    expected["b.weight"][0] = expected["b.bias"][0] = False
    expected["r.weight_ih_l0"][:, 0] = False
    for gate in range(4):
        for name in ("r.weight_ih_l0", "r.weight_hh_l0", "r.bias_ih_l0", "r.bias_hh_l0"):
            expected[name][gate * 5 + 4] = False
    expected["r.weight_hh_l0"][:, 4] = False
    expected["out.weight"][:, 4] = False
    assert masks == Masks(expected)
    assert layout().are_whole(masks)
    found = layout().alive(masks)
    assert all(torch.equal(found[layer], some) for layer, some in alive_but(a=[1], b=[0], r=[4]).items())


def test_the_counts_are_those_of_the_masks_however_many_units_die() -> None:
    units = layout()
    alive = units.alive()
    count = Survivors(units, alive)
    assert count.total == units.size == units.masks(alive).surviving
    order = [("a", 1), ("r.0", 2), ("b", 3), ("r.0", 0), ("b", 0), ("a", 0), ("r.0", 4)]
    for layer, unit in order:
        before, freed = count.total, count.freed(layer)
        count.remove(layer)
        alive[layer][unit] = False
        masks = units.masks(alive)
        assert count.total == before - freed == masks.surviving
        assert count.of(["b.weight"]) == int(masks["b.weight"].sum())
        assert Survivors(units, alive).total == count.total
    one = {layer: torch.arange(number) == number - 1 for layer, number in units.counts.items()}
    assert units.least == units.masks(one).surviving


def test_masks_of_single_weights_are_not_whole() -> None:
    masks = {name: mask.clone() for name, mask in layout().masks(alive_but(b=[1])).items()}
    masks["b.weight"][2, 0] = False
    assert not layout().are_whole(Masks(masks))
    masks = {name: mask.clone() for name, mask in layout().masks(layout().alive()).items()}
    masks["out.bias"][0] = False
    assert not layout().are_whole(Masks(masks))


def test_units_drop_while_the_count_comes_nearer_and_each_layer_keeps_its_last() -> None:
    units, alive = layout(), layout().alive()
    scores = {layer: torch.arange(count).double() for layer, count in units.counts.items()}
    for surplus in range(0, units.size - units.least, 7):
        alive = units.alive()
        count = Survivors(units, alive)
        drop_lowest(alive, scores, count, units.counts, None, surplus)
        left = count.total - (units.size - surplus)
        largest = max(Survivors(units, units.alive()).freed(layer) for layer in units.counts)
        assert abs(left) <= largest / 2
        assert all(bool(some[-1]) for some in alive.values())
    alive = units.alive()
    drop_lowest(alive, scores, Survivors(units, alive), units.counts, None, units.size)
    assert all(some.sum() == 1 for some in alive.values())


def test_what_cannot_be_pruned_in_whole_units_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"'unit': this network has no hidden layers, or the names .*0\.weight"):
        layout_of({"0.weight": (4, 4)}, ["0.weight"], {})
    shapes = {"q_net.q_net.0.weight": (4, 2), "q_net.q_net.2.weight": (2, 4)}
    with pytest.raises(ScopeError, match=r"no layer whose units can be pruned; .* q_net\.q_net\.0"):
        layout_of(shapes, ["q_net.q_net.2.weight"], {})
    with pytest.raises(PruneError, match=r"cannot leave 2 parameters: whole units leave at least 4"):
        check_reachable(layout_of(shapes, shapes, {}), 2)
    check_reachable(layout_of(shapes, shapes, {}), 4)
    with pytest.raises(ConfigError, match="unknown granularity 'units'"):
        check_granularity("units")


def test_an_lstm_in_two_directions_or_with_projections_stays_whole() -> None:
    for more in ("r.weight_ih_l0_reverse", "r.weight_hr_l0"):
        find = UnitFinder({**SHAPES, more: (20, 4)})
        find.layer("out", find.lstm("r", find.layer("b", None)))
        assert [group.layer for group in find.groups()] == ["b"]


def test_norms_over_units_are_their_own() -> None:
    shapes = {"s.0.weight": (4, 3), "s.1.weight": (4,), "s.1.bias": (4,), "s.3.weight": (2, 4)}
    find = UnitFinder(shapes)
    find.stack("s", None)
    (group,) = find.groups()
    assert group == UnitGroup(
        "s.0",
        4,
        (
            Part("s.0.weight", 0, own=True),
            Part("s.1.weight", 0, own=True),
            Part("s.1.bias", 0, own=True),
            Part("s.3.weight", 1),
        ),
    )


@pytest.mark.parametrize("heads", ["[1]", '{"a": 0}', '{"a": true}', '{"a": "8"}', "7"])
def test_a_header_with_strange_numbers_of_heads_is_one_clear_line(heads: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    header = f'{{"format": "lottery-weights", "outside": [], "heads": {heads}}}'
    path.write_bytes(save({"a.weight": torch.ones(2)}, {"lottery": header}))
    with pytest.raises(CheckpointError, match="its header must have numbers of heads as 'heads'"):
        Weights.load(path)
