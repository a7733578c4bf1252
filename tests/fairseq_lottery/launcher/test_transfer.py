"""``fairseq-lottery --tickets-from``: masks of another text and another vocabulary."""

from __future__ import annotations

from pathlib import Path

import torch

from lottery_core import Ticket, Weights
from lottery_core.experiments import Run, paths
from lottery_core.experiments.results import read_rows
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import load
from tests.fairseq_lottery.launcher.test_command import LSTM, chain
from tests.fairseq_lottery.launcher.test_faults import LAST

ROUND = Run(1, "transfer", 1)


def test_to_another_text_with_another_vocabulary(lm_data: Path, tmp_path: Path) -> None:
    there, out, data = tmp_path / "a", tmp_path / "b", tmp_path / "other"
    own = ["--rounds", 1, "--rewind", "update:2", "--no-floor"]
    helpers.run(chain("--out", there, "--kinds", "winning", *own, "--", lm_data, *LSTM), timeout=900)
    data.mkdir()
    for name in ("train", "valid", "test"):  # fewer words than in the first text
        (data / f"{name}.de").write_text("eins zwei drei vier zwei\nvier drei eins eins\n" * 20)
    prefixes = [word for name in ("train", "valid", "test") for word in (f"--{name}pref", data / f"{name}.de")]
    helpers.run(helpers.command("fairseq-preprocess", "--only-source", "--destdir", data / "bin", *prefixes))
    done = helpers.run(
        chain("--out", out, "--kinds", "transfer", "--tickets-from", there, *own, "--", data / "bin", *LSTM),
        timeout=900,
    )
    source = Ticket.load(there / Run(1, "winning", 1).folder / paths.TICKET)
    ticket = Ticket.load(out / ROUND.folder / paths.TICKET)
    alone = set(ticket.masks) - set(ticket.origin.carried)
    assert {name.split(".")[1] for name in alone} == {"embed_tokens", "output_projection"}
    assert all(ticket.masks[name].all() for name in alone)
    assert all(torch.equal(ticket.masks[name], source.masks[name]) for name in ticket.origin.carried)
    carried = sum(ticket.masks[name].numel() for name in ticket.origin.carried)
    assert f"{carried:,} of {ticket.masks.pool:,} parameters" in done.stderr
    rewind = Weights.load(out / "seed-1/dense" / paths.REWIND).tensors
    assert all(
        torch.equal(ticket.weights[name], rewind[name].masked_fill(~ticket.masks[name], 0)) for name in ticket.masks
    )
    helpers.assert_dead(load(out / ROUND.folder / LAST)["model"], out / ROUND.folder / paths.TICKET)
    (row,) = (row for row in read_rows(out) if row.kind == "transfer")
    assert (row.carried, row.surviving) == (carried, ticket.masks.surviving)
    refused = helpers.run(
        chain("--out", tmp_path / "c", "--tickets-from", there, *own, "--rounds", 2, "--", data / "bin", *LSTM),
        status=2,
    )
    assert "(it has rounds 01 to 01)" in refused.stderr
    assert not (tmp_path / "c").exists()
