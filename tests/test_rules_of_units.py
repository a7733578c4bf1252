"""The ten rules, for tickets of whole units, end to end; the rules themselves are in ``test_ten_rules.py``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from lottery_core import Ticket, apply_ticket, prune, read_weights, schedule
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, read_rows
from lottery_core.pruning import layout_of_weights
from lottery_core.pruning.units import Layout
from lottery_core.tickets import Weights
from sb3_lottery import LotteryCallback, find_tickets, shrink_policy
from sb3_lottery.models.parameters import weights_of
from tests.conftest import Result, one_line
from tests.sb3_lottery.helpers import assert_dead, make

OPTIONS = {
    "total_timesteps": 256,
    "rewind": "timesteps:64",
    "rounds": 2,
    "prune_rate": 0.4,
    "score_episodes": 5,
    "progress": False,
    "granularity": "unit",
}
KINDS = ("winning", "one-shot", "random", "reinit", "uniform", "gradual", "snip")
UNIT = 16 + 16 + 1  # parameters of the largest unit of the agents here


def ticket_of_units(weights: Weights, fraction: float = 0.6) -> Ticket:
    return prune(weights, weights, fraction=fraction, granularity="unit", rewind_point="init", seed=0)


def layout_for(weights: Weights) -> Layout:
    layout = layout_of_weights(weights, "all", "unit")
    assert layout is not None
    return layout


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chain of real agents."""
    out = tmp_path_factory.mktemp("units") / "x"
    find_tickets(lambda seed: make("ppo", seed), out, kinds=KINDS, gradual="0 0.75 3", **OPTIONS)
    return out


def test_rules_1_2_and_3_names_stay_dead_is_dead_and_clipping_sees_the_living(tmp_path: Path) -> None:
    optimizer = {"optimizer_class": torch.optim.AdamW, "optimizer_kwargs": {"weight_decay": 0.1}}
    model = make("ppo", **optimizer)
    keys, steps = list(model.policy.state_dict()), []
    model.learn(64)
    ticket = ticket_of_units(weights_of(model))

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            state = self.model.policy.state_dict()
            assert list(state) == keys
            assert_dead(state, ticket.masks)
            steps.append(1)
            return True

    model.learn(64, callback=[LotteryCallback(ticket), Look()])
    assert len(steps) == 64
    model.save(tmp_path / "m.zip")
    assert_dead(dict(read_weights(tmp_path / "m.zip").tensors), ticket.masks)
    assert list(PPO.load(tmp_path / "m.zip", device="cpu").policy.state_dict()) == keys

    policy = model.policy
    with apply_ticket(ticket, policy, torch.optim.Adam(policy.parameters())):
        policy.predict_values(torch.randn(64, 4)).pow(2).sum().backward()
        seen = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1e9)
        named = dict(policy.named_parameters())
        living = [named[name].grad[mask] for name, mask in ticket.masks.items() if named[name].grad is not None]
    assert torch.isclose(seen, torch.cat(living).norm())


def test_rule_4_counts_are_met_to_within_one_unit(chain: Path) -> None:
    rewind = Weights.load(chain / "seed-1/dense/rewind.safetensors")
    layout = layout_for(rewind)
    counts = schedule(layout.size, 0.4, 2)
    rows = [row for row in read_rows(chain) if row.kind in KINDS]
    assert len(rows) == 2 * len(KINDS)
    for row in rows:
        ticket = Ticket.load(chain / row.run.folder / "ticket.safetensors")
        assert row.granularity == ticket.origin.granularity == "unit"
        assert layout.are_whole(ticket.masks), row
        assert ticket.masks.surviving == row.surviving
        assert abs(row.surviving - counts[row.round]) <= UNIT, row
        assert ticket.masks.pruned > 0
    winning = [Ticket.load(chain / f"seed-1/winning/round-0{k}/ticket.safetensors") for k in (1, 2)]
    assert winning[1].masks.subset_of(winning[0].masks)
    random = Ticket.load(chain / "seed-1/random/round-02/ticket.safetensors")
    assert random.masks.survivors() == winning[1].masks.survivors()
    assert random.masks != winning[1].masks


