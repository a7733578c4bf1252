"""The floor of an experiment: a unigram model of the training text, the untrained network; and further noise."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher import command as cli
from fairseq_lottery.launcher.options import parse_fairseq, with_task
from fairseq_lottery.launcher.scoring.floor import unigram_log_perplexity
from fairseq_lottery.launcher.scoring.trial import _write
from lottery_core import Ticket
from lottery_core.experiments import read_csv
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import TRANSFORMER, split
from tests.fairseq_lottery.launcher.test_command import LSTM, chain


def unigram(folder: Path, train: tuple[str, ...] = ("train",)) -> float:
    """The log perplexity of the test text, with words counted from the text itself."""
    parts = {"train": train, "test": ("test",)}
    texts = {
        name: [line for part in parts[name] for line in (folder / f"{part}.de").read_text().splitlines()]
        for name in parts
    }
    counts = {name: Counter(word for line in text for word in [*line.split(), "</s>"]) for name, text in texts.items()}
    symbols = len((folder / "bin/dict.txt").read_text().splitlines()) + 4 - 1  # with fairseq's own, but the padding
    total = sum(counts["train"].values()) + symbols
    nats = -sum(count * math.log((counts["train"][word] + 1) / total) for word, count in counts["test"].items())
    return nats / sum(counts["test"].values())


def test_all_shards_and_parts_of_the_training_text_are_counted(lm_data: Path, tmp_path: Path) -> None:
    from fairseq import tasks

    first, second = (shutil.copytree(lm_data, tmp_path / name) for name in ("a", "b"))
    for end in ("bin", "idx"):
        shutil.copy(lm_data / f"valid.{end}", first / f"train1.{end}")
        shutil.copy(lm_data / f"test.{end}", second / f"train.{end}")
    cfg = parse_fairseq(with_task(FairseqArguments([f"{first}:{second}", *LSTM])))
    task = tasks.setup_task(cfg.task)
    _write(cfg, task.build_model(cfg.model), tmp_path / "untrained.pt")
    expected = unigram(lm_data.parent, ("train", "valid", "test"))
    assert unigram_log_perplexity(tmp_path / "untrained.pt", "test") == pytest.approx(expected, abs=1e-6)


def test_a_language_model_and_its_repetitions(lm_data: Path, tmp_path: Path) -> None:
    """A chain with one-shot and further noise: the floor is a row, round 1 is trained once under each noise."""
    own = ["--out", tmp_path / "x", "--rounds", 1, "--kinds", "winning", "one-shot", "random", "--repeat-noise", 2]
    helpers.run(chain(*own, "--score", "log_ppl", "loss", "--", lm_data, *LSTM, "--max-epoch", 1))
    rows = read_csv(tmp_path / "x/results.csv")
    (floor,) = [row for row in rows if row.kind == "floor"]
    assert floor.score == pytest.approx(unigram(lm_data.parent), abs=1e-6)
    assert 0 < floor.more["loss"] < 20
    assert json.loads((tmp_path / "x/floor.json").read_text())["policy"] == "a unigram model of the training text"
    folder = tmp_path / "x/seed-1"
    assert unigram_log_perplexity(folder / "dense/checkpoint_last.pt", "test") == floor.score
    assert {row.noise: row.same_as for row in rows if row.kind == "one-shot"} == {
        1: "winning/round-01", 2: "noise-2/winning/round-01",
    }  # fmt: skip
    for kind in ("winning", "random"):
        one, other = (folder / part / kind / "round-01/ticket.safetensors" for part in ("", "noise-2"))
        assert one.read_bytes() == other.read_bytes()
        scores = {row.noise: row.score for row in rows if row.kind == kind}
        assert scores[1] != scores[2]
    helpers.assert_dead(
        helpers.load(folder / "noise-2/random/round-01/checkpoint_last.pt")["model"],
        Ticket.load(folder / "random/round-01/ticket.safetensors"),
    )


def test_a_translation_has_that_of_the_untrained_network(translation_data: Path, tmp_path: Path) -> None:
    words = [*TRANSFORMER, *split("--task translation --max-tokens 200 --max-epoch 1 --optimizer adam --lr 0.01 --cpu")]
    own = ["--out", tmp_path, "--rounds", 0, "--rewind", "update:2", "--generate", "--beam 1"]
    helpers.run(chain(*own, "--", translation_data, *words))
    floor = json.loads((tmp_path / "floor.json").read_text())
    assert floor["policy"] == "the untrained network"
    assert 0 <= floor["score"] < 5
    assert floor["scoring"] == read_csv(tmp_path / "results.csv")[0].scoring
    assert not list(tmp_path.rglob("untrained.pt"))
    # Another scoring measures the floor again.
    helpers.run([*chain("rescore"), str(tmp_path), "--score", "chrf", "--generate=--beam 2"])
    again = json.loads((tmp_path / "floor.json").read_text())
    assert "chrf" in again["scoring"]
    assert [row.score for row in read_csv(tmp_path / "results.csv") if row.kind == "floor"] == [again["score"]]


def test_it_can_be_left_out_and_added_later(
    lm_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers.run(chain("--out", tmp_path, "--rounds", 0, "--no-floor", "--", lm_data, *LSTM, "--max-epoch", 1))
    assert not (tmp_path / "floor.json").exists()
    assert {row.kind for row in read_csv(tmp_path / "results.csv")} == {"dense"}
    assert cli.main(["floor", str(tmp_path)]) == 0
    floor = json.loads((tmp_path / "floor.json").read_text())["score"]
    assert floor == pytest.approx(unigram(lm_data.parent), abs=1e-6)
    assert f"floor: {floor:.4g} (a unigram model of the training text)" in capsys.readouterr().out
    settings = (tmp_path / "experiment.json").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    again = ["--out", str(tmp_path), "--rounds", "0", "--no-floor", "--", str(lm_data), *LSTM, "--max-epoch", "1"]
    for name, value in (
        ("generate", f"--beam 5 --user-dir {tmp_path / 'mine'}"),
        ("score", ["bleu", f"touch {tmp_path / 'ran'}"]),
    ):
        foreign = json.loads(settings)
        foreign["scoring"][name] = value
        (tmp_path / "experiment.json").write_text(json.dumps(foreign))
        for more in ([], ["--dry-run"]):
            assert cli.main([*more, *again]) == 2
            said = capsys.readouterr().err
            assert f"has --{name} from a command that was not yours" in said or "--user-dir is that of the" in said
            assert not (tmp_path / "ran").exists()
    for command in cli.COMMANDS:
        assert cli.main([command, str(tmp_path)]) == 2
        assert "your own commands on this machine did not write" in capsys.readouterr().err
        assert not (tmp_path / "ran").exists()
        assert cli.main([command, str(tmp_path), "--", "--lr", "1"]) == 2
        assert f"{command} trains nothing: leave out what follows --" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))  # without Slurm
    assert cli.main(["rescore", str(tmp_path), "--trust", "--score", "loss", "--executor", "slurm"]) == 2
    assert capsys.readouterr().err.startswith("fairseq-lottery rescore: error: ")
    (tmp_path / "experiment.json").write_text(settings + "\n")
    assert cli.main(["floor", str(tmp_path), "--trust"]) == 0
    capsys.readouterr()
    (tmp_path / "seed-1/dense/result.json").unlink()
    assert cli.main(["floor", str(tmp_path), "--trust"]) == 2
    assert "seed 1 dense has not finished" in capsys.readouterr().err
    assert cli.main(["floor", str(tmp_path / "nowhere")]) == 2
    assert "holds no experiment" in capsys.readouterr().err
