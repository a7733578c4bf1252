"""Removing dead units: the same outputs, every dead unit gone, nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from lottery_core.inference.shrink import ELEMENTWISE, Reads, Report, Shrunk, Units, shrink


def prune_(network: nn.Module, fraction: float, seed: int = 0) -> None:
    """Random masks, biases among them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter[torch.rand(parameter.shape, generator=generator) < fraction] = 0.0


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def chain(layers: Sequence[str], activation: nn.Module) -> list[Units]:
    """Layers that read one another, the activation between them."""
    return [Units(one, (Reads(next_, (activation,)),)) for one, next_ in itertools.pairwise(layers)]


def mlp(sizes: Sequence[int], activation: nn.Module, bias: bool = True) -> nn.Sequential:
    modules: list[nn.Module] = []
    for index, (before, after) in enumerate(itertools.pairwise(sizes)):
        modules += [nn.Linear(before, after, bias=bias)] + [activation] * (index < len(sizes) - 2)
    return nn.Sequential(*modules)


def widths_of(shrunk: Shrunk) -> list[int]:
    return [after for _, after in shrunk.widths.values()]


@torch.no_grad()
def assert_same(one: Tensor, other: Tensor) -> None:
    """Equal to 1e-6 of the largest output, and not all alike, which anything would reproduce."""
    assert float(one.std(0).max()) > 1e-3
    assert float((one - other).abs().max()) <= 1e-6 * float(one.abs().max())


@pytest.mark.parametrize("kind", ELEMENTWISE, ids=lambda kind: kind.__name__)
def test_outputs_stay(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    activation = nn.Threshold(0.1, 0.0) if kind is nn.Threshold else kind()
    network = mlp([12, 60, 60, 50, 3], activation)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8)
    prune_(network, 0.93)
    shrunk = shrink(tensors_of(network), chain(["0", "2", "4", "6"], activation))
    small = mlp([12, *widths_of(shrunk), 3], activation)
    small.load_state_dict(shrunk.tensors)
    inputs = torch.randn(200, 12)
    assert_same(network(inputs), small(inputs))
    assert all(after < before for before, after in shrunk.widths.values())
    again = shrink(tensors_of(small), chain(["0", "2", "4", "6"], activation))
    assert widths_of(again) == widths_of(shrunk)


def test_exactly_the_dead_ones_go() -> None:
    """By hand: 0 lives; 1 is a constant; 2 is read by nobody, so that 3, which only 2 reads, dies too."""
    network = mlp([1, 2, 3, 1], nn.ReLU())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network[0].weight[:] = torch.tensor([[1.0], [1.0]])
        network[2].weight[:] = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 5.0]])
        network[2].bias[:] = torch.tensor([0.0, 0.5, 7.0])
        network[4].weight[:] = torch.tensor([[2.0, 4.0, 0.0]])
        network[4].bias[:] = 1.0
    shrunk = shrink(tensors_of(network), chain(["0", "2", "4"], nn.ReLU()))
    assert shrunk.widths == {"0": (2, 1), "2": (3, 1)}
    assert shrunk.tensors["0.weight"].tolist() == [[1.0]]
    assert shrunk.tensors["2.weight"].tolist() == [[1.0]]
    assert shrunk.tensors["4.weight"].tolist() == [[2.0]]
    assert shrunk.tensors["4.bias"].tolist() == [3.0]  # 1 + 4 x 0.5


def test_constants_pass_through_several_layers() -> None:
    network = mlp([3, 4, 4, 2], nn.Tanh())
    with torch.no_grad():
        network[0].weight.zero_()
    shrunk = shrink(tensors_of(network), chain(["0", "2", "4"], nn.Tanh()))
    assert shrunk.widths == {"0": (4, 1), "2": (4, 1)}
    assert not shrunk.tensors["4.weight"].any()
    assert torch.allclose(shrunk.tensors["4.bias"], network(torch.randn(3)), atol=1e-7)


