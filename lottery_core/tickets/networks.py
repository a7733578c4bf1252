"""The networks of a model (actor, critic; encoder, decoder): survivors, and how many inputs still reach an output.

Everything is derived from masks and names. If it is not certain that a network's layers follow one another, nothing is
said about its inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_core import dialects
from lottery_core.tickets.masks import Masks, is_layer
from lottery_core.tickets.weights import outside_by_name

MODEL, SHARED, REST = "model", "shared", "rest"
# Names of a layer's weight, with or without reparametrisation; recurrent layers use other names.
_WEIGHT = ("weight", "weight_orig", "weight_v", "original", "original1")
_PARAMETRISED = ".parametrizations.weight.original1"
_NORMS = ("weight_g", "original0")
_GATED = ("weight_ih", "weight_hh")  # see torch.nn.LSTM
_PROJECTED = ("q_proj", "k_proj", "v_proj")
_FEW = 8  # weights: a layer with fewer than these, and fewer than 1% of its own, is about to collapse
_LEAST_SHARE = 0.01
_OF_THE_POOL = 0.1  # or one with less than this fraction of the pool's share, and fewer weights than units


@dataclass(frozen=True)
class Network:
    """The survivors of one network.

    :param name: the network's name; ``"shared"`` for parameters of several networks, ``"rest"`` for those of none
    :param pool: number of its parameters in the pool
    :param surviving: number of its surviving parameters
    :param inputs: its number of inputs; ``None`` if its layers cannot be chained
    :param reaching: number of inputs that still reach an output; for parallel networks (twin critics) the minimum
    """

    name: str
    pool: int
    surviving: int
    inputs: int | None = None
    reaching: int | None = None

    def __str__(self) -> str:
        counts = f"{self.name}: surviving {self.surviving:,} of {self.pool:,} ({self.surviving / self.pool:.2%})"
        return counts if self.inputs is None else f"{counts}, {self.flow}"

    @property
    def flow(self) -> str:
        """Say how many inputs reach an output; empty if that is unknown."""
        return "" if self.inputs is None else f"{self.reaching:,} of {self.inputs:,} inputs reach an output"

    @property
    def starved(self) -> bool:
        """Whether fewer than half of the inputs reach an output."""
        return self.inputs is not None and self.reaching is not None and 2 * self.reaching < self.inputs


def network_of_each(names: Iterable[str]) -> dict[str, str]:
    """Map each parameter name to the network that it belongs to.

    :param names: names of all parameters
    :returns: ``"shared"`` for parameters of several networks, ``"rest"`` for those of none; ``"model"`` for all
        parameters if no framework recognises networks by these names
    """
    every = list(names)
    networks = _networks(every)
    if not networks:
        return dict.fromkeys(every, MODEL)
    patterns = {network: re.compile("|".join(stages)) for network, stages in networks.items()}
    result = {}
    for name in every:
        owners = [network for network, pattern in patterns.items() if pattern.search(name)]
        result[name] = owners[0] if len(owners) == 1 else SHARED if owners else REST
    return result


def networks_of(masks: Masks, outside: Mapping[str, Tensor]) -> list[Network]:
    """Return the networks that have parameters in the pool, with their survivors and the inputs that reach an output.

    :param masks: which parameters survive
    :param outside: tensors outside the pool, by name; layers among them are not pruned
    """
    survivors = masks.survivors()
    every = [*masks, *outside]
    owners = network_of_each(every)
    networks = _networks(every)
    result = []
    for network in dict.fromkeys([*(networks or (MODEL,)), SHARED, REST]):
        names = [name for name in masks if owners[name] == network]
        pool = sum(masks[name].numel() for name in names)
        if pool:
            chained = network in networks or network == MODEL
            inputs, reaching = (_flow(masks, outside, networks.get(network)) if chained else None) or (None, None)
            result.append(Network(network, pool, sum(survivors[name] for name in names), inputs, reaching))
    return result


def thin_layers(masks: Masks) -> list[str]:
    """Return the names of layers that still have survivors, but are about to lose their last ones.

    These layers keep fewer than 8 weights and less than 1%; or they keep less than a tenth of the share that the whole
    pool keeps, and have fewer weights than units on their narrower side. The first criterion is absolute. The second is
    relative: it finds a layer that loses far more than the others, which the share of the pool does not show. A large
    layer that keeps a small share, but several weights per unit, meets neither.
    """
    share = masks.surviving / masks.pool
    result = []
    for name, count in masks.survivors().items():
        mask = masks[name]
        if not count or not is_layer(name, mask):
            continue
        own = count / mask.numel()
        absolute = count < _FEW and own < _LEAST_SHARE
        starved = count < max(_FEW, min(mask.shape[:2])) and own < _OF_THE_POOL * share
        if absolute or starved:
            result.append(name)
    return result


def dead_units(name: str, mask: Tensor, heads: Mapping[str, int] | None = None) -> tuple[int, int]:
    """Count the units of a layer that have no surviving weight, and its inputs that no unit reads.

    :param name: name of its weight; a unit of an LSTM has a row in each gate
    :param mask: the mask of its weight, (units, inputs, ...)
    :param heads: attention -> number of its heads, which are the units of its projections of queries, keys and values
    """
    connections = _connections(mask)
    rows = connections.any(1)
    layer, _, last = name.rpartition(".")
    count = (heads or {}).get(layer.rpartition(".")[0], 0)
    if last.startswith(_GATED) and not len(rows) % dialects.GATES:
        rows = rows.reshape(dialects.GATES, -1).any(0)
    elif count and layer.endswith(_PROJECTED) and not len(rows) % count:
        rows = rows.reshape(count, -1).any(1)
    return int((~rows).sum()), int((~connections.any(0)).sum())


def _networks(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    found = (row.networks(names) for row in dialects.every())
    return next((networks for networks in found if networks), {})


def _flow(masks: Masks, outside: Mapping[str, Tensor], stages: Sequence[str] | None) -> tuple[int, int] | None:
    # Returns the network's inputs, and how many of them reach an output; None if its layers cannot be chained.
    connections = _layers(masks, outside)
    staged = [[sorted(connections, key=_natural)]] if stages is None else _staged(connections, stages)
    if not _sequential([name for stacks in staged for stack in stacks for name in stack]):
        return None
    needed: Tensor | None = None  # inputs that the next stack reads; None at the outputs
    ends: list[Tensor] = []
    for number, stacks in enumerate(reversed(staged)):
        if number and len(stacks) > 1:  # parallel stacks in the middle: it is unknown how they are joined
            return None
        found = [_back_through([connections[name] for name in stack], needed) for stack in stacks]
        ends = [end for end in found if end is not None]
        if len(ends) < len(found) or len({len(end) for end in ends}) > 1:
            return None
        needed = torch.stack(ends).any(0)
    return (len(ends[0]), min(int(end.sum()) for end in ends)) if ends else None


def _layers(masks: Masks, outside: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Maps layer names to masks; layers outside the pool are not pruned.
    never = set(outside_by_name({**masks, **outside})).intersection(outside)
    target = dialects.of_names([*masks, *outside]).target_network
    never |= {name for name in outside if target is not None and target.match(name)}
    whole = {name: tensor for name, tensor in outside.items() if name not in never}
    ones = {name: torch.ones(tensor.shape, dtype=torch.bool, device="cpu") for name, tensor in whole.items()}
    everything = {**masks, **ones}
    return {
        name: mask
        for name, mask in everything.items()
        if is_layer(name, mask) and name.rpartition(".")[2] not in _NORMS
    }


def _staged(names: Iterable[str], stages: Sequence[str]) -> list[list[list[str]]]:
    # Yields the stacks of layers by stage: numbered layers (net.0, net.2) follow one another, others are parallel.
    patterns = [re.compile(stage) for stage in stages]
    staged: list[dict[str, list[str]]] = [{} for _ in stages]
    for name in sorted(names, key=_natural):
        stage = next((number for number, pattern in enumerate(patterns) if pattern.search(name)), None)
        if stage is not None:
            module = name.removesuffix(_PARAMETRISED).rpartition(".")[0]
            staged[stage].setdefault(re.sub(r"\.\d+$", "", module), []).append(name)
    return [list(stacks.values()) for stacks in staged if stacks]


def _sequential(names: Sequence[str]) -> bool:
    # Returns whether all layers may follow one another: no embeddings, no attention, nothing recurrent.
    patterns = [row.not_sequential for row in dialects.every() if row.not_sequential is not None]
    return all(
        name.rpartition(".")[2] in _WEIGHT and not any(pattern.search(name) for pattern in patterns) for name in names
    )


def _back_through(layers: Sequence[Tensor], needed: Tensor | None) -> Tensor | None:
    # Returns which inputs of a stack of layers reach the needed units of its last layer; None if shapes do not connect.
    for mask in reversed(layers):
        connections = _connections(mask)
        if needed is not None and len(needed) != len(connections):
            # A matrix after convolutions reads each channel at several positions.
            if mask.dim() < 3 or not len(connections) or len(needed) % len(connections):
                return None
            needed = needed.reshape(len(connections), -1).any(1)
        needed = (connections if needed is None else connections[needed]).any(0)
    return needed


def _connections(mask: Tensor) -> Tensor:
    # (units, inputs): whether any weight between the two survives.
    return mask if mask.dim() == 2 else mask.flatten(2).any(2)


def _natural(name: str) -> list[tuple[int, str]]:
    # Sorts numbers by value: without leading zeros, the longer one is larger.
    parts = enumerate(re.split(r"(\d+)", name))
    return [(len(part.lstrip("0")), part.lstrip("0")) if index % 2 else (0, part) for index, part in parts]
