"""The file of a sparse model: its size, its loading, and what it refuses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.module import _global_parameter_registration_hooks
from torch.nn.utils.parametrizations import weight_norm

from lottery_core import load_sparse, read_weights, snapshot
from lottery_core.cli.lottery import main
from lottery_core.errors import CheckpointError, LotteryError, MismatchError, TicketError
from lottery_core.inference.layers import SparseEmbedding, SparseLinear
from lottery_core.inference.load_sparse import give_memory, parameters_on_meta
from lottery_core.inference.lstm import SparseLSTM
from lottery_core.inference.sparse_file import SparseFile, is_sparse_file, save_sparse
from lottery_core.tickets.encoding import pack_gaps, unpack_gaps
from tests.lottery_core.inference.test_layers import pruned


class Net(nn.Module):
    def __init__(self, last: int = 3, tie: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 24)
        self.lstm = nn.LSTM(24, 24, 2)
        self.plain = nn.LSTM(24, 24)
        self.first = nn.Linear(24, 32)
        self.norm = nn.BatchNorm1d(32)
        self.spread = nn.Conv1d(32, 24, 1)
        self.out = nn.Linear(24, 60, bias=False)
        if tie:
            self.out.weight = self.words.weight
        self.last = nn.Linear(60, last)
        self.register_buffer("table", torch.arange(3.0), persistent=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        states = self.plain(self.lstm(self.words(words))[0])[0]
        states = self.spread(self.norm(self.first(states).transpose(1, 2))).transpose(1, 2) + self.table[1]
        return self.last(self.out(states))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(1)
    model = Net().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith(("last", "plain")):
                parameter[torch.rand_like(parameter) < 0.9] = 0
        model.norm.running_mean.normal_()
    return model


@pytest.mark.parametrize("on_meta", [True, False])
def test_there_and_back(net: Net, on_meta: bool, tmp_path: Path) -> None:
    description = save_sparse(net.state_dict(), tmp_path / "net.csr")
    assert description.startswith("7 matrices, ")
    if on_meta:
        with parameters_on_meta():
            made = Net()
        assert all(parameter.is_meta for parameter in made.parameters())
    else:
        made = Net()
    assert load_sparse(tmp_path / "net.csr", made) is made
    words = torch.randint(0, 60, (5, 4))
    torch.testing.assert_close(made(words), net(words), rtol=1e-5, atol=1e-6)
    assert isinstance(made.words, SparseEmbedding)
    assert isinstance(made.out, SparseLinear)
    assert made.out.matrix is made.words.matrix
    assert isinstance(made.lstm, SparseLSTM)
    assert type(made.plain) is nn.LSTM
    assert type(made.last) is nn.Linear
    assert not any(tensor.is_meta for tensor in [*made.parameters(), *made.buffers()])
    assert not made.training


def test_the_start_values_of_modules_made_outside_are_as_ever() -> None:
    with parameters_on_meta():
        nn.Linear(3, 3)
        table = torch.empty(3).fill_(2.0)
    assert table.tolist() == [2.0] * 3
    assert not nn.Linear(3, 3).weight.is_meta


def test_models_that_another_thread_builds_meanwhile_keep_their_memory() -> None:
    with parameters_on_meta(), ThreadPoolExecutor(1) as other_thread:
        elsewhere = other_thread.submit(Net).result()
        here = Net()
    assert all(parameter.is_meta for parameter in here.parameters())
    assert not any(parameter.is_meta for parameter in elsewhere.parameters())
    assert float(elsewhere.first.weight.detach().std()) > 0  # initialised


def test_an_error_inside_leaves_no_hook_behind() -> None:
    hooks = dict(_global_parameter_registration_hooks)
    with pytest.raises(TypeError), parameters_on_meta():
        nn.Linear("three", 3)  # type: ignore[arg-type]
    assert _global_parameter_registration_hooks == hooks
    assert not nn.Linear(3, 3).weight.is_meta


def test_meta_parameters_keep_ties_and_requires_grad() -> None:
    with parameters_on_meta(), parameters_on_meta():  # a plugin's builder may enter it, too
        model = Net()
        model.register_parameter("fixed", nn.Parameter(torch.ones(2), requires_grad=False))
        model.register_parameter("none", None)
    assert model.out.weight is model.words.weight
    assert model.none is None
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["fixed"]


def test_its_size_is_a_tickets(tmp_path: Path) -> None:
    """FACTS: packed bits and byte planes take less than 4 bytes a survivor and the mask's entropy."""
    model = pruned(nn.Sequential(nn.Linear(600, 600)))
    save_sparse(model.state_dict(), tmp_path / "net.csr")
    entropy = 0.469  # bits a weight, at 10%
    ideal = 600 * 600 * (0.1 * 4 + entropy / 8)
    assert (tmp_path / "net.csr").stat().st_size < ideal


