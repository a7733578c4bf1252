"""Scores of a trained run: log perplexity, BLEU in two ways, or a command of the user's own."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from fairseq_lottery.argv import value_of, with_user_dir
from fairseq_lottery.names import AVERAGED, BLEU, LAST, TOKENIZED_BLEU
from lottery_core.checkpoints import load_checkpoint
from lottery_core.errors import ConfigError, RunError
from lottery_core.files import write_atomically, write_json, write_text

_EPOCH = re.compile(r"checkpoint(\d+)\.pt")
_EVALUATION_BLOCK = 512  # in evaluation the length of a block does not change the score, only the speed


def log_perplexity(checkpoint: Path, split: str, cpu: bool) -> tuple[float, int]:
    """Nats a word on ``split``, and how many words; with ``--truncated-bptt`` the text is one stream.

    :param checkpoint: of a language model that a lottery task has trained
    :param split: of its data
    :param cpu: not on a GPU
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
            # Gathered before the sum in fp64: a copy of all scores would be the largest thing in memory.
            losses = functional.nll_loss(
                scores.reshape(-1, scores.size(-1)), target, ignore_index=pad, reduction="none"
            )
            total += float(losses.double().sum())
            count += int((target != pad).sum())
    if not count:
        raise RunError(f"the {split} split has no words to score")
    return total / count, count


def average(folder: Path, count: int) -> Path:
    """The checkpoint to score: the mean of the last ``count`` epochs' ones, in fp32; the last one for 1.

    :raises RunError: there are fewer
    """
    if count == 1:
        return folder / LAST
    found = {int(match.group(1)): path for path in folder.iterdir() if (match := _EPOCH.fullmatch(path.name))}
    chosen = [found[epoch] for epoch in sorted(found)[-count:]]
    if len(chosen) < count:
        raise RunError(f"--average {count} needs as many epochs' checkpoints; {folder} has {len(chosen)}")
    states = []
    for path in chosen:
        state = load_checkpoint(path)
        states.append(state["model"])
    mean = dict(state["model"])
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            # A sum of exact zeros over a count is an exact zero.
            mean[name] = torch.stack([one[name].float() for one in states]).sum(0) / count
    whole = {**state, "model": mean, "last_optimizer_state": None}
    write_atomically(folder / AVERAGED, lambda file: torch.save(whole, file))
    return folder / AVERAGED


def bleu(checkpoint: Path, words: Sequence[str], folder: Path, reference: Path | None) -> dict[str, float]:
    """BLEU of ``fairseq-generate``, both as sacrebleu does and on the tokens as they are (multi-bleu.pl).

    :param checkpoint: to generate with
    :param words: arguments of fairseq-generate
    :param folder: where its output goes, ``generate.txt``, and the scores, ``bleu.json``
    :param reference: detokenised references, a sentence a line in the order of the split; those in the data by default
    :raises RunError: generating failed
    """
    from sacrebleu.metrics.bleu import BLEU as Bleu

    command = [sys.executable, "-m", "fairseq_cli.generate", *words, "--path", str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    write_text(folder / "generate.txt", done.stdout)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit {done.returncode}"]
        raise RunError(f"fairseq-generate failed: {last[-1]}")
    lines = {kind: _lines(done.stdout, kind) for kind in "HDT"}
    if not lines["H"]:
        raise RunError(f"fairseq-generate gave no hypothesis, see {folder / 'generate.txt'}")
    references = lines["T"]
    if reference is not None:
        references = read_lines(reference)
        if len(references) != len(lines["D"]):
            raise ConfigError(f"{reference} has {len(references)} lines, but {len(lines['D'])} were generated")
    plain = Bleu()
    found = {BLEU: plain.corpus_score(lines["D"], [references]).score}
    signatures = {BLEU: str(plain.get_signature())}
    if not decodes(words):
        tokens = Bleu(tokenize="none", force=True, smooth_method="none")  # as multi-bleu.pl
        found[TOKENIZED_BLEU] = tokens.corpus_score(lines["H"], [lines["T"]]).score
        signatures[TOKENIZED_BLEU] = str(tokens.get_signature())
    write_json(folder / "bleu.json", {"scores": found, "signatures": signatures, "sentences": len(references)})
    return found


def decodes(words: Sequence[str]) -> bool:
    """Whether fairseq-generate undoes a tokenisation: then it prints references without it, but hypotheses with it."""
    return any(word.partition("=")[0] in ("--tokenizer", "--bpe") for word in words)


def read_lines(path: Path) -> list[str]:
    """The lines of a text; only a line feed ends one (``splitlines`` knows ten other ends)."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _lines(text: str, kind: str) -> list[str]:
    found: dict[int, str] = {}
    for line in text.split("\n"):
        if line.startswith(f"{kind}-"):
            number, _, rest = line[2:].partition("\t")
            found.setdefault(int(number), rest.rpartition("\t")[2] if kind != "T" else rest)  # the best of --nbest
    return [found[number] for number in sorted(found)]


def by_command(command: str, checkpoint: Path, folder: Path) -> float:
    """What the user's own command says: the number on its last line.

    :param command: run by the shell in ``folder``, with ``LOTTERY_CHECKPOINT`` set
    :raises RunError: it fails, or its last line is no number
    """
    more = {"LOTTERY_CHECKPOINT": str(checkpoint.resolve())}
    done = subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, **more}, stdout=subprocess.PIPE, text=True, check=False
    )
    sys.stdout.write(done.stdout)
    if done.returncode:
        raise RunError(f"the score's command failed with exit {done.returncode}: {command}")
    last = (done.stdout.split("\n") if not done.stdout.strip() else done.stdout.strip().splitlines())[-1]
    try:
        score = float(last)
    except ValueError:
        raise RunError(f"the last line of the score's command is no number: '{last[:80]}'") from None
    if not math.isfinite(score):
        raise RunError(f"the score's command says {score}")
    return score


def generate_words(arguments: Sequence[str], settings: Any) -> list[str]:
    """The arguments of fairseq-generate for a run: the data, the user-dir, the task and what ``--generate`` adds.

    :param arguments: of fairseq-train
    :param settings: of the experiment
    """
    arguments = with_user_dir(arguments)
    words = [settings["data"], "--gen-subset", settings["gen_subset"]]
    for option in ("--user-dir", "--task", "--source-lang", "--target-lang", "-s", "-t"):
        value = value_of(arguments, option)
        if value is not None:
            words += [option, value]
    words += ["--cpu"] if "--cpu" in arguments else []
    more = shlex.split(settings["generate"])
    if not {"--batch-size", "--max-tokens", "--max-sentences"} & set(more):
        words += ["--max-tokens", "4000"]
    if value_of(more, "--required-batch-size-multiple") is None:
        # By fairseq's 8 the last sentences of a split are left out where they fill no multiple (its issue 5036).
        words += ["--required-batch-size-multiple", "1"]
    return [*words, *more]
