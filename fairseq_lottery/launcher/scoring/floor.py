"""The floor of an experiment: the score without any learning, with which reports compare."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.checkpoint import load_state
from fairseq_lottery.launcher.scoring.generation import generate_arguments, score_translations, translate
from fairseq_lottery.launcher.scoring.scores import load, not_scored, task_loss
from fairseq_lottery.lengths import shards_of
from fairseq_lottery.names import INITIAL_WEIGHTS, LAST, LOG_PPL, LOSS, TRANSLATED
from lottery_core.errors import RunError
from lottery_core.experiments import Experiment, Score, paths
from lottery_core.tickets import ALL, Masks, Origin, Ticket, Weights

UNIGRAM, UNTRAINED = "a unigram model of the training text", "the untrained network"
# An untrained network does not end its sentences: fairseq's default is 200 words each.
_SHORT = ("--max-len-a", "1.2", "--max-len-b", "10")
_MEASURED = (LOG_PPL, LOSS, *TRANSLATED)


def has_floor(scoring: Mapping[str, Any]) -> bool:
    """Return whether the first score has a floor that can be measured; that of a command of the user has none.

    :param scoring: scoring settings of an experiment
    """
    return scoring["score"][0] in _MEASURED


def measure_floor(experiment: Experiment, folder: Path) -> tuple[Score, str] | None:
    """Measure the floor of each score: a unigram model for the log perplexity, the untrained network for the others.

    In a chain that begins with a pretrained network the untrained one is a fresh one: what has learned nothing. A score
    that a command of the user computes has no floor.

    :param experiment: the experiment
    :param folder: the folder of a finished dense run, with its checkpoint and its initial weights
    :returns: the floor and what has it; ``None`` if the first score has no floor
    :raises LotteryError: a score cannot be computed
    """
    scoring = experiment.scoring
    arguments = FairseqArguments(experiment.settings["arguments"])
    if not has_floor(scoring):
        return None
    names = [name for name in scoring["score"] if name in _MEASURED]
    values: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="lottery-floor-") as place:
        untrained = Path(place) / "untrained.pt"
        if set(names) - {LOG_PPL}:
            pretrained = any(arguments.value(option) not in (None, LAST) for option in INITIAL_WEIGHTS)
            _write_untrained(folder, untrained, pretrained)
        if set(names).intersection(TRANSLATED):
            generating = generate_arguments(arguments, experiment.settings["data"], scoring)
            translations = translate(untrained, generating.plus(*_SHORT), Path(place))
            values |= score_translations(translations, generating, scoring, Path(place))
        if LOSS in names:
            values[LOSS], _ = task_loss(untrained, scoring["gen_subset"], arguments.cpu)
        if LOG_PPL in names:
            values[LOG_PPL] = unigram_log_perplexity(folder / LAST, scoring["gen_subset"])
    first, *more = names
    score = Score(values[first], more={name: values[name] for name in more}, scoring=experiment.scoring_text)
    return score, UNIGRAM if first == LOG_PPL else UNTRAINED


def unigram_log_perplexity(checkpoint: Path, split: str) -> float:
    """Compute the log perplexity of a unigram model: each symbol as often as in the training text, plus once.

    :param checkpoint: checkpoint of a model that was trained by a lottery task; only its task is used
    :param split: split to score
    :returns: nats per token
    :raises RunError: a split has no words
    """
    train = load_state(checkpoint)["cfg"]["dataset"]["train_subset"]
    seen, scored = _counts(checkpoint, train, True), _counts(checkpoint, split)
    smoothed = seen + 1
    return float(-(scored * (smoothed / smoothed.sum()).log()).sum() / scored.sum())


def _counts(checkpoint: Path, split: str, whole: bool = False) -> Tensor:
    # How often each symbol of the dictionary, except the padding, is a target; whole: in all shards and parts.
    loaded = load(checkpoint, split, cpu=True)
    task = loaded.task
    symbols, left_out = task.target_dictionary, torch.tensor(not_scored(task))
    counts = torch.zeros(len(symbols), dtype=torch.float64)
    for epoch in range(1, shards_of(task) + 1) if whole else (1,):
        if whole:  # as fairseq/trainer.py:get_train_iterator
            task.load_dataset(split, epoch=epoch, combine=True)
        for sample in loaded.batches():
            target = sample["target"].reshape(-1)
            counts += torch.bincount(target[~torch.isin(target, left_out)], minlength=len(symbols))
    if not counts.any():
        raise RunError(f"the {split} split has no words")
    return counts[torch.arange(len(symbols)) != symbols.pad()]


def _write_untrained(folder: Path, path: Path, pretrained: bool) -> None:
    from fairseq import checkpoint_utils

    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(folder / LAST)])
    model: Any = models[0].float()
    if pretrained:  # its initial weights are those of a trained network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(cfg.common.seed))
            model = task.build_model(cfg.model, from_checkpoint=True).float()
    else:
        start = Weights.load(folder / paths.INIT)
        whole = Masks({name: torch.ones(start.tensors[name].shape, dtype=torch.bool) for name in start.pool(ALL)})
        Ticket.of(whole, start.tensors, Origin()).load_into(model)
    torch.save({**load_state(folder / LAST), "model": model.state_dict(), "last_optimizer_state": None}, path)
