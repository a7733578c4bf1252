"""The policy that suits the observations."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from lottery_core.errors import ConfigError
from sb3_lottery.models.policies import policy_kind
from sb3_lottery.models.settings import ModelSettings


def test_the_policy_is_chosen_by_the_observations() -> None:
    spaces = gymnasium.spaces
    found = {
        "mlp": spaces.Box(-1, 1, (4,)),
        "cnn": spaces.Box(0, 255, (4, 105, 80), np.uint8),
        "multi": spaces.Dict({"a": spaces.Box(-1, 1, (4,)), "b": spaces.Discrete(3)}),
    }
    for kind, space in found.items():
        assert policy_kind(ModelSettings("ppo", "x"), space) == kind
        for asked in found:
            settings = ModelSettings("ppo", "x", policy=asked)
            if asked == kind or (asked, kind) == ("mlp", "cnn"):
                assert policy_kind(settings, space) == asked
            else:
                with pytest.raises(ConfigError, match=f"the policy {asked} needs observations that are"):
                    policy_kind(settings, space)