def test_without_a_bias_only_zeros_fold() -> None:
    """tanh(0) = 0 goes; sigmoid(0) = 0.5 has no bias to go into, so those units stay."""
    for activation, expected in ((nn.Tanh(), 4), (nn.Sigmoid(), 6)):
        network = mlp([3, 6, 2], activation, bias=False)
        with torch.no_grad():
            network[0].weight[4:] = 0.0
        tensors = tensors_of(network)
        shrunk = shrink(tensors, chain(["0", "2"], activation))
        assert shrunk.widths == {"0": (6, expected)}
        assert tensors.keys() == shrunk.tensors.keys()


def test_nothing_dead_changes_no_bit() -> None:
    network = mlp([3, 6, 6, 2], nn.ReLU())
    tensors = tensors_of(network)
    shrunk = shrink(tensors, chain(["0", "2", "4"], nn.ReLU()))
    assert all(torch.equal(tensors[name], shrunk.tensors[name]) for name in tensors)
    report = shrunk.report(tensors)
    assert not report
    assert report.line == "no unit is dead: nothing to remove (80 parameters)"


def test_the_given_tensors_are_not_written() -> None:
    network = mlp([3, 20, 2], nn.Sigmoid())
    prune_(network, 0.8)
    before = {name: tensor.clone() for name, tensor in tensors_of(network).items()}
    shrink(tensors_of(network), chain(["0", "2"], nn.Sigmoid()))
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors_of(network).items())


def test_a_trunk_that_two_heads_read() -> None:
    torch.manual_seed(0)
    trunk, heads = nn.Linear(5, 40), [nn.Linear(40, 3), nn.Linear(40, 1)]
    for index, layer in enumerate([trunk, *heads]):
        prune_(layer, 0.8, index)
    modules = nn.ModuleDict({"trunk": trunk, "one": heads[0], "two": heads[1]})
    units = [Units("trunk", (Reads("one", (nn.Tanh(),)), Reads("two", (nn.Sigmoid(),))))]
    tensors = tensors_of(modules)
    small = shrink(tensors, units)
    dead = ~(tensors["one.weight"].any(0) | tensors["two.weight"].any(0)) | ~tensors["trunk.weight"].any(1)
    assert small.widths == {"trunk": (40, 40 - int(dead.sum()))}
    inputs = torch.randn(50, 5)
    hidden = inputs @ small.tensors["trunk.weight"].T + small.tensors["trunk.bias"]
    for name, head, function in (("one", heads[0], torch.tanh), ("two", heads[1], torch.sigmoid)):
        output = function(hidden) @ small.tensors[f"{name}.weight"].T + small.tensors[f"{name}.bias"]
        assert_same(head(function(trunk(inputs))), output)


def convolutions(channels: Sequence[int], padding: int, side: int) -> nn.Sequential:
    one, two, three = channels
    flat = three * side * side
    return nn.Sequential(
        *(nn.Conv2d(one, two, 3, padding=padding), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(two, three, 3, padding=padding), nn.ReLU(), nn.Flatten()),
        nn.Linear(flat, 4),
    )


@pytest.mark.parametrize("padding", [0, 1])
def test_convolutions(padding: int) -> None:
    """A flattened channel is a block of columns; in front of padding a constant channel stays unless it is 0."""
    torch.manual_seed(2)
    side = {0: 3, 1: 6}[padding]
    network = convolutions([2, 16, 12], padding, side)
    prune_(network, 0.7)
    with torch.no_grad():
        network[0].weight[:6] = 0.0  # constants
        network[0].bias[:3], network[0].bias[3:6] = 0.5, -0.5  # of which ReLU leaves three
        network[3].weight[:4] = 0.0
        network[6].weight.view(4, 12, -1)[:, 5:8] = 0.0  # read by nobody
    readers = Reads("3", (nn.ReLU(),), padded=padding > 0), Reads("6", (nn.ReLU(),), block=side * side)
    units = [Units("0", readers[:1]), Units("3", readers[1:])]
    shrunk = shrink(tensors_of(network), units)
    assert shrunk.widths == {"0": (16, 10 + 3 * padding), "3": (12, 5)}
    small = convolutions([2, *widths_of(shrunk)], padding, side)
    small.load_state_dict(shrunk.tensors)
    frames = torch.randn(8, 2, 12, 12)
    assert_same(network(frames), small(frames))


