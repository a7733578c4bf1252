"""The options that a lottery task adds to those of the task that it extends."""

# fairseq reads the types of the fields to make its parser, and understands only the old spelling of them.
# ruff: noqa: UP006, UP035, UP045, RUF009

from dataclasses import dataclass, field
from typing import Any, List, Optional

from fairseq.dataclass import FairseqDataclass
from omegaconf import II

from lottery_core.pruning import GRADUAL


@dataclass
class LotteryOptions(FairseqDataclass):  # type: ignore[misc]
    """Options of every lottery task. The fields with an interpolation give the task access to fairseq's own options."""

    ticket: Optional[str] = field(
        default=None, metadata={"help": "ticket to train, a file from 'lottery prune'; without it the run is dense"}
    )
    ticket_kind: str = field(
        default="winning",
        metadata={
            "help": "winning: the ticket as it is; or a control made from it: random, reinit, permuted, ...; or, "
            "without a ticket: gradual, erk, ..."
        },
    )
    ticket_seed: Optional[int] = field(
        default=None,
        metadata={
            "help": "seed of a control's shuffles and fresh values; by default made of --seed, the kind and the "
            "ticket's round, so that each run draws anew"
        },
    )
    surviving: Optional[float] = field(
        default=None,
        metadata={
            "help": "share of the scope that survives, in (0, 1], for a --ticket-kind that needs no ticket: gradual "
            "and snip prune while they train, erk, uniform and at-start before"
        },
    )
    gradual: str = field(
        default=str(GRADUAL),
        metadata={"help": "--ticket-kind gradual: 'BEGIN END STEPS', two shares of the training and a number of steps"},
    )
    rewind: Optional[str] = field(
        default=None,
        metadata={
            "help": "weights at the rewind point, for --ticket-kind shuffled and at-start, and for "
            "--after-rewind remaining"
        },
    )
    outside: str = field(
        default="rewind",
        metadata={
            "help": "where parameters outside the scope start in a control with fresh values: rewind: as in the "
            "ticket; fresh: at fresh values, too"
        },
    )
    after_rewind: str = field(
        default="full",
        metadata={
            "help": "full: a ticket trains for the whole length; remaining: it begins at the rewind point of --rewind "
            "(rewind.json beside it), in schedule, updates and data"
        },
    )
    rewind_point: Optional[str] = field(
        default=None,
        metadata={"help": "dense run: write rewind.safetensors into --save-dir at update:N, epoch:N or init"},
    )
    probe_points: Optional[str] = field(
        default=None,
        metadata={
            "help": "set by fairseq-lottery stability: points separated by spaces, at which a dense run also writes "
            "point-01/rewind.safetensors and so on"
        },
    )
    mask_watch: bool = field(
        default=False,
        metadata={
            "help": "set by fairseq-lottery: log how far the mask moves that pruning would give, and end a search run "
            "as the experiment in whose folder --save-dir lies says"
        },
    )
    scope: Optional[str] = field(
        default=None,
        metadata={
            "help": "'all', 'layers', 'trainable' or regular expressions, separated by spaces; checked against "
            "the model"
        },
    )
    sparse_inference: str = field(
        default="off",
        metadata={
            "help": "generate, interactive, eval-lm: off: dense layers; auto: sparse layers where they are measured to "
            "be faster on this machine; csr: sparse layers wherever a weight is zero"
        },
    )
    seed: int = II("common.seed")
    save_dir: str = II("checkpoint.save_dir")
    ddp_backend: Any = II("distributed_training.ddp_backend")
    max_update: int = II("optimization.max_update")
    max_epoch: int = II("optimization.max_epoch")
    update_freq: List[int] = II("optimization.update_freq")
    skip_remainder_batch: Optional[bool] = II("optimization.skip_remainder_batch")
    train_subset: str = II("dataset.train_subset")
    gen_subset: str = II("dataset.gen_subset")
    batch_size: Optional[int] = II("dataset.batch_size")
    max_tokens: Optional[int] = II("dataset.max_tokens")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    continue_once: Optional[str] = II("checkpoint.continue_once")
    reset_optimizer: bool = II("checkpoint.reset_optimizer")
    reset_dataloader: bool = II("checkpoint.reset_dataloader")
