"""Score a trained run: log perplexity, BLEU of two kinds, or a command of the user's own."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.checkpoint import load_state
from fairseq_lottery.names import AVERAGED, BLEU, LAST, TOKENIZED_BLEU
from lottery_core.errors import ConfigError, RunError
from lottery_core.files import write_atomically, write_json, write_text

_EPOCH = re.compile(r"checkpoint(\d+)\.pt")
_EVALUATION_BLOCK = 512  # words; in evaluation the length of a block changes the speed, not the score


def log_perplexity(checkpoint: Path, split: str, cpu: bool) -> tuple[float, int]:
    """Compute the log perplexity of a language model; with ``--truncated-bptt`` the text is one stream.

    :param checkpoint: checkpoint of a language model that a lottery task has trained
    :param split: split to score
    :param cpu: whether to stay on the CPU even if there is a GPU
    :returns: nats per word, and the number of words
    :raises RunError: the split has no words
    """
    from fairseq import checkpoint_utils, utils

    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
    model = models[0].float().eval()
    cuda = torch.cuda.is_available() and not cpu
    if cuda:
        model.cuda()
    streams = getattr(task.args, "truncated_bptt", 0)
    if streams:
        task.args.truncated_bptt = max(streams, _EVALUATION_BLOCK)
    task.load_dataset(split)
    batches = task.get_batch_iterator(
        task.dataset(split),
        max_tokens=cfg.dataset.max_tokens_valid,
        max_sentences=1 if streams else cfg.dataset.batch_size_valid,
    ).next_epoch_itr(shuffle=False)
    total, count = 0.0, 0
    pad = task.target_dictionary.pad()
    with torch.no_grad():
        for batch in batches:
            sample = utils.move_to_cuda(batch) if cuda else batch
            output = model(**sample["net_input"])
            scores = model.get_normalized_probs(output, log_probs=True)
            target = model.get_targets(sample, output).reshape(-1)
            # Select the losses before going to fp64: a copy of all scores would be the largest tensor in memory.
            losses = functional.nll_loss(
                scores.reshape(-1, scores.size(-1)), target, ignore_index=pad, reduction="none"
            )
            total += float(losses.double().sum())
            count += int((target != pad).sum())
    if not count:
        raise RunError(f"the {split} split has no words to score")
    return total / count, count


def average(folder: Path, count: int) -> Path:
    """Average the checkpoints of the last epochs, in fp32.

    :param folder: folder of the run
    :param count: number of epochs; 1 averages nothing
    :returns: the checkpoint to score: ``averaged.pt``, or the last checkpoint for a ``count`` of 1
    :raises RunError: there are fewer checkpoints
    """
    if count == 1:
        return folder / LAST
    by_epoch = {int(match.group(1)): path for path in folder.iterdir() if (match := _EPOCH.fullmatch(path.name))}
    chosen = [by_epoch[epoch] for epoch in sorted(by_epoch)[-count:]]
    if len(chosen) < count:
        raise RunError(f"--average {count} needs the checkpoints of as many epochs; {folder} has {len(chosen)}")
    models = []
    for path in chosen:
        state = load_state(path)
        models.append(state["model"])
    mean = dict(state["model"])
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            # The mean of exact zeros is an exact zero.
            mean[name] = torch.stack([model[name].float() for model in models]).sum(0) / count
    averaged = {**state, "model": mean, "last_optimizer_state": None}
    write_atomically(folder / AVERAGED, lambda file: torch.save(averaged, file))
    return folder / AVERAGED


def bleu(checkpoint: Path, arguments: FairseqArguments, folder: Path, reference: Path | None) -> dict[str, float]:
    """Translate with ``fairseq-generate``, and compute two BLEU scores.

    One is sacrebleu's, with its own tokenisation; the other is that of ``multi-bleu.pl``, on the tokens as they are.

    :param checkpoint: checkpoint to translate with
    :param arguments: arguments of ``fairseq-generate``, see :func:`generate_arguments`
    :param folder: folder for the translations, ``generate.txt``, and the scores, ``bleu.json``
    :param reference: detokenised references, one sentence per line in the order of the split; ``None``: those in the
        data
    :returns: name of the score -> BLEU; no BLEU of the tokens when ``fairseq-generate`` detokenises
    :raises RunError: ``fairseq-generate`` failed
    :raises ConfigError: the number of references is not the number of translations
    """
    from sacrebleu.metrics.bleu import BLEU as Bleu

    command = [sys.executable, "-m", "fairseq_cli.generate", *arguments.words, "--path", str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    write_text(folder / "generate.txt", done.stdout)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit {done.returncode}"]
        raise RunError(f"fairseq-generate failed: {last[-1]}")
    lines = {kind: _lines(done.stdout, kind) for kind in "HDT"}
    if not lines["H"]:
        raise RunError(f"fairseq-generate printed no hypothesis, see {folder / 'generate.txt'}")
    references = lines["T"]
    if reference is not None:
        references = read_lines(reference)
        if len(references) != len(lines["D"]):
            raise ConfigError(f"{reference} has {len(references)} lines, but {len(lines['D'])} were generated")
    plain = Bleu()
    scores = {BLEU: plain.corpus_score(lines["D"], [references]).score}
    signatures = {BLEU: str(plain.get_signature())}
    if not decodes(arguments):
        tokens = Bleu(tokenize="none", force=True, smooth_method="none")  # as multi-bleu.pl
        scores[TOKENIZED_BLEU] = tokens.corpus_score(lines["H"], [lines["T"]]).score
        signatures[TOKENIZED_BLEU] = str(tokens.get_signature())
    write_json(folder / "bleu.json", {"scores": scores, "signatures": signatures, "sentences": len(references)})
    return scores


def decodes(arguments: FairseqArguments) -> bool:
    """Whether ``fairseq-generate`` detokenises; then it prints detokenised references, but tokenised hypotheses."""
    return arguments.given("--tokenizer", "--bpe")


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file; only a line feed ends a line (``str.splitlines`` knows ten other ends)."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _lines(text: str, kind: str) -> list[str]:
    sentences: dict[int, str] = {}
    for line in text.split("\n"):
        if line.startswith(f"{kind}-"):
            number, _, rest = line[2:].partition("\t")
            # The first of several hypotheses (--nbest) is the best.
            sentences.setdefault(int(number), rest.rpartition("\t")[2] if kind != "T" else rest)
    return [sentences[number] for number in sorted(sentences)]


def by_command(command: str, checkpoint: Path, folder: Path) -> float:
    """Score a checkpoint by the user's own command, which prints the score on its last line.

    :param command: command for the shell
    :param checkpoint: checkpoint to score; the command finds its path in ``LOTTERY_CHECKPOINT``
    :param folder: folder in which the command runs
    :raises RunError: the command fails, or its last line is not a number
    """
    environment = {**os.environ, "LOTTERY_CHECKPOINT": str(checkpoint.resolve())}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    sys.stdout.write(done.stdout)
    if done.returncode:
        raise RunError(f"the score command failed with exit status {done.returncode}: {command}")
    last = (done.stdout.split("\n") if not done.stdout.strip() else done.stdout.strip().splitlines())[-1]
    try:
        score = float(last)
    except ValueError:
        raise RunError(f"the last line of the score command is not a number: '{last[:80]}'") from None
    if not math.isfinite(score):
        raise RunError(f"the score command printed {score}")
    return score


def generate_arguments(arguments: FairseqArguments, settings: Mapping[str, Any]) -> FairseqArguments:
    """Make the arguments of ``fairseq-generate`` for the runs of an experiment.

    They are the data, what must be as in training (user-dir, task, languages, CPU), and those of ``--generate``.

    :param arguments: arguments of ``fairseq-train``
    :param settings: settings of the experiment
    """
    arguments = arguments.with_user_dir()
    result = FairseqArguments((settings["data"], "--gen-subset", settings["gen_subset"]))
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
    more = FairseqArguments(shlex.split(settings["generate"]))
    if not more.given("--batch-size", "--max-tokens", "--max-sentences"):
        result = result.plus("--max-tokens", "4000")
    if not more.given("--required-batch-size-multiple"):
        # With fairseq's default of 8, the last sentences of a split are dropped if they fill no multiple (issue 5036).
        result = result.plus("--required-batch-size-multiple", "1")
    return result.plus(*more.words)
