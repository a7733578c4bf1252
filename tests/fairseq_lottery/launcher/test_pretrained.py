"""``fairseq-lottery`` around ``--finetune-from-model``: round 0, the rewind point, and where each kind starts."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from fairseq_lottery.launcher.command import main
from fairseq_lottery.launcher.pretrained import require_same_files
from lottery_core import Ticket, Weights, read_weights
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Run, paths
from lottery_core.experiments import dense as dense_run
from lottery_core.experiments.results import read_rows
from lottery_core.pruning import DENSE, FLOOR
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import TRANSFORMER, load, split
from tests.fairseq_lottery.launcher.test_command import LSTM, chain
from tests.fairseq_lottery.launcher.test_faults import LAST

SETTINGS = split("--task translation --max-tokens 200 --max-epoch 1 --optimizer adam --lr 0.003 --cpu")


def starts_at(found: Ticket, weights: Weights) -> bool:
    return all(torch.equal(found.weights[name], found.masks.apply(weights.tensors)[name]) for name in found.masks)


def test_a_chain_from_a_trained_checkpoint(translation_data: Path, dense: Path, tmp_path: Path) -> None:
    own = ["--out", tmp_path, "--rounds", 1, "--kinds", "winning", "random", "shuffled", "--rewind", "init"]
    own += ["--score", "loss"]
    more = ["--finetune-from-model", dense / LAST]
    helpers.run(chain(*own, "--", translation_data, *TRANSFORMER, *SETTINGS, *more), timeout=900)
    folder = tmp_path / dense_run(1).folder
    pretrained = read_weights(dense / LAST)
    start, rewind = (Weights.load(folder / name) for name in (paths.INIT, paths.REWIND))
    for weights in (start, rewind):
        own_names = pretrained.like(weights).tensors
        assert all(torch.equal(weights.tensors[name], own_names[name]) for name in weights.names())
    tickets = {
        kind: Ticket.load(tmp_path / Run(1, kind, 1).folder / paths.TICKET)
        for kind in ("winning", "random", "shuffled")
    }
    assert starts_at(tickets["winning"], start)
    assert starts_at(tickets["shuffled"], start)
    assert not starts_at(tickets["random"], start), "random tickets are drawn anew, not from the trained checkpoint"
    assert tickets["random"].masks.survivors() == tickets["winning"].masks.survivors()
    assert "--finetune-from-model" in (folder / paths.LOG).read_text()
    # The floor is what has learned nothing: an untrained network spreads its guesses over all symbols.
    floor = next(row.score for row in read_rows(tmp_path) if row.kind == FLOOR)
    dictionary = (translation_data / "dict.de.txt").read_text().splitlines()
    assert floor > 0.9 * math.log2(len(dictionary) + 4)
    for row in read_rows(tmp_path):
        if row.kind not in (DENSE, FLOOR):
            log = (tmp_path / row.run.folder / paths.LOG).read_text()
            assert "--finetune-from-model" not in log, "a ticket has its own start"
            helpers.assert_dead(
                load(tmp_path / row.run.folder / LAST)["model"], tmp_path / row.run.folder / paths.TICKET
            )


def test_another_checkpoint_in_the_same_place_is_another_experiment(
    lm_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Also with a folder of an earlier version, whose configuration has no digest."""
    own = ["--rounds", 0, "--no-floor", "--quiet", "--rewind", "init"]
    file, out = tmp_path / "base.pt", tmp_path / "x"
    after = ["--", lm_data, *LSTM, "--finetune-from-model", file]

    def dry(*seeds: int) -> int:
        return main([str(word) for word in ("--out", out, *own, "--seeds", *seeds, "--dry-run", *after)])

    assert dry(1) == 2
    assert f"--finetune-from-model: cannot read {file}: No such file or directory" in capsys.readouterr().err
    helpers.run(chain("--out", tmp_path / "p", *own, "--", lm_data, *LSTM), timeout=900)
    shutil.copy(tmp_path / "p" / dense_run(1).folder / LAST, file)
    helpers.run(chain("--out", out, *own, *after), timeout=900)
    for option in ("--continue-once", "--restore-file"):  # they go on with the updates of that training
        words = [*map(str, ["--out", tmp_path / "y", *own, "--dry-run", "--", lm_data, *LSTM, option, file])]
        assert main(words) == 2
        assert f"{option} {file} goes on with the updates of that training" in capsys.readouterr().err
        assert main([*words, "--reset-optimizer", "--reset-dataloader"]) == 0
    before = file.read_bytes()
    file.unlink()
    assert dry(1) == 0, "the dense run is done"
    file.write_bytes(before + b"x")
    assert dry(1, 2) == 2
    assert "another configuration (settings.initial_weights.--finetune-from-model: " in capsys.readouterr().err
    with pytest.raises(ConfigError, match="has changed since the experiment began"):
        require_same_files(Experiment.load(out))
    row = json.loads((out / paths.EXPERIMENT).read_text())
    del row["settings"]["initial_weights"]
    (out / paths.EXPERIMENT).write_text(json.dumps(row))
    assert dry(1, 2) == 0
