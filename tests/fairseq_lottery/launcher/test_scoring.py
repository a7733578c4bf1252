"""Settings of a scoring: marks of subword units, defaults, what 0.1 kept of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fairseq_lottery.launcher.options import scoring_in
from fairseq_lottery.launcher.scoring.settings import SCORING_OPTIONS, default_score, scoring_of, with_scoring
from fairseq_lottery.launcher.scoring.subwords import why_not_words
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, paths, read_rows
from tests.lottery_core import toy
from tests.test_old_files import OLD

WORDS = ["drei hundert sieben", "eins", "email user@@host oder @@"]
UNITS = {
    "sentencepiece": ("\u2581drei \u2581hun dert", "--beam 5 --remove-bpe sentencepiece"),
    "BPE (@@)": ("drei hun@@ dert", "--beam 5 --remove-bpe"),
    "BPE (_EOW)": ("drei_EOW hun dert_EOW", "--beam 5 --remove-bpe _EOW"),
}


@pytest.mark.parametrize("title", UNITS)
@pytest.mark.parametrize("generate", ["--beam 5", "--beam 5 --remove-bpe wordpiece", "--post-process=none --beam 5"])
def test_units_are_told_from_words(title: str, generate: str) -> None:
    line, mended = UNITS[title]
    reason = why_not_words([*WORDS, line], (), generate) or ""
    assert f"in units of {title} ('" in reason
    assert f"--generate '{mended}'" in reason
    assert why_not_words(WORDS[:2], (), generate) is None
    # A mark that stands in the text itself, now and then.
    assert why_not_words([*(200 * WORDS[:2]), line], (), generate) is None


def test_numbers_are_units_only_beside_words() -> None:
    assert "GPT-2's BPE" in (why_not_words(["12 345", "9 8 7"], WORDS, "--beam 5") or "")
    assert why_not_words(["12 345", "9 8 7"], ["1 2", "3 4"], "--beam 5") is None
    assert why_not_words(["12 345", "9 8 7"], (), "--beam 5") is None


def test_what_is_not_given_stays_as_it_was() -> None:
    first = scoring_of({"generate": "--beam 2"}, {}, "bleu")
    assert first == {"score": ["bleu"], "average": 1, "gen_subset": "test", "generate": "--beam 2", "reference": None}
    assert scoring_of({"score": ["chrf"]}, first, "bleu") == {**first, "score": ["chrf"]}
    # Settings that a score does not use are no part of it.
    assert scoring_of({"score": ["log_ppl"], "generate": "--beam 9"}, first, "bleu")["generate"] is None
    assert [default_score(name) for name in ("translation", "lottery_language_modeling", "masked_lm")] == [
        "bleu",
        "log_ppl",
        "loss",
    ]
    for given, expected in (
        ({"average": 0}, "--average must be at least 1"),
        ({"generate": "--beam '5"}, "--generate is not a valid command line"),
        ({"score": [" "]}, "--score is empty"),
    ):
        with pytest.raises(ConfigError, match=expected):
            scoring_of(given, {}, "bleu")


def test_a_folder_of_0_1_says_how_it_was_scored(tmp_path: Path) -> None:
    """Its markers count with another scoring, too: their scores are told as those of the old one."""
    out = shutil.copytree(OLD / "fairseq", tmp_path / "fairseq")
    experiment = Experiment.load(out)
    assert experiment.scoring["score"] == ["log_ppl"]
    assert {row.scoring for row in read_rows(out, experiment)} == {experiment.scoring_text}
    old = experiment.scoring_text
    from fairseq_lottery.launcher.scoring import with_scoring

    changed = with_scoring(experiment, {**experiment.scoring, "gen_subset": "valid"})
    changed.write()
    again = Experiment.load(out)
    assert again.scoring["gen_subset"] == "valid"
    assert again.score_label == "log perplexity (nats a token) on the valid split"
    rows = read_rows(out, again)
    assert len(rows) == 3
    assert {row.scoring for row in rows} == {old} != {again.scoring_text}
    assert json.loads((out / paths.EXPERIMENT).read_text())["version_0_1"]["scoring"] == old


def test_options_of_generating_are_taken_from_no_foreign_folder(tmp_path: Path) -> None:
    """Nor is the module that they may name imported."""
    words = ["data", "--arch", "transformer", "--task", "lottery_translation"]
    nothing = dict.fromkeys(SCORING_OPTIONS)
    own = scoring_of({**nothing, "generate": "--beam 2"}, {}, "bleu")
    made = toy.experiment(tmp_path, framework="fairseq", settings={"arguments": words, "threads": 1})
    with_scoring(made, own).write()
    assert scoring_in(tmp_path, nothing, "bleu")["generate"] == "--beam 2"
    settings = json.loads((tmp_path / "experiment.json").read_text())
    (tmp_path / "experiment.json").write_text(json.dumps(settings).replace("--beam 2", "--beam 3"))
    with pytest.raises(ConfigError, match="has --generate from a command that was not yours on this machine"):
        scoring_in(tmp_path, nothing, "bleu")
    assert scoring_in(tmp_path, {**nothing, "generate": "--beam 3"}, "bleu")["generate"] == "--beam 3"
    with pytest.raises(ConfigError, match="--user-dir is that of the training"):
        scoring_of({**nothing, "generate": "--beam 2 --user-dir mine"}, {}, "bleu")
