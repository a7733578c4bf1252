"""What must hold everywhere: one test a rule, end to end; the details are in the tests of each module."""

from __future__ import annotations

import io
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from lottery_core import Ticket, apply_ticket, prune, read_weights, schedule, snapshot
from lottery_core.cli import main as lottery
from lottery_core.errors import CheckpointError, ConfigError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.results import read_rows
from lottery_core.experiments.runner import Runner
from lottery_core.files import read_json, write_json
from lottery_core.reports import answer, sentences
from lottery_core.reports.source import of_rows
from sb3_lottery import LotteryCallback, find_tickets
from sb3_lottery.models.parameters import weights_of
from tests.conftest import Result, one_line
from tests.lottery_core.reports.test_report import rows_of
from tests.lottery_core.toy import Here, Toy, experiment
from tests.sb3_lottery import tiny
from tests.sb3_lottery.helpers import assert_dead, make, ticket_for
from tests.sb3_lottery.trace import Trace


class Canary:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


OPTIONS = {
    "total_timesteps": 256,
    "rewind": "timesteps:64",
    "rounds": 2,
    "prune_rate": 0.5,
    "score_episodes": 5,
    "floor": False,
    "progress": False,
}


def test_rule_1_names_stay(tmp_path: Path) -> None:
    model = make("ppo")
    keys, parameters = list(model.policy.state_dict()), [name for name, _ in model.policy.named_parameters()]
    seen: list[list[str]] = []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            seen.append(list(self.model.policy.state_dict()))
            return True

    model.learn(64, callback=[LotteryCallback(ticket_for(model)), Look()])
    assert len(seen) == 64
    assert all(names == keys for names in seen)
    assert [name for name, _ in model.policy.named_parameters()] == parameters
    model.save(tmp_path / "m.zip")
    assert list(PPO.load(tmp_path / "m.zip", device="cpu").policy.state_dict()) == keys


def test_rule_2_dead_is_dead(tmp_path: Path) -> None:
    model = make("dqn", optimizer_class=torch.optim.AdamW, optimizer_kwargs={"weight_decay": 0.1})
    ticket, steps = ticket_for(model, 0.8), []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            state = self.model.policy.state_dict()
            for name, mask in ticket.masks.items():
                assert not bool(state[name][~mask].count_nonzero())
                assert not bool(state[name.replace("q_net.", "q_net_target.", 1)][~mask].count_nonzero())
            steps.append(self.num_timesteps)
            return True

    model.learn(100)
    model.learn(300, callback=[LotteryCallback(ticket), Look()])
    assert len(steps) == 300
    model.save(tmp_path / "m.zip")
    assert_dead(dict(read_weights(tmp_path / "m.zip").tensors), ticket.masks)


def test_rule_3_clipping_sees_the_living() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    ticket = prune(snapshot(net), snapshot(net), fraction=0.95)
    with apply_ticket(ticket, net, torch.optim.Adam(net.parameters())):
        net(torch.randn(64, 8)).pow(2).sum().backward()
        seen = torch.nn.utils.clip_grad_norm_(net.parameters(), 1e9)
        living = torch.cat([p.grad[ticket.masks[name]] for name, p in net.named_parameters()]).norm()
    assert torch.isclose(seen, living)