def test_from_what_every_format_holds(net: Net, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "net.pt")
    snapshot(net).save(tmp_path / "net.safetensors")
    for name in ("net.pt", "net.safetensors"):
        assert main(["export", str(tmp_path / name), "-o", str(tmp_path / "out"), "--form", "csr"]) == 0
        file = SparseFile(tmp_path / "out")
        for key, tensor in read_weights(tmp_path / name).tensors.items():
            assert torch.equal(file.tensor(key), tensor)


def test_tied_weights_are_told_from_equal_ones_nowhere(net: Net, tmp_path: Path) -> None:
    """A model from a GPU has each alias as a tensor of its own: written once, and loaded as one."""
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    save_sparse(state, tmp_path / "net.csr")
    assert SparseFile(tmp_path / "net.csr").aliases == {"out.weight": "words.weight"}
    load_sparse(tmp_path / "net.csr", Net())
    load_sparse(tmp_path / "net.csr", Net(tie=False))


@pytest.mark.parametrize("separate", [False, True], ids=["one tensor", "a tensor for each name"])
def test_tied_layers_with_equal_constant_vectors(separate: bool, tmp_path: Path) -> None:
    """A zero bias of a shared layer has the content of every other zero bias of its size."""

    def shared() -> nn.Module:
        layers = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm(6))
        return nn.ModuleDict({"policy": layers, "value": layers})

    model = pruned(shared(), 0.8)
    with torch.no_grad():
        model["policy"][2].reset_parameters()
        for layer in model["policy"][:2]:
            layer.bias.zero_()
    state = {name: tensor.clone() if separate else tensor for name, tensor in model.state_dict().items()}
    save_sparse(state, tmp_path / "net.csr")
    made, tokens = shared(), torch.randn(3, 6)
    load_sparse(tmp_path / "net.csr", made)
    torch.testing.assert_close(made["value"](tokens), model["value"](tokens))
    assert made["policy"][0] is made["value"][0]


def test_another_architecture(net: Net, tmp_path: Path) -> None:
    save_sparse(net.state_dict(), tmp_path / "net.csr")
    other = Net(last=4)
    before = snapshot(other)
    with pytest.raises(MismatchError, match=r"'last.bias' is \(3,\) in .*net.csr, but \(4,\) in the model"):
        load_sparse(tmp_path / "net.csr", other)
    before.require_same_shapes(snapshot(other))
    assert type(other.first) is nn.Linear
    state = {**net.state_dict(), "out.weight": net.out.weight + 0.1}
    save_sparse(state, tmp_path / "untied.csr")
    with pytest.raises(MismatchError, match=r"'out.weight' is tied to 'words.weight' in the model, but not in"):
        load_sparse(tmp_path / "untied.csr", Net())


