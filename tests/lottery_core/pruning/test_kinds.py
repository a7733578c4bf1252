"""The controls: what each keeps of the winning ticket and what it does not."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from lottery_core import CONTROLS, KINDS, Masks, Ticket, Weights, control_ticket, prune, snapshot
from lottery_core.errors import ConfigError, MismatchError
from lottery_core.pruning import check_kind, derive_seed
from lottery_core.pruning.kinds.erk import erk_counts
from lottery_core.pruning.kinds.uniform import _by_rejection
from lottery_core.tickets import Origin, output_scale
from tests.lottery_core.helpers import a_ticket, mlp, random_weights

FRESH = snapshot(mlp(seed=77))
REWIND = snapshot(mlp(seed=0))


def control(kind: str, seed: int = 3) -> tuple[Ticket, Ticket]:
    winning = a_ticket(rate=0.6)
    return winning, control_ticket(kind, winning, seed, fresh=FRESH, rewind=REWIND)


@pytest.mark.parametrize("kind", CONTROLS)
def test_as_many_survive_as_in_the_winning_ticket(kind: str) -> None:
    winning, found = control(kind)
    assert found.masks.surviving == winning.masks.surviving
    if kind not in ("uniform", "erk", "at-start"):
        assert found.masks.survivors() == winning.masks.survivors()
    assert found.origin.kind == kind
    assert found.origin.parent == winning.digest
    assert found.origin.round == winning.origin.round


@pytest.mark.parametrize("kind", CONTROLS)
def test_the_same_seed_gives_the_same_control_and_another_another(kind: str) -> None:
    assert control(kind)[1].to_bytes() == control(kind)[1].to_bytes()
    if kind not in ("reinit", "signs", "at-start"):
        assert control(kind, seed=4)[1].start().keys() == control(kind)[1].start().keys()
        assert control(kind, seed=4)[1].to_bytes() != control(kind)[1].to_bytes()


def starts_at(ticket: Ticket, weights) -> bool:
    masked = ticket.masks.apply(weights.tensors)
    return all(torch.equal(ticket.weights[name], masked[name]) for name in ticket.masks)


def test_random_has_other_places_and_fresh_values() -> None:
    winning, found = control("random")
    assert found.masks != winning.masks
    assert starts_at(found, FRESH)


def test_reinit_has_the_winning_mask_and_fresh_values() -> None:
    winning, found = control("reinit")
    assert found.masks == winning.masks
    assert starts_at(found, FRESH)


def test_permuted_has_the_winning_mask_and_its_values_in_other_places() -> None:
    winning, found = control("permuted")
    assert found.masks == winning.masks
    assert not starts_at(found, REWIND)
    for name, mask in winning.masks.items():
        assert torch.equal(found.weights[name][mask].sort().values, winning.weights[name][mask].sort().values)


def test_shuffled_has_other_places_and_the_rewound_values() -> None:
    winning, found = control("shuffled")
    assert found.masks != winning.masks
    assert starts_at(found, REWIND)


def test_uniform_draws_over_the_whole_pool() -> None:
    winning, found = control("uniform")
    assert found.masks.survivors() != winning.masks.survivors()
    assert starts_at(found, FRESH)
    share = [found.masks.survivors()[name] / winning.masks[name].numel() for name in ("0.weight", "2.weight")]
    assert share == pytest.approx([0.4, 0.4], abs=0.15)


def test_uniform_draws_of_pools_that_numpy_refuses() -> None:
    """Counts of 30 draws without replacement have the mean and the spread of the formula."""
    sizes, numbers = [10**9, 3 * 10**9, 40], numpy.random.default_rng(1)
    with pytest.raises(ValueError, match="less than 1000000000"):
        numbers.multivariate_hypergeometric(sizes, 10**6, method="marginals")
    drawn = numpy.array([_by_rejection(sizes, 10**6, numbers) for _ in range(30)])
    assert (drawn.sum(axis=1) == 10**6).all()
    share = sizes[0] / sum(sizes)
    deviation = (10**6 * share * (1 - share)) ** 0.5
    assert abs(drawn[:, 0].mean() - 10**6 * share) < 4 * deviation / 30**0.5
    assert 0.6 * deviation < drawn[:, 0].std() < 1.5 * deviation


def test_erk_gives_small_layers_higher_densities_and_fresh_values() -> None:
    _, found = control("erk")
    assert starts_at(found, FRESH)
    share = {name: float(mask.float().mean()) for name, mask in found.masks.items() if mask.dim() > 1}
    by_size = sorted(share, key=lambda name: found.masks[name].numel())
    assert [share[name] for name in by_size] == sorted(share.values(), reverse=True)
    assert len(set(share.values())) > 1


def test_erk_densities_are_those_of_the_formula() -> None:
    """Evci et al. 2020, by hand: eps (n1 + n2 + ...) / (n1 n2 ...), with one eps for all tensors below 1."""
    shapes = {"conv": (32, 16, 3, 3), "fc": (100, 512), "bias": (100,)}
    counts = erk_counts(shapes, 5000)
    assert sum(counts.values()) == 5000
    assert counts["bias"] == 100
    eps = 4900 / (32 + 16 + 3 + 3 + 100 + 512)
    assert counts["conv"] == pytest.approx(eps * 54, abs=1)
    assert counts["fc"] == pytest.approx(eps * 612, abs=1)


@pytest.mark.parametrize("survivors", [1, 3, 60, 61, 119, 200, 4000, 4419, 4420])
def test_erk_counts_are_exact_and_no_tensor_has_more_than_it_holds(survivors: int) -> None:
    shapes = {"tiny": (2, 10), "wide": (4, 1000), "square": (10, 10), "bias": (300,)}
    counts = erk_counts(shapes, survivors)
    assert sum(counts.values()) == survivors
    assert all(0 <= counts[name] <= math.prod(shape) for name, shape in shapes.items())


def test_what_erk_cannot_put_into_a_full_tensor_goes_to_the_others() -> None:
    counts = erk_counts({"small": (2, 4), "large": (100, 100)}, 5000)
    assert counts == {"small": 8, "large": 4992}


def test_signs_keep_mask_and_signs_and_have_one_magnitude_a_tensor() -> None:
    winning, found = control("signs")
    assert found.masks == winning.masks
    for name, mask in winning.masks.items():
        values, rewound = found.weights[name][mask], winning.weights[name][mask]
        assert torch.equal(values.sign(), rewound.sign())
        assert values[rewound != 0].abs().unique().numel() <= 1
        assert float(values.abs().mean()) == pytest.approx(float(rewound.abs().mean()), rel=1e-5)


def test_random_scaled_is_random_at_the_winning_scale() -> None:
    winning, found = control("random-scaled")
    _, random = control("random")
    assert found.masks == random.masks
    for name, mask in found.masks.items():
        values, fresh = found.weights[name][mask], random.weights[name][mask]
        rewound = winning.weights[name][winning.masks[name]]
        if fresh.any():
            assert float(values.square().mean()) == pytest.approx(float(rewound.square().mean()), rel=1e-4)
            assert torch.allclose(values / fresh, (values / fresh).mean())


def test_at_start_keeps_the_largest_of_the_rewind_point() -> None:
    winning, found = control("at-start")
    assert starts_at(found, REWIND)
    assert found.masks != winning.masks
    kept = torch.cat([REWIND.tensors[name][mask].abs() for name, mask in found.masks.items()])
    pruned = torch.cat([REWIND.tensors[name][~mask].abs() for name, mask in found.masks.items()])
    assert kept.min() >= pruned.max()
    assert kept.numel() == winning.masks.surviving


def test_at_start_prunes_each_network_at_the_same_rate_if_the_winning_ticket_does() -> None:
    """What is smaller in one network must not cost it more parameters."""
    start = random_weights(actor__weight=(10, 10), critic__weight=(20, 5))
    start = Weights({**start.tensors, "critic.weight": start.tensors["critic.weight"] / 100})
    masks = Masks({name: torch.arange(100).reshape(tensor.shape) < 40 for name, tensor in start.tensors.items()})
    for shares, counts in (("together", {"actor.weight": 80}), ("separate", {"actor.weight": 40, "critic.weight": 40})):
        winning = Ticket.of(masks, start.tensors, Origin(scope_shares=shares))
        found = control_ticket("at-start", winning, 1, rewind=start).masks.survivors()
        assert {name: found[name] for name in counts} == counts


@pytest.mark.parametrize("kind", [name for name, control in CONTROLS.items() if control.needs == "fresh"])
def test_what_is_outside_the_scope_keeps_its_rewind_values_unless_asked(kind: str) -> None:
    model = mlp(seed=0)
    winning = prune(snapshot(model), REWIND, rate=0.5, scope=".*weight")
    assert set(winning.rest) == {"0.bias", "2.bias", "4.bias"}
    for outside, expected in (("rewind", REWIND), ("fresh", FRESH)):
        found = control_ticket(kind, winning, 1, fresh=FRESH, outside=outside)
        assert all(torch.equal(found.rest[name], expected.tensors[name]) for name in winning.rest)
    assert starts_at(control_ticket("random", winning, 1, fresh=FRESH), FRESH)
    with pytest.raises(ConfigError, match="unknown start of parameters outside the scope 'old'"):
        control_ticket(kind, winning, 1, fresh=FRESH, outside="old")


def test_statistics_of_fresh_values_are_fresh() -> None:
    """A buffer is not outside of the scope by the user's choice."""
    norm = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    fresh = snapshot(norm)
    norm[1].running_mean += 3
    winning = prune(snapshot(norm), snapshot(norm), rate=0.5, scope="0.*")
    found = control_ticket("random", winning, 1, fresh=fresh)
    assert not found.rest["1.running_mean"].any()