def test_rule_5_exact_start(chain: Path) -> None:
    rewind = Weights.load(chain / "seed-1/dense/rewind.safetensors").tensors
    ticket = Ticket.load(chain / "seed-1/winning/round-02/ticket.safetensors")
    for name, mask in ticket.masks.items():
        expected = torch.where(mask, rewind[name], torch.zeros(()))
        assert torch.equal(ticket.start()[name].view(torch.int32), expected.view(torch.int32))


def test_rule_6_same_seed_same_ticket_killed_or_not(chain: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        """As Ctrl-C: no error that a run could have."""

    def dies(seed: int):
        if (tmp_path / "y/seed-1/winning/round-01/result.json").exists():
            raise Killed
        return make("ppo", seed)

    options = {"kinds": KINDS, "gradual": "0 0.75 3", **OPTIONS}
    with pytest.raises(Killed):
        find_tickets(dies, tmp_path / "y", **options)
    find_tickets(lambda seed: make("ppo", seed), tmp_path / "y", **options)
    for row, other in zip(read_rows(chain), read_rows(tmp_path / "y"), strict=True):
        assert (row.run, row.score, row.ticket) == (other.run, other.score, other.ticket)
    for path in chain.rglob("ticket.safetensors"):
        assert path.read_bytes() == (tmp_path / "y" / path.relative_to(chain)).read_bytes()


def test_rules_7_and_8_the_file_is_a_ticket_and_the_folder_keeps_its_granularity(chain: Path) -> None:
    ticket = Ticket.load(chain / "seed-1/winning/round-01/ticket.safetensors")
    assert ticket.to_bytes() == Ticket.load(chain / "seed-1/winning/round-01/ticket.safetensors").to_bytes()
    assert Experiment.load(chain).granularity == "unit"
    single = {name: value for name, value in OPTIONS.items() if name != "granularity"}
    with pytest.raises(ConfigError, match="granularity: unit -> weight"):
        find_tickets(lambda seed: make("ppo", seed), chain, kinds=KINDS, gradual="0 0.75 3", **single)


def test_rule_9_what_whole_units_cannot_do_is_said_before_anything_trains(
    tmp_path: Path, call: Callable[..., Result]
) -> None:
    words = "--algo a2c --env CartPole-v1 --epoch timesteps:64 --epochs 2 --rewind timesteps:32 --net-arch 8 8"
    options = [*shlex.split(words), "--granularity", "unit", "--out", tmp_path / "x"]
    result = call("sb3_lottery.cli", *options, "--rounds", "20", "--prune-rate", "0.5")
    one_line(result, "sb3-lottery: error:", "whole units leave at least")
    one_line(call("sb3_lottery.cli", *options, "--kinds", "erk"), "sb3-lottery: error:", "the kind erk draws single")
    result = call("sb3_lottery.cli", *options, "--scope", "value_net[.]bias")
    one_line(result, "sb3-lottery: error:", "the scope has no layer")
    assert list(tmp_path.iterdir()) == []


def test_rule_10_the_count_that_units_meet_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    find_tickets(lambda seed: make("ppo", seed), tmp_path / "x", kinds="winning", **{**OPTIONS, "progress": True})
    told = capsys.readouterr()
    lines = [line for line in (told.out + told.err).splitlines() if "survive where" in line]
    assert [line.split(":")[0] for line in lines] == ["seed 1 winning round 1", "seed 1 winning round 2"]


def test_a_ticket_of_units_of_a_trained_agent_shrinks_to_its_survivors(chain: Path) -> None:
    model = PPO.load(chain / "seed-1/winning/round-02/model.zip", device="cpu")
    ticket = Ticket.load(chain / "seed-1/winning/round-02/ticket.safetensors")
    observations = torch.randn(200, 4).numpy()
    before = model.predict(observations, deterministic=True)[0]
    assert shrink_policy(model)
    assert sum(tensor.numel() for tensor in weights_of(model).tensors.values()) == ticket.masks.surviving
    assert (model.predict(observations, deterministic=True)[0] == before).all()
