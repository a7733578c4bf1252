"""The scores of models on the straight line between two copies of a stability probe."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.scoring.scores import load, log_perplexity_of, task_loss_of
from fairseq_lottery.names import LAST, LOG_PPL
from lottery_core.checkpoints import read_weights
from lottery_core.experiments import Experiment, Line, Run, copies, line_between, set_values


def score_line_of(experiment: Experiment, run: Run) -> Line:
    """Score the models on the line between the copies of a point on the validation split.

    :param experiment: a stability probe of ``fairseq-lottery``, whose first score is the log perplexity or the loss
    :param run: the run of the line
    """
    scoring, out = experiment.scoring, experiment.out
    arguments = FairseqArguments(experiment.settings["arguments"])
    loaded = load(out / copies(run)[0].folder / LAST, scoring["gen_subset"], arguments.cpu)
    score = log_perplexity_of if scoring["score"][0] == LOG_PPL else task_loss_of

    def measure(values: Mapping[str, Tensor], share: float) -> tuple[float, float]:
        set_values(loaded.model, values)
        return score(loaded, scoring["gen_subset"])[0], math.nan

    return line_between(experiment, lambda folder: read_weights(folder / LAST), run, measure, lower_is_better=True)