def test_controls_need_their_weights_and_of_the_same_architecture() -> None:
    winning = a_ticket()
    with pytest.raises(ConfigError, match="needs fresh weights"):
        control_ticket("random", winning, 1)
    with pytest.raises(ConfigError, match="needs rewind weights"):
        control_ticket("shuffled", winning, 1, fresh=FRESH)
    with pytest.raises(MismatchError, match="different architectures"):
        control_ticket("random", winning, 1, fresh=random_weights(a=(2, 2)))


def test_an_unknown_kind_names_the_near_ones() -> None:
    with pytest.raises(ConfigError, match="unknown kind of ticket 'winnin': did you mean winning"):
        check_kind("winnin")
    with pytest.raises(ConfigError, match="unknown control"):
        control_ticket("winning", a_ticket(), 1)
    assert set(KINDS) == {
        "winning", "random", "reinit", "permuted", "shuffled", "uniform", "one-shot", "no-rewind",
        "at-start", "erk", "signs", "random-scaled", "rewound-dense",
        "gradual", "snip", "random-budget", "random-best", "transfer", "transfer-values", "transfer-random",
    }  # fmt: skip


def test_derived_seeds_are_fixed_and_differ() -> None:
    assert derive_seed("control", 1, "random", 1) == 1244885616
    seeds = {derive_seed("control", seed, kind, round_) for seed in (1, 2) for kind in KINDS for round_ in range(20)}
    assert len(seeds) == 2 * len(KINDS) * 20
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_output_scale_is_the_winning_tickets_in_kinds_that_keep_its_values_or_its_scale() -> None:
    winning, _ = control("random")
    scale = output_scale(winning)
    by_hand = 1.0
    for name in ("0.weight", "2.weight", "4.weight"):
        by_hand *= float(winning.weights[name][winning.masks[name]].square().mean().sqrt())
    assert scale == pytest.approx(by_hand)
    for kind in ("permuted", "random-scaled"):
        assert output_scale(control(kind)[1]) == pytest.approx(scale, rel=1e-4)
    assert output_scale(control("random")[1]) != pytest.approx(scale, rel=0.05)
