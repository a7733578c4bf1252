"""The floor of a game, from the settings of an experiment."""

from __future__ import annotations

from functools import partial

from lottery_core.experiments import Score
from sb3_lottery.find import floor_of
from sb3_lottery.models import ModelSettings, make_env, make_model, with_few_environments


def floor(settings: ModelSettings, seed: int, episodes: int = 100) -> tuple[Score, str, dict[str, float]]:
    """Measure the floor of an experiment from its settings, in at most 16 environments at a time.

    See :func:`sb3_lottery.find.floor_of`.

    :param settings: settings of the agent and its environments
    :param seed: seed of the environments, the actions and the network
    :param episodes: number of episodes for each policy
    """
    few = with_few_environments(settings)
    return floor_of(partial(make_model, few), partial(make_env, few), seed, episodes)
