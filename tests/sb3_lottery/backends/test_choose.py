"""The choice of a backend."""

from __future__ import annotations

import pytest

from sb3_lottery.backends import choose_backend

BREAKOUT = "BreakoutNoFrameskip-v4"


def test_auto_takes_the_fastest_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, lander, breakout in ((True, "envpool", "ale"), (False, "gymnasium", "ale")):
        monkeypatch.setattr("sb3_lottery.backends.envpool_vec.installed", lambda there=there: there)
        monkeypatch.setattr("sb3_lottery.backends.ale_vec.installed", lambda: True)
        assert choose_backend("LunarLander-v3") == choose_backend("Acrobot-v1") == lander
        assert choose_backend("CartPole-v0") == choose_backend("LunarLander-v3", subproc=True) == "gymnasium"
        assert choose_backend(BREAKOUT) == choose_backend("ALE/Breakout-v5") == breakout
        monkeypatch.setattr("sb3_lottery.backends.ale_vec.installed", lambda: False)
        assert choose_backend(BREAKOUT) == ("envpool" if there else "gymnasium")
