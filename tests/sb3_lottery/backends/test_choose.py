"""The choice of a backend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lottery_core.errors import ConfigError
from sb3_lottery.backends import choose_backend, step_threads
from sb3_lottery.models import ModelSettings

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


@pytest.mark.parametrize(
    ("backend", "env", "n_envs", "cores", "threads"),
    [
        ("ale", "BreakoutNoFrameskip-v4", 1024, 16, 16),
        ("envpool", "BreakoutNoFrameskip-v4", 8, 16, 4),
        ("ale", "BreakoutNoFrameskip-v4", 1024, 1, 1),
        ("envpool", "LunarLander-v3", 32, 16, 1),  # sooner done than a thread is woken
        ("envpool", "LunarLander-v3", 256, 16, 4),
        ("gymnasium", "BreakoutNoFrameskip-v4", 1024, 16, 1),
    ],
)
def test_threads_by_environments_and_cores(backend: str, env: str, n_envs: int, cores: int, threads: int) -> None:
    assert step_threads(backend, env, n_envs, cores) == threads


def test_a_run_has_the_cores_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no setting of the experiment: a folder goes on with other threads."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "12")
    settings = ModelSettings("ppo", "BreakoutNoFrameskip-v4", n_envs=1024, env_backend="ale")
    assert settings.env_request.threads == 12
    more = replace(settings, env_threads=3)
    assert more.env_request.threads == 3
    assert more.as_json() == settings.as_json()
    with pytest.raises(ConfigError, match="--env-threads must be at least 1, not 0"):
        replace(settings, env_threads=0)
