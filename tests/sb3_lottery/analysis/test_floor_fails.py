"""The floor of an environment that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from sb3_lottery.cli.command import main

ENVIRONMENT = """
import os
import gymnasium
from tests.sb3_lottery.tiny import Tiny

class Breakable(Tiny):
    def reset(self, **words):
        if os.path.exists(os.environ["BROKEN"]):
            raise RuntimeError("the simulator is lost")
        return super().reset(**words)

gymnasium.register("Breakable-v0", Breakable)
"""


def test_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the dense run is done, the command itself plays for --stop-at-floor."""
    (tmp_path / "breakable.py").write_text(ENVIRONMENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")
    monkeypatch.setenv("BROKEN", str(tmp_path / "broken"))
    words = "--algo a2c --env breakable:Breakable-v0 --rounds 1 --epoch timesteps:64 --epochs 1 --rewind timesteps:16"
    words += f" --net-arch 8 --n-envs 1 --kinds winning --out {tmp_path / 'run'}"
    assert main([*words.split(), "--no-floor"]) == 0
    (tmp_path / "broken").touch()
    capsys.readouterr()
    assert main([*words.split(), "--stop-at-floor", "2"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    (line,) = errors
    assert "cannot measure the floor of 'breakable:Breakable-v0'" in line
    assert line.endswith("the simulator is lost")
