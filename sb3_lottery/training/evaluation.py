"""Evaluate a trained agent in fresh episodes, in addition to the score of its training episodes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization, unwrap_vec_normalize

from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import Score
from lottery_core.pruning import derive_seed
from sb3_lottery.models import needs_action_masks
from sb3_lottery.training.episodes import check_returns, standard_error

FreshEnv = Callable[[int], VecEnv]
Watch = Callable[[Mapping[str, Any], object], None]  # the callback of evaluate_policy
TRAINING, EVALUATION = "training", "evaluation"  # which returns are the score of a run
SCORES = (TRAINING, EVALUATION)
_LONGEST = 1_000_000  # steps of an episode: with the best actions of a network that has collapsed it may never end


def refuse_endless(evaluation: Mapping[str, Any], _: object = None) -> None:
    """Refuse an episode without end, as the callback of SB3's ``evaluate_policy``.

    :param evaluation: the local variables of ``evaluate_policy``
    :raises RunError: an episode has taken more than 1,000,000 steps
    """
    if evaluation["current_lengths"][evaluation["i"]] > _LONGEST:
        raise RunError(
            f"an episode of the evaluation has not ended after {_LONGEST:,} steps: put gymnasium's TimeLimit around "
            "the environment, or sample the actions"
        )


@dataclass(frozen=True)
class Evaluation:
    """The way in which a trained agent is evaluated.

    :param episodes: number of fresh episodes, at least 1
    :param deterministic: whether to take the best action instead of sampling
    :param is_score: whether its mean return is the score of the run, with that of the training episodes as a further
        score if any has ended; otherwise it stands beside the score
    :raises ConfigError: ``episodes`` is below 1
    """

    episodes: int
    deterministic: bool = False
    is_score: bool = False

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"an evaluation needs at least 1 episode, not {self.episodes}")

    def as_json(self) -> dict[str, Any]:
        """Return JSON values for the settings of an experiment; earlier folders lack ``is_score``."""
        values = asdict(self)
        return values if self.is_score else {name: value for name, value in values.items() if name != "is_score"}

    def __call__(self, model: BaseAlgorithm, score: Score, fresh_env: FreshEnv, seed: int) -> Score:
        """Add the mean return of fresh episodes to a score, by SB3's ``evaluate_policy`` (returns of ``Monitor``).

        :param model: trained model
        :param score: score of the run
        :param fresh_env: makes environments from a seed; they are closed here
        :param seed: seed of the run
        :raises RunError: an episode does not end, or its return is not finite
        """
        returns = self.play(model, fresh_env, seed)
        error = standard_error(returns)
        mean = float(statistics.fmean(returns))
        if self.is_score:
            more = {**score.more, **({TRAINING: score.score} if score.returns else {})}
            return replace(score, score=mean, score_se=error, returns=len(returns), more=more)
        known = None if math.isnan(error) else error
        return replace(score, eval_score=mean, eval_se=known, eval_episodes=len(returns))

    def play(self, model: BaseAlgorithm, fresh_env: FreshEnv, seed: int, watch: Watch = refuse_endless) -> list[float]:
        """Return the returns of fresh episodes.

        :param model: trained model
        :param fresh_env: makes environments from a seed; they are closed here
        :param seed: seed of the run
        :param watch: called at every step, may raise an exception
        :raises RunError: an episode does not end, or its return is not finite
        """
        env = fresh_env(derive_seed("evaluate", seed))
        try:
            if model.env is not None:
                env = model._wrap_env(env, verbose=0)  # e.g. transposed images, as in training
                sync_envs_normalization(model.env, env)
            normalizer = unwrap_vec_normalize(env)
            if normalizer is not None:
                normalizer.training = False  # keep the statistics of training
                normalizer.norm_reward = False  # without Monitor, returns are sums of these rewards
            returns, _ = _evaluate(model)(
                model,
                env,
                self.episodes,
                self.deterministic,
                callback=watch,
                return_episode_rewards=True,
                warn=False,
            )
        finally:
            env.close()
        check_returns(returns)
        return [float(value) for value in returns]


def _evaluate(model: BaseAlgorithm) -> Any:
    if not needs_action_masks(model):
        return evaluate_policy
    from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_with_action_masks

    return evaluate_with_action_masks
