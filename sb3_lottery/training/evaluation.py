"""Fresh episodes of a trained agent, beside the paper's score of its training episodes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization, unwrap_vec_normalize

from lottery_core.errors import ConfigError
from lottery_core.experiments import Score
from lottery_core.pruning import derive_seed
from sb3_lottery.models import asks_for_masks

FreshEnv = Callable[[int], VecEnv]


@dataclass(frozen=True)
class Evaluation:
    """How a trained agent is evaluated.

    :param episodes: fresh ones, at least 1
    :param deterministic: the best action instead of a sampled one
    :raises ConfigError: no episode
    """

    episodes: int
    deterministic: bool = False

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"an evaluation needs at least 1 episode, not {self.episodes}")

    def as_json(self) -> dict[str, Any]:
        """As plain values, for the settings of an experiment."""
        return asdict(self)

    def __call__(self, model: BaseAlgorithm, score: Score, fresh_env: FreshEnv, seed: int) -> Score:
        """``score`` with the mean return of fresh episodes in it (SB3's ``evaluate_policy``; true rewards by Monitor).

        :param model: trained
        :param fresh_env: makes environments from a seed; closed here
        :param seed: of the run
        """
        env = fresh_env(derive_seed("evaluate", seed))
        try:
            if model.env is not None:
                env = model._wrap_env(env, verbose=0)  # images as the model was given them
                sync_envs_normalization(model.env, env)
            normalizer = unwrap_vec_normalize(env)
            if normalizer is not None:
                normalizer.training = False  # its statistics are those of the training
            returns, _ = _evaluate(model)(
                model, env, self.episodes, self.deterministic, return_episode_rewards=True, warn=False
            )
        finally:
            env.close()
        assert isinstance(returns, list)
        error = statistics.stdev(returns) / math.sqrt(len(returns)) if len(returns) > 1 else None
        return replace(score, eval_score=float(statistics.fmean(returns)), eval_se=error, eval_episodes=len(returns))


def _evaluate(model: BaseAlgorithm) -> Any:
    if not asks_for_masks(model):
        return evaluate_policy
    from sb3_contrib.common.maskable.evaluation import evaluate_policy as with_masks

    return with_masks


def evaluation_of(settings: Any) -> Evaluation | None:
    """The evaluation in the settings of an experiment; ``None`` where there is none."""
    found = settings.get("evaluation")
    return None if found is None else Evaluation(**found)
