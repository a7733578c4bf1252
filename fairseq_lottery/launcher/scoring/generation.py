"""Translate with ``fairseq-generate``, and score its output."""

from __future__ import annotations

import locale
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.scoring.subwords import why_not_words
from fairseq_lottery.names import BLEU, CHRF, SUBWORD_BLEU, TER, TOKENIZED_BLEU
from lottery_core.errors import ConfigError, RunError
from lottery_core.files import first_line, write_json, write_text

_ERROR = re.compile(r"[\w.-]+: error: |[\w.]*(Error|Exception|Exit|Interrupt)\b")
TEXT, SCORES = "generate.txt", "bleu.json"
_UNKNOWN = "<<unk>>"  # as fairseq-generate prints an unknown word of a reference; sacrebleu would take it apart
_NO_WORD = "\ue000"  # a character for private use, which no hypothesis has


@dataclass(frozen=True)
class Translations:
    """The output of ``fairseq-generate``, one line per sentence, in the order of the split.

    :param hypotheses: the best hypotheses, as tokens
    :param detokenised: the hypotheses after ``--tokenizer`` and ``--bpe``
    :param targets: the references in the data
    """

    hypotheses: Sequence[str]
    detokenised: Sequence[str]
    targets: Sequence[str]

    @classmethod
    def of(cls, text: str) -> Translations:
        """Read the output of ``fairseq-generate``."""
        return cls(*(_lines(text, kind) for kind in "HDT"))


def translate(checkpoint: Path, arguments: FairseqArguments, folder: Path) -> Translations:
    """Run ``fairseq-generate`` and keep its output in ``generate.txt``.

    :param checkpoint: checkpoint to translate with
    :param arguments: arguments of ``fairseq-generate``, see :func:`generate_arguments`
    :param folder: folder for the output
    :raises RunError: ``fairseq-generate`` failed
    """
    command = [sys.executable, "-m", "fairseq_cli.generate", *arguments.words, "--path", str(checkpoint)]
    # Whatever the locale is, both sides have one encoding.
    in_utf_8 = locale.getpreferredencoding(False).lower() in ("utf-8", "utf8") and "PYTHONIOENCODING" not in os.environ
    environment = {**os.environ, **({} if in_utf_8 else {"PYTHONIOENCODING": "utf-8"})}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", env=environment, check=False
    )
    write_text(folder / TEXT, done.stdout)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit {done.returncode}"]
        errors = [line for line in lines if _ERROR.match(line)]  # the last line may be a warning of hydra
        raise RunError(f"fairseq-generate failed: {(errors or lines)[-1][:400]}")
    translations = Translations.of(done.stdout)
    if not translations.hypotheses:
        raise RunError(f"fairseq-generate printed no hypothesis, see {folder / TEXT}")
    return translations


def score_translations(
    translations: Translations,
    arguments: FairseqArguments,
    scoring: Mapping[str, Any],
    folder: Path,
) -> dict[str, float]:
    """Compute the scores of translations; sacrebleu's scores and signatures are written to ``bleu.json``.

    Both BLEU scores are always computed: sacrebleu's, with its own tokenisation, and that of ``multi-bleu.pl`` on the
    unchanged tokens; the latter is left out if ``fairseq-generate`` detokenises.

    :param translations: the translations
    :param arguments: the arguments of ``fairseq-generate``
    :param scoring: scoring settings of the experiment
    :param folder: folder for the scores
    :returns: name of the score -> value
    :raises ConfigError: the translations are subword units, or their number differs from the number of references
    """
    from sacrebleu.metrics.bleu import BLEU as Bleu
    from sacrebleu.metrics.chrf import CHRF as Chrf
    from sacrebleu.metrics.ter import TER as Ter

    asked = set(scoring["score"])
    references = references_of(translations, scoring)
    if asked - {SUBWORD_BLEU}:
        check_words(translations, references, arguments, scoring)
    metrics = {BLEU: bleu_of_words(arguments, scoring), CHRF: Chrf(), TER: Ter()}
    found = {name: metric for name, metric in metrics.items() if name == BLEU or name in asked}
    hypotheses = translations.detokenised
    scores = {name: float(metric.corpus_score(hypotheses, [references]).score) for name, metric in found.items()}
    signatures = {name: str(metric.get_signature()) for name, metric in found.items()}
    if not decodes(arguments) or SUBWORD_BLEU in asked:
        tokens = Bleu(tokenize="none", force=True, smooth_method="none")  # as in multi-bleu.pl
        value = float(tokens.corpus_score(translations.hypotheses, [translations.targets]).score)
        for name in (TOKENIZED_BLEU, *([SUBWORD_BLEU] if SUBWORD_BLEU in asked else [])):
            scores[name], signatures[name] = value, str(tokens.get_signature())
    write_json(folder / SCORES, {"scores": scores, "signatures": signatures, "sentences": len(references)})
    return scores


