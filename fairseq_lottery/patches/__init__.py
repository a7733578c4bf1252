"""Patches of fairseq and torch, one module each; every module's docstring names the upstream line that it mends.

Importing this room patches nothing; :func:`install` does. fairseq is imported only inside :func:`install`, after the
exception hook is in force, so that a missing or broken fairseq is reported in one line.
"""

from fairseq_lottery.patches.excepthook import ended_badly, is_fairseq_command
from fairseq_lottery.patches.fp16_on_cpu import require_flat_masters

__all__ = ["ended_badly", "install", "is_fairseq_command", "require_flat_masters"]


def install() -> None:
    """Install every patch; calling it again changes nothing.

    :raises FairseqError: fairseq is missing or broken
    """
    from fairseq_lottery.patches import excepthook, preflight

    excepthook.install()
    preflight.require_fairseq()  # before anything else imports fairseq

    from fairseq_lottery.patches import bf16, call_main, cpu_ddp, load_checkpoint, rank_death, safe_globals
    from fairseq_lottery.patches import save_checkpoint as saving

    for patch in (safe_globals, load_checkpoint, saving, bf16, call_main, cpu_ddp, rank_death):
        patch.install()
    from fairseq_lottery.patches import begin_late, fasta_index, fp16_on_cpu, nan_detector, numpy_long

    for patch in (begin_late, fasta_index, fp16_on_cpu, nan_detector, numpy_long):
        patch.install()
