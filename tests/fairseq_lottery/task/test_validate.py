"""``fairseq-validate`` of what a ticket has become."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, commands, train


def test_the_shares_are_those_of_the_ticket(translation_data: Path, dense: Path, ticket: Path, tmp_path: Path) -> None:
    """Of a ticket and of a control; none where its file has gone or belongs to another checkpoint."""
    base = [*TRANSLATION, *TRANSFORMER, *ADAM, "--max-update", 2, "--ticket"]
    given = tmp_path / "given.safetensors"
    shutil.copy(ticket, given)
    control = ["--ticket-kind", "random"]
    runs = {"ticket": [*base, ticket], "control": [*base, ticket, *control], "gone": [*base, given]}
    for name, words in runs.items():
        train(translation_data, tmp_path / name, *words)
    given.unlink()
    (tmp_path / "other").mkdir()
    state = helpers.load(tmp_path / "ticket" / "checkpoint_last.pt")
    state["model"]["encoder.layers.0.fc1.weight"].fill_(1)
    helpers.save(state, tmp_path / "other" / "checkpoint_last.pt")
    folders = {**{name: tmp_path / name for name in (*runs, "other")}, "dense": dense}
    ours = ["--user-dir", helpers.USER_DIR, "--task", "lottery_translation", "--cpu", "--log-format", "json"]
    lines: list[tuple[str, list[Any]]] = [
        (
            "validate",
            [translation_data, *ours, "--path", folder / "checkpoint_last.pt", "--max-tokens", 200],
        )
        for folder in folders.values()
    ]
    shares = {"ticket": '"0.5"', "control": '"0.5"', "dense": '"0"', "gone": None, "other": None}
    for name, (status, text) in zip(folders, commands(lines), strict=True):
        assert status == 0, text[-3000:]
        [line] = [line for line in text.splitlines() if "valid_loss" in line or '"valid_nll_loss"' in line] or [text]
        known = shares[name]
        assert ("pruned" in line) == (known is not None), (name, line)
        assert known is None or f'pruned": {known}' in line, (name, line)
        assert ("is not here: pruned and surviving are not known" in text) == (known is None)
