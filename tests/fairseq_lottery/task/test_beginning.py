"""``--after-rewind remaining``: a ticket goes on where the dense run was, in updates, schedule, data and noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_lottery.task import Beginning
from lottery_core import Masks, Ticket
from lottery_core.errors import ConfigError
from lottery_core.tickets import Origin, Weights
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, load, refusal, split

# Without momentum, so that the weights and the count of updates are all that decides the rest.
SGD = split("--optimizer sgd --lr 0.3 --lr-scheduler inverse_sqrt --warmup-updates 4 --max-tokens 300")
WORDS = [*TRANSLATION, *TRANSFORMER, *SGD]
REMAINING = ["--after-rewind", "remaining", "--rewind"]


@pytest.fixture(scope="module")
def folder(translation_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dense runs of the same bits, and tickets that prune nothing at their rewind points."""
    out = tmp_path_factory.mktemp("beginning")
    ours = [translation_data, "--user-dir", helpers.USER_DIR, *helpers.COMMON, *WORDS, "--save-dir"]
    points = {"middle": "update:2", "epoch": "epoch:1", "late": "update:6"}
    helpers.side_by_side([[*ours, out / name, "--rewind-point", at] for name, at in points.items()], [{}, {}, {}])
    for name in points:
        rewind = Weights.load(out / name / "rewind.safetensors")
        masks = Masks.ones({tensor: rewind.tensors[tensor] for tensor in rewind.pool("all")})
        Ticket.of(masks, rewind.tensors, Origin(kind="winning", round=1, scope=("all",))).save(out / f"{name}.ticket")
    return out


def counts(folder: Path) -> Any:
    return json.loads((folder / "rewind.json").read_text())


def test_a_ticket_that_prunes_nothing_repeats_the_dense_run(folder: Path, translation_data: Path) -> None:
    """To the last bit: from the middle of an epoch, also when it is interrupted, from the end of one, from the next."""
    length = load(folder / "epoch" / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]
    assert counts(folder / "middle")["updates"] == 2
    assert counts(folder / "middle")["train_iterator"]["iterations_in_epoch"] == 2
    assert counts(folder / "epoch")["updates"] == length // 2
    assert counts(folder / "epoch")["train_iterator"]["epoch"] == 2
    late = counts(folder / "late")["train_iterator"]
    assert (late["epoch"], late["iterations_in_epoch"]) == (2, 6 - length // 2)
    assert length // 2 < 6
    ours = [translation_data, "--user-dir", helpers.USER_DIR, *helpers.COMMON, *WORDS]
    runs = []
    for name in ("middle", "epoch", "late"):
        start = [*REMAINING, folder / name / "rewind.safetensors", "--ticket", folder / f"{name}.ticket"]
        runs.append([*ours, "--save-dir", folder / f"{name}-run", *start])
    # The first is interrupted within an epoch.
    texts = helpers.side_by_side([[*runs[0], "--max-update", 3], *runs[1:]], [{}, {}, {}])
    assert "begins at the rewind point: 2 updates, epoch 1, 2 batches of it" in texts[0]
    assert f"begins at the rewind point: {length // 2} updates, epoch 2, 0 batches of it" in texts[1]
    [text] = helpers.side_by_side([runs[0]], [{}])
    assert "(epoch 1 @ 3 updates)" in text
    assert "begins at the rewind point" not in text
    for name in ("middle", "epoch", "late"):
        dense, run = (load(folder / where / "checkpoint_last.pt") for where in (name, f"{name}-run"))
        assert run["optimizer_history"][-1]["num_updates"] == length
        assert helpers.same(dense["model"], run["model"]), name
    other = load(folder / "middle" / "checkpoint_last.pt")
    assert helpers.same(other["model"], load(folder / "epoch" / "checkpoint_last.pt")["model"])


def test_refusals(folder: Path, translation_data: Path, tmp_path: Path) -> None:
    ticket, rewind = ["--ticket", folder / "epoch.ticket"], folder / "epoch" / "rewind.safetensors"
    (tmp_path / "rewind.safetensors").write_bytes(rewind.read_bytes())
    plateau = ["--lr-scheduler", "reduce_lr_on_plateau"]
    cases: dict[str, tuple[list[Any], str]] = {
        "no file": ([*ticket, *REMAINING, tmp_path / "rewind.safetensors"], "rewind.json is missing"),
        "no rewind": ([*ticket, *REMAINING[:2]], "--after-rewind remaining needs --ticket FILE and --rewind FILE"),
        "word": ([*ticket, "--after-rewind", "rest"], "unknown --after-rewind 'rest'"),
        "end": ([*ticket, *REMAINING, rewind, "--max-epoch", 1], "nothing remains to be trained after the rewind poi"),
        "plateau": ([*ticket, *REMAINING, rewind, *plateau], "--lr-scheduler reduce_lr_on_plateau follows earlier"),
    }
    ours = [translation_data, "--user-dir", helpers.USER_DIR, *helpers.COMMON, *WORDS, *ADAM]
    lines = [[*ours, "--save-dir", tmp_path / name, *words] for name, (words, _) in cases.items()]
    texts = helpers.side_by_side(lines, [{} for _ in lines], 2)
    for (_, expected), text in zip(cases.values(), texts, strict=True):
        assert expected in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", '{"updates": 3}', '{"updates": 3, "train_iterator": {}}', '{"updates": "3", "train_iterator": 1}'),
        *('{"updates": -1, "train_iterator": {"epoch": 1}}', '{"updates": 3, "train_iterator": {"epoch": [1]}}'),
    ],
)
def test_a_damaged_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "rewind.json").write_text(text)
    with pytest.raises(ConfigError, match=r"^cannot read .*rewind\.json: ") as refused:
        Beginning.beside(tmp_path / "rewind.safetensors")
    assert "\n" not in str(refused.value)


def test_a_dense_run_with_a_rewind_point_begins_with_its_first_update(tmp_path: Path) -> None:
    """fairseq goes on with the updates of a restored training; its own checkpoints are resumed."""
    other, folder = tmp_path / "base.pt", tmp_path / "run"
    other.write_bytes(b"")
    (folder).mkdir()
    reset = {"reset_optimizer": True, "reset_dataloader": True}

    def build(**given: object) -> None:
        helpers.bare_task(folder, lambda: torch.nn.Linear(2, 2), rewind_point="init", **given).build_model(None)

    for name in ("restore_file", "continue_once"):
        words = (
            f"--{name.replace('_', '-')} {other} goes on with the updates of that training, .* --finetune-from-model"
        )
        with pytest.raises(ConfigError, match=words):
            build(**{name: str(other)})
        with pytest.raises(ConfigError, match=words):
            build(**{name: str(other)}, reset_optimizer=True)
        build(**{name: str(other)}, **reset)
        build(**{name: str(tmp_path / "none.pt")})  # fairseq starts anew
    build(finetune_from_model=str(other))
    (folder / "checkpoint1.pt").write_bytes(b"")
    build(restore_file=str(folder / "checkpoint1.pt"))
