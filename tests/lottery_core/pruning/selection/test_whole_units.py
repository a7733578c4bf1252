"""Which whole units survive: the means of their weights, the same shares of layers and networks, the watch's masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lottery_core import Masks, Origin, Ticket, Weights, prune, prune_masks
from lottery_core.errors import PruneError, RunError
from lottery_core.pruning import MaskWatch, PruningInTraining, PruningSchedule, layout_of_weights, schedule
from lottery_core.pruning.criteria import CRITERIA
from lottery_core.pruning.selection.whole_units import unit_scores
from lottery_core.pruning.units import Layout

# An actor and a critic that share nothing, as on-policy agents have them.
SHAPES = {
    **{f"mlp_extractor.policy_net.{layer}.weight": shape for layer, shape in ((0, (12, 5)), (2, (12, 12)))},
    **{f"mlp_extractor.policy_net.{layer}.bias": (12,) for layer in (0, 2)},
    **{f"mlp_extractor.value_net.{layer}.weight": shape for layer, shape in ((0, (12, 5)), (2, (12, 12)))},
    **{f"mlp_extractor.value_net.{layer}.bias": (12,) for layer in (0, 2)},
    "action_net.weight": (3, 12),
    "action_net.bias": (3,),
    "value_net.weight": (1, 12),
    "value_net.bias": (1,),
}
LARGEST = 12 + 12 + 1  # parameters of a unit, at most


def weights(seed: int = 0, scale: float = 1.0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return Weights({name: value * (scale if "value" in name else 1.0) for name, value in tensors.items()})


def layout() -> Layout:
    found = layout_of_weights(weights(), "all", "unit")
    assert found is not None
    return found


def mean_by_hand(tensors: dict[str, Tensor], masks: Masks, unit: int) -> float:
    rows, columns = "mlp_extractor.policy_net.0.weight", "mlp_extractor.policy_net.2.weight"
    values = torch.cat([tensors[rows][unit][masks[rows][unit]], tensors[columns][:, unit][masks[columns][:, unit]]])
    return float(values.abs().double().mean())


def test_a_units_score_is_the_mean_over_what_survives_of_its_weights() -> None:
    tensors = dict(weights().tensors)
    masks = layout().masks({**layout().alive(), "mlp_extractor.policy_net.2": torch.arange(12) > 4})
    for some in (masks, Masks.ones(tensors)):
        scores = unit_scores(layout(), some, lambda name: tensors[name].abs())
        found = scores["mlp_extractor.policy_net.0"]
        assert found.tolist() == pytest.approx([mean_by_hand(tensors, some, unit) for unit in range(12)])


def test_the_units_of_the_lowest_means_go_first() -> None:
    ticket = prune(weights(), weights(), fraction=0.5, granularity="unit")
    scores = unit_scores(layout(), None, lambda name: weights().tensors[name].abs())
    alive = layout().alive(ticket.masks)
    dead = torch.cat([scores[layer][~some] for layer, some in alive.items()])
    living = torch.cat([scores[layer][some] for layer, some in alive.items()])
    assert float(dead.max()) < float(living.min())
    assert layout().are_whole(ticket.masks)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_chains_stay_within_one_unit_of_the_schedule(rate: float) -> None:
    counts, previous = schedule(layout().size, rate, 4), None
    for survivors in counts[1:]:
        ticket = prune(weights(), weights(1), survivors=survivors, previous=previous, granularity="unit")
        assert abs(ticket.masks.surviving - survivors) <= LARGEST / 2
        assert ticket.origin.asked == survivors
        assert previous is None or ticket.masks.subset_of(previous.masks)
        previous = ticket


def test_a_round_smaller_than_half_a_unit_prunes_nothing() -> None:
    first = prune(weights(), weights(), fraction=0.5, granularity="unit")
    again = prune(weights(), weights(), survivors=first.masks.surviving - 3, previous=first)
    assert again.masks == first.masks
    assert prune(weights(), weights(), survivors=first.masks.surviving + 9, previous=first).masks == first.masks


def test_magnitude_layer_takes_the_same_share_of_each_layer() -> None:
    uneven = weights(scale=0.01)
    ticket = prune(uneven, uneven, fraction=0.5, granularity="unit", criterion="magnitude-layer")
    left = {layer: int(some.sum()) for layer, some in layout().alive(ticket.masks).items()}
    assert max(left.values()) - min(left.values()) <= 1
    overall = prune(uneven, uneven, fraction=0.4, granularity="unit")
    left = {layer: int(some.sum()) for layer, some in layout().alive(overall.masks).items()}
    assert left["mlp_extractor.value_net.0"] < left["mlp_extractor.policy_net.0"] == 12


def test_separate_networks_keep_the_same_share() -> None:
    uneven = weights(scale=0.01)
    ticket = prune(uneven, uneven, fraction=0.5, granularity="unit", scope_shares="separate")
    for words in (("policy_net", "action_net"), ("value_net",)):
        names = [name for name in SHAPES if any(word in name for word in words)]
        own = sum(int(ticket.masks[name].sum()) for name in names)
        pool = sum(ticket.masks[name].numel() for name in names)
        assert abs(own - pool / 2) <= LARGEST / 2 + 1


def test_magnitude_increase_compares_with_the_rewind_point() -> None:
    late, early = weights(1), weights(2)
    ticket = prune(late, early, fraction=0.5, granularity="unit", criterion="magnitude-increase")
    grown = {name: late.tensors[name].abs() - early.tensors[name].abs() for name in SHAPES}
    scores = unit_scores(layout(), None, grown.__getitem__)
    alive = layout().alive(ticket.masks)
    dead = max(float(scores[layer][~some].max()) for layer, some in alive.items() if not bool(some.all()))
    assert all(float(scores[layer][some].min()) >= dead for layer, some in alive.items())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_watch_sees_the_masks_of_the_next_round(criterion: str) -> None:
    end, rewind = weights(3), weights(4)
    first = prune(end, rewind, rate=0.3, criterion=criterion, granularity="unit")
    count = schedule(layout().size, 0.3, 2)[2]
    second = prune(end, rewind, survivors=count, previous=first)
    watch = MaskWatch(first.masks, count, None, 1, criterion, "together", layout())
    watch.start(rewind.tensors)
    assert watch.next_masks(end.tensors) == second.masks != first.masks


@pytest.mark.parametrize("kind", ["gradual", "snip"])
def test_pruning_in_training_prunes_units_and_resumes(kind: str) -> None:
    origin = Origin(kind=kind, granularity="unit")
    start = Ticket.of(Masks.ones(dict(weights().tensors)), weights().tensors, origin)
    whole, killed = (PruningInTraining.of(start, PruningSchedule(0, 0.9, 4), 250) for _ in range(2))
    values = [dict(weights(seed).tensors) for seed in range(4)]
    for step, some in enumerate(values, 1):
        masks = whole.prune(some, 0.9 * step / 4)
        assert layout().are_whole(masks)
    assert whole.complete
    assert abs(whole.masks.surviving - 250) <= LARGEST / 2
    for step, some in enumerate(values[:2], 1):
        killed.prune(some, 0.9 * step / 4)
    again = PruningInTraining.of(start, PruningSchedule(0, 0.9, 4), 250)
    again.resume(killed.masks, 2)
    for step, some in enumerate(values[2:], 3):
        again.prune(some, 0.9 * step / 4)
    assert again.masks == whole.masks
    torn = {name: mask.clone() for name, mask in killed.masks.items()}
    torn["action_net.bias"][0] = False
    with pytest.raises(RunError, match="are not those of this schedule"):
        again.resume(Masks(torn), 2)


def test_nan_and_too_few_are_one_clear_line() -> None:
    broken = weights()
    broken.tensors["action_net.weight"][0, 0] = torch.nan
    with pytest.raises(PruneError, match=r"1 weights of 'action_net\.weight' are NaN or infinite"):
        prune(broken, weights(), rate=0.2, granularity="unit")
    with pytest.raises(PruneError, match="whole units leave at least"):
        prune(weights(), weights(), survivors=5, granularity="unit")
    masks = prune_masks(weights().tensors, list(SHAPES), 300, layout=layout())
    assert layout().are_whole(masks)
