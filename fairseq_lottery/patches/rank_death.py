"""End a rank together with the torchrun that started it.

Mends ``torch/distributed/elastic/multiprocessing/subprocess_handler/subprocess_handler.py:SubprocessHandler._popen``:
``kwargs["start_new_session"] = True`` puts every rank into a session of its own, so its ranks go on training when
torchrun is killed.
"""

from __future__ import annotations

import multiprocessing
import os

from lottery_core.experiments.executors import die_with


def install() -> None:
    """Ask the kernel to end this rank together with torchrun; does nothing in any other process."""
    end_with_parent = die_with(os.getppid())
    is_rank = "TORCHELASTIC_RUN_ID" in os.environ and multiprocessing.parent_process() is None
    if end_with_parent is not None and is_rank:
        end_with_parent()
