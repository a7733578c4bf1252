"""Pruning in training: every algorithm, without a ticket and as runs of an experiment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from lottery_core import Ticket
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Point, Run, dense, paths
from lottery_core.pruning import IN_TRAINING, GradientSums, schedule
from sb3_lottery import LotteryCallback, find_tickets
from sb3_lottery.cli.command import _preflight
from sb3_lottery.models.algorithms import ALGORITHMS
from sb3_lottery.models.parameters import weights_of
from sb3_lottery.training.pruner import together
from sb3_lottery.training.spec import TrainingSpec
from sb3_lottery.training.train import train_run
from tests.sb3_lottery import tiny
from tests.sb3_lottery.helpers import SMALL, assert_dead, make, request_for, ticket_for

TICKET = ticket_for(make("ppo"))


class Watch(BaseCallback):
    """Keeps the number of survivors at every step; what is pruned is zero, in target networks as well."""

    def __init__(self, lottery: LotteryCallback) -> None:
        super().__init__()
        self.lottery, self.counts = lottery, list[int]()

    def _on_step(self) -> bool:
        masks = self.lottery._keeper.masks
        state = self.model.policy.state_dict()
        assert_dead(state, masks)
        for name, mask in masks.items():
            head, dot, rest = name.partition(".")
            if f"{head}_target{dot}{rest}" in state:
                assert not state[f"{head}_target{dot}{rest}"][~mask].any()
        self.counts.append(masks.surviving)
        return True


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_gradual_in_one_line_for_every_algorithm(algo: str) -> None:
    model = tiny.make(algo)
    start = weights_of(model)
    lottery = LotteryCallback(kind="gradual", surviving=0.25, gradual="0.1 0.8 4")
    watch = Watch(lottery)
    model.learn(120, callback=[lottery, watch])
    found = lottery.final_ticket
    assert found is not None
    assert found.masks.surviving == round(0.25 * found.masks.pool)
    pruned = [found.masks.pool - count for count in dict.fromkeys(watch.counts)]
    dead = found.masks.pruned
    assert pruned == [0, *(round(dead * (1 - (1 - step / 4) ** 3)) for step in (1, 2, 3, 4))]
    assert_dead(model.policy.state_dict(), found.masks)
    assert all(torch.equal(found.start()[name], found.masks.apply(start.tensors)[name]) for name in found.masks)


@pytest.mark.parametrize("algo", [name for name in ALGORITHMS if name != "trpo"])
def test_snip_ranks_by_the_gradients_of_the_training(algo: str) -> None:
    model = tiny.make(algo)
    lottery = LotteryCallback(kind="snip", surviving=0.25)
    model.learn(240, callback=[lottery, Watch(lottery)])
    found = lottery.final_ticket
    assert found is not None
    assert found.masks.surviving == round(0.25 * found.masks.pool)
    assert_dead(model.policy.state_dict(), found.masks)
    by_magnitude = LotteryCallback(kind="at-start", surviving=0.25)
    tiny.make(algo).learn(1, callback=by_magnitude)
    assert by_magnitude.final_ticket is not None
    assert by_magnitude.final_ticket.masks != found.masks


@pytest.mark.parametrize("algo", [name for name, row in ALGORITHMS.items() if row.two_networks])
def test_snip_ranks_the_losses_of_actor_and_critic_apart(algo: str) -> None:
    """TD3's actor steps at every second update: a step of pruning before its first update would leave nothing of it."""
    model = tiny.make(algo)
    lottery = LotteryCallback(kind="snip", surviving=0.25)
    model.learn(240, callback=lottery)
    survivors = lottery.final_ticket.masks.survivors()
    for network in ("actor", "critic"):
        assert sum(count for name, count in survivors.items() if name.startswith(network)), network


