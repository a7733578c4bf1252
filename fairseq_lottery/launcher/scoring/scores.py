"""Score a trained run: log perplexity, the task's loss, scores of translations, or a command given by the user."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.checkpoint import load_state
from fairseq_lottery.launcher.scoring.generation import generate_arguments, score_translations, translate
from fairseq_lottery.names import AVERAGED, LAST, LOG_PPL, LOSS, TRANSLATED
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import Experiment, paths
from lottery_core.files import write_atomically
from lottery_core.tickets import Ticket

_EPOCH = re.compile(r"checkpoint(\d+)\.pt")
_EVALUATION_BLOCK = 512  # words; for evaluation, the block length affects the speed, not the score


def score_run(experiment: Experiment, folder: Path) -> tuple[dict[str, float], int]:
    """Score the trained run in ``folder``.

    :param experiment: the experiment
    :param folder: folder of the run
    :returns: the scores by name, in the order of ``--score``, and the number of tokens of the first one
    :raises LotteryError: a score cannot be computed
    """
    scoring = experiment.scoring
    arguments = FairseqArguments(experiment.settings["arguments"])
    checkpoint = average(folder, scoring["average"])
    values: dict[str, float] = {}
    translated: dict[str, float] = {}
    count = 1
    for index, name in enumerate(scoring["score"]):
        if name in (LOG_PPL, LOSS):
            measure = log_perplexity if name == LOG_PPL else task_loss
            values[name], tokens = measure(checkpoint, scoring["gen_subset"], arguments.cpu)
            count = tokens if not index else count
        elif name in TRANSLATED:
            if not translated:
                generating = generate_arguments(arguments, experiment.settings["data"], scoring)
                translated = score_translations(translate(checkpoint, generating, folder), generating, scoring, folder)
            values[name] = translated[name]
        else:
            values[name] = by_command(name, checkpoint, folder)
    return values, count


@dataclass(frozen=True)
class Loaded:
    """A trained model, ready to be evaluated, and the batches of a split."""

    model: Any
    cfg: Any
    task: Any
    batches: Callable[[], Iterator[Any]]


def load(checkpoint: Path, split: str, cpu: bool) -> Loaded:
    """Load a trained model and a split.

    :param checkpoint: checkpoint of a model that was trained by a lottery task
    :param split: the split
    :param cpu: whether to use the CPU even if there is a GPU
    """
    from fairseq import checkpoint_utils, utils

    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
    model = models[0].float().eval()
    cuda = torch.cuda.is_available() and not cpu
    if cuda:
        model.cuda()
    streams = getattr(task.args, "truncated_bptt", 0) if hasattr(task, "args") else 0
    if streams:
        task.args.truncated_bptt = max(streams, _EVALUATION_BLOCK)
    task.load_dataset(split)

    def batches() -> Iterator[Any]:
        sentences = 1 if streams else cfg.dataset.batch_size_valid
        for batch in batches_of(task, cfg, model, split, cfg.dataset.max_tokens_valid, sentences):
            yield utils.move_to_cuda(batch) if cuda else batch

    return Loaded(model, cfg, task, batches)


def batches_of(task: Any, cfg: Any, model: Any, split: str, tokens: int | None, sentences: int | None) -> Iterator[Any]:
    """Yield the batches of a loaded split, in order.

    :param task: a task
    :param cfg: fairseq's configuration
    :param model: its model
    :param split: the split
    :param tokens: maximum number of tokens in a batch
    :param sentences: maximum number of sentences in a batch
    """
    from fairseq import utils

    limits: dict[str, Any] = {}
    if not hasattr(task, "output_dictionary"):  # the blocks of a language model fit already
        limits = {
            "max_positions": utils.resolve_max_positions(task.max_positions(), model.max_positions()),
            "ignore_invalid_inputs": cfg.dataset.skip_invalid_size_inputs_valid_test,
            "seed": cfg.common.seed,
        }
    dataset = task.dataset(split)
    found = task.get_batch_iterator(dataset, max_tokens=tokens, max_sentences=sentences, **limits)
    yield from found.next_epoch_itr(shuffle=False)


def log_perplexity(checkpoint: Path, split: str, cpu: bool) -> tuple[float, int]:
    """Compute the log perplexity of a model; with ``--truncated-bptt`` the text is one stream.

    :param checkpoint: checkpoint of a model that was trained by a lottery task
    :param split: split to score
    :param cpu: whether to use the CPU even if there is a GPU
    :returns: nats per token, and the number of tokens
    :raises RunError: the split has no words
    """
    return log_perplexity_of(load(checkpoint, split, cpu), split)


def log_perplexity_of(loaded: Loaded, split: str) -> tuple[float, int]:
    """Compute the log perplexity of a loaded model, see :func:`log_perplexity`.

    :param loaded: the model, and the batches of a split
    :param split: the split, for messages
    :raises RunError: the split has no words
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for sample in loaded.batches():
            nats, tokens = nats_of(loaded.model, sample, *not_scored(loaded.task))
            total += nats
            count += tokens
    if not count:
        raise RunError(f"the {split} split has no words to score")
    return total / count, count


