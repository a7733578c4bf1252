"""fairseq's cross-entropy criterions, with natural-log perplexity and a check that pruned weights are zero."""

from __future__ import annotations

from typing import Any

from fairseq.criterions import CRITERION_REGISTRY, register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.logging import metrics


class LotteryCriterion:
    """Mix-in, placed before a criterion that logs ``ntokens`` and the sum of its losses in nats.

    ``nll`` names the logged sum: ``loss``, or ``nll_loss`` for a criterion with label smoothing.
    """

    nll = "loss"

    def forward(self, model: Any, sample: Any, reduce: bool = True) -> Any:
        """Compute the criterion's loss, after checking the masks if the task asks for it.

        :raises PrunedWeightAlive: a pruned weight is not 0.0
        """
        check = getattr(self.task, "check_masks_if_due", None)  # type: ignore[attr-defined]
        if check is not None:
            check()
        return super().forward(model, sample, reduce=reduce)  # type: ignore[misc]

    @classmethod
    def reduce_metrics(cls, logging_outputs: Any) -> None:
        """Log the criterion's metrics and ``log_ppl``: nats per token, the score in arXiv 1906.02768, section 3.2."""
        super().reduce_metrics(logging_outputs)  # type: ignore[misc]
        nll = sum(log.get(cls.nll, 0) for log in logging_outputs)
        tokens = sum(log.get("ntokens", 0) for log in logging_outputs)
        metrics.log_scalar("log_ppl", nll / tokens if tokens else 0, tokens, round=4)


class LotteryCrossEntropy(LotteryCriterion, CrossEntropyCriterion):  # type: ignore[misc]
    """``cross_entropy`` that logs ``log_ppl`` and checks the masks."""


class LotteryLabelSmoothedCrossEntropy(LotteryCriterion, LabelSmoothedCrossEntropyCriterion):  # type: ignore[misc]
    """``label_smoothed_cross_entropy`` that logs ``log_ppl`` (without label smoothing) and checks the masks."""

    nll = "nll_loss"


def _register(name: str, criterion: type, config: type) -> None:
    if name not in CRITERION_REGISTRY:  # unlike tasks, criterions must not be registered twice
        register_criterion(name, dataclass=config)(criterion)


_register("lottery_cross_entropy", LotteryCrossEntropy, CrossEntropyCriterionConfig)
_register(
    "lottery_label_smoothed_cross_entropy", LotteryLabelSmoothedCrossEntropy, LabelSmoothedCrossEntropyCriterionConfig
)
