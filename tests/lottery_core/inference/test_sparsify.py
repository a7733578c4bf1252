"""Which layers become sparse, and what the report says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lottery_core import sparsify
from lottery_core.errors import ConfigError
from lottery_core.inference.layers import SparseLinear
from lottery_core.inference.lstm import SparseLSTM
from lottery_core.inference.timings import Load, Timings
from tests.lottery_core.inference.test_layers import pruned


class FixedGain(Timings):
    """Gives every layer the same speed-up instead of measuring, so that tests do not depend on a clock."""

    def __init__(self, gain: float, folder: Path) -> None:
        super().__init__(folder)
        self.gain = gain
        self.keys: list[str] = []

    def compare(self, key: str, pair: Any, device: torch.device) -> tuple[float, float]:
        for function in pair():
            function()
        self.keys.append(key)
        return self.gain, 1.0


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 24)
        self.lstm = nn.LSTM(24, 24)
        self.first = nn.Linear(24, 32)
        self.spread = nn.Conv1d(1, 1, 1)
        self.attention = nn.MultiheadAttention(24, 2)
        self.out = nn.Linear(24, 40, bias=False)
        self.out.weight = self.words.weight
        self.again = self.out
        self.unused = nn.Linear(5, 5)

    def forward(self, words: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        states = self.lstm(self.words(words))[0]
        states = states + self.first(states)[..., :24] * scale
        return self.again(self.attention(states, states, states)[0])


@pytest.fixture
def net() -> Net:
    return pruned(Net())  # type: ignore[return-value]


def test_faster_layers_become_sparse_in_all_their_places(net: Net, tmp_path: Path) -> None:
    words = torch.randint(0, 40, (5, 3))
    before, timings = net(words), FixedGain(2.0, tmp_path)
    report = sparsify(net, words, timings=timings)
    torch.testing.assert_close(net(words), before, rtol=1e-5, atol=1e-6)
    assert isinstance(net.out, SparseLinear)
    assert net.again is net.out
    assert isinstance(net.lstm, SparseLSTM)
    assert type(net.words) is nn.Embedding
    whys = {layer.name: (layer.form, layer.why) for layer in report.layers}
    assert whys == {
        "lstm": ("csr", None),
        "first": ("csr", None),
        "out": ("csr", None),
        "spread": ("dense", "torch has no sparse Conv1d"),
        "attention.out_proj": ("dense", "its parent reads its weights directly"),
        "unused": ("dense", "not called"),
    }
    assert report.sparse == 3
    assert "3 of 6 layers are sparse (dense: 1 torch has no sparse Conv1d, " in str(report)
    assert any("Linear 32x24 float32" in key and key.endswith(" 16/1") for key in timings.keys), timings.keys
    assert any("LSTM" in key and key.endswith(" 15/5") for key in timings.keys), timings.keys
    assert report.bytes_after < report.bytes_before  # Adam's copies are not counted: a model's own memory
    copied = copy.deepcopy(net)
    torch.testing.assert_close(copied(words), before, rtol=1e-5, atol=1e-6)


def test_slower_layers_stay(net: Net, tmp_path: Path) -> None:
    words = torch.randint(0, 40, (5, 3))
    before = copy.deepcopy(net)
    report = sparsify(net, {"words": words, "scale": 2.0}, timings=FixedGain(1.04, tmp_path))
    assert report.sparse == 0
    assert {layer.why for layer in report.layers if layer.speed_up is not None} == {"not faster"}
    assert [type(module) for module in net.modules()] == [type(module) for module in before.modules()]
    assert report.bytes_after == report.bytes_before


def test_a_product_that_torch_lacks_keeps_a_layer_dense(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: object, **__: object) -> None:
        raise RuntimeError("addmm is not implemented for this\nand more")

    monkeypatch.setattr(torch, "addmm", lacks)
    report = sparsify(net, tokens=3)
    assert report.sparse == 0
    whys = {layer.name: layer.why for layer in report.layers}
    assert whys["first"] == "torch has no such product: addmm is not implemented for this"


def test_csr_replaces_every_layer_with_zeros_and_measures_nothing(net: Net, tmp_path: Path) -> None:
    timings = FixedGain(0.5, tmp_path)
    assert sparsify(net, form="csr", timings=timings).sparse == 4
    assert not timings.keys
    assert isinstance(net.unused, SparseLinear)


def test_no_zeros(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    for form in ("auto", "csr"):
        report = sparsify(model, tokens=3, form=form, timings=FixedGain(9.0, tmp_path))
        assert "the model has no zeros in its weights (is this a trained ticket?); it is unchanged" in str(report)
        assert type(model[0]) is type(model[2]) is nn.Linear


@pytest.mark.filterwarnings("ignore:.*deprecated")  # torch's own quantisation
def test_half_precision_and_quantised_layers_stay(tmp_path: Path) -> None:
    for model, why in (
        (pruned(nn.Sequential(nn.Linear(8, 8))).half(), "torch has no sparse product in float16 on cpu"),
        (pruned(nn.Sequential(nn.Linear(8, 8))).bfloat16(), "torch has no sparse product in bfloat16 on cpu"),
        (torch.ao.quantization.quantize_dynamic(pruned(nn.Sequential(nn.Linear(8, 8)))), "quantised"),
    ):
        report = sparsify(model, tokens=2, timings=FixedGain(9.0, tmp_path))
        assert [layer.why for layer in report.layers] == [why]
        assert report.sparse == 0


@pytest.mark.parametrize("both", ["both directions", "projections"])
def test_lstms_without_a_sparse_form_stay(both: str, tmp_path: Path) -> None:
    more = {"bidirectional": True} if both == "both directions" else {"proj_size": 4}
    model = pruned(nn.Sequential(nn.LSTM(8, 8, **more)))
    assert sparsify(model, torch.ones(2, 1, 8), timings=FixedGain(9.0, tmp_path)).sparse == 0


def test_bad_input(net: Net, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"in training mode: .* call model.eval\(\) first"):
        sparsify(net.train(), tokens=1)
    net.eval()
    with pytest.raises(ConfigError, match="give either example_inputs or tokens"):
        sparsify(net)
    with pytest.raises(ConfigError, match="give either example_inputs or tokens"):
        sparsify(net, torch.ones(1), tokens=3)
    for tokens in (0, -1, 2.5, True, "3"):
        with pytest.raises(ConfigError, match=f"tokens must be a whole number, at least 1, not {tokens}"):
            sparsify(net, tokens=tokens)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown form 'csc': did you mean csr"):
        sparsify(net, tokens=1, form="csc")
    assert type(net.first) is nn.Linear


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("form", ["auto", "csr"])
def test_layers_without_weights_stay(form: str, tmp_path: Path) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing, self.constant = nn.Linear(5, 0), nn.Linear(0, 5, bias=False)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.constant(self.nothing(tokens))

    model = Wide().eval()
    report = sparsify(model, tokens=2 if form == "auto" else None, form=form, timings=FixedGain(2.0, tmp_path))
    assert [layer.why for layer in report.layers] == ["no weights", "no weights"]
    assert model(torch.ones(2, 5)).tolist() == [[0.0] * 5] * 2


class Attention(nn.Module):
    """Like fairseq's attention, which reads its projections' weights unless the attribute is set."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.skip_embed_dim_check = nn.Linear(24, 24), False

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.q_proj(states) if self.skip_embed_dim_check else states @ self.q_proj.weight.t() + self.q_proj.bias


