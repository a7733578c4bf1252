"""Whole units of fairseq's networks: heads and feed-forward units die with their biases, nothing else is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lottery_core import Ticket, Weights, prune, read_weights, schedule, snapshot
from lottery_core.errors import ConfigError
from lottery_core.experiments import read_rows
from lottery_core.pruning import layout_of_weights
from lottery_core.pruning.units import Layout
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, assert_dead, load, split, train
from tests.fairseq_lottery.launcher.test_command import LSTM, chain

WHOLE = (".fc2.bias", ".out_proj.bias", "layer_norm.weight", "layer_norm.bias", "embed_tokens.weight")
HEADS = {f"{name}_attn": 2 for name in ("encoder.layers.0.self", "decoder.layers.0.self", "decoder.layers.0.encoder")}
UNITS = {**HEADS, "encoder.layers.0.fc1": 32, "decoder.layers.0.fc1": 32}
ATTENTION = "d.decoder.layers.1.self_attn"
HEAD = 3 * 8 * (16 + 1) + 16 * 8  # parameters of a head of size 8 in a network of width 16


def layout_for(weights: Weights, scope: str = "all") -> Layout:
    layout = layout_of_weights(weights, scope, "unit")
    assert layout is not None
    return layout


def test_the_units_and_what_stays_whole(dense: Path, translation_data: Path, tmp_path: Path) -> None:
    rewind, trained = read_weights(dense / "rewind.safetensors"), read_weights(dense / "checkpoint_last.pt")
    assert dict(rewind.heads) == dict(trained.heads) == HEADS, "the model and the checkpoint agree"
    layout = layout_for(rewind)
    assert layout.counts == UNITS
    path = tmp_path / "t.safetensors"
    words = ["--rewind", dense / "rewind.safetensors", "--rate", 0.4, "--granularity", "unit", "-o", path]
    assert "whole units: " in helpers.lottery("prune", dense / "checkpoint_last.pt", *words).stdout
    ticket = Ticket.load(path)
    assert layout.are_whole(ticket.masks)
    assert dict(ticket.origin.heads) == HEADS
    assert abs(ticket.masks.surviving - ticket.origin.asked) <= HEAD
    for name, mask in ticket.masks.items():
        assert bool(mask.all()) == name.endswith(WHOLE) or bool(mask.all()), name
        if name.endswith(WHOLE):
            assert bool(mask.all()), name
    dead = {layer: int((~some).sum()) for layer, some in layout.alive(ticket.masks).items()}
    assert sum(dead.values()) > 3
    train(translation_data, tmp_path / "run", *TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", path)
    assert_dead(load(tmp_path / "run" / "checkpoint_last.pt")["model"], ticket)


def test_a_head_is_a_block_of_each_projection() -> None:
    layers = [f"{ATTENTION}.{word}_proj" for word in ("q", "k", "v", "out")]
    shapes: dict[str, Any] = {f"{layer}.weight": (6, 6) for layer in layers}
    shapes |= {f"{layer}.bias": (6,) for layer in layers} | {f"{ATTENTION}.bias_{word}": (1, 1, 6) for word in "kv"}
    weights = Weights({name: torch.randn(shape) for name, shape in shapes.items()}, heads={ATTENTION: 3})
    alive = {ATTENTION: torch.tensor([True, False, True])}
    masks = layout_for(weights).masks(alive)
    for name, mask in masks.items():
        expected = torch.ones(mask.shape, dtype=torch.bool)
        if name.endswith("out_proj.weight"):
            expected[:, 2:4] = False
        elif "bias_" in name:
            expected[:, :, 2:4] = False
        elif "out_proj" not in name:
            expected[2:4] = False
        assert torch.equal(mask, expected), name
    unknown = Weights(weights.tensors)
    with pytest.raises(ConfigError, match=r"how many heads 'd\.decoder\.layers\.1\.self_attn' has is not known"):
        prune(unknown, unknown, rate=0.2, granularity="unit")
    with pytest.raises(ConfigError, match="cannot have 4 heads: it has 6 rows"):
        layout_for(Weights(weights.tensors, heads={ATTENTION: 4}))


@pytest.mark.parametrize(
    "layer",
    [
        "encoder.sentence_encoder.layers.3",
        "decoder.layers_msk.0",
        "m.decoder.layers.0",
        "encoder.transformer_layers.0",  # of s2t_transformer and convtransformer
    ],
)
def test_layers_of_other_architectures_with_fairseqs_names(layer: str) -> None:
    shapes: dict[str, Any] = {f"{layer}.self_attn.{word}_proj.weight": (6, 6) for word in ("q", "k", "v", "out")}
    shapes |= {f"{layer}.fc1.weight": (9, 6), f"{layer}.fc2.weight": (6, 9)}
    weights = Weights({name: torch.randn(shape) for name, shape in shapes.items()}, heads={f"{layer}.self_attn": 2})
    assert layout_for(weights).counts == {f"{layer}.self_attn": 2, f"{layer}.fc1": 9}


@pytest.mark.parametrize("projection", ["linear_q", "q_proj"])
def test_networks_with_unknown_layers_are_refused(projection: str) -> None:
    """Only their other layers, the decoder of s2t_conformer, would be pruned."""
    shapes: dict[str, Any] = {"decoder.layers.0.fc1.weight": (9, 6), "decoder.layers.0.fc2.weight": (6, 9)}
    shapes[f"encoder.conformer_layers.0.self_attn.{projection}.weight"] = (6, 6)
    weights = Weights({name: torch.randn(shape) for name, shape in shapes.items()})
    with pytest.raises(ConfigError, match=r"which units 'encoder\.conformer_layers\.0\.self_attn.* is not known"):
        layout_for(weights)


def test_heads_are_kept_with_the_weights_and_follow_their_names(tmp_path: Path) -> None:
    from fairseq.modules import MultiheadAttention

    net = torch.nn.Module()
    net.decoder = torch.nn.Module()
    layer = torch.nn.Module()
    layer.self_attn = MultiheadAttention(8, 4, self_attention=True)
    net.decoder.layers = torch.nn.ModuleList([layer])
    weights = snapshot(net)
    assert dict(weights.heads) == {"decoder.layers.0.self_attn": 4}
    weights.save(tmp_path / "w.safetensors")
    assert dict(Weights.load(tmp_path / "w.safetensors").heads) == dict(weights.heads)
    wrapped = torch.nn.ModuleDict({"model": net})
    assert dict(snapshot(wrapped).heads) == {"model.decoder.layers.0.self_attn": 4}
    bare = Weights({f"model.{name}": tensor for name, tensor in weights.tensors.items()}).like(weights)
    assert dict(bare.heads) == dict(weights.heads)
    ticket = prune(weights, weights, rate=0.3, granularity="unit")
    assert dict(ticket.named_for(wrapped).origin.heads) == {"model.decoder.layers.0.self_attn": 4}


def test_a_chain_of_units_of_a_transformer(translation_data: Path, tmp_path: Path) -> None:
    """Each kind prunes whole units, the encoder and the decoder alike; the schedule is met to within a head."""
    words = [*TRANSFORMER, *split("--task translation --max-tokens 200 --max-epoch 2 --optimizer adam --lr 0.01 --cpu")]
    own = ["--out", tmp_path / "x", "--kinds", "winning", "random", "gradual", "snip"]
    own += split("--granularity unit --rounds 1 --prune-rate 0.4 --rewind update:2 --score log_ppl --no-floor")
    own += split("--gradual 0 0.75 3")
    done = helpers.run(chain(*own, "--", translation_data, *words))
    assert "whole units pruned" in done.stdout
    rewind = Weights.load(tmp_path / "x/seed-1/dense/rewind.safetensors")
    layout = layout_for(rewind)
    counts = schedule(layout.size, 0.4, 1)
    rows = [row for row in read_rows(tmp_path / "x") if row.kind not in ("dense", "floor")]
    assert len(rows) == 4
    for row in rows:
        ticket = Ticket.load(tmp_path / "x" / row.run.folder / "ticket.safetensors")
        assert layout.are_whole(ticket.masks), row
        assert abs(ticket.masks.surviving - counts[row.round]) <= HEAD, row
        assert_dead(load(tmp_path / "x" / row.run.folder / "checkpoint_last.pt")["model"], ticket)
    winning, random = (
        Ticket.load(tmp_path / "x/seed-1" / kind / "round-01/ticket.safetensors") for kind in ("winning", "random")
    )
    assert winning.masks.survivors() == random.masks.survivors()
    assert winning.masks != random.masks


def test_a_chain_of_units_of_an_lstm(lm_data: Path, tmp_path: Path) -> None:
    own = ["--out", tmp_path]
    own += split("--granularity unit --rounds 1 --prune-rate 0.3 --rewind update:2 --no-floor")
    helpers.run(chain(*own, "--", lm_data, *LSTM))
    rewind = Weights.load(tmp_path / "seed-1/dense/rewind.safetensors")
    layout = layout_for(rewind)
    assert layout.counts == {"decoder.lstm.0": 16, "decoder.lstm.1": 16}
    for kind in ("winning", "random"):
        ticket = Ticket.load(tmp_path / "seed-1" / kind / "round-01/ticket.safetensors")
        assert layout.are_whole(ticket.masks)
        assert bool(ticket.masks["decoder.embed_tokens.weight"].all())
        assert ticket.masks.pruned > 0
        assert_dead(load(tmp_path / "seed-1" / kind / "round-01/checkpoint_last.pt")["model"], ticket)


def test_refused_before_anything_trains(translation_data: Path, tmp_path: Path) -> None:
    words = [*TRANSFORMER, *split("--task translation --max-tokens 200 --max-epoch 2 --optimizer adam --lr 0.01 --cpu")]
    own = ["--out", tmp_path / "x", "--granularity", "unit", "--score", "log_ppl", "--rounds", 20, "--prune-rate", 0.5]
    done = helpers.run(chain(*own, "--", translation_data, *words), status=2)
    assert "whole units leave at least" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "x").exists()
