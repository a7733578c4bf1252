"""Check the scoring against the task and the data before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.scoring.generation import bleu_of_words, decodes, generate_arguments, read_lines
from fairseq_lottery.launcher.scoring.scores import batches_of, epoch_checkpoints, nats_of, not_scored, reduced_loss
from fairseq_lottery.launcher.scoring.subwords import why_not_words
from fairseq_lottery.lengths import Lengths
from fairseq_lottery.names import BLEU, LOG_PPL, LOSS, SUBWORD_BLEU, TOKENIZED_BLEU, TRANSLATED
from lottery_core.errors import ConfigError, LotteryError
from lottery_core.experiments import Experiment
from lottery_core.files import first_line

_FILES = ("sentencepiece_model", "bpe_codes", "align_dict", "lm_path")  # options of fairseq-generate that name a file
_SENTENCES = 500  # number of references to check


def check_scoring(experiment: Experiment, task: Any, cfg: Any, model: Any) -> None:
    """Check that the runs of an experiment can be scored as configured.

    :param experiment: the experiment
    :param task: its task
    :param cfg: fairseq's configuration
    :param model: an untrained model
    :raises ConfigError: they cannot be scored
    """
    scoring = experiment.scoring
    asked = set(scoring["score"])
    if asked.intersection((*TRANSLATED, LOG_PPL, LOSS)):
        task.load_dataset(scoring["gen_subset"])
    if asked.intersection(TRANSLATED):
        try:
            import sacrebleu  # noqa: F401
        except ImportError as error:
            raise ConfigError("BLEU, chrF and TER need sacrebleu: pip install sacrebleu") from error
        _check_generation(task, model, FairseqArguments(experiment.settings["arguments"]), experiment)
    if asked.intersection((LOG_PPL, LOSS)):
        sample = _sample(task, cfg, model, scoring["gen_subset"])
        if LOG_PPL in asked:
            _try_log_perplexity(task, model, sample)
        if LOSS in asked:
            _try_loss(task, cfg, model, sample)


def check_checkpoints(cfg: Any, average: int, finished: Iterable[Path] = (), gpus: int = 1) -> None:
    """Check that runs keep the checkpoints that will be scored, and that finished runs have kept them.

    :param cfg: fairseq's configuration, with its checkpoint and optimization sections
    :param average: how many epoch checkpoints are averaged
    :param finished: folders of finished runs
    :param gpus: number of GPUs of a run
    :raises ConfigError: a checkpoint is missing or will not be kept
    """
    for name in ("no_save", "no_last_checkpoints"):
        if getattr(cfg.checkpoint, name):
            raise ConfigError(f"--{name.replace('_', '-')} leaves no checkpoint to prune: leave it out")
    if cfg.checkpoint.checkpoint_suffix:
        raise ConfigError("--checkpoint-suffix gives the checkpoint that is pruned another name: leave it out")
    epochs, interval = int(cfg.optimization.max_epoch or 0), cfg.checkpoint.save_interval
    most = int(cfg.optimization.max_update or 0)
    left_out = bool(epochs and epochs % interval)
    lengths = Lengths.of(cfg, gpus, of_epochs=True) if most and (left_out or average > 1) else None
    # Where --max-update ends the training, fairseq saves whatever the interval is.
    if left_out and (lengths is None or lengths.until(epochs) < most):
        raise ConfigError(
            f"--save-interval {interval} does not save the last of {epochs} epochs, which is pruned and scored: leave "
            "it out, or let it divide --max-epoch"
        )
    if average == 1:
        return
    if lengths is not None:
        epochs = lengths.whole_epochs()
    if cfg.checkpoint.no_epoch_checkpoints:
        raise ConfigError(f"--average {average} needs the checkpoints of epochs: leave --no-epoch-checkpoints out")
    if 0 < cfg.checkpoint.keep_last_epochs < average:
        raise ConfigError(
            f"--average {average} needs the checkpoints of {average} epochs, but --keep-last-epochs "
            f"{cfg.checkpoint.keep_last_epochs} keeps fewer: raise it, or lower --average"
        )
    if epochs // interval < average and (epochs or most):
        raise ConfigError(
            f"--average {average} needs the checkpoints of {average} epochs, and the training leaves fewer: "
            "train longer, or lower --average"
        )
    for folder in finished:
        count = len(epoch_checkpoints(folder))
        if count < average:
            raise ConfigError(
                f"--average {average} needs the checkpoints of {average} epochs, and the finished run {folder} "
                f"has {count}: it was trained for a smaller --average, or they were deleted"
            )


def _check_generation(task: Any, model: Any, arguments: FairseqArguments, experiment: Experiment) -> None:
    from fairseq import options

    scoring = experiment.scoring
    split = scoring["gen_subset"]
    dataset = task.dataset(split)
    if getattr(task, "source_dictionary", None) is None or getattr(dataset, "tgt", None) is None:
        raise ConfigError(
            f"BLEU needs a translation task: give --score {LOG_PPL} for a language model, {LOSS} for any other task, "
            "or a command of your own"
        )
    generating = generate_arguments(arguments, experiment.settings["data"], scoring)
    words = list(generating.words)
    before = sys.argv
    sys.argv = ["fairseq-generate", *words]  # fairseq looks for --user-dir there when it makes its parser
    try:
        parsed = options.parse_args_and_arch(options.get_generation_parser(), input_args=words)
    finally:
        sys.argv = before
    for name in _FILES:
        file = getattr(parsed, name, None)
        if file and "://" not in file and not Path(file).exists():
            raise ConfigError(f"--generate: --{name.replace('_', '-')} {file} does not exist")
    as_they_are = [name for name in (TOKENIZED_BLEU, SUBWORD_BLEU) if name in scoring["score"]]
    if as_they_are and decodes(generating):
        raise ConfigError(
            f"{as_they_are[0]} scores the tokens as they are: leave --tokenizer and --bpe out of --generate"
        )
    if generating.given("--sacrebleu-char-level"):
        raise ConfigError("--generate: use --sacrebleu-tokenizer char instead of --sacrebleu-char-level")
    if BLEU in scoring["score"]:
        bleu_of_words(generating, scoring)
    references: list[str] = []
    if scoring["reference"] is not None:
        references = read_lines(Path(scoring["reference"]))
        if len(references) != len(dataset):
            raise ConfigError(f"{scoring['reference']} has {len(references)} lines, but {split} has {len(dataset)}")
        if parsed.skip_invalid_size_inputs_valid_test:
            _check_lengths(task, model, dataset, scoring)
    if set(scoring["score"]).intersection(TRANSLATED) - {SUBWORD_BLEU} and not decodes(generating):
        _check_targets(task, dataset, parsed, references, scoring)


def _check_lengths(task: Any, model: Any, dataset: Any, scoring: Mapping[str, Any]) -> None:
    # fairseq-generate leaves out what is too long, as fairseq/tasks/fairseq_task.py:get_batch_iterator does.
    from fairseq import utils

    most = utils.resolve_max_positions(task.max_positions(), model.max_positions())
    kept = task.filter_indices_by_size(dataset.ordered_indices(), dataset, most, ignore_invalid_inputs=True)
    too_long = len(dataset) - len(kept)
    if too_long:
        raise ConfigError(
            f"{scoring['reference']} has a line for each sentence of the {scoring['gen_subset']} split, but with "
            f"--skip-invalid-size-inputs-valid-test fairseq-generate leaves out {too_long} of them as too long: "
            "raise --max-source-positions and --max-target-positions, or leave --reference out"
        )


def _check_targets(task: Any, dataset: Any, parsed: Any, references: list[str], scoring: Mapping[str, Any]) -> None:
    # Hypotheses will have the same units as the targets.
    indices = range(min(_SENTENCES, len(dataset)))
    lines = [task.target_dictionary.string(dataset.tgt[index], parsed.post_process) for index in indices]
    reason = why_not_words(lines, references, scoring["generate"])
    if reason is None and references:
        reason = why_not_words(references, (), scoring["generate"])
        reason = reason and f"{scoring['reference']} is not detokenised text: it has marks of subword units"
    if reason is not None:
        raise ConfigError(reason)


def _sample(task: Any, cfg: Any, model: Any, split: str) -> Any:
    # One block of a stream, or two sentences.
    sentences = 1 if getattr(cfg.task, "truncated_bptt", 0) else 2
    try:
        sample = next(batches_of(task, cfg, model, split, None, sentences), None)
    except LotteryError:
        raise
    except Exception as error:  # of fairseq, which has no class of its own for them
        raise ConfigError(
            f"fairseq makes no batches of the {split} split: {first_line(error)} (--skip-invalid-size-inputs-"
            "valid-test leaves out what is too long)"
        ) from error
    if sample is None:
        raise ConfigError(f"the {split} split is empty")
    return sample


def _try_log_perplexity(task: Any, model: Any, sample: Any) -> None:
    reason = "its batches have no target"
    dictionary = getattr(task, "target_dictionary", None)
    if dictionary is not None and isinstance(sample, Mapping) and "net_input" in sample:
        try:
            with torch.no_grad():
                nats_of(model.eval(), sample, *not_scored(task))
            return
        except Exception as error:  # models and tasks may raise anything
            reason = f"{type(error).__name__}: {error}"
    raise ConfigError(
        f"--score {LOG_PPL} cannot be computed for {type(task).__name__} ({reason}): give --score {LOSS}, the loss of "
        "the task's own criterion, or a command of your own"
    )


def _try_loss(task: Any, cfg: Any, model: Any, sample: Any) -> None:
    try:
        criterion = task.build_criterion(cfg.criterion).eval()
        log = task.valid_step(sample, model.eval(), criterion)[2]
        reduced_loss(task, criterion, [log])
    except LotteryError:
        raise
    except Exception as error:  # criterions and tasks may raise anything
        raise ConfigError(
            f"--score {LOSS} cannot be computed for {type(task).__name__} with {type(cfg.criterion).__name__} "
            f"({type(error).__name__}: {error}): give a command of your own as --score"
        ) from error
