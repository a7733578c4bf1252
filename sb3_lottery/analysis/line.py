"""The scores of agents on the straight line between two copies of a stability probe."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.utils import set_random_seed
from torch import Tensor

from lottery_core.experiments import Experiment, Line, Run, Score, copies, line_between, set_values
from lottery_core.pruning import derive_seed
from sb3_lottery.models import bare_policy, make_env, make_model, with_few_environments
from sb3_lottery.pickled import require_own
from sb3_lottery.training import NORMALIZE, Evaluation, RunSettings, Sb3

EPISODES = 100  # of each agent, unless the user chose another number


def score_line_of(experiment: Experiment, run: Run) -> Line:
    """Evaluate the agents on the line between the copies of a point, each in the same fresh episodes.

    Environments and actions have the same seeds for every agent, so that equal agents have equal scores. Statistics of
    ``VecNormalize`` are interpolated like the weights.

    :param experiment: a stability probe of ``sb3-lottery``
    :param run: the run of the line
    :raises ConfigError: the copies have pickled statistics that this user's own commands did not write
    """
    settings = RunSettings.of(experiment)
    evaluation = replace(settings.evaluation or Evaluation(EPISODES), is_score=False)
    few = replace(with_few_environments(settings.model), device="cpu")
    model = make_model(few, run.seed)
    exploration = getattr(model, "exploration_schedule", None)
    if exploration is not None:  # as at the end of training, where the copies were scored
        model.exploration_rate = exploration(0.0)  # type: ignore[attr-defined]
    normalizers = _normalizers(experiment.out, run) if few.normalize is not None else []

    def measure(values: Mapping[str, Tensor], share: float) -> tuple[float, float]:
        set_values(bare_policy(model), values)
        own = model.get_vec_normalize_env()
        if own is not None and own.norm_obs and normalizers:
            first, second = normalizers
            own.obs_rms = _between(first.obs_rms, second.obs_rms, share)
        set_random_seed(derive_seed("line", run.seed))
        if model.use_sde:  # the noise is drawn anew from the log_std of this network
            model.policy.reset_noise()  # type: ignore[operator]
        found = evaluation(model, Score(0.0), lambda seed: make_env(few, seed), run.seed)
        assert found.eval_score is not None
        return found.eval_score, math.nan if found.eval_se is None else found.eval_se

    try:
        line = line_between(experiment, Sb3().weights, run, measure, lower_is_better=False)
        of_inputs = bool(normalizers) and normalizers[0].norm_obs  # without, it has no statistics of observations
        return replace(line, running=(*line.running, *(["VecNormalize"] if of_inputs else [])))
    finally:
        if model.env is not None:
            model.env.close()


def _normalizers(out: Path, run: Run) -> list[Any]:
    files = [out / copy.folder / NORMALIZE for copy in copies(run)]
    require_own(out, files, [f"{NORMALIZE} is a pickle"])
    return [pickle.loads(path.read_bytes()) for path in files]


def _between(first: Any, second: Any, share: float) -> Any:
    # Running means and variances, of each part of the observation if it has parts.
    if isinstance(first, dict):
        return {name: _between(part, second[name], share) for name, part in first.items()}
    result = first.copy()
    if share == 1:
        result.mean, result.var, result.count = second.mean, second.var, second.count
        return result
    result.mean = first.mean + share * (second.mean - first.mean)
    result.var = first.var + share * (second.var - first.var)
    return result
