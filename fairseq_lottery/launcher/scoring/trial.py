"""Try the scoring on an untrained model and two sentences, so that errors appear before training, not after it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.checkpoint import without_namespaces
from fairseq_lottery.launcher.scoring.generation import check_words, decodes, generate_arguments, translate
from fairseq_lottery.launcher.scoring.scores import by_command
from fairseq_lottery.names import LOG_PPL, LOSS, SUBWORD_BLEU, TRANSLATED
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import Experiment

# One batch of two sentences, and as few words as possible; fairseq-generate takes its shard of the split by rank.
_TWO_SENTENCES = (
    *("--batch-size", "2", "--distributed-world-size", "1000000000", "--distributed-rank", "0"),
    *("--max-len-a", "0", "--max-len-b", "10"),
)
_HALF = ("--fp16", "--bf16", "--memory-efficient-fp16", "--memory-efficient-bf16")


def try_scoring(experiment: Experiment, cfg: Any, model: Any) -> None:
    """Run ``fairseq-generate`` and the user's commands on an untrained model, in the same way as the scoring will.

    ``log_ppl`` and ``loss`` are tried by :func:`~fairseq_lottery.launcher.scoring.check_scoring`.

    :param experiment: the experiment
    :param cfg: fairseq's configuration
    :param model: an untrained model
    :raises ConfigError: a command fails, or the hypotheses are subword units
    """
    scores = experiment.scoring["score"]
    commands = [name for name in scores if name not in (*TRANSLATED, LOG_PPL, LOSS)]
    translated = set(scores).intersection(TRANSLATED)
    if not commands and not translated:
        return
    with tempfile.TemporaryDirectory(prefix="lottery-trial-") as name:
        folder = Path(name)
        checkpoint = folder / "untrained.pt"
        _write(cfg, model, checkpoint)
        try:
            if translated:
                _try_generation(experiment, checkpoint, folder)
            for command in commands:
                by_command(command, checkpoint, folder, trial=True)
        except RunError as error:
            raise ConfigError(f"scoring was tried on an untrained model, before the training: {error}") from error


def _try_generation(experiment: Experiment, checkpoint: Path, folder: Path) -> None:
    scoring = experiment.scoring
    arguments = FairseqArguments(experiment.settings["arguments"])
    generating = generate_arguments(arguments, experiment.settings["data"], scoring)
    if not torch.cuda.is_available():  # e.g. the login node of a cluster, whose CPU may not support half precision
        generating = FairseqArguments([word for word in generating.words if word not in _HALF])
    translations = translate(checkpoint, generating.plus(*_TWO_SENTENCES), folder)
    if decodes(generating) and set(scoring["score"]).intersection(TRANSLATED) - {SUBWORD_BLEU}:
        # The output of an untrained model says nothing, but the targets were processed in the same way.
        targets = translations.targets
        check_words(type(translations)(targets, targets, targets), targets, generating, {**scoring, "reference": None})


def _write(cfg: Any, model: Any, path: Path) -> None:
    from omegaconf import OmegaConf

    sections: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    held = without_namespaces(sections)
    history = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}]
    state = {
        "args": None,
        "cfg": held,
        "model": model.state_dict(),
        "optimizer_history": history,
        "extra_state": {"train_iterator": {"epoch": 1}},
    }
    torch.save(state, path)
