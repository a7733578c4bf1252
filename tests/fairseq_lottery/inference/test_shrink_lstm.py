"""The LSTM language model without dead units: fairseq alone computes the same loss, with fewer units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_lottery.inference.shrink import shrink_state
from lottery_core import Ticket
from lottery_core.cli.lottery import main
from lottery_core.errors import CheckpointError
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, LM, load, lottery, train
from tests.fairseq_lottery.inference.test_without_us import PLAIN, loss

LSTM = ["--arch", "lottery_lstm_lm", "--decoder-embed-dim", 12, "--decoder-hidden-size", 16, "--decoder-layers", 2]
DATA = ["--tokens-per-sample", 16, "--batch-size", 8, "--required-batch-size-multiple", 1]


def test_a_ticket_of_units_becomes_a_smaller_model_of_fairseqs_own(
    lm_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*LM, *LSTM, *DATA, *ADAM]
    train(lm_data, tmp_path / "dense", *words, "--rewind-point", "update:2")
    dense, ticket = tmp_path / "dense", tmp_path / "t.safetensors"
    start = ["--rewind", dense / "rewind.safetensors", "--rate", 0.5, "--granularity", "unit"]
    lottery("prune", dense / "checkpoint_last.pt", *start, "--scope", "lstm", "-o", ticket)
    train(lm_data, tmp_path / "run", *words, "--ticket", ticket)
    path, small, plain = tmp_path / "run" / "checkpoint_last.pt", tmp_path / "small.pt", tmp_path / "plain.pt"
    assert main(["export", str(path), "-o", str(small), "--form", "shrunk"]) == 0
    assert "removed " in capsys.readouterr().out
    assert main(["export", str(path), "-o", str(plain)]) == 0
    masks = Ticket.load(ticket).masks
    alive = max(int(masks[f"decoder.lstm.weight_hh_l{number}"][:16].any(1).sum()) for number in (0, 1))
    shrunk = load(small)
    assert 1 <= alive < 16
    assert shrunk["cfg"]["model"]["decoder_hidden_size"] == shrunk["cfg"]["model"]["decoder_out_embed_dim"] == alive
    assert shrunk["model"]["decoder.layers.1.weight_ih"].shape == (4 * alive, alive)
    scored = ["--cpu", "--tokens-per-sample", 16, "--batch-size", 8]
    done = [
        helpers.run(helpers.command("fairseq-eval-lm", lm_data, "--path", each, *scored), **PLAIN)
        for each in (plain, small)
    ]
    losses = [float(loss(each.stderr + each.stdout).split(",")[0]) for each in done]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def cells(hidden: int = 4) -> dict[str, Any]:
    """An lstm_lm of two layers as fairseq stores it, with a third of its units dead."""
    generator = torch.Generator().manual_seed(2)
    shapes = {"decoder.embed_tokens.weight": (7, 3), "decoder.fc_out.weight": (7, hidden), "decoder.fc_out.bias": (7,)}
    for layer, inputs in ((0, 3), (1, hidden)):
        shapes |= {f"decoder.layers.{layer}.weight_ih": (4 * hidden, inputs)}
        shapes |= {f"decoder.layers.{layer}.weight_hh": (4 * hidden, hidden)}
        shapes |= {f"decoder.layers.{layer}.bias_{word}": (4 * hidden,) for word in ("ih", "hh")}
    model = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    options = {"decoder_hidden_size": hidden, "decoder_out_embed_dim": hidden, "decoder_layers": 2}
    return {"model": model, "cfg": {"model": options, "task": {"_name": "language_modeling"}}}


def test_a_unit_that_nothing_feeds_or_nothing_reads_is_taken_out() -> None:
    state = cells()
    model = state["model"]
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        model[f"decoder.layers.0.{name}"][8 + 1] = 0.0  # the cell gate of unit 1: it stays 0
    model["decoder.fc_out.weight"][:, 2] = 0.0  # nothing reads unit 2 but itself
    model["decoder.layers.1.weight_hh"][:, 2] = torch.tensor([0.0, 0.0, 1.0, 0.0] * 4)
    shrunk, report = shrink_state(state, "m.pt")
    assert report.removed == 2
    assert shrunk["cfg"]["model"] == {"decoder_hidden_size": 3, "decoder_out_embed_dim": 3, "decoder_layers": 2}
    outputs = []
    words = torch.randint(0, 7, (11, 5), generator=torch.Generator().manual_seed(3))
    for tensors in (model, shrunk["model"]):
        units = tensors["decoder.fc_out.weight"].shape[1]
        lstm = torch.nn.LSTM(3, units, 2)
        lstm.load_state_dict(
            {
                f"{name.split('.')[3]}_l{name.split('.')[2]}": tensor
                for name, tensor in tensors.items()
                if ".layers." in name
            }
        )
        top, _ = lstm(tensors["decoder.embed_tokens.weight"][words])
        outputs.append(top @ tensors["decoder.fc_out.weight"].T + tensors["decoder.fc_out.bias"])
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "lost", "more", "words"),
    [
        ({}, "decoder.fc_out.weight", {}, "its output is not one linear layer"),
        ({}, "", {"encoder.lstm.weight": torch.zeros(1)}, "an attention reads its LSTM"),
        ({"decoder_out_embed_dim": 5}, "", {}, "a layer lies between its LSTM and the output"),
        ({"residuals": True}, "", {}, "residuals"),
    ],
)
def test_refusals(change: dict[str, Any], lost: str, more: dict[str, torch.Tensor], words: str) -> None:
    state = cells()
    state["cfg"]["model"] |= change
    state["model"] = {name: tensor for name, tensor in state["model"].items() if name != lost} | more
    with pytest.raises(CheckpointError, match=f"cannot shrink m.pt: .*{words}"):
        shrink_state(state, "m.pt")
    with pytest.raises(CheckpointError, match="no unit is dead"):
        shrink_state(cells(), "m.pt")