def test_rule_4_exact_counts(tmp_path: Path) -> None:
    found = experiment(tmp_path, prune_rate=0.2, rounds=20, kinds=("winning", "one-shot", "no-rewind", "uniform"))
    rows = Runner(found, Toy(), Here(tmp_path), Progress(io.StringIO())).run()
    counts = schedule(386, 0.2, 20)
    assert len(rows) == 81
    for row in rows:
        assert row.surviving == counts[row.round]
        if row.kind != "dense":
            assert Ticket.load(tmp_path / row.run.folder / "ticket.safetensors").masks.surviving == counts[row.round]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chain of real agents."""
    out = tmp_path_factory.mktemp("rules") / "x"
    find_tickets(lambda seed: make("ppo", seed), out, **OPTIONS)
    return out


def test_rule_5_exact_start(chain: Path) -> None:
    rewind = read_weights(chain / "seed-1/dense/rewind.safetensors").tensors
    ticket, seen = Ticket.load(chain / "seed-1/winning/round-02/ticket.safetensors"), {}

    class Look(BaseCallback):
        def _on_training_start(self) -> None:
            seen.update(weights_of(self.model).tensors)

        def _on_step(self) -> bool:
            return True

    make("ppo", seed=9).learn(32, callback=[LotteryCallback(ticket), Look()])
    for name, mask in ticket.masks.items():
        expected = torch.where(mask, rewind[name], torch.zeros(()))
        assert torch.equal(seen[name].view(torch.int32), expected.view(torch.int32))


def test_rule_6_same_seed_same_ticket_killed_or_not(chain: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        """As Ctrl-C: no error that a run could have."""

    def dies(seed: int):
        if (tmp_path / "y/seed-1/winning/round-01/result.json").exists():
            raise Killed
        return make("ppo", seed)

    with pytest.raises(Killed):
        find_tickets(dies, tmp_path / "y", **OPTIONS)
    find_tickets(lambda seed: make("ppo", seed), tmp_path / "y", **OPTIONS)
    for row, other in zip(read_rows(chain), read_rows(tmp_path / "y"), strict=True):
        assert (row.run, row.score, row.ticket) == (other.run, other.score, other.ticket)
    for path in chain.rglob("ticket.safetensors"):
        assert path.read_bytes() == (tmp_path / "y" / path.relative_to(chain)).read_bytes()


class Evil:
    """Makes a folder when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_rule_7_no_pickle_from_strangers(chain: Path, tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.zeros(2)}, "args": Evil(tmp_path / "owned")}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="asks to unpickle"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()
    for path in chain.rglob("ticket.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert "mask" in set(file.keys())


def test_rule_8_a_file_is_there_or_it_is_not(tmp_path: Path) -> None:
    Runner(experiment(tmp_path, rounds=1), Toy(), Here(tmp_path), Progress(io.StringIO())).run()
    folder = tmp_path / Run(1, "winning", 1).folder
    assert read_json(folder / "result.json")["configuration"] == experiment(tmp_path).digest()
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert max(written.values()) == written["result.json"]
    with pytest.raises(ConfigError, match=r"prune_rate: 0\.5 -> 0\.3"):
        Runner(experiment(tmp_path, prune_rate=0.3), Toy(), Here(tmp_path), Progress(io.StringIO())).run()
    assert not list(tmp_path.rglob(".*.part"))


def test_rule_9_bad_input_is_one_clear_line(tmp_path: Path, call: Callable[..., Result]) -> None:
    arguments = shlex.split("--preset cartpole --rounds 3 --kinds winnig")
    one_line(
        call("sb3_lottery.cli", *arguments, "--out", tmp_path / "x"),
        "sb3-lottery: error:",
        "did you mean winning",
    )
    one_line(call("lottery_core.cli", "inspect", tmp_path / "no.safetensors"), "lottery: error:", "No such file")
    assert list(tmp_path.iterdir()) == []


def traced(out: Path, kinds: tuple[str, ...], **changes: Any) -> dict[Run, list[bytes]]:
    """Train an experiment; the observations and the draws of each of its runs."""
    traces: list[Trace] = []

    def callbacks(seed: int) -> Trace:
        traces.append(Trace())
        return traces[-1]

    find_tickets(lambda seed: tiny.make("a2c", seed), out, kinds=kinds, callbacks=callbacks, **SHORT, **changes)
    runs = Experiment.load(out).plan()
    return dict(zip(runs, [trace.seen for trace in traces[-len(runs) :]], strict=True))


RANDOMLY = ("winning", "random", "reinit", "permuted", "uniform")
SHORT = {"total_timesteps": 96, "rewind": "timesteps:24", "score_episodes": 5, "prune_rate": 0.5, "progress": False}


def test_rule_11_kinds_differ_only_in_what_their_name_says(tmp_path: Path) -> None:
    """Within a repeat they share the noise of training; fresh values and shuffles differ by kind and by round."""
    traces = traced(tmp_path, RANDOMLY, seeds=(1, 2), rounds=2)
    for seed in (1, 2):
        first, *others = [seen for run, seen in traces.items() if run.seed == seed]
        assert len(first) == 2 * 96
        assert all(seen == first for seen in others)
    assert traces[dense(1)] != traces[dense(2)]
    drawn = [Run(seed, kind, k) for seed in (1, 2) for kind in RANDOMLY[1:] for k in (1, 2)]
    starts = {run: Ticket.load(tmp_path / run.folder / "ticket.safetensors") for run in drawn}
    values = [start.weights["action_net.weight"].numpy().tobytes() for start in starts.values()]
    masks = [
        start.masks["action_net.weight"].numpy().tobytes() for run, start in starts.items() if run.kind == "random"
    ]
    assert len(set(values)) == len(values)
    assert len(set(masks)) == len(masks)


def test_rule_11_a_folder_that_began_with_other_seeds_keeps_them(tmp_path: Path) -> None:
    """Before, the seed of a ticket with fresh values was also that of its training."""
    traced(tmp_path, ("winning", "random"), rounds=1)
    began = read_json(tmp_path / "experiment.json")
    assert began.pop("seeding") == "shared"
    shutil.rmtree(tmp_path / "seed-1")
    write_json(tmp_path / "experiment.json", began)
    traces = traced(tmp_path, ("winning", "random"), rounds=1)
    again = Experiment.load(tmp_path)
    assert "seeding" not in again.fixed()
    assert "seeding" not in read_json(tmp_path / "experiment.json")
    random = Run(1, "random", 1)
    assert traces[Run(1, "winning", 1)] == traces[dense(1)]
    assert traces[random] != traces[dense(1)]
    trace = Trace()
    model = tiny.make("a2c", random.control_seed)
    start = weights_of(model).tensors
    ticket = Ticket.load(tmp_path / random.folder / "ticket.safetensors")
    assert all(torch.equal(ticket.weights[name][mask], start[name][mask]) for name, mask in ticket.masks.items())
    model.learn(96, callback=[LotteryCallback(ticket, restart=True), trace])
    assert trace.seen == traces[random]
    with pytest.raises(ConfigError, match="seeding: fresh apart -> shared"):
        replace(again, seeding="shared").check_same_as_before()


def test_rule_12_a_sentence_about_results_comes_from_rows(tmp_path: Path) -> None:
    """Estimate, interval and seeds; a test only where the seeds can carry one; other rows say other things."""

    def said(seeds: int, better: float) -> str:
        tickets = {"winning": [[1.0, better + 0.01 * seed] for seed in range(seeds)], "random": [[1.0, 0.0]] * seeds}
        source = of_rows(rows_of(tickets, (1.0,) * seeds), None)
        return " ".join(sentences(answer(source.rows, source.question(None))).split())

    three, five = said(3, 0.5), said(5, 0.5)
    assert "the whole effect, winning against random: +0.255 [+0.26] (95%: +0.243 to +0.267" in three
    assert "an estimate, no test" in three
    assert "p = " not in three
    assert "the answer of 5 seeds" in five
    assert "shown (p = 0.031)" in five
    assert "+0.105 [+0.10]" in said(3, 0.2)


def test_rule_10_long_work_shows_its_progress(tmp_path: Path) -> None:
    stream = io.StringIO()
    Runner(experiment(tmp_path), Toy(), Here(tmp_path), Progress(stream)).run()
    done = [line for line in stream.getvalue().splitlines() if "score" in line]
    assert [line.split("]")[0] for line in done] == [f"[{k}/7" for k in range(1, 8)]
    assert all(line.endswith(" left") for line in done[:-1])
    assert "\x1b" not in stream.getvalue()


def test_rule_13_a_file_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unless the user trusts it; details are in ``fairseq_lottery/safety`` and ``analysis/test_trust.py``."""
    canary = tmp_path / "canary"
    model = make("ppo")
    model.strange = Canary(canary)
    model.save(tmp_path / "m.zip")
    words = ["export", str(tmp_path / "m.zip"), "-o", str(tmp_path / "out.zip"), "--form", "shrunk"]
    assert lottery(words) == 2
    assert "add --trust" in capsys.readouterr().err
    assert not canary.exists()
    read_weights(tmp_path / "m.zip")
    assert not canary.exists()
    lottery([*words, "--trust"])
    assert canary.exists(), "this file would not have run anything"
