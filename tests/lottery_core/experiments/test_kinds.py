"""Kinds that need something of an experiment, or of what an earlier version kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lottery_core.errors import ConfigError
from tests.lottery_core.toy import experiment


@pytest.mark.parametrize("rewind", ["none", "lr"])
def test_what_is_pruned_at_the_rewind_point_needs_one(rewind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"the kind at-start is pruned at the rewind point.*'{rewind}'"):
        experiment(tmp_path, kinds=("at-start",), rewind=rewind)
    experiment(tmp_path, kinds=("shuffled",), rewind=rewind)
