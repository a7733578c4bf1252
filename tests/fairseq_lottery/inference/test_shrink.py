"""Feed-forward blocks without dead units: fairseq alone gives the same hypotheses and losses."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fairseq_lottery.inference.shrink import shrink_state
from lottery_core.cli.lottery import main
from lottery_core.errors import CheckpointError
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, LM, LM_DATA, TRANSFORMER, TRANSFORMER_LM, TRANSLATION, load, train
from tests.fairseq_lottery.inference.test_without_us import PLAIN, hypotheses, loss

SAID = re.compile(r"removed (\d+) of (\d+) units; parameters ([\d,]+) -> ([\d,]+)")


@pytest.fixture
def sparse(dense: Path, tmp_path: Path) -> Path:
    """A ticket of nine tenths pruned in the feed-forward blocks of the dense run."""
    path, scope = tmp_path / "t.safetensors", r"\.fc[12]\."
    start = ["--rewind", dense / "rewind.safetensors", "--fraction", 0.9, "--scope", scope]
    helpers.lottery("prune", dense / "checkpoint_last.pt", *start, "-o", path)
    return path


def widths(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Rows of fc1 and columns of fc2 of each block, and what the options say."""
    sizes: dict[str, tuple[int, ...]] = {}
    for side in ("encoder", "decoder"):
        name = f"{side}.layers.0"
        if f"{name}.fc1.weight" in state["model"]:
            rows, bias = state["model"][f"{name}.fc1.weight"].shape[0], state["model"][f"{name}.fc1.bias"].shape[0]
            columns = state["model"][f"{name}.fc2.weight"].shape[1]
            sizes[side] = (rows, bias, columns, state["cfg"]["model"][f"{side}_ffn_embed_dim"])
    return sizes


