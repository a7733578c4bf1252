"""Checks before a lottery task trains: refuse options, folders and ranks that do not fit together."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.checkpoint import CheckpointProgress
from fairseq_lottery.inference import MODES
from fairseq_lottery.names import LAST
from lottery_core.errors import ConfigError, MismatchError, unknown_choice
from lottery_core.experiments import AFTER_REWIND, REMAINING
from lottery_core.files import first_line
from lottery_core.pruning import IN_TRAINING, WINNING, WITHOUT_SEARCH, PruningSchedule, check_kind, survivors_of

log = logging.getLogger("fairseq_lottery")
_CONTINUES = ("--restore-file", "--continue-once")


def check_options(options: Any) -> None:
    """Check that the options of a lottery task do not contradict each other.

    :param options: a lottery task's configuration
    :raises ConfigError: they contradict each other
    """
    if options.sparse_inference not in MODES:
        raise unknown_choice(options.sparse_inference, "--sparse-inference", MODES)
    if options.ticket and options.rewind_point:
        raise ConfigError(
            "--ticket and --rewind-point exclude each other: only the dense run has a rewind point, "
            "and every ticket rewinds to it"
        )
    if options.after_rewind not in AFTER_REWIND:
        raise unknown_choice(options.after_rewind, "--after-rewind", AFTER_REWIND)
    if options.after_rewind == REMAINING and not (options.ticket and options.rewind):
        raise ConfigError(
            "--after-rewind remaining needs --ticket FILE and --rewind FILE, the rewind.safetensors of the dense run"
        )
    kind = options.ticket_kind
    without = not options.ticket and kind != WINNING
    if without and check_kind(kind) not in WITHOUT_SEARCH:
        raise ConfigError(
            f"--ticket-kind {kind} needs --ticket FILE; without it there are "
            f"{', '.join(WITHOUT_SEARCH)}, with --surviving SHARE"
        )
    if without and options.surviving is None:
        raise ConfigError(f"--ticket-kind {kind} without --ticket FILE needs --surviving SHARE, e.g. 0.1")
    if options.surviving is not None:
        survivors_of(options.surviving, 1)
        if kind not in (IN_TRAINING if options.ticket else WITHOUT_SEARCH):
            raise ConfigError("--surviving is for kinds without a ticket: the ticket says how many weights survive")
    PruningSchedule.parse(options.gradual)
    if without and options.rewind_point:
        raise ConfigError("--ticket-kind and --rewind-point exclude each other: only the dense run has a rewind point")
    for name in ("finetune_from_model", "continue_once") if options.ticket or without else ():
        if getattr(options, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} and --ticket exclude each other: the ticket has its own initial weights"
            )
    if str(options.ddp_backend) == "fully_sharded":
        raise ConfigError(
            "--ddp-backend fully_sharded cuts the weights into flat shards, which masks do not fit; "
            "use legacy_ddp or c10d"
        )


def loads_other_weights(options: Any) -> tuple[str, str] | None:
    """Return the option and the file from which fairseq would load weights that are not this run's own.

    :param options: fairseq's ``checkpoint`` section, or a lottery task's configuration
    :returns: ``None`` if the run starts with its own initial weights, or resumes from a checkpoint in ``--save-dir``
    """
    folder = Path(options.save_dir)
    names = ["restore_file"]
    if options.restore_file == LAST:  # fairseq/checkpoint_utils.py:load_checkpoint
        names = [] if (folder / LAST).exists() else ["continue_once", "finetune_from_model"]
    for name in names:
        file = getattr(options, name)
        if file and (name == "finetune_from_model" or _is_foreign(file, folder)):
            return f"--{name.replace('_', '-')}", str(file)
    return None


def _is_foreign(file: str, folder: Path) -> bool:
    # fairseq starts anew if there is no such file.
    return "://" in file or (Path(file).is_file() and Path(file).resolve().parent != folder.resolve())


def settle_layers(cfg: Any, loads_more: bool = False) -> None:
    """Let the configuration of a model say how many layers ``--encoder-layers-to-keep`` and its sibling have left.

    fairseq removes these options when it loads a larger model (``fairseq/checkpoint_utils.py:prune_state_dict``);
    otherwise it would take layers out of this model's own checkpoints. It counts the layers in a copy of the
    configuration alone (``fairseq/models/__init__.py:build_model``), so a checkpoint would say a wrong number.

    :param cfg: configuration of a model that has been built, changed in place
    :param loads_more: whether fairseq will load a larger model, so needs the options
    """
    for side in ("encoder", "decoder"):
        kept = getattr(cfg, f"{side}_layers_to_keep", None)
        if kept:
            setattr(cfg, f"{side}_layers", len(kept.split(",") if isinstance(kept, str) else kept))
            if not loads_more:
                setattr(cfg, f"{side}_layers_to_keep", None)


def require_first_update(options: Any) -> None:
    """Check that a dense run begins with its first update, before which its initial weights are written.

    With ``--restore-file`` and ``--continue-once`` fairseq goes on at the update at which the other training ended.

    :param options: fairseq's ``checkpoint`` section, or a lottery task's configuration
    :raises ConfigError: the run goes on with the updates of another training
    """
    option, file = loads_other_weights(options) or ("", "")
    if option in _CONTINUES and not (options.reset_optimizer and options.reset_dataloader):
        raise ConfigError(
            f"{option} {file} goes on with the updates of that training, so this run has no initial weights and no "
            f"rewind point: use --finetune-from-model {file}, or add --reset-optimizer --reset-dataloader"
        )


@contextmanager
def reading(split: str) -> Iterator[None]:
    """Say in one line that a split cannot be read.

    :param split: the split that is loaded inside of the context
    :raises ConfigError: it is missing, empty or damaged
    """
    from fairseq.data import indexed_dataset

    try:
        yield
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    except Exception as error:  # fairseq's reader has no class of its own for them
        trace = error.__traceback__
        if all(frame.filename != indexed_dataset.__file__ for frame in traceback.extract_tb(trace)):
            raise
        # What was opened in part cannot be closed, about which Python would print a second traceback.
        before, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            traceback.clear_frames(trace)
        finally:
            sys.unraisablehook = before
        raise ConfigError(f"cannot read the {split} split, it is empty or damaged: {first_line(error)}") from error


def is_master() -> bool:
    """Return whether this process writes files: it is the only process, or rank 0."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def require_same_on_all_ranks(digest: str, what: str) -> None:
    """Check that all ranks have the same ticket or masks; every rank must call this.

    :param digest: digest of what this rank has
    :param what: what it is, in the plural, for the message
    :raises MismatchError: the ranks differ
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    digests: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(digests, digest)
    if len(set(digests)) > 1:
        raise MismatchError(f"the ranks have different {what}: {', '.join(str(each)[:12] for each in digests)}")
    log.info("all %d ranks have the same %s, %s", len(digests), what, digest[:12])


def require_own_folder(options: Any, digest: str, task: str) -> None:
    """Check that ``--save-dir`` holds no checkpoint from another training run.

    fairseq resumes from whatever ``checkpoint_last.pt`` it finds there, which would replace the ticket's initial
    weights. With another ``--restore-file`` the folder is not checked; instead a warning says that the weights in that
    file replace the ticket's.

    :param options: a lottery task's configuration
    :param digest: digest of the ticket that is about to be trained; empty for a dense run
    :param task: class name of the task
    :raises ConfigError: the checkpoint is from a run with another ticket, or only one of the two runs has one
    :raises CheckpointError: the checkpoint cannot be read
    """
    last = Path(options.save_dir) / LAST
    if options.restore_file != LAST:
        if digest:
            log.warning("--restore-file %s: its weights replace the ticket's initial weights", options.restore_file)
        return
    if not last.exists():
        return
    trained = CheckpointProgress.of(last).tickets.get(task, "")
    if trained != digest:
        owner = (
            "another ticket" if trained and digest else "a ticket" if trained else "a training run without this ticket"
        )
        raise ConfigError(
            f"{last} belongs to {owner}, and fairseq would resume from it: give this run a --save-dir of its own"
        )


def require_one_training() -> None:
    """Check that the processes that torchrun or srun started form one training run.

    :raises ConfigError: each of them would run the whole training by itself
    """
    started = [
        (launcher, os.environ.get(count, "1"), more)
        for launcher, rank, count, more in (
            ("torchrun", "RANK", "WORLD_SIZE", ""),
            ("srun", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", " --distributed-port 29500"),
        )
        if rank in os.environ
    ]
    for launcher, count, more in started:
        if not count.isdigit() or int(count) <= 1:
            continue
        if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
            backend = "" if torch.cuda.device_count() else " --distributed-backend gloo"
            raise ConfigError(
                f"{launcher} started {count} processes, and each would run the whole training into the same "
                f"--save-dir: add --distributed-world-size {count}{backend}{more}"
            )
