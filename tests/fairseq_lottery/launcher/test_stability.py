"""``fairseq-lottery stability``: copies that continue from a point, and the validation loss between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fairseq_lottery.launcher.command import main
from lottery_core import Weights, read_weights
from lottery_core.experiments import Line, Run, dense, paths, point_folder
from lottery_core.experiments.results import read_rows
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import TRANSFORMER
from tests.fairseq_lottery.launcher.test_after_rewind import SCHEDULE, rates
from tests.fairseq_lottery.launcher.test_command import LSTM, chain
from tests.fairseq_lottery.launcher.test_faults import LAST
from tests.fairseq_lottery.launcher.test_pretrained import SETTINGS

COPIES = Run(1, "copy", 1), Run(1, "copy", 1, 2)


def test_a_probe(lm_data: Path, tmp_path: Path) -> None:
    own = ["stability", "--out", tmp_path, "--points", "10%", "--no-floor"]
    done = helpers.run(chain(*own, "--", lm_data, *LSTM, "--dropout", 0.2, *SCHEDULE), timeout=900)
    rows = {row.run: row for row in read_rows(tmp_path)}
    length = rows[dense(1)].steps
    point = round(0.1 * length)  # of the two epochs of the command line
    assert f"stability of 1 points: updates:{point}; for each seed a dense training" in done.stderr
    assert "log perplexity (nats a token) on the valid split" in done.stdout
    # The copies continue from the point: its updates, its schedule; with other noise they end elsewhere.
    assert [rows[copy].steps for copy in COPIES] == [length - point] * 2
    for copy in COPIES:
        assert rates(tmp_path / copy.folder).items() <= rates(tmp_path / dense(1).folder).items()
    ends = [read_weights(tmp_path / copy.folder / LAST).tensors for copy in COPIES]
    assert any(not torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    start = Weights.load(point_folder(tmp_path / dense(1).folder, 1) / paths.REWIND)
    counts = json.loads((point_folder(tmp_path / dense(1).folder, 1) / paths.REWIND_COUNTS).read_text())
    assert counts["updates"] == point
    initial = Weights.load(tmp_path / dense(1).folder / paths.INIT)
    assert any(not torch.equal(value, initial.tensors[name]) for name, value in start.tensors.items())
    line = Line.read(tmp_path / Run(1, "line", 1).folder)
    assert (line.scores[0], line.scores[-1]) == tuple(rows[copy].score for copy in COPIES)
    assert rows[Run(1, "line", 1)].score == line.barrier
    assert json.loads((tmp_path / paths.STABILITY).read_text())["points"][0]["instability"] == line.barrier
    again = helpers.run(chain(*own, "--", lm_data, *LSTM, "--dropout", 0.2, *SCHEDULE), timeout=900)
    assert "4 of 4 runs are done already" in again.stderr
    refused = helpers.run(chain(*own, "--score", "bleu", "--", lm_data, *LSTM), status=2)
    assert "stability scores each network on the lines by log_ppl or loss, not bleu" in refused.stderr


def test_auto_scores_the_lines_by_the_loss_and_checks_the_chain_first(
    translation_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever scores the chain: BLEU on the test split would choose the point by the test split."""
    own = ["--out", tmp_path, "--rewind", "auto", "--points", "10%", "--no-floor", "--dry-run"]

    def start(*more: object) -> tuple[int, str]:
        status = main([str(word) for word in (*own, *more, "--", translation_data, *TRANSFORMER, *SETTINGS)])
        told = capsys.readouterr()
        return status, told.out + told.err

    for more in (["--score", "bleu"], ["--score", "bleu", "--gen-subset", "test"]):
        status, told = start(*more)
        assert (status, "stability of 1 points" in told) == (0, True), told
        assert told.count("which trains nothing: it scores the networks on the line between the copies") == 1
        assert told.count("which runs: ") == 3
    for bad in (["--kinds", "nonsense"], ["--rewind-what", "lr"], ["--score", "bleu", "--gen-subset", "no"]):
        assert start(*bad)[0] == 2, bad


def test_points_are_checked_before_anything_is_trained(
    lm_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(*more: object) -> tuple[int, str]:
        own = ["stability", "--out", tmp_path / "x", "--no-floor", "--dry-run", *more, "--", lm_data, *LSTM]
        return main([str(word) for word in own]), capsys.readouterr().err

    status, told = start("--points", "epoch:2")
    assert (status, "nothing remains to be trained after it" in told) == (2, True)
    length = int(told.split(" updates")[0].split()[-1])
    for points in (["update:100000"], ["init", "update:100000"], ["10%", f"update:{length + 1}"], ["epoch:9"]):
        status, told = start("--points", *points)
        assert (status, "it is never reached" in told) == (2, True), points
    for threshold in ("-1", "nan", "0"):
        status, told = start("--points", "10%", "--threshold", threshold)
        assert (status, "--threshold must be larger than 0" in told) == (2, True), threshold
    status, told = start("--points", "init", f"update:{length // 2}", "epoch:1")
    assert f"no update lies between the points updates:{length // 2} and epochs:1" in told
    assert status == 0
    assert not (tmp_path / "x").exists()