@pytest.mark.parametrize(("gain", "steps", "sparse"), [(1.5, 1, 1), (1.5, 100, 1), (1.5, 200, 0), (2.5, 200, 1)])
def test_attention_calls_its_projections_once_they_are_sparse(
    gain: float, steps: int, sparse: int, tmp_path: Path
) -> None:
    model = pruned(nn.Sequential(Attention()))
    states = torch.randn(4, 24)
    before = model(states)
    report = sparsify(model, tokens=lambda _: Load(4 * steps, steps), timings=FixedGain(gain, tmp_path))
    assert report.sparse == sparse
    assert model[0].skip_embed_dim_check == bool(sparse)  # elsewhere its fused form stays
    torch.testing.assert_close(model(states), before, rtol=1e-5, atol=1e-6)


def test_projections_that_attention_does_not_call_are_recorded(tmp_path: Path) -> None:
    model = pruned(nn.Sequential(Attention()))
    assert sparsify(model, torch.randn(4, 24), timings=FixedGain(0.5, tmp_path)).layers[0].why == "not faster"
    assert not model[0].skip_embed_dim_check


class Residual(nn.LSTM):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output, state = super().forward(*args, **kwargs)
        return output + 1, state


class Doubling(nn.LSTMCell):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return tuple(2 * part for part in super().forward(*args, **kwargs))


