"""The list of presets: sources and costs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from sb3_lottery.cli.command import _seconds, main
from sb3_lottery.cli.options import parser
from sb3_lottery.cli.preset_list import cost, preset_list
from sb3_lottery.cli.presets import PRESETS
from tests.sb3_lottery.helpers import request_for


def test_the_list_shows_the_arithmetic_of_each_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-presets"]) == 0
    text = capsys.readouterr().out
    assert text == f"{preset_list()}\n"
    assert all(f"\n{name}: " in text for name in PRESETS)
    assert "3,200 episodes x at most 200 steps = 640,000 steps / 16,000 steps/s = at most 40 s" in text
    # 25,000 updates: 521 rollouts of 48 updates
    assert "25,000 updates / 48 a rollout x 6,144 steps = 3,201,024 steps / 23 steps/s = 38 h 40 min" in text
    assert cost(PRESETS["qbert-nature"]).startswith("1,024,000 steps / 336 steps/s = 51 min")


@pytest.mark.parametrize("game", ["cartpole", "acrobot", "lunarlander"])
def test_a_preset_with_equal_steps_is_the_papers_but_for_length_and_score(game: str) -> None:
    """As long as a dense run of the committed results was, in whole rollouts."""
    paper, equal = PRESETS[game], PRESETS[f"{game}-steps"]
    differing = {name for name in equal if equal[name] != paper.get(name)}
    assert differing == {"epoch", "source", "eval_episodes", "score_by"}
    request = request_for(f"--preset {game}-steps --out x --env-backend gymnasium")
    length = request.settings.training.length
    assert length.unit == "timesteps"
    assert request.settings.training.epochs == 20
    assert length.count % (32 * 4) == 0
    with open(Path(__file__).parents[3] / "recipes/results" / game / "results.csv", newline="") as file:
        dense = [int(row["steps"]) for row in csv.DictReader(file) if row["kind"] == "dense"]
    assert length.count == pytest.approx(sum(dense) / len(dense), rel=0.01)
    assert "the fair comparison" in preset_list().partition(f"\n{game}-steps: ")[2].splitlines()[0]


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("cartpole", True),
        ("cartpole --n-envs 8 --net-arch 128 128 128 --device cpu", True),
        ("cartpole --net-arch 8", False),
        ("cartpole --env Acrobot-v1", False),
        ("cartpole --algo ppo", False),
        ("lunarlander --env-backend gymnasium", False),
        ("lunarlander --env-backend envpool", True),
        ("breakout --env-backend ale", True),
        ("breakout --env-backend ale --cnn nature", False),
        ("breakout --env-backend ale --device cuda", False),
    ],
)
def test_the_measured_speed_is_that_of_what_runs(words: str, known: bool, tmp_path: Path) -> None:
    """Otherwise the time of a dry run is unknown, until runs are done."""
    argv = f"--preset {words} --out {tmp_path / 'x'}"
    assert (_seconds(vars(parser().parse_args(argv.split())), request_for(argv)) is not None) == known


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "an MLP on a game that was not measured": (
        {"algo": "sac", "env": "Pendulum-v1", "net_arch": [32, 32], "epoch": "timesteps:1000", "epochs": 5},
        "5,000 timesteps; the speed of this game was not measured",
    ),
    "episodes without a known length": (
        {"algo": "ppo", "env": "CarRacing-v3", "cnn": "nature", "epoch": "episodes:10"},
        "200 episodes; the speed of this game was not measured",
    ),
    "updates with SB3's own hyperparameters": (
        {"algo": "a2c", "env": "CartPole-v0", "net_arch": None, "epoch": "updates:100"},
        "2,000 updates; the speed of this game was not measured",
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_new_row_is_listed(case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A preset is a row of options and its source; it need not name every option."""
    options, expected = ROWS[case]
    monkeypatch.setitem(PRESETS, "mine", {"source": "my own runs", **options})
    assert main(["--list-presets"]) == 0
    entry = capsys.readouterr().out.partition("\nmine: ")[2].split("\n\n")[0].splitlines()
    assert entry[0] == "my own runs"
    assert entry[1].startswith(f"    {options['algo'].upper()} on {options['env']}, ")
    assert entry[2] == "    SB3's defaults"
    assert entry[3] == f"    {expected}"
    request = request_for("--preset mine --out x")
    assert request.settings.model.algo == options["algo"]
    assert "my own runs" not in str(request.experiment.settings)