def test_nothing_pruned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(nn.Linear(4, 4).state_dict(), tmp_path / "dense.pt")
    assert main(["export", str(tmp_path / "dense.pt"), "-o", str(tmp_path / "out"), "--form", "csr"]) == 2
    assert "no matrix contains zeros (is this the checkpoint of a trained ticket?)" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="no matrix contains zeros"):
        save_sparse({"cache": torch.zeros(0, 5), "weight": torch.ones(4, 4)}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tensors_without_elements(tmp_path: Path) -> None:
    state = {"cache": torch.zeros(0, 5), "weight": torch.eye(4)}
    assert save_sparse(state, tmp_path / "net.csr").startswith("1 matrices, 75.0% of their weights pruned")
    file = SparseFile(tmp_path / "net.csr")
    assert all(torch.equal(file.tensor(name), tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": torch.zeros(4200, 4200)}, "it claims 17640000 weights, more than a file of its size can hold"),
        ({"a\u3000b": torch.zeros(4, 4)}, "has control characters, which no name has"),
    ],
    ids=["hardly any survivors", "an unprintable name"],
)
def test_what_could_not_be_read_again_is_not_written(
    state: dict[str, torch.Tensor], words: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=f"the sparse file could not be read again: .*{words}"):
        save_sparse(state, tmp_path / "net.csr")
    assert not list(tmp_path.iterdir())


def test_what_is_no_sparse_file(net: Net, tmp_path: Path) -> None:
    snapshot(net).save(tmp_path / "weights")
    (tmp_path / "text").write_text("words")
    for name, words in (
        ("weights", "is not a sparse model"),
        ("text", "damaged"),
        ("none", "No such"),
        (".", "directory"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_sparse(tmp_path / name, net)
        assert not is_sparse_file(tmp_path / name)
    save_sparse(net.state_dict(), tmp_path / "net.csr")
    assert is_sparse_file(tmp_path / "net.csr")
    with pytest.raises(CheckpointError, match=r"needs a model of its architecture: load_sparse\(path, model\)"):
        load_sparse(tmp_path / "net.csr")
    with pytest.raises(CheckpointError, match="is a lottery-sparse, not a file of weights"):
        read_weights(tmp_path / "net.csr")


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.004, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("count", [1, 255, 256, 20_000])
def test_steps_from_value_to_value(count: int, fraction: float) -> None:
    torch.manual_seed(2)
    mask = torch.rand(count) < fraction
    if fraction == 0.004:
        mask[-1] = True
    blob, steps = pack_gaps(mask)
    assert torch.equal(unpack_gaps(blob, steps, int(mask.sum()), count), mask.nonzero()[:, 0].int())


def test_steps_that_lead_elsewhere() -> None:
    mask = torch.rand(2000) < 0.01
    blob, steps = pack_gaps(mask)
    stops = int(mask.sum())
    for bad in ((steps + 10**9, stops, 2000), (steps, stops - 1, 2000), (steps, stops, 900), (stops - 1, stops, 2000)):
        with pytest.raises(TicketError):
            unpack_gaps(blob, *bad)


def test_damage_anywhere_is_noticed(net: Net, tmp_path: Path) -> None:
    save_sparse(net.state_dict(), tmp_path / "net.csr")
    data = (tmp_path / "net.csr").read_bytes()
    for place in (3, 20, 300, 1000, len(data) // 2, len(data) - 1):
        (tmp_path / "bad").write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(LotteryError):
            load_sparse(tmp_path / "bad", Net())
    (tmp_path / "short").write_bytes(data[:-50])
    with pytest.raises(CheckpointError, match="damaged"):
        load_sparse(tmp_path / "short", Net())


def test_types_and_parametrised_layers(net: Net, tmp_path: Path) -> None:
    state = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    save_sparse(state, tmp_path / "half.csr")
    words = torch.randint(0, 60, (5, 4))
    double = Net().double()
    double.table = double.table.double()
    assert load_sparse(tmp_path / "half.csr", double)(words).dtype == torch.float64
    assert load_sparse(tmp_path / "half.csr", Net())(words).dtype == torch.float32
    model = nn.Sequential(weight_norm(pruned(nn.Linear(6, 6))))
    with torch.no_grad():
        model[0].parametrizations.weight.original1.normal_()[:, :4] = 0
    save_sparse(model.state_dict(), tmp_path / "norm.csr")
    other = nn.Sequential(weight_norm(nn.Linear(6, 6)))
    torch.testing.assert_close(load_sparse(tmp_path / "norm.csr", other)(torch.ones(1, 6)), model(torch.ones(1, 6)))


def test_memory_after_all() -> None:
    with parameters_on_meta():
        model = Net()
    give_memory(model)
    model.load_state_dict(Net().state_dict())
    assert model.out.weight is model.words.weight
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_a_later_format(net: Net, tmp_path: Path) -> None:
    save_sparse(net.state_dict(), tmp_path / "net.csr")
    header = {"format": "lottery-sparse", "version": 2}
    save_file(load_file(tmp_path / "net.csr"), tmp_path / "later", {"lottery": json.dumps(header)})
    with pytest.raises(CheckpointError, match="has format 2 of sparse models; this version reads 1"):
        load_sparse(tmp_path / "later", Net())