def bleu_of_words(arguments: FairseqArguments, scoring: Mapping[str, Any]) -> Any:
    """Make sacrebleu's BLEU with its options in ``--generate``, and otherwise the tokenizer of the target language.

    :param arguments: the arguments of ``fairseq-generate``
    :param scoring: scoring settings of the experiment
    :raises ConfigError: the tokenizer cannot be used here
    """
    from sacrebleu.metrics.bleu import BLEU as Bleu

    name = arguments.value("--sacrebleu-tokenizer") or scoring.get("sacrebleu_tokenizer")
    try:
        return Bleu(tokenize=name, lowercase=arguments.given("--sacrebleu-lowercase"))
    except Exception as error:  # its packages, and the models that it downloads, may raise anything
        packages = str(name).endswith("-mecab")
        remedy = f": pip install 'sacrebleu[{str(name)[:2]}]', or" if packages else f" ({first_line(error)}):"
        raise ConfigError(
            f"sacrebleu's tokenizer {name} cannot be used here{remedy} choose another with --generate '... --scoring "
            "sacrebleu --sacrebleu-tokenizer char'"
        ) from error


def references_of(translations: Translations, scoring: Mapping[str, Any]) -> Sequence[str]:
    """Return the detokenised references: those of ``--reference`` if it is given, else those in the data.

    Unknown words of the latter match nothing in a hypothesis, not even its own unknown words.

    :raises ConfigError: the number of references differs from the number of translations
    """
    if scoring["reference"] is None:
        return [line.replace(_UNKNOWN, _NO_WORD) for line in translations.targets]
    references = read_lines(Path(scoring["reference"]))
    if len(references) != len(translations.detokenised):
        raise ConfigError(
            f"{scoring['reference']} has {len(references)} lines, but {len(translations.detokenised)} were generated"
        )
    return references


def check_words(
    translations: Translations, references: Sequence[str], arguments: FairseqArguments, scoring: Mapping[str, Any]
) -> None:
    """Check that translations and references consist of words, not of subword units.

    :raises ConfigError: they are subword units; the message names the option that joins them
    """
    own = scoring["reference"] is not None
    scored = [*translations.detokenised, *references]
    if TOKENIZED_BLEU in scoring["score"]:
        scored += [*translations.hypotheses, *translations.targets]
    for lines in (translations.detokenised, scored):
        reason = why_not_words(lines, references if own else (), scoring["generate"])
        if reason is not None:
            raise ConfigError(reason)


def decodes(arguments: FairseqArguments) -> bool:
    """Return whether ``fairseq-generate`` detokenises; its hypotheses are then still printed tokenised."""
    return arguments.given("--tokenizer", "--bpe")


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, which end where they do for ``fairseq-preprocess``: at line feeds and returns.

    :param path: the file, in UTF-8, with or without a byte-order mark; ``str.splitlines`` has eight more line ends
    :raises ConfigError: the file is not in UTF-8
    """
    try:
        return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8: {error}") from error


def _lines(text: str, kind: str) -> list[str]:
    sentences: dict[int, str] = {}
    for line in text.split("\n"):
        if line.startswith(f"{kind}-"):
            number, _, rest = line[2:].partition("\t")
            # The first of several hypotheses (--nbest) is the best.
            sentences.setdefault(int(number), rest.rpartition("\t")[2] if kind != "T" else rest)
    return [sentences[number] for number in sorted(sentences)]


def generate_arguments(arguments: FairseqArguments, data: str, scoring: Mapping[str, Any]) -> FairseqArguments:
    """Make the arguments of ``fairseq-generate`` for the runs of an experiment.

    They contain the data, the options that must be as in training (user-dir, task, languages, CPU), and ``--generate``.

    :param arguments: arguments of ``fairseq-train``
    :param data: the data folder
    :param scoring: scoring settings of the experiment
    """
    arguments = arguments.with_user_dir()
    result = FairseqArguments((data, "--gen-subset", scoring["gen_subset"]))
    more = FairseqArguments(shlex.split(scoring["generate"]))
    for option, value in (
        ("--user-dir", arguments.user_dir),
        ("--task", arguments.task),
        ("--source-lang", arguments.source_lang),
        ("--target-lang", arguments.target_lang),
    ):
        if value is not None:
            result = result.plus(option, value)
    if arguments.cpu:
        result = result.plus("--cpu")
    if not more.given("--batch-size", "--max-tokens", "--max-sentences"):
        result = result.plus("--max-tokens", "4000")
    if not more.given("--required-batch-size-multiple"):
        # With fairseq's default of 8, the last sentences of a split may be dropped (fairseq issue 5036).
        result = result.plus("--required-batch-size-multiple", "1")
    return result.plus(*more.words)
