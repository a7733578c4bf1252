"""Settings of a scoring: marks of subword units, defaults, what 0.1 kept of them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.data import Dictionary
from torch import Tensor
from torch.utils.data import TensorDataset

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.options import scoring_in
from fairseq_lottery.launcher.scoring.generation import Translations, bleu_of_words, score_translations
from fairseq_lottery.launcher.scoring.scores import nats_of, not_scored, reduced_loss
from fairseq_lottery.launcher.scoring.settings import (
    SCORING_OPTIONS,
    default_score,
    scoring_of,
    with_scoring,
    with_tokenizer,
)
from fairseq_lottery.launcher.scoring.subwords import why_not_words
from fairseq_lottery.launcher.scoring.trial import _TWO_SENTENCES
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, paths, read_rows
from tests.fairseq_lottery.patches.upstream import source
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


def test_a_trial_translates_two_sentences() -> None:
    from fairseq import options
    from fairseq.data.iterators import EpochBatchIterator
    from fairseq_cli import generate

    assert "num_shards=cfg.distributed_training.distributed_world_size" in source(generate._main)
    assert "shard_id=cfg.distributed_training.distributed_rank" in source(generate._main)
    parsed = options.parse_args_and_arch(options.get_generation_parser(), input_args=["bin", *_TWO_SENTENCES])
    own = {"num_shards": parsed.distributed_world_size, "shard_id": parsed.distributed_rank}
    sampler = [[0, 1], [2, 3], [4]]
    data = TensorDataset(torch.arange(5))
    batches = EpochBatchIterator(dataset=data, collate_fn=list, batch_sampler=sampler, **own)
    assert [len(batch) for batch in batches.next_epoch_itr(shuffle=False)] == [2]
    assert parsed.batch_size == 2


def task_to(language: str) -> Any:
    return SimpleNamespace(cfg=SimpleNamespace(target_lang=language))


def test_bleu_of_languages_without_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sacrebleu itself scores them; the scoring of all others stays as it was."""
    from sacrebleu.tokenizers import tokenizer_ja_mecab

    made = toy.experiment(tmp_path, framework="fairseq", settings={"arguments": ["data"], "threads": 1})
    experiment = with_scoring(made, scoring_of({"generate": "--beam 2"}, {}, "bleu"))
    assert with_tokenizer(experiment, task_to("de")) is experiment
    chinese = with_tokenizer(experiment, task_to("zh_CN"))
    assert chinese.scoring_text == experiment.scoring_text.replace("--score", "--sacrebleu-tokenizer zh --score")
    assert chinese.score_label == "BLEU (sacrebleu zh, detokenised) on the test split"
    assert with_tokenizer(chinese, task_to("zh_CN")) is chinese
    lines = ["我有一本书", "你有两本书"]
    score_translations(Translations(lines, lines, lines), FairseqArguments(), chinese.scoring, tmp_path)
    assert "tok:zh" in (tmp_path / "bleu.json").read_text()
    own = FairseqArguments(["--scoring", "sacrebleu", "--sacrebleu-tokenizer", "intl", "--sacrebleu-lowercase"])
    metric = bleu_of_words(own, chinese.scoring)
    assert (metric.tokenizer_signature, metric.lowercase) == ("intl", True)
    metric = bleu_of_words(FairseqArguments(), experiment.scoring)
    assert (metric.tokenizer_signature, metric.lowercase) == ("13a", False)
    monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
    japanese = with_tokenizer(experiment, task_to("ja"))
    with pytest.raises(ConfigError, match=r"ja-mecab cannot be used here: pip install 'sacrebleu\[ja\]', or choose"):
        bleu_of_words(FairseqArguments(), japanese.scoring)
    given = {"score": ["bleu"], "generate": "--scoring sacrebleu --sacrebleu-tokenizer char"}
    assert "sacrebleu_tokenizer" not in with_tokenizer(with_scoring(made, given), task_to("ja")).scoring


def test_bleu_of_units_is_of_units() -> None:
    """Not of the words to which ``--remove-bpe``, which is the default, joins them."""
    units = scoring_of({}, {}, "subword-bleu")
    assert units["generate"] == "--beam 5"
    assert scoring_of({"score": ["log_ppl", "subword-bleu"]}, {}, "bleu")["generate"] == "--beam 5"
    assert scoring_of({}, {}, "bleu")["generate"] == "--beam 5 --remove-bpe"
    assert scoring_of({"generate": "--post-process none"}, {}, "subword-bleu")["generate"] == "--post-process none"
    # A folder that began with the default of all scores.
    before = {**units, "generate": "--beam 5 --remove-bpe"}
    assert scoring_of({}, before, "subword-bleu") == units
    assert scoring_of({"score": ["subword-bleu"]}, scoring_of({}, {}, "bleu"), "bleu")["generate"] == "--beam 5"
    for given, kept in (
        ({"generate": "--beam 2 --remove-bpe"}, {}),
        ({"generate": "--post-process=sentencepiece"}, {}),
        ({"score": ["bleu", "subword-bleu"]}, {}),
        ({}, scoring_of({"generate": "--beam 2 --remove-bpe"}, {}, "bleu")),
    ):
        with pytest.raises(ConfigError, match="joins them: give --generate '--beam 5', or ask for the scores of words"):
            scoring_of({"score": ["subword-bleu"], **given}, kept, "bleu")


def test_an_unknown_word_is_no_hit(tmp_path: Path) -> None:
    translations = Translations(["<unk>"], ["<unk>"], ["<<unk>>"])
    scoring = scoring_of({"score": ["bleu", "chrf", "ter"]}, {}, "bleu")
    found = score_translations(translations, FairseqArguments(), scoring, tmp_path)
    assert (found["bleu"], found["chrf"], found["ter"]) == (0, 0, 100)


def test_what_the_scores_do_not_count() -> None:
    class Guess:
        def __call__(self, target: Tensor) -> Tensor:
            return target

        def get_targets(self, sample: Any, output: Tensor) -> Tensor:
            return output

        def get_normalized_probs(self, output: Tensor, log_probs: bool) -> Tensor:
            return torch.log_softmax(torch.arange(8.0), -1).expand(*output.shape, 8)

    words = Dictionary()
    sample = {"net_input": {"target": torch.tensor([[words.bos(), 5, 6, words.pad()]])}}
    args = SimpleNamespace(add_bos_token=True)
    task = SimpleNamespace(target_dictionary=words, args=args)
    scored, count = nats_of(Guess(), sample, *not_scored(task))
    assert count == 2
    expected = -torch.log_softmax(torch.arange(8.0), -1)[[5, 6]].sum()
    assert scored == pytest.approx(float(expected))
    args.add_bos_token = False
    assert nats_of(Guess(), sample, *not_scored(task))[1] == 3


def test_the_loss_of_a_classifier_is_one_of_its_predictions() -> None:
    """Not of the words that it reads."""
    logs = [{"loss": 6.0, "ntokens": 30, "nsentences": 3, "sample_size": 3}]
    for kind, expected in ((SentencePredictionCriterion, 2.0), (CrossEntropyCriterion, 0.2)):
        task = SimpleNamespace(reduce_metrics=lambda logs, criterion: criterion.reduce_metrics(logs))
        loss = reduced_loss(task, kind.__new__(kind), logs)
        assert loss == pytest.approx(expected / math.log(2))
