"""Dead heads and dead feed-forward units leave a Transformer in memory, and nothing that it computes changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.modules import MultiheadAttention

from fairseq_lottery.inference.dead_units import remove_dead_units
from lottery_core import Ticket
from lottery_core.cli.lottery import main
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, train
from tests.fairseq_lottery.inference.test_sparse import generate, hypotheses


@pytest.fixture(scope="module")
def unit_ticket(translation_data: Path, dense: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a trained ticket of whole units, half of the layers pruned."""
    folder = tmp_path_factory.mktemp("units")
    words = ["--rewind", dense / "rewind.safetensors", "--fraction", 0.5, "--granularity", "unit", "--scope", "layers"]
    helpers.lottery("prune", dense / "checkpoint_last.pt", *words, "-o", folder / "t", "--criterion", "magnitude-layer")
    train(translation_data, folder, *TRANSLATION, *TRANSFORMER, *ADAM, "--ticket", folder / "t", "--max-epoch", 6)
    return folder / "checkpoint_last.pt"


def model_of(path: Path, data: Path) -> Any:
    from fairseq import checkpoint_utils

    [model], _ = checkpoint_utils.load_model_ensemble([str(path)], {"data": str(data)})
    return model.eval()


def attentions(model: Any) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if isinstance(module, MultiheadAttention)}


def test_what_is_dead_is_gone_and_the_outputs_stay(unit_ticket: Path, translation_data: Path) -> None:
    full, small = model_of(unit_ticket, translation_data), model_of(unit_ticket, translation_data)
    masks = Ticket.load(unit_ticket.parent / "t").masks
    removed = remove_dead_units(small)
    assert removed
    assert removed.heads == (4, 2), "those of the decoder's last layer over the encoder stay"
    for name, module in attentions(small).items():
        alive = int(masks[f"{name}.q_proj.weight"].any(1).reshape(2, -1).any(1).sum())
        expected = 2 if "encoder_attn" in name else alive
        assert module.num_heads == expected
        assert module.q_proj.weight.shape == module.v_proj.weight.shape == (8 * expected, 16)
        assert module.out_proj.weight.shape == (16, 8 * expected)
        assert module.q_proj.bias.shape == (8 * expected,)
    for side in ("encoder", "decoder"):
        block = getattr(small, side).layers[0]
        alive = int(masks[f"{side}.layers.0.fc1.weight"].any(1).sum())
        assert block.fc1.out_features == block.fc2.in_features == block.fc2.weight.shape[1] <= alive < 32
    source, lengths = torch.randint(4, 14, (3, 5)), torch.tensor([5, 5, 5])
    before = torch.full((3, 4), 2)
    with torch.no_grad():
        outputs = [model(source, lengths, before) for model in (full, small)]
    torch.testing.assert_close(outputs[1][0], outputs[0][0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs[1][1]["attn"][0], outputs[0][1]["attn"][0], rtol=1e-5, atol=1e-5)
    assert not remove_dead_units(small)


def test_the_same_hypotheses(unit_ticket: Path, translation_data: Path) -> None:
    def words(done: Any) -> dict[str, str]:
        return {name: said for name, (_, said) in hypotheses(done.stdout).items()}

    dense = words(generate(translation_data, unit_ticket))
    for mode in ("auto", "csr"):
        done = generate(translation_data, unit_ticket, "--sparse-inference", mode)
        assert words(done) == dense
        said = re.search(
            r"dead units taken out: 2 of 4 heads, (\d+) of 64 feed-forward units", done.stdout + done.stderr
        )
        assert said
        assert int(said[1]) > 10


def attention(**changes: Any) -> Any:
    module = MultiheadAttention(8, 4, self_attention=True, **changes).eval()
    with torch.no_grad():
        for word in "qkv":
            if module.q_proj.bias is not None:
                getattr(module, f"{word}_proj").bias.uniform_()
        module.out_proj.weight[:, 2:4] = 0.0  # nothing reads head 1
        module.v_proj.weight[6:] = 0.0  # head 3 has no values
        if module.v_proj.bias is not None:
            module.v_proj.bias[6:] = 0.0
    return module


def test_heads_that_nothing_reads_and_heads_without_values() -> None:
    module, inputs = attention(), torch.randn(5, 2, 8)
    with torch.no_grad():
        before = module(inputs, inputs, inputs)[0]
        assert remove_dead_units(module).heads == (4, 2)
        assert module.num_heads == 2
        torch.testing.assert_close(module(inputs, inputs, inputs)[0], before, rtol=1e-5, atol=1e-6)
        state: dict[str, Any] = {}
        steps = [module(each, each, each, incremental_state=state)[0] for each in inputs.split(1)]
    assert torch.cat(steps).shape == before.shape


@pytest.mark.parametrize("changes", [{"bias": False}, {"add_bias_kv": True}])
def test_other_attentions_stay(changes: dict[str, Any]) -> None:
    module = attention(**changes)
    assert not remove_dead_units(module)
    assert module.num_heads == 4


def test_the_heads_of_the_layer_that_aligns_stay() -> None:
    """``transformer_align`` returns the first heads of the layer that its options name."""

    def cross() -> Any:
        layer = torch.nn.Module()
        layer.encoder_attn = attention()
        return layer

    for chosen, left in ((None, [2, 2, 4]), (1, [2, 4, 4]), (2, [2, 2, 4])):
        model = torch.nn.Module()
        model.decoder = torch.nn.Module()
        model.decoder.layers = torch.nn.ModuleList(cross() for _ in range(3))
        model.alignment_layer = chosen
        remove_dead_units(model)
        assert [layer.encoder_attn.num_heads for layer in model.decoder.layers] == left


def test_one_head_stays_where_all_are_dead() -> None:
    module = attention()
    with torch.no_grad():
        module.out_proj.weight.zero_()
        inputs = torch.randn(5, 2, 8)
        before = module(inputs, inputs, inputs)[0]
        assert remove_dead_units(module).heads == (4, 1)
        assert torch.equal(module(inputs, inputs, inputs)[0], before)


def test_a_file_says_that_dead_heads_stay(
    unit_ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain fairseq makes attentions as wide as the embeddings, so only feed-forward units leave a checkpoint."""
    small = tmp_path / "small.pt"
    assert main(["export", str(unit_ticket), "-o", str(small), "--form", "shrunk"]) == 0
    assert "3 dead heads stay, as zeros: fairseq's attentions are as wide" in capsys.readouterr().out
    assert main(["export", str(small), "-o", str(tmp_path / "no.pt"), "--form", "shrunk"]) == 2
    assert "no unit is dead: nothing to remove" in (said := capsys.readouterr().err)
    assert "3 dead heads stay" in said
