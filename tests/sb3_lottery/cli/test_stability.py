"""``sb3-lottery stability`` and ``--rewind auto``: real trainings of a small agent with normalised observations."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3 import A2C, DQN

from lottery_core import Ticket, Weights
from lottery_core.experiments import Experiment, Line, Run, Score, copies, dense, paths, point_folder
from lottery_core.experiments.results import read_rows
from sb3_lottery.analysis import score_line_of
from sb3_lottery.cli.command import main
from sb3_lottery.training import Evaluation
from tests.sb3_lottery.helpers import request_for

SETTINGS = (
    "--algo a2c --env CartPole-v1 --epoch timesteps:400 --epochs 2 --n-envs 2 --net-arch 16 16 --score-episodes 10 "
    "--eval-episodes 4 --normalize --no-floor --jobs 2"
)
AUTO = [*shlex.split(SETTINGS), "--rewind", "auto", "--points", "20%", "--threshold", "1000", "--rounds", "1"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain whose rewind point was probed."""
    out = tmp_path_factory.mktemp("auto") / "x"
    assert main([*AUTO, "--kinds", "winning", "--out", str(out)]) == 0
    return out


def test_auto_takes_the_earliest_stable_point_and_writes_it_into_the_experiment(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads((chain / paths.PROBE / paths.STABILITY).read_text())["earliest"] == "timesteps:160"
    assert json.loads((chain / paths.EXPERIMENT).read_text())["rewind"] == "timesteps:160"
    assert {row.run for row in read_rows(chain)} == {dense(1), Run(1, "winning", 1)}
    # The probe's dense run is that of the chain, to the bit, and so is its point.
    point = Weights.load(point_folder(chain / paths.PROBE / dense(1).folder, 1) / paths.REWIND)
    rewind = Weights.load(chain / dense(1).folder / paths.REWIND)
    assert all(torch.equal(value, rewind.tensors[name]) for name, value in point.tensors.items())
    assert main([*AUTO, "--kinds", "winning", "--out", str(chain)]) == 0
    told = capsys.readouterr().err
    assert "4 of 4 runs" not in told, "a probe whose outcome plays no part"
    assert f"--rewind auto: timesteps:160, with which {chain} began" in told
    assert "2 of 2 runs are done already" in told
    assert main([*AUTO, "--kinds", "winning", "--out", str(chain), "--seeds", "1-2", "--dry-run"]) == 0
    assert "seed 2 winning round 1" in capsys.readouterr().out


def test_the_copies_train_what_remains_and_the_line_ends_at_their_scores(chain: Path) -> None:
    out = chain / paths.PROBE
    rows = {row.run: row for row in read_rows(out)}
    copies = [Run(1, "copy", 1), Run(1, "copy", 1, 2)]
    assert rows[dense(1)].steps == 800
    assert [rows[copy].steps for copy in copies] == [640, 640]
    start = Ticket.load(out / copies[0].folder / paths.TICKET)
    assert (start.masks.pruned, start.origin.rewind) == (0, "timesteps:160")
    line = Line.read(out / Run(1, "line", 1).folder)
    assert len(line.scores) == len(line.errors) == 11
    assert line.running == ("VecNormalize",)
    assert rows[Run(1, "line", 1)].score == line.barrier >= 0
    told = (out / Run(1, "line", 1).folder / paths.LOG).read_text()
    assert f"instability {line.barrier:.6g}" in told


def test_copies_of_the_same_noise_are_at_a_barrier_of_exactly_0(chain: Path, tmp_path: Path) -> None:
    """The second copy is replaced by another training of the first one."""
    out = tmp_path / "probe"
    shutil.copytree(chain / paths.PROBE, out)
    first, second = (out / Run(1, "copy", 1, noise).folder for noise in (1, 2))
    shutil.rmtree(second)
    shutil.move(first, second)
    shutil.rmtree(out / Run(1, "line", 1).folder)
    experiment = Experiment.load(out)
    words = [*shlex.split(SETTINGS), "--points", "20%", "--out", str(out)]
    # The markers of the moved copy are another run's, so both copies are missing: train the first one alone.
    kept = {path.name: path.read_bytes() for path in second.iterdir() if path.is_file()}
    assert main(["stability", *words]) == 0
    for name in ("model.zip", "vecnormalize.pkl", "signatures.json"):
        (second / name).write_bytes(kept[name])
    line = score_line_of(experiment, Run(1, "line", 1))
    assert line.barrier == 0.0
    assert len(set(line.scores)) == 1


def test_what_stability_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["stability", *shlex.split(SETTINGS), "--out", str(tmp_path / "x")]
    for more, told in (
        (["--kinds", "winning"], "--kinds is for tickets: stability trains copies of one network"),
        (["--points", "timesteps:800"], "nothing remains of timesteps:800 after the rewind point timesteps:800"),
        (["--points", "updates:100000"], "updates:100000 lies beyond the training length timesteps:800"),
        (["--points", "episodes:100000"], "episodes:100000 lies beyond the training length timesteps:800"),
        (["--points", "updates:80"], "no update remains after the point updates:80: the training has at most 80"),
        (["--threshold", "-1"], "--threshold must be larger than 0"),
        (["--threshold", "nan"], "--threshold must be larger than 0"),
        (["--granularity", "unit"], "--granularity is for tickets: stability trains copies of one network"),
        (["--score-by", "training"], "--score-by training: agents on a line are not trained, only evaluated"),
        (["--points", "years:3"], "--points 'years:3': unknown unit 'years'"),
        (["--points", "10%", "10%", "--steps", "2"], "--steps must be at least 3"),
        (["--of", str(tmp_path / "no.safetensors")], "no.safetensors"),
    ):
        assert main([*words, *more]) == 2, more
        assert told in capsys.readouterr().err
    assert main([*words, "--dry-run", "--points", "init", "timesteps:8", "timesteps:11", "timesteps:20"]) == 0
    assert "no update lies between the points init and timesteps:8, so they" in capsys.readouterr().err
    assert main([*words[1:], "--points", "5%"]) == 2
    assert "--points is for the stability of rewind points: it needs --rewind auto" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_shares_of_a_training_in_other_units_and_the_score(tmp_path: Path) -> None:
    from sb3_lottery.cli.options import stability_parser
    from sb3_lottery.cli.request import probe_request

    given = vars(stability_parser().parse_args(["--preset", "cartpole", "--out", str(tmp_path)]))
    found = probe_request(given)
    assert found.experiment.probed is not None
    assert found.experiment.probed.points == ("init", "episodes:32", "episodes:64", "episodes:160", "episodes:320")
    assert found.experiment.score_label == "mean return of 100 fresh episodes"
    plain = request_for(f"--preset cartpole --out {tmp_path}")
    assert found.settings.model == plain.settings.model


@pytest.mark.parametrize(
    "words", ["--algo a2c --env Pendulum-v1 --hyperparams use_sde:True", "--algo dqn --env CartPole-v1"]
)
def test_agents_on_a_line_explore_like_the_copies(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the noise that belongs to their own weights, or as often as at the end of training."""
    seen: list[tuple[float, torch.Tensor | None]] = []

    def spy(self: Evaluation, model: Any, score: Score, *_: Any, **more: Any) -> Score:
        sde = model.policy.action_dist.exploration_mat / model.policy.log_std.exp() if model.use_sde else None
        seen.append((getattr(model, "exploration_rate", 0.0), sde))
        return replace(score, eval_score=0.0, eval_se=0.0, eval_episodes=2)

    small = "--epoch timesteps:200 --epochs 2 --n-envs 2 --net-arch 8 --points init --steps 3 --eval-episodes 2"
    assert main(["stability", *words.split(), *small.split(), "--no-floor", "--out", str(tmp_path)]) == 0
    chosen = Experiment.load(tmp_path)
    for copy in copies(Run(1, "line", 1)):  # as if they had learnt to explore less
        weights = tmp_path / copy.folder / "model.zip"
        model: Any = ({"a2c": A2C, "dqn": DQN}[words.split()[1]]).load(weights, device="cpu")
        if model.use_sde:
            with torch.no_grad():
                model.policy.log_std.sub_(6.0)
        model.save(weights)
    monkeypatch.setattr(Evaluation, "__call__", spy)
    score_line_of(chosen, Run(1, "line", 1))
    assert len(seen) == 3
    rates, noises = zip(*seen, strict=True)
    if noises[0] is None:
        assert set(rates) == {0.05}  # exploration_final_eps
    else:
        for noise in noises:
            assert 0.5 < float(noise.std()) < 2
            torch.testing.assert_close(noise, noises[0], rtol=1e-3, atol=1e-3)


def test_rewards_may_be_normalised_without_observations(tmp_path: Path) -> None:
    words = "--epochs 2 --eval-episodes 2 --normalize norm_obs:False norm_reward:True --points init --steps 3"
    small = "--algo a2c --env CartPole-v1 --epoch timesteps:40 --n-envs 2 --net-arch 4 4 --no-floor"
    assert main(["stability", *shlex.split(small), *words.split(), "--out", str(tmp_path)]) == 0
    assert Line.read(tmp_path / Run(1, "line", 1).folder).running == ()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_the_options_of_the_chain_are_checked_before_the_probe(
    dry: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x"
    for more, told in (
        (["--kinds", "nonsense"], "nonsense"),
        (["--rewind-what", "lr"], "--rewind-what lr keeps the trained weights"),
        (["--prune-rate", "2"], "the prune rate must lie strictly between 0 and 1, not 2"),
        (["--tickets-from", str(tmp_path / "no")], "is not the folder of an experiment with winning tickets"),
        (["--budget", "cheap"], "--budget 'cheap' is not understood"),
        (["--budget", "9runs"], "--budget does not count the trainings of the probe: run stability first"),
    ):
        assert main([*AUTO, *more, *dry, "--out", str(out)]) == 2, more
        assert told in capsys.readouterr().err
    assert not out.exists()


def test_an_experiment_that_has_begun_keeps_its_point(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*AUTO, "--kinds", "winning", "--out", str(chain)]
    assert main([*words, "--prune-rate", "0.3"]) == 2
    assert "another configuration (prune_rate: 0.2 -> 0.3)" in capsys.readouterr().err
    assert main([*words, "--threshold", "1e-9"]) == 0, "the probe would give no point"
    assert f"--rewind auto: timesteps:160, with which {chain} began" in capsys.readouterr().err