def not_scored(task: Any) -> list[int]:
    """Return the target symbols that are not counted: padding, and the start that ``--add-bos-token`` adds.

    ``fairseq-eval-lm`` does not count it either (``fairseq_cli/eval_lm.py``, ``remove_bos_token``).

    :param task: a task with a target dictionary
    """
    symbols, options = task.target_dictionary, getattr(task, "args", None)
    return [symbols.pad(), *([symbols.bos()] if getattr(options, "add_bos_token", False) else [])]


def nats_of(model: Any, sample: Any, pad: int, *others: int) -> tuple[float, int]:
    """Return the sum of the negative log likelihoods of a batch's targets in nats, and their number.

    :param model: a model of fairseq
    :param sample: a batch
    :param pad: target symbol that is not counted
    :param others: more of them
    """
    output = model(**sample["net_input"])
    scores = model.get_normalized_probs(output, log_probs=True)
    target = model.get_targets(sample, output).reshape(-1)
    for other in others:
        target = target.masked_fill(target == other, pad)
    # Select the losses before converting to fp64: a copy of all scores would be the largest tensor in memory.
    losses = functional.nll_loss(scores.reshape(-1, scores.size(-1)), target, ignore_index=pad, reduction="none")
    return float(losses.double().sum()), int((target != pad).sum())


def task_loss(checkpoint: Path, split: str, cpu: bool) -> tuple[float, int]:
    """Compute the loss of the task's own criterion, without label smoothing.

    :param checkpoint: checkpoint of a model that was trained by a lottery task
    :param split: split to score
    :param cpu: whether to use the CPU even if there is a GPU
    :returns: the loss as fairseq logs it, in bits per token for its cross entropies, and the number of tokens
    :raises RunError: the split is empty
    """
    return task_loss_of(load(checkpoint, split, cpu), split)


def task_loss_of(loaded: Loaded, split: str) -> tuple[float, int]:
    """Compute the loss of a loaded model, see :func:`task_loss`.

    :param loaded: the model, and the batches of a split
    :param split: the split, for messages
    :raises RunError: the split is empty
    """
    criterion = loaded.task.build_criterion(loaded.cfg.criterion).eval()
    logs = [loaded.task.valid_step(sample, loaded.model, criterion)[2] for sample in loaded.batches()]
    if not logs:
        raise RunError(f"the {split} split has nothing to score")
    return reduced_loss(loaded.task, criterion, logs), int(sum(log.get("ntokens", 0) for log in logs)) or 1


