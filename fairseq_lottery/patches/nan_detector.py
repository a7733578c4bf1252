"""Keep the error that stopped a run, even if the search for its cause fails.

Mends ``fairseq/nan_detector.py:NanDetector.__exit__``. After a ``FloatingPointError``, ``Trainer.train_step`` repeats
the update ``with NanDetector(self.get_model())`` and then raises the error again. The repetition itself may fail: if a
module returns a dictionary without tensors, ``module.register_backward_hook(self.bhook_fn)`` raises a
``StopIteration``, which replaces the error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fairseq.nan_detector import NanDetector

from fairseq_lottery.patches.wrap_once import wrap_once

log = logging.getLogger("fairseq_lottery")


def install() -> None:
    """Replace ``NanDetector.__exit__``; calling it again changes nothing."""
    wrap_once(NanDetector, "__exit__", _keeping_the_first)


def _keeping_the_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def __exit__(detector: Any, kind: Any, error: Any, trace: Any) -> bool:
        original(detector, kind, error, trace)
        if not isinstance(error, Exception):
            return False
        log.warning("the search for the first NaN or infinity ended early: %s", repr(error)[:200])
        return True

    return __exit__
