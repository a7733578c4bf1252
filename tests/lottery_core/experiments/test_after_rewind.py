"""``after_rewind``: kept in the experiment, and left out at its default, as folders of version 0.1 have it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lottery_core.errors import ConfigError
from lottery_core.experiments.configuration import Experiment
from tests.lottery_core.toy import experiment


def test_the_default_is_left_out(tmp_path: Path) -> None:
    experiment(tmp_path).write()
    assert "after_rewind" not in json.loads((tmp_path / "experiment.json").read_text())
    assert experiment(tmp_path).digest() != experiment(tmp_path, after_rewind="remaining").digest()


def test_another_word_in_the_same_folder_is_refused_with_the_difference(tmp_path: Path) -> None:
    for before, now in (("full", "remaining"), ("remaining", "full")):
        out = tmp_path / before
        experiment(out, after_rewind=before).write()
        assert Experiment.load(out).after_rewind == before
        with pytest.raises(ConfigError, match=f"after_rewind: {before} -> {now}"):
            experiment(out, after_rewind=now).write()


def test_bad_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown length after the rewind point 'rest'"):
        experiment(tmp_path, after_rewind="rest")
    for rewind in ("lr", "none"):
        with pytest.raises(ConfigError, match=f"remaining needs a rewind point, and '{rewind}' sets none"):
            experiment(tmp_path, after_rewind="remaining", rewind=rewind)