def reduced_loss(task: Any, criterion: Any, logs: list[Any]) -> float:
    """Reduce the logging outputs of a criterion to one loss.

    :raises ConfigError: the criterion logs no loss
    """
    from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
    from fairseq.criterions.sentence_ranking import SentenceRankingCriterion
    from fairseq.logging import metrics

    classifies = isinstance(criterion, (SentencePredictionCriterion, SentenceRankingCriterion))
    with metrics.aggregate(new_root=True) as meters:
        task.reduce_metrics(logs, criterion)
    # The nll_loss of classifiers is divided by the number of words that they read, not of what they predict.
    for name in ("loss",) if classifies else ("nll_loss", "loss"):
        meter = meters.get(name)
        if meter is not None:
            return float(meter.avg)  # the smoothed value is rounded
    raise ConfigError(f"{type(criterion).__name__} logs no loss: give a command of your own as --score")


def epoch_checkpoints(folder: Path) -> list[Path]:
    """Return the epoch checkpoints in a run's folder, the last epoch last."""
    paths = folder.iterdir() if folder.is_dir() else ()
    by_epoch = {int(match.group(1)): path for path in paths if (match := _EPOCH.fullmatch(path.name))}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def average(folder: Path, count: int) -> Path:
    """Average the last epoch checkpoints, in fp32.

    :param folder: folder of the run
    :param count: number of checkpoints; 1 averages nothing
    :returns: the checkpoint to score: ``averaged.pt``, or the last checkpoint for a ``count`` of 1
    :raises RunError: there are fewer checkpoints than ``count``, or pruned weights are alive in one
    """
    if count == 1:
        return folder / LAST
    chosen = epoch_checkpoints(folder)[-count:]
    if len(chosen) < count:
        raise RunError(
            f"--average {count} needs the checkpoints of {count} epochs, and {folder} has {len(chosen)}: lower "
            "--average",
            2,
        )
    models = []
    for path in chosen:
        state = load_state(path)
        models.append(state["model"])
    mean = dict(state["model"])
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            # The mean of exact zeros is an exact zero.
            mean[name] = torch.stack([model[name].float() for model in models]).sum(0) / count
    ticket = folder / paths.TICKET
    for name, mask in Ticket.load(ticket).masks.items() if ticket.is_file() else ():
        if name in mean and mean[name].shape == mask.shape and bool(mean[name][~mask].count_nonzero()):
            raise RunError(
                f"--average {count} takes checkpoints of {folder} from before the last step of pruning, in which more "
                "survives: end the schedule earlier, or lower --average",
                2,
            )
    averaged = {**state, "model": mean, "last_optimizer_state": None}
    write_atomically(folder / AVERAGED, lambda file: torch.save(averaged, file))
    return folder / AVERAGED


def by_command(command: str, checkpoint: Path, folder: Path, trial: bool = False) -> float:
    """Score a checkpoint with the user's command, which prints the score on its last line.

    :param command: shell command
    :param checkpoint: checkpoint to score; its path is passed in ``LOTTERY_CHECKPOINT``
    :param folder: folder in which the command runs
    :param trial: whether this only tries the command on an untrained model; if so, ``LOTTERY_TRIAL`` is set
    :raises RunError: the command fails, or its last line is not a number
    """
    environment = {**os.environ, "LOTTERY_CHECKPOINT": str(checkpoint.resolve())}
    if trial:
        environment["LOTTERY_TRIAL"] = "1"
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE if trial else None}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, **streams, text=True, errors="replace", check=False
    )
    if not trial:
        sys.stdout.write(done.stdout)
    if done.returncode:
        why = "".join(f" ({line[:200]})" for line in (done.stderr or "").strip().splitlines()[-1:])
        raise RunError(f"the score command failed with exit status {done.returncode}: {command}{why}")
    last = (done.stdout.split("\n") if not done.stdout.strip() else done.stdout.strip().splitlines())[-1]
    try:
        score = float(last)
    except ValueError:
        raise RunError(f"the last line of the score command is not a number: '{last[:80]}'") from None
    if not math.isfinite(score) and not trial:
        raise RunError(f"the score command printed {score}")
    return score
