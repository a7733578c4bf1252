"""Load models as fairseq does, without the guard that looks at options: ``-m tests.fairseq_lottery.unguarded PATH``."""

from __future__ import annotations

import sys

from fairseq import checkpoint_utils

import fairseq_lottery  # noqa: F401
from fairseq_lottery.patches import load_checkpoint

if __name__ == "__main__":
    load_checkpoint.require_plain_state = lambda *_: None
    checkpoint_utils.load_model_ensemble(sys.argv[1:])
