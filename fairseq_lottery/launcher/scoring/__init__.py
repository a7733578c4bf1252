"""How trained runs are scored (log perplexity, loss, BLEU and similar, or a command), and checks before training."""

from fairseq_lottery.launcher.scoring.checks import check_checkpoints, check_scoring
from fairseq_lottery.launcher.scoring.floor import has_floor, measure_floor
from fairseq_lottery.launcher.scoring.line import score_line_of
from fairseq_lottery.launcher.scoring.scores import score_run
from fairseq_lottery.launcher.scoring.settings import (
    SCORING_OPTIONS,
    add_scoring_options,
    default_score,
    scoring_of,
    with_scoring,
    with_tokenizer,
)
from fairseq_lottery.launcher.scoring.trial import try_scoring

__all__ = [
    "SCORING_OPTIONS",
    "add_scoring_options",
    "check_checkpoints",
    "check_scoring",
    "default_score",
    "has_floor",
    "measure_floor",
    "score_line_of",
    "score_run",
    "scoring_of",
    "try_scoring",
    "with_scoring",
    "with_tokenizer",
]