def test_generating(translation_data: Path, sparse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(translation_data, tmp_path, *TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", sparse)
    path, small = tmp_path / "checkpoint_last.pt", tmp_path / "small.pt"
    assert main(["export", str(path), "-o", str(small), "--form", "shrunk"]) == 0
    said = capsys.readouterr().out
    match = SAID.search(said)
    assert match
    removed, total, before, after = (int(word.replace(",", "")) for word in match.groups())
    assert "task translation, architecture transformer" in said
    assert (total, removed) > (0, 0)
    shrunk = load(small)
    for side, sizes in widths(shrunk).items():
        assert len(set(sizes)) == 1, (side, sizes)
        assert 1 <= sizes[0] < 32
    assert sum(32 - sizes[0] for sizes in widths(shrunk).values()) == removed
    assert before - after == removed * (2 * 16 + 1)
    words = ["--cpu", "--beam", 2, "--gen-subset", "test", "--batch-size", 40]
    texts = [
        hypotheses(
            helpers.run(helpers.command("fairseq-generate", translation_data, "--path", each, *words), **PLAIN).stdout
        )
        for each in (path, small)
    ]
    assert len(texts[0]) == 3 * 40
    assert same_hypotheses(*texts)
    assert main(["export", str(small), "-o", str(tmp_path / "again.pt"), "--form", "shrunk"]) == 2
    assert "no unit is dead: nothing to remove" in capsys.readouterr().err
    assert not (tmp_path / "again.pt").exists()


def same_hypotheses(first: list[str], second: list[str]) -> bool:
    """The same words; their scores, which are printed to some sixteen digits, to 1e-5."""
    for left, right in zip(first, second, strict=True):
        for word, expected in zip(left.split(), right.split(), strict=True):
            number = re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", word)
            if word != expected and not (number and abs(float(word) - float(expected)) < 1e-5):
                return False
    return True


def test_language_models(lm_data: Path, tmp_path: Path) -> None:
    train(lm_data, tmp_path, *LM, *LM_DATA, *TRANSFORMER_LM, *ADAM)
    state, path, small = load(tmp_path / "checkpoint_last.pt"), tmp_path / "sparse.pt", tmp_path / "small.pt"
    generator = torch.Generator().manual_seed(1)
    for name, tensor in state["model"].items():
        if ".fc" in name:
            tensor[torch.rand(tensor.shape, generator=generator) < 0.92] = 0.0
    torch.save(state, path)
    assert main(["export", str(path), "-o", str(small), "--form", "shrunk"]) == 0
    scored = ["--cpu", "--tokens-per-sample", 16, "--batch-size", 8]
    done = [
        helpers.run(helpers.command("fairseq-eval-lm", lm_data, "--path", each, *scored), **PLAIN)
        for each in (path, small)
    ]
    losses = [float(loss(each.stderr + each.stdout).split(",")[0]) for each in done]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert load(small)["cfg"]["model"]["decoder_ffn_embed_dim"] < 32


def test_nothing_to_shrink(dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An LSTM has no such blocks, a dense Transformer no dead unit: one line, nothing written."""
    state = load(dense / "checkpoint_last.pt")
    model = {name: tensor for name, tensor in state["model"].items() if ".fc" not in name}
    torch.save({**state, "model": model}, tmp_path / "lstm.pt")
    for path, words in (
        (tmp_path / "lstm.pt", "has no feed-forward blocks of a Transformer: there is nothing to shrink"),
        (dense / "checkpoint_last.pt", "no unit is dead: nothing to remove"),
    ):
        assert main(["export", str(path), "-o", str(tmp_path / "out.pt"), "--form", "shrunk"]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out.pt").exists()


def blocks(widths: dict[str, list[int]], live: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Random blocks of width 4 between embeddings of 3, of which so many units are alive."""
    generator = torch.Generator().manual_seed(1)
    model = {"encoder.version": torch.tensor([3.0])}
    for side, sizes in widths.items():
        for layer, (size, alive) in enumerate(zip(sizes, live[side], strict=True)):
            name = f"{side}.layers.{layer}"
            model[f"{name}.fc1.weight"] = torch.randn(size, 3, generator=generator)
            model[f"{name}.fc1.bias"] = torch.randn(size, generator=generator)
            model[f"{name}.fc2.weight"] = torch.randn(3, size, generator=generator)
            model[f"{name}.fc2.bias"] = torch.randn(3, generator=generator)
            model[f"{name}.fc1.weight"][alive:] = 0.0
    return model


def state_of(model: dict[str, torch.Tensor], options: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "cfg": {"model": options, "task": {"decoder_ffn_embed_dim": 8, "_name": "translation"}}}


FLAT = {"encoder_ffn_embed_dim": 8, "decoder_ffn_embed_dim": 8, "activation_fn": "gelu"}
NESTED = {"encoder": {"ffn_embed_dim": 8, "layers": 2}, "decoder": {"ffn_embed_dim": 8}, "activation_fn": "gelu"}


@pytest.mark.parametrize("options", [FLAT, NESTED], ids=["flat", "nested"])
def test_all_blocks_of_a_side_keep_one_width(options: dict[str, Any]) -> None:
    from fairseq.modules import gelu

    model = blocks({"encoder": [8, 8], "decoder": [8, 8]}, {"encoder": [5, 2], "decoder": [0, 0]})
    state = state_of(model, options)
    shrunk, report = shrink_state(state, "c.pt")
    assert report.removed == 2 * 3 + 2 * 7
    assert report.parameters == (4 * (8 * 7 + 3), 2 * (5 * 7 + 3) + 2 * (1 * 7 + 3))
    written = shrunk["cfg"]["model"]
    nested = {"encoder": {"ffn_embed_dim": 5, "layers": 2}, "decoder": {"ffn_embed_dim": 1}}
    flat = {"encoder_ffn_embed_dim": 5, "decoder_ffn_embed_dim": 1}
    assert written == {**(flat if options is FLAT else nested), "activation_fn": "gelu"}
    assert shrunk["cfg"]["task"]["decoder_ffn_embed_dim"] == 1
    assert state["cfg"]["task"]["decoder_ffn_embed_dim"] == 8
    inputs = torch.randn(20, 3)
    for name in ("encoder.layers.0", "encoder.layers.1", "decoder.layers.0", "decoder.layers.1"):
        outputs = []
        for tensors in (model, shrunk["model"]):
            hidden = gelu(inputs @ tensors[f"{name}.fc1.weight"].T + tensors[f"{name}.fc1.bias"])
            outputs.append(hidden @ tensors[f"{name}.fc2.weight"].T + tensors[f"{name}.fc2.bias"])
        assert torch.allclose(*outputs, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_heads_that_nothing_reads_and_heads_without_values_are_counted(bias: bool) -> None:
    model = blocks({"encoder": [8]}, {"encoder": [5]})
    name = "encoder.layers.0.self_attn"
    model |= {f"{name}.out_proj.weight": torch.ones(4, 4), f"{name}.v_proj.weight": torch.ones(4, 4)}
    model[f"{name}.out_proj.weight"][:, 0] = 0.0
    model[f"{name}.v_proj.weight"][2:] = 0.0
    if bias:
        model[f"{name}.v_proj.bias"] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    _, report = shrink_state(state_of(model, {**FLAT, "encoder_attention_heads": 4}), "c.pt")
    assert f"; {2 if bias else 3} dead heads stay, as zeros" in report.line


def test_options_in_a_namespace(tmp_path: Path) -> None:
    """Of bart and lightconv, which fairseq does not build from a dictionary."""
    model = blocks({"encoder": [8], "decoder": [8]}, {"encoder": [5], "decoder": [4]})
    options = {**FLAT, "arch": "bart_base", "user_dir": "x", "rewind_point": "init"}
    state = state_of(model, options)
    state["cfg"] |= {"model": Namespace(**options), "criterion": {"_name": "lottery_cross_entropy"}}
    torch.save({**state, "optimizer_history": [{"criterion_name": "LotteryCrossEntropyCriterion"}]}, tmp_path / "c.pt")
    for form, width in (("plain", 8), ("shrunk", 5)):
        assert main(["export", str(tmp_path / "c.pt"), "-o", str(tmp_path / "out.pt"), "--form", form]) == 0
        written = load(tmp_path / "out.pt")["cfg"]["model"]
        assert isinstance(written, Namespace)
        assert vars(written) == {**FLAT, **vars(written), "encoder_ffn_embed_dim": width, "user_dir": None}
        assert not hasattr(written, "rewind_point")


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        ({"quant_noise_pq": 0.1}, {}, "--quant-noise-pq"),
        ({"base_layers": 1}, {}, "--base-layers"),
        ({}, {"decoder.layers.0.ffn_layernorm.weight": torch.ones(8)}, "--scale-fc normalises over the units"),
        ({"encoder_ffn_embed_dim": 16}, {}, "encoder.layers.0 has 8 units, but its --encoder-ffn-embed-dim is 16"),
    ],
)
def test_refusals(change: dict[str, Any], more: dict[str, torch.Tensor], words: str) -> None:
    model = blocks({"encoder": [8], "decoder": [8]}, {"encoder": [4], "decoder": [4]})
    with pytest.raises(CheckpointError, match=f"cannot shrink c.pt: .*{words}"):
        shrink_state(state_of({**model, **more}, {**FLAT, **change}), "c.pt")


def test_the_benchmark_confuses_no_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels that round to one percentage, and runs of one granularity, are different lines and files."""
    from tests.benchmarks.inference import unit_translation

    rows = [
        SimpleNamespace(seed=1, kind="winning", round=number, granularity="unit", surviving_fraction=fraction, run=run)
        for number, fraction in ((1, 0.014), (2, 0.009))
        for run in [SimpleNamespace(folder=f"seed-1/winning/round-0{number}")]
    ]
    monkeypatch.setattr(unit_translation, "read_rows", lambda _: rows)
    found = unit_translation.checkpoints([Path("one"), Path("two")], seed=1)
    assert len(found) == len({unit_translation.stem(row, path) for row, path in found.values()}) == 4
    assert "units, 1%" in found
