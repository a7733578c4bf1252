"""Scores are tried before the training, and corrected after it without training again."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import warnings
from pathlib import Path

import pytest

from fairseq_lottery.launcher import command as cli
from fairseq_lottery.launcher.rescore import rescore as again
from lottery_core.errors import ConfigError
from lottery_core.experiments import paths
from tests.conftest import one_line
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import TRANSFORMER, run, split
from tests.fairseq_lottery.launcher.test_command import chain

pytestmark = pytest.mark.slow

TRAINING = [*TRANSFORMER, *split("--max-tokens 400 --max-update 20 --optimizer adam --lr 0.01 --cpu")]
JOINED = "--beam 1 --remove-bpe sentencepiece --max-len-b 8"
KEPT = ("steps", "wall_seconds", "cpu_seconds", "ticket")  # of a training that is scored again
RUNS = ("seed-1/dense", "seed-1/winning/round-01")


def words(out: Path, data: Path, *own: object) -> list[str]:
    first = ["--out", out, "--rounds", 0, "--kinds", "winning", "--rewind", "update:2", "--no-floor", *own]
    return chain(*first, "--", data, *TRAINING)


def rescore(out: Path, *own: object) -> list[str]:
    return chain("rescore", out, *own)


@pytest.fixture(scope="module")
def scored(piece_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense run, scored by BLEU of words."""
    out = tmp_path_factory.mktemp("chains") / "scored"
    reference = piece_data.parent / "test.de"
    done = run(words(out, piece_data, "--generate", JOINED, "--reference", reference))
    assert "BLEU (sacrebleu, detokenised) on the test split" in done.stdout
    return out


@pytest.fixture
def out(scored: Path, tmp_path: Path) -> Path:
    """A copy of that chain."""
    return shutil.copytree(scored, tmp_path / "scored")


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / paths.RESULTS, newline="") as file:
        return list(csv.DictReader(file))


def trained(out: Path) -> tuple[bytes, int]:
    path = out / RUNS[0] / "checkpoint_last.pt"
    return path.read_bytes(), path.stat().st_mtime_ns


def test_several_scores_side_by_side_without_training_again(out: Path) -> None:
    before, (old,) = trained(out), rows(out)
    done = run(rescore(out, "--score", "chrf", "bleu", "ter", "log_ppl", "loss", "echo 5"))
    assert trained(out) == before
    assert "1 of 1 finished runs are scored again" in done.stderr
    for label in ("chrF2 (sacrebleu", "BLEU (sacrebleu", "TER (sacrebleu", "log perplexity (nats", "score of echo 5"):
        assert label in done.stdout
    (now,) = rows(out)
    assert now["score: bleu"] == old["score"]
    assert {name: now[name] for name in KEPT} == {name: old[name] for name in KEPT}
    assert float(now["score: echo 5"]) == 5
    # Both are the mean negative log likelihood, in nats and in bits.
    assert float(now["score: log_ppl"]) == pytest.approx(float(now["score: loss"]) * 0.6931472, rel=1e-3)
    assert "--score chrf bleu ter log_ppl loss 'echo 5'" in now["scoring"]
    with open(out / paths.SCORES, newline="") as file:
        kept = [row for row in csv.DictReader(file) if row["current"] == "no"]
    assert [(row["name"], row["score"]) for row in kept] == [("score", old["score"])]
    (entry,) = json.loads((out / RUNS[0] / paths.EARLIER_SCORES).read_text())["scores"]
    assert "--score bleu" in entry["scoring"]


def test_a_corrected_command_of_the_chain_goes_on(out: Path, piece_data: Path) -> None:
    """Not another experiment: what is finished is scored again, then the chain continues. Killed, it is resumed."""
    before, marker = trained(out), out / RUNS[0] / paths.MARKER
    old = marker.read_bytes()
    done = run(words(out, piece_data, "--generate", JOINED.replace("8", "9"), "--rounds", 1))
    assert trained(out) == before
    assert "1 of 1 finished runs are scored again" in done.stderr
    assert "1 of 2 runs are done already" in done.stderr
    for row in rows(out):
        assert "--max-len-b 9" in row["scoring"]
        assert "test.de" in row["scoring"]  # what was not given stays
    marker.write_bytes(old)  # as a kill between the two leaves it
    assert "WARNING: 1 of 2 scores came from other settings (" in helpers.lottery("report", out).stdout
    time = (out / RUNS[1] / paths.MARKER).stat().st_mtime_ns
    done = run(rescore(out))
    assert "1 of 2 finished runs are scored again" in done.stderr
    assert "WARNING" not in done.stdout
    assert (out / RUNS[1] / paths.MARKER).stat().st_mtime_ns == time
    assert len(json.loads((out / RUNS[0] / paths.EARLIER_SCORES).read_text())["scores"]) == 1


REFUSED = {
    "model": (
        ["--generate", "--bpe sentencepiece --sentencepiece-model none.model"],
        "--generate: --sentencepiece-model none.model does not exist",
    ),
    "pieces": (
        ["--generate", "--beam 3"],
        "units of sentencepiece",
        "give --generate '--beam 3 --remove-bpe sentencepiece' (or --score subword-bleu",
    ),
    "bpe": (["--generate", "--beam 3 --tokenizer space"], "units of sentencepiece"),
    "command": (
        ["--score", "echo almost >&2; exit 3"],
        "scoring was tried on an untrained model, before the training: the score command failed with exit status 3",
    ),
    "average": (["--average", 2], "needs the checkpoints of 2 epochs, and the finished run"),
    "reference": (["--reference", "none.de"], "the reference none.de does not exist"),
    "split": (["--gen-subset", "none"], "Dataset not found: none"),
    "training": (["--", "--lr", "0.1"], "rescore trains nothing: leave out what follows --"),
}


@pytest.mark.parametrize("name", ["pieces", "command"])
def test_a_scoring_that_cannot_work_is_refused_before_the_training(name: str, piece_data: Path, tmp_path: Path) -> None:
    own, *expected = REFUSED[name]
    done = run(words(tmp_path / "out", piece_data, *own), status=2)
    one_line(done, *expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model", "bpe", "average", "reference", "split", "training"])
def test_a_rescoring_that_cannot_work_changes_nothing(
    name: str, scored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which has loaded fairseq already."""
    own, *expected = REFUSED[name]
    before = {path: path.read_bytes() for path in scored.rglob("*.json")}
    level = logging.getLogger().level
    try:
        with warnings.catch_warnings():
            assert cli.main(["rescore", str(scored), *map(str, own)]) == 2
    finally:
        logging.getLogger().setLevel(level)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("fairseq-lottery rescore: error: ")
    assert all(word in line for word in expected), line
    assert {path: path.read_bytes() for path in scored.rglob("*.json")} == before


def test_folders_without_anything_to_score(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no experiment"):
        again([str(tmp_path / "none")])
