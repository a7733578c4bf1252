"""The scoring settings: which scores, of which split and checkpoints, with which arguments of fairseq-generate."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.names import BLEU, LOG_PPL, LOSS, PREFIX, SCORES, SUBWORD_BLEU, TRANSLATED, tokenizer_of
from lottery_core import dialects
from lottery_core.cli import accept
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment

_DEFAULTS: dict[str, Any] = {
    "average": 1,
    "gen_subset": "test",
    "generate": "--beam 5 --remove-bpe",
    "reference": None,
    "lower_is_better": None,
}
UNITS_GENERATE = "--beam 5"  # the default for BLEU of subword units
TOKENIZER = "sacrebleu_tokenizer"  # key of the settings
SCORING_OPTIONS = ("score", *_DEFAULTS)


def add_scoring_options(group: argparse._ActionsContainer) -> None:
    """Add the scoring options to a parser whose ``argument_default`` is ``argparse.SUPPRESS``."""
    add = group.add_argument
    score = add(
        "--score",
        nargs="+",
        metavar="SCORE",
        help=f"{', '.join(SCORES)}, or a command that prints a number on its last line, run in the folder of a run "
        "with LOTTERY_CHECKPOINT set; the first one is drawn, further ones stand beside it (log_ppl for language "
        "models, bleu for translation, else loss)",
    )
    accept(score, SCORES)
    add("--lower-is-better", action="store_true", help="lower scores of that command are better; for the report")
    add("--average", type=int, metavar="N", help="score the mean of the checkpoints of the last N epochs (1)")
    add("--gen-subset", metavar="SPLIT", help="split to score (test)")
    add(
        "--generate",
        metavar="ARGS",
        help="more arguments of fairseq-generate, for BLEU, chrF and TER ('--beam 5 --remove-bpe'; for subword-bleu "
        "alone '--beam 5'); for sentencepiece '--beam 5 --remove-bpe sentencepiece'",
    )
    add("--reference", type=Path, metavar="FILE", help="detokenised references (those in the data)")


def default_score(task: str, base: type | None = None) -> str:
    """Return the default score of a task, which is the usual one in the task's field.

    :param task: the task's name
    :param base: the task's class, if it is known
    """
    if base is not None:
        from fairseq.tasks.language_modeling import LanguageModelingTask
        from fairseq.tasks.translation import TranslationTask

        return (
            LOG_PPL if issubclass(base, LanguageModelingTask) else BLEU if issubclass(base, TranslationTask) else LOSS
        )
    name = task.removeprefix(PREFIX)
    return LOG_PPL if name == "language_modeling" else BLEU if name == "translation" else LOSS


def scoring_of(given: Mapping[str, Any], before: Mapping[str, Any], score: str) -> dict[str, Any]:
    """Make the scoring settings of an experiment: from the options given, else from its folder, else the defaults.

    :param given: values of the options that were given
    :param before: scoring settings of the experiment in the folder; empty if there is none
    :param score: the default score
    :raises ConfigError: a value is invalid
    """
    values = {
        name: next((some[name] for some in (given, before) if some.get(name) is not None), default)
        for name, default in {**_DEFAULTS, "score": [score]}.items()
    }
    values["score"] = list(dict.fromkeys(values["score"]))
    if SUBWORD_BLEU in values["score"]:
        # A folder has the default, too.
        chosen = given.get("generate") is not None or before.get("generate") not in (None, _DEFAULTS["generate"])
        values["generate"] = _without_joining(values, chosen)
    if any(not name.strip() for name in values["score"]):
        raise ConfigError(f"--score is empty: accepted are {', '.join(SCORES)} or a command")
    if values["lower_is_better"] and values["score"][0] in SCORES:
        raise ConfigError(f"--lower-is-better is for a score of your own: of {values['score'][0]} it is known")
    if values["average"] < 1:
        raise ConfigError(f"--average must be at least 1, not {values['average']}")
    if _generate_arguments(values["generate"]).user_dir is not None:
        raise ConfigError("--generate: --user-dir is that of the training: leave it out")
    if values["reference"] is not None:
        reference = Path(values["reference"])
        if not reference.is_file():
            raise ConfigError(f"the reference {reference} does not exist")
        values["reference"] = str(reference.resolve())
    return dict(dialects.named("fairseq").scoring(values))


def _without_joining(values: Mapping[str, Any], given: bool) -> str:
    # Of the settings, the arguments of fairseq-generate if BLEU of subword units is a score.
    generate = str(values["generate"])
    if not given and not set(values["score"]).intersection(TRANSLATED) - {SUBWORD_BLEU}:
        return UNITS_GENERATE
    arguments = _generate_arguments(generate)
    joined = [option for option in ("--remove-bpe", "--post-process") if arguments.given(option)]
    if joined and arguments.value(*joined) != "none":
        raise ConfigError(
            f"{SUBWORD_BLEU} scores the units as they are, and --generate '{generate}' joins them: give --generate "
            f"'{UNITS_GENERATE}', or ask for the scores of words alone"
        )
    return generate


def _generate_arguments(generate: str) -> FairseqArguments:
    try:
        return FairseqArguments(shlex.split(generate))
    except ValueError as error:
        raise ConfigError(f"--generate is not a valid command line: {error}") from error


def with_tokenizer(experiment: Experiment, task: Any) -> Experiment:
    """Return the experiment with sacrebleu's tokenizer of the target language, where it is not that of most languages.

    :param experiment: the experiment
    :param task: its task
    """
    scoring = {name: value for name, value in experiment.scoring.items() if name != TOKENIZER}
    if BLEU in scoring["score"]:
        tokenizer = tokenizer_of(task)
        given = FairseqArguments(shlex.split(scoring["generate"])).given("--sacrebleu-tokenizer")
        if tokenizer is not None and not given:
            scoring[TOKENIZER] = tokenizer
    return with_scoring(experiment, scoring) if scoring != dict(experiment.scoring) else experiment


def with_scoring(experiment: Experiment, scoring: Mapping[str, Any]) -> Experiment:
    """Return the experiment with other scoring settings and the label of its first score."""
    label = dialects.named(experiment.framework).score_label(scoring, scoring["score"][0])
    return replace(experiment, scoring=scoring, score_label=label)