def test_the_scale_of_a_loss_plays_no_part() -> None:
    """Of several losses; a single one is ranked as it is."""
    actor, critic = GradientSums(["actor"]), GradientSums(["critic"])
    actor.values["actor"], critic.values["critic"] = torch.tensor([1.0, -3.0]), torch.tensor([2000.0, -6000.0])
    both = together([actor, critic]).values
    assert both["actor"].tolist() == both["critic"].tolist() == [0.25, -0.75]
    assert together([critic]).values["critic"].tolist() == [2000.0, -6000.0]
    assert together([actor, GradientSums(["critic"])]).values.keys() == {"actor"}


def schedule_of(kind: str, words: str) -> dict[str, Any]:
    return {"gradual": words} if kind == "gradual" else {}


@pytest.mark.parametrize("kind", ["gradual", "snip"])
def test_a_layer_that_is_emptied_while_it_trains_is_said(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    model = make("ppo")
    lottery = LotteryCallback(kind=kind, surviving=0.003, **schedule_of(kind, "0 0.5 2"))
    model.learn(320, callback=lottery)
    collapsed = lottery.final_ticket.masks.collapsed()
    assert collapsed
    for name in collapsed:
        lines = [record.message for record in caplog.records if f"the layer '{name}' has collapsed" in record.message]
        assert len(lines) == 1


def test_snip_needs_gradients_that_pass_through_an_optimizer() -> None:
    with pytest.raises(ConfigError, match="TRPO steps its policy without an optimizer"):
        tiny.make("trpo").learn(24, callback=LotteryCallback(kind="snip", surviving=0.25))


@pytest.mark.parametrize("kind", ["erk", "uniform", "at-start"])
def test_a_sparse_network_without_any_search(kind: str) -> None:
    model = make("ppo")
    lottery = LotteryCallback(kind=kind, surviving=0.2, scope="actor", seed=3)
    model.learn(64, callback=lottery)
    found = lottery.final_ticket
    assert found is not None
    assert found.masks.surviving == round(0.2 * found.masks.pool)
    assert not [name for name in found.masks if "value" in name]
    assert_dead(model.policy.state_dict(), found.masks)


def test_the_masks_of_the_end_are_held_in_a_second_learn(tmp_path: Path) -> None:
    model, lottery = make("ppo"), LotteryCallback(kind="gradual", surviving=0.3, gradual=(0, 0.9, 3))
    model.learn(160, callback=lottery)
    first = lottery.final_ticket
    values = weights_of(model).tensors
    model.learn(32, callback=[lottery, Watch(lottery)], reset_num_timesteps=False)
    assert lottery.final_ticket.masks == first.masks
    assert_dead(model.policy.state_dict(), first.masks)
    assert any(not torch.equal(values[name], tensor) for name, tensor in weights_of(model).tensors.items())
    model.save(tmp_path / "sparse.zip")
    assert_dead(PPO.load(tmp_path / "sparse.zip", device="cpu").policy.state_dict(), first.masks)


@pytest.mark.parametrize("kind", ["erk", "gradual", "snip"])
def test_a_second_model_has_a_ticket_of_its_own(kind: str) -> None:
    """A callback that is used again begins anew; the first model's ticket is not trained in its place."""
    lottery = LotteryCallback(kind=kind, surviving=0.3, **schedule_of(kind, "0 0.5 2"))
    tickets = []
    for seed in (1, 2):
        model = make("ppo", seed)
        start = weights_of(model)
        model.learn(320, callback=[lottery, Watch(lottery)])
        found = lottery.final_ticket
        assert all(torch.equal(found.start()[name], found.masks.apply(start.tensors)[name]) for name in found.masks)
        assert_dead(model.policy.state_dict(), found.masks)
        tickets.append(found)
    assert tickets[0].content != tickets[1].content
    alone = LotteryCallback(kind=kind, surviving=0.3, **schedule_of(kind, "0 0.5 2"))
    make("ppo", 2).learn(320, callback=alone)
    assert alone.final_ticket.content == tickets[1].content


def test_a_second_model_of_another_shape() -> None:
    lottery = LotteryCallback(kind="gradual", surviving=0.3, gradual="0 0.5 2")
    for units in (16, 8):
        model = make("ppo", net_arch=[units])
        model.learn(160, callback=lottery)
        assert lottery.final_ticket.masks["mlp_extractor.policy_net.0.weight"].shape == (units, 4)
    random = LotteryCallback(lottery.final_ticket, kind="random")
    for seed in (1, 2):  # a control's fresh values are the model's own
        model = make("ppo", seed, net_arch=[8])
        start = weights_of(model)
        model.learn(32, callback=random)
        found = random.final_ticket
        assert all(torch.equal(found.start()[name], found.masks.apply(start.tensors)[name]) for name in found.masks)


def test_a_model_that_was_saved_and_loaded_goes_on_with_its_masks(tmp_path: Path) -> None:
    model, lottery = make("ppo"), LotteryCallback(kind="gradual", surviving=0.3, gradual=(0, 0.5, 2))
    model.learn(160, callback=lottery)
    masks = lottery.final_ticket.masks
    model.save(tmp_path / "sparse.zip")
    loaded = PPO.load(tmp_path / "sparse.zip", env=model.get_env(), device="cpu")
    values = weights_of(loaded).tensors
    watch = Watch(lottery)
    loaded.learn(64, callback=[lottery, watch])
    assert set(watch.counts) == {masks.surviving}
    assert lottery.final_ticket.masks == masks
    assert any(not torch.equal(values[name], tensor) for name, tensor in weights_of(loaded).tensors.items())


def test_the_last_step_is_done_where_the_training_ends() -> None:
    """An end of 1.0 lies after the last rollout has begun."""
    model, lottery = make("ppo"), LotteryCallback(kind="gradual", surviving=0.3, gradual="0 1 2")
    model.learn(64, callback=lottery)
    assert_dead(model.policy.state_dict(), lottery.final_ticket.masks)
    assert lottery.final_ticket.masks.surviving == round(0.3 * lottery.final_ticket.masks.pool)


class Stop(BaseCallback):
    """Ends the training early."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def _on_step(self) -> bool:
        return self.num_timesteps < self.timesteps


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("gradual", "the training ended at step 1 of 4 of the schedule of pruning: the other 3 came at its end"),
        ("snip", "the training ended at step 2 of 5 of the schedule of pruning: the other 3 came at its end"),
    ],
)
def test_a_training_that_ends_before_its_schedule_is_said(
    kind: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    lottery = LotteryCallback(kind=kind, surviving=0.3, **schedule_of(kind, "0 0.8 4"))
    make("ppo").learn(320, callback=[lottery, Stop(96)])
    assert [record.message for record in caplog.records if line in record.message]
    caplog.clear()
    make("ppo").learn(320, callback=LotteryCallback(kind=kind, surviving=0.3, **schedule_of(kind, "0 1 10")))
    assert "the training ended" not in caplog.text


def one_rollout(seed: int) -> PPO:
    return PPO("MlpPolicy", "CartPole-v1", n_steps=2048, policy_kwargs={"net_arch": [8]}, seed=seed, device="cpu")


def test_the_length_of_episodes_is_not_known_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """So a schedule with more steps than there turn out to be rollouts is warned of where it ends."""
    spec = TrainingSpec(Point("episodes", 2), 2, Point("episodes", 1), 2)
    settings = {**spec.as_json()}
    asked = {"prune_rate": 0.5, "rewind": "episodes:1", "kinds": ("gradual",), "seeds": (1,), "rounds": 1}
    Experiment(out=tmp_path, framework="sb3", settings=settings, **asked).write()
    for run in (dense(1), Run(1, "gradual", 1)):
        (tmp_path / run.folder).mkdir(parents=True)
        train_run(tmp_path, run, one_rollout, spec, lambda progress: None)
    assert "of 30 of the schedule of pruning: the other" in caplog.text


def test_a_ticket_of_whole_units_keeps_what_was_asked_for(tmp_path: Path) -> None:
    spec = TrainingSpec(Point("timesteps", 32), 4, Point("timesteps", 32), 2)
    asked = {"prune_rate": 0.4, "rewind": "timesteps:32", "kinds": ("gradual",), "seeds": (1,), "rounds": 1}
    more = {"granularity": "unit", "gradual": "0 0.75 2"}
    Experiment(out=tmp_path, framework="sb3", settings=spec.as_json(), **asked, **more).write()
    for run in (dense(1), Run(1, "gradual", 1)):
        (tmp_path / run.folder).mkdir(parents=True)
        train_run(tmp_path, run, lambda seed: make("ppo", seed, net_arch=[8]), spec, lambda progress: None)
    ticket = Ticket.load(tmp_path / run.folder / "ticket.safetensors")
    assert ticket.origin.asked == round(0.6 * ticket.masks.pool)
    assert 0 < abs(ticket.masks.surviving - ticket.origin.asked) < 10


@pytest.mark.parametrize("search", ["0.1", "10%"])
def test_a_search_that_would_end_before_the_first_update_is_refused(search: str, tmp_path: Path) -> None:
    options = {"total_timesteps": 320, "progress": False, "rounds": 2, "kinds": "winning", "score_rounds": [2]}
    with pytest.raises(ConfigError, match=r"0\.1 of timesteps:320 ends before the first update, .* after 32 timesteps"):
        find_tickets(lambda seed: make("ppo", seed), tmp_path / "x", search=search, **options)
    assert not (tmp_path / "x").exists()
    request = request_for(f"--search 0.01 --score-at 25% --out {tmp_path / 'y'} {SMALL}")
    with pytest.raises(ConfigError, match="ends before the first update, which A2C makes after 10 timesteps"):
        _preflight(replace(request, experiment=replace(request.experiment, search="0.0125")), True, {})


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_snip_needs_a_rollout_with_an_update_for_each_step(algo: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs more than 5 rollouts .* and only 5 of the .* do: train longer"):
        make(algo).learn({"ppo": 160, "dqn": 40}[algo], callback=LotteryCallback(kind="snip", surviving=0.5))
    make(algo).learn({"ppo": 192, "dqn": 44}[algo], callback=LotteryCallback(kind="snip", surviving=0.5))
    options = {"total_timesteps": 160, "rounds": 1, "progress": False}
    with pytest.raises(ConfigError, match="and only 5 of the "):
        find_tickets(lambda seed: make("ppo", seed), tmp_path / "x", kinds=("snip",), **options)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "'winning' needs a ticket to start from; without one there are uniform, erk"),
        ({"kind": "random", "surviving": 0.1}, "'random' needs a ticket"),
        ({"kind": "gradual"}, "needs its surviving share"),
        ({"kind": "gradual", "surviving": 0.0}, r"surviving share must lie in \(0, 1\]"),
        ({"kind": "erk", "surviving": 1.5}, r"surviving share must lie in \(0, 1\]"),
        ({"kind": "gradual", "surviving": 0.1, "gradual": "0 2 3"}, "END <= 1"),
        ({"kind": "gradual", "surviving": 0.1, "gradual": "often"}, "gradual 'often' is not understood"),
        ({"kind": "gradual", "surviving": "0.1"}, "surviving share must be a number, not '0.1'"),
        ({"kind": "gradual", "surviving": True}, "surviving share must be a number, not True"),
        ({"kind": "gradual", "surviving": 0.1, "gradual": None}, "gradual 'None' is not understood"),
        ({"kind": "gradual", "surviving": 0.1, "gradual": 0.5}, "gradual '0.5' is not understood"),
        ({"kind": "random-best", "surviving": 0.1}, "'random-best' exists in experiments only"),
        ({"ticket": TICKET, "kind": "random-best"}, "'random-best' exists in experiments only"),
        ({"ticket": TICKET, "kind": "random-budget"}, "'random-budget' exists in experiments only"),
        ({"ticket": TICKET, "kind": "rewound-dense"}, "'rewound-dense' exists in experiments only: train it with find"),
        ({"ticket": TICKET, "kind": "snip"}, "a snip ticket is found while it trains: leave the ticket out"),
        ({"ticket": TICKET, "kind": "gradual"}, "a gradual ticket is found while it trains: leave the ticket out"),
        (
            {"ticket": TICKET, "kind": "one-shot"},
            "cannot be made from one of kind 'winning'; kind accepts",
        ),
        ({"ticket": TICKET, "kind": "transfer"}, "cannot be made from one of kind 'winning'"),
        ({"ticket": "somewhere", "surviving": 0.1}, "surviving is for a kind without a ticket"),
        ({"ticket": TICKET, "kind": "random", "scope": "actor"}, "scope is for a kind without a ticket"),
        ({"ticket": TICKET, "gradual": "0 0.5 3"}, "gradual is for kind gradual without a ticket, not for 'winning'"),
        ({"kind": "erk", "surviving": 0.1, "gradual": "0 0.5 3"}, "gradual is for kind gradual without a ticket, not"),
        ({"kind": "erk", "surviving": 0.1, "outside": "fresh"}, "outside is for controls that are made from a ticket"),
        ({"kind": "at-start", "surviving": 0.3, "rewind": "nowhere"}, "rewind is for kind .* made from a ticket, not"),
        ({"ticket": TICKET, "kind": "random", "rewind": "nowhere"}, "rewind is for kind .*, not for 'random'"),
        ({"ticket": TICKET, "kind": "shuffled", "rewind": "nowhere"}, "there are no weights at nowhere: No such file"),
    ],
)
def test_what_cannot_be_is_one_line(options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        LotteryCallback(**options)
    assert "\n" not in str(caught.value)


def test_more_steps_than_rollouts_are_refused_before_the_first() -> None:
    model = make("ppo")
    with pytest.raises(ConfigError, match="there are only 2 rollouts of 32 timesteps"):
        model.learn(96, callback=LotteryCallback(kind="gradual", surviving=0.1))
    assert model.num_timesteps == 0


def test_a_whole_experiment_with_what_is_pruned_in_training(tmp_path: Path) -> None:
    """Counts as in the winning ticket, the initialisation of the dense run, equal lengths; trained again, the same."""
    options = {"total_timesteps": 480, "rounds": 2, "prune_rate": 0.5, "progress": False, "score_episodes": 5}
    kinds = ("winning", "at-start", *IN_TRAINING)
    found = find_tickets(lambda seed: make("ppo", seed), tmp_path, kinds=kinds, gradual=(0, 0.8, 5), **options)
    pool = found.rows[0].pool
    for row in found.rows:
        assert row.surviving == schedule(pool, 0.5, 2)[row.round]
        assert row.steps == 480
    ticket = Ticket.load(tmp_path / "seed-1/gradual/round-02" / paths.TICKET)
    assert (ticket.origin.kind, ticket.origin.round, ticket.origin.rewind) == ("gradual", 2, "init")
    model = make("ppo", 1)
    start = ticket.masks.apply(weights_of(model).tensors)
    assert all(torch.equal(ticket.weights[name], start[name]) for name in ticket.masks)
    model.learn(64, callback=LotteryCallback(ticket))
    assert_dead(model.policy.state_dict(), ticket.masks)
    assert {row.gradual for row in found.rows if row.kind == "gradual"} == {"0 0.8 5"}
    assert "gradual: begin, end and steps 0 0.8 5" in str(found)
    again = find_tickets(lambda seed: make("ppo", seed), tmp_path, kinds=kinds, gradual=(0, 0.8, 5), **options)
    assert [row.score for row in again.rows] == [row.score for row in found.rows]
    with pytest.raises(ConfigError, match=r"gradual: 0 0\.8 5 -> 0 0\.9 5"):
        find_tickets(lambda seed: make("ppo", seed), tmp_path, kinds=kinds, gradual=(0, 0.9, 5), **options)


def test_an_experiment_with_more_steps_than_rollouts_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are only 7 rollouts of 32 timesteps"):
        find_tickets(
            lambda seed: make("ppo", seed), tmp_path / "out", total_timesteps=320, kinds="gradual", progress=False
        )
    assert not (tmp_path / "out").exists()