def test_one_width_for_several() -> None:
    """Narrower ones get units of zeros behind, and the functions stay."""
    torch.manual_seed(3)
    networks = nn.ModuleList(mlp([6, 30, 30, 2], nn.ReLU()) for _ in range(3))
    for index, network in enumerate(networks):
        prune_(network, (0.5, 0.9, 0.97)[index], index)
    units = [unit for index in range(3) for unit in chain([f"{index}.{layer}" for layer in (0, 2, 4)], nn.ReLU())]
    level = [{f"{index}.{layer}" for index in range(3)} for layer in (0, 2)]
    shrunk = shrink(tensors_of(networks), units, level=level)
    assert len(set(widths_of(shrunk))) == 2
    small = nn.ModuleList(mlp([6, *widths_of(shrunk)[:2], 2], nn.ReLU()) for _ in range(3))
    small.load_state_dict(shrunk.tensors)
    inputs = torch.randn(50, 6)
    for one, other in zip(networks[:2], small, strict=False):
        assert_same(one(inputs), other(inputs))
    assert torch.allclose(networks[2](inputs), small[2](inputs), atol=1e-6)
    again = shrink(tensors_of(small), units, level=level).report(tensors_of(small))
    assert not again
    assert again.line.startswith(
        f"{sum(again.zeros.values())} dead units kept as zeros, since layers that have one width"
    )


def test_alike_lose_the_same_units() -> None:
    """What is dead in one of them alone stays in both."""
    networks = nn.ModuleDict({name: mlp([2, 6, 2], nn.ReLU()) for name in ("online", "target")})
    with torch.no_grad():
        networks["online"][0].weight[[0, 1]] = 0.0
        networks["target"][2].weight[:, [1, 2]] = 0.0
    units = [unit for name in networks for unit in chain([f"{name}.0", f"{name}.2"], nn.ReLU())]
    shrunk = shrink(tensors_of(networks), units, alike=[{"online.0", "target.0"}])
    assert shrunk.widths == {"online.0": (6, 5), "target.0": (6, 5)}
    for name in networks:
        expected = networks[name][0].weight[[0, 2, 3, 4, 5]]
        assert torch.equal(shrunk.tensors[f"{name}.0.weight"], expected)


def test_types_and_precision() -> None:
    """A long sum of constants in fp16 loses nothing on its way: it is rounded once."""
    torch.manual_seed(4)
    network = mlp([2, 3000, 1], nn.Identity()).half()
    with torch.no_grad():
        network[0].weight[1:] = 0.0
    shrunk = shrink(tensors_of(network), chain(["0", "2"], nn.Identity()))
    exact = network[2].bias.double() + network[2].weight.double()[:, 1:] @ network[0].bias.double()[1:]
    assert shrunk.tensors["2.bias"].dtype == torch.float16
    assert torch.equal(shrunk.tensors["2.bias"], exact.detach().half())


def test_report() -> None:
    network = mlp([1, 100, 1], nn.ReLU())
    with torch.no_grad():
        network[0].weight[1:] = 0.0
    tensors = tensors_of(network)
    report = shrink(tensors, chain(["0", "2"], nn.ReLU())).report(tensors)
    assert report == Report({"0": (100, 1)}, (301, 4))
    assert report.removed == 99
    assert str(report).splitlines() == [
        "layer  units  left",
        "0        100     1",
        "removed 99 of 100 units; parameters 301 -> 4 (1.3%)",
    ]
    without = shrink(tensors, chain(["0", "2"], nn.ReLU())).report(tensors, lambda name: name.startswith("0"))
    assert not without
