"""What a lottery task refuses before it trains: options, folders and ranks that do not go together."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.checkpoint import CheckpointProgress
from fairseq_lottery.inference import MODES
from fairseq_lottery.names import LAST
from lottery_core.errors import ConfigError, MismatchError, unknown_choice
from lottery_core.pruning import WINNING
from lottery_core.tickets import Ticket

log = logging.getLogger("fairseq_lottery")


def check_options(options: Any) -> None:
    """:raises ConfigError: options that contradict each other"""
    if options.sparse_inference not in MODES:
        raise unknown_choice(options.sparse_inference, "--sparse-inference", MODES)
    if options.ticket and options.rewind_point:
        raise ConfigError(
            "--ticket and --rewind-point exclude each other: the rewind point is of the dense run, "
            "and every ticket goes back to that one"
        )
    if not options.ticket and options.ticket_kind != WINNING:
        raise ConfigError(f"--ticket-kind {options.ticket_kind} needs --ticket FILE")
    for name in ("finetune_from_model", "continue_once") if options.ticket else ():
        if getattr(options, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} and --ticket exclude each other: the ticket has its own start"
            )
    if str(options.ddp_backend) == "fully_sharded":
        raise ConfigError(
            "--ddp-backend fully_sharded cuts weights into flat pieces that masks do not fit; use legacy_ddp or c10d"
        )


def is_master() -> bool:
    """Whether this process writes files: the only one, or rank 0."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def require_same_on_all_ranks(ticket: Ticket) -> None:
    """:raises MismatchError: the ranks train different tickets"""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    digests: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(digests, ticket.digest)
    if len(set(digests)) > 1:
        raise MismatchError(f"the ranks have different tickets: {', '.join(str(digest)[:12] for digest in digests)}")
    log.info("all %d ranks have the ticket %s", len(digests), ticket.digest[:12])


def require_own_folder(options: Any, digest: str, task: str) -> None:
    """fairseq goes on from whatever ``checkpoint_last.pt`` lies in ``--save-dir``, over the ticket's start values.

    :param options: of a lottery task
    :param digest: of the ticket that is to be trained; empty for a dense run
    :param task: the task's class
    :raises ConfigError: the checkpoint there is of another ticket, or of none
    :raises CheckpointError: it cannot be read
    """
    last = Path(options.save_dir) / LAST
    if options.restore_file != LAST:
        if digest:
            log.warning(
                "--restore-file %s: its values take the place of those the ticket starts from", options.restore_file
            )
        return
    if not last.exists():
        return
    held = CheckpointProgress.of(last).tickets.get(task, "")
    if held != digest:
        whose = "another ticket" if held and digest else "a ticket" if held else "a training without this ticket"
        raise ConfigError(
            f"{last} is of {whose}, and fairseq would go on with it: give this run a --save-dir of its own"
        )


def require_one_training() -> None:
    """:raises ConfigError: torchrun started several processes, and each would train all for itself"""
    count = os.environ.get("WORLD_SIZE", "1")
    if "RANK" not in os.environ or not count.isdigit() or int(count) <= 1:
        return
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        more = "" if torch.cuda.device_count() else " --distributed-backend gloo"
        raise ConfigError(
            f"torchrun started {count} processes, and each would train all for itself into the same --save-dir: "
            f"add --distributed-world-size {count}{more}"
        )