@pytest.mark.parametrize("layer", [Residual(8, 8), Doubling(8, 8)])
def test_subclasses_with_their_own_forward_stay(layer: nn.Module) -> None:
    assert sparsify(pruned(nn.Sequential(layer)), form="csr").sparse == 0


def test_sparse_already(net: Net, tmp_path: Path) -> None:
    sparsify(net, form="csr")
    again = sparsify(net, tokens=3, timings=FixedGain(0.5, tmp_path))
    assert again.sparse == 4
    assert "4 of 6 layers are sparse" in again.summary()


def test_examples_of_every_form(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return self.layer(input=states)

    timings = FixedGain(2.0, tmp_path)
    assert sparsify(pruned(Named()), torch.ones(3, 8), timings=timings).sparse == 1
    packed = nn.utils.rnn.pack_padded_sequence(torch.ones(4, 2, 8), [4, 2])
    assert sparsify(pruned(nn.Sequential(nn.LSTM(8, 8))), packed, timings=timings).sparse == 1
    assert [key.split()[-1] for key in timings.keys] == ["3/1", "4/4"]


def test_a_model_that_fails_is_left_as_it_was(net: Net) -> None:
    with pytest.raises(IndexError):
        sparsify(net, torch.tensor([41]))
    assert type(net.first) is nn.Linear
    assert not net.first._forward_hooks


def test_loads_by_layer_name(net: Net, tmp_path: Path) -> None:
    timings = FixedGain(2.0, tmp_path)
    sparsify(net, tokens=lambda name: Load(100) if name == "first" else Load(3), timings=timings)
    assert [key.split()[-1] for key in timings.keys if "32x24" in key] == ["112/1"]  # rounded up


def test_measured_times_are_remembered(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        timings = Timings(tmp_path)
        pair = timings.compare(
            "a", lambda: (lambda: calls.append("dense"), lambda: calls.append("sparse")), torch.device("cpu")
        )
        timings.save()
        assert all(seconds > 0 for seconds in pair)
    assert len(calls) == 16  # a first call and seven measured ones of each, once
    [(key, _)] = json.loads((tmp_path / "sparse-timings.json").read_text()).items()
    assert f"threads={torch.get_num_threads()} torch={torch.__version__} a" in key


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 3}'])
def test_a_damaged_cache_is_measured_again(content: str, tmp_path: Path) -> None:
    (tmp_path / "sparse-timings.json").write_text(content)
    timings = Timings(tmp_path)
    assert len(timings.compare("a", lambda: (lambda: None, lambda: None), torch.device("cpu"))) == 2
    timings.save()
    assert len(json.loads((tmp_path / "sparse-timings.json").read_text())) >= 1


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOTTERY_CACHE", str(tmp_path / "file"))
    report = sparsify(pruned(nn.Sequential(nn.Linear(64, 64))), tokens=4)
    assert report.layers[0].speed_up is not None
