"""A snapshot of a network's weights: every distinct tensor once, by name, on the CPU."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lottery_core import dialects
from lottery_core.errors import CheckpointError, ScopeError
from lottery_core.files import parse_json, printable, why_no_shape, why_not_regular, write_bytes
from lottery_core.tickets.encoding import why_not_stored
from lottery_core.tickets.names import (
    heads_of,
    is_own,
    matching,
    plain_file_names,
    plain_names,
    renamed_heads,
    require_same_shapes,
)
from lottery_core.tickets.scope import ALL, LAYERS, TRAINABLE, as_scope, pool_names
from lottery_core.tickets.ties import content, equal_bits, live_parameters, without_aliases

_HEADER = "lottery"
_FORMAT = "lottery-weights"
_TICKET = "lottery-ticket"
_TICKET_HINT = (
    ": it holds a mask and the values that its training starts from; train it, and give the checkpoint of that "
    "training ('lottery inspect' shows the ticket)"
)
# Last parts of the names that torch's own layers, and most others, give to parameters. Other names that contain these
# words (pos_weight, class_weights, attn_bias) are often buffers.
_PARAMETER = re.compile(
    r"^(weight|bias)(_(ih|hh|hr)_l\d+(_reverse)?)?(_(g|v|orig))?$|^((in|out|q|k|v)_proj_)(weight|bias)$|^bias_[kv]$"
    r"|^original\d*$|^log_std$"
)


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights by name; equal if names, values (bit for bit) and what is known of them are, whatever the source.

    :param tensors: name -> tensor on the CPU; a tied parameter appears once, under its first name
    :param outside: names that are never pruned: buffers and ``log_std``
    :param source: the file or model that they come from, for messages
    :param unsure: names that may be parameters or buffers, because the file does not say
    :param frozen: names of parameters that do not train; ``None`` if unknown
    :param heads: names of attentions -> their number of heads, as far as it is known
    """

    tensors: Mapping[str, Tensor]
    outside: frozenset[str] = field(default_factory=frozenset)
    source: str = "the model"
    unsure: frozenset[str] = field(default_factory=frozenset)
    frozen: frozenset[str] | None = None
    heads: Mapping[str, int] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Weights):
            return NotImplemented
        known = ("outside", "unsure", "frozen", "heads")
        same = self.tensors.keys() == other.tensors.keys() and all(
            getattr(self, each) == getattr(other, each) for each in known
        )
        return same and all(equal_bits(tensor, other.tensors[name]) for name, tensor in self.tensors.items())

    __hash__ = None  # type: ignore[assignment]

    def names(self) -> list[str]:
        """Return the names of the parameters that may be pruned."""
        return [name for name in self.tensors if name not in self.outside]

    def pool(self, scope: str | Sequence[str]) -> list[str]:
        """Return the names in the pool, see :func:`lottery_core.pool_names`.

        :param scope: words of a scope
        :raises ScopeError: the scope selects nothing, or selects a tensor that may be a parameter or a buffer
        """
        names = pool_names(self.names(), scope, self.outside, self.frozen)
        # A regular expression is explicit.
        vague = [word for word in as_scope(scope) if word in (ALL, LAYERS, TRAINABLE)] if self.unsure else []
        doubtful = sorted(
            self.unsure.intersection(pool_names(self.names(), vague, self.outside, self.frozen) if vague else ())
        )
        if doubtful:
            some = ", ".join(f"'{printable(name, 60)}'" for name in doubtful[:4])
            raise ScopeError(
                f"{self.source} does not say whether {some}{' ...' if len(doubtful) > 4 else ''} are parameters or "
                "buffers: give a scope of regular expressions (e.g. weight bias), or weights that this project wrote"
            )
        return names

    def like(self, other: Weights) -> Weights:
        """Return the same values with the names, ties and (if known) parameters of ``other``.

        :param other: weights of the same network
        """
        mapping = matching(self.tensors, other.tensors, surplus=True)
        tensors = self.tensors if mapping is None else {mapping[name]: self.tensors[name] for name in self.tensors}
        heads = self.heads if mapping is None else renamed_heads(self.heads, mapping)
        weights = replace(self, tensors=tensors, heads=heads or other.heads).without_lost_aliases(other)
        if mapping is not None:
            weights = replace(
                weights,
                outside=frozenset(mapping.get(name, name) for name in weights.outside),
                unsure=frozenset(mapping.get(name, name) for name in weights.unsure),
                frozen=weights.frozen and frozenset(mapping.get(name, name) for name in weights.frozen),
            )
        if other.frozen is None:  # other does not know either, but may have learned it from optimizers
            settled = weights.unsure - other.unsure if weights.tensors.keys() == other.tensors.keys() else frozenset()
            outside = weights.outside | (settled & other.outside)
            return replace(weights, outside=outside, unsure=weights.unsure - settled)
        return replace(weights, outside=other.outside, unsure=frozenset(), frozen=other.frozen)

    def require_same_shapes(self, other: Weights) -> None:
        """Check that the tensors have the same names and shapes as those of ``other``.

        :raises MismatchError: they differ; the message names the first tensor that does, and both shapes
        """
        shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
        require_same_shapes(shapes, {name: t.shape for name, t in other.tensors.items()}, self.source, other.source)

    def without_lost_aliases(self, other: Weights) -> Weights:
        """Drop tied copies that ``other`` lacks; some files store a tied parameter once for each of its names."""
        lost = self.tensors.keys() - other.tensors.keys()
        kept = {content(self.tensors[name]) for name in other.tensors if name in self.tensors} if lost else set()
        copies = [name for name in lost if content(self.tensors[name]) in kept]
        if not copies:
            return self
        tensors = {name: tensor for name, tensor in self.tensors.items() if name not in copies}
        return replace(self, tensors=tensors, outside=self.outside - set(copies), unsure=self.unsure - set(copies))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, atomically.

        :raises WriteError: the file cannot be written
        :raises CheckpointError: safetensors cannot store a tensor's type
        """
        from safetensors.torch import save

        entries = {"format": _FORMAT, "outside": sorted(self.outside)}
        if self.frozen:
            entries["frozen"] = sorted(self.frozen)
        if self.unsure or self.frozen is None:  # a file without this entry says that it knows
            entries["unsure"] = sorted(self.unsure)
        heads = {"heads": dict(sorted(self.heads.items()))} if self.heads else {}
        reason = why_not_stored(self.tensors)
        if reason is not None:
            raise CheckpointError(f"cannot write {path}: {reason}")
        header = json.dumps({**entries, **heads})
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        write_bytes(path, save(tensors, {_HEADER: header}))

    @classmethod
    def load(cls, path: str | Path) -> Weights:
        """Read a safetensors file, written by this project or by others.

        :raises CheckpointError: the file is not a safetensors file, or is a ticket
        """
        header, tensors = _open(Path(path))
        if header is None:
            return weights_of_file(tensors, str(path))
        outside, frozen, unsure = header.get("outside"), header.get("frozen", []), header.get("unsure", [])
        if not all(map(_are_names, (outside, frozen, unsure))):
            raise CheckpointError(
                f"cannot read {path}: its header must have lists of names as 'outside', 'frozen' and 'unsure'"
            )
        heads = header.get("heads", {})
        if not isinstance(heads, dict) or not all(type(count) is int and count > 0 for count in heads.values()):
            raise CheckpointError(f"cannot read {path}: its header must have numbers of heads as 'heads'")
        known = None if "unsure" in header and "frozen" not in header else frozenset(frozen)
        return cls(tensors, frozenset(outside or ()), str(path), frozenset(unsure), known, heads)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _open(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    # Returns the header if this project wrote the file, else None.
    from safetensors import safe_open

    reason = why_not_regular(path)
    if reason is not None:
        raise CheckpointError(f"cannot read {path}: {reason}")
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(_HEADER)
            header = None if text is None else parse_json(text)
            if header is not None and not isinstance(header, dict):
                raise CheckpointError(f"{path} has a damaged header")
            if header is not None and header.get("format", _FORMAT) != _FORMAT:
                hint = _TICKET_HINT if header["format"] == _TICKET else ""
                raise CheckpointError(f"{path} is a {printable(header['format'], 40)}, not a file of weights{hint}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            for name, reason in ((name, why_no_shape(tensor.shape)) for name, tensor in tensors.items()):
                if reason is not None:
                    raise CheckpointError(f"cannot read {path}: '{printable(name)}': {reason}")
            return header, tensors
    except CheckpointError:
        raise
    except Exception as error:  # a damaged or hostile file may raise anything
        raise CheckpointError(f"cannot read {path}: {printable(error)}") from error


def weights_of_file(state: Mapping[str, Tensor], source: str, parameters: int | None = None) -> Weights:
    """Return the weights in a state dict from a file, which does not say which tensors are parameters.

    Wrappers' prefixes are stripped, tied parameters are kept once, and a weight that ``torch.nn.utils.prune`` has split
    into ``weight_orig`` and ``weight_mask`` is restored.

    :param state: the state dict; its tensors are not copied
    :param source: the file, for messages
    :param parameters: number of parameters that the optimizers in the same file step; ``None`` if unknown
    """
    plain = plain_file_names(state)
    tensors = _without_pruning_masks({plain[name]: tensor for name, tensor in without_aliases(state).items()})
    tensors = {name: tensor for name, tensor in tensors.items() if is_own(name, tensor)}
    outside = outside_by_name(tensors)
    unsure = {name for name in tensors if name not in outside and not _surely_parameter(name, tensors)}
    sure = sum(name not in unsure and (name not in outside or _is_parameter(name)) for name in tensors)
    if parameters == sure:  # the remaining tensors are buffers
        return Weights(tensors, frozenset(outside) | unsure, source)
    if parameters == sure + len(unsure):
        unsure = set()
    return Weights(tensors, frozenset(outside), source, frozenset(unsure))


def _surely_parameter(name: str, tensors: Mapping[str, Tensor]) -> bool:
    module, _, last = name.rpartition(".")
    if last == "bias" and tensors[name].dim() > 1 and f"{module}.weight".lstrip(".") not in tensors:
        return False  # causal masks may have this name, too
    return _PARAMETER.search(last) is not None


def _is_parameter(name: str) -> bool:
    # Such a parameter is never pruned.
    return any(name.rpartition(".")[2] in row.never_pruned for row in dialects.every())


def _without_pruning_masks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    result = {}
    for name, tensor in tensors.items():
        stem = name.removesuffix("_orig")
        if stem != name and f"{stem}_mask" in tensors:
            mask = tensors[f"{stem}_mask"]
            result[stem] = tensor.masked_fill(mask.to(tensor.device) == 0, 0) if mask.shape == tensor.shape else tensor
        elif not (name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in tensors):
            result[name] = tensor
    return result


def outside_by_name(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that are never pruned, judged by type and the last part of the name."""
    never = frozenset[str]().union(*(row.buffers | row.never_pruned for row in dialects.every()))
    return [
        name
        for name, tensor in tensors.items()
        if name.rpartition(".")[2] in never or not _can_train(tensor) or _of_spectral_norm(name, tensors)
    ]


def _can_train(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _of_spectral_norm(name: str, names: Collection[str]) -> bool:
    # torch/nn/utils/parametrizations.py:_SpectralNorm keeps _u and _v, torch/nn/utils/spectral_norm.py weight_u and _v.
    module, _, last = name.rpartition(".")
    if last in ("_u", "_v"):
        return f"{module.rpartition('.')[0]}.original" in names
    return last.endswith(("_u", "_v")) and f"{name[:-2]}_orig" in names


def snapshot(model: nn.Module) -> Weights:
    """Copy the weights of ``model``: parameters (tied ones once) and the buffers that its state dict holds.

    Take it in full precision: before a framework casts the model to fp16. Parameters that the state dict leaves out, or
    has under other names, are copied as well.

    :param model: any module, on any device; names are those of the bare model where ``torch.compile``, ``DataParallel``
        or ``DistributedDataParallel`` wraps it
    :returns: clones on the CPU, which later training does not change
    :raises MismatchError: a parameter has no values yet (a lazy module, the device meta), has no memory of its own
        (sharded), or shares memory with another one of another shape
    """
    plain = plain_names(model)
    parameters = {name: same[0] for name, same in live_parameters(model).items()}
    # The state dict says which buffers are kept, and the order; its hooks may have changed the values (to bf16, say).
    state = {plain(name): value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    every = {plain(name): value for name, value in model.named_buffers(remove_duplicate=False)}
    buffers = {name: every[name] for name in state if name in every}
    # Parameters first, so that no buffer that shares their memory stands for them. Entries from get_extra_state are
    # neither.
    kept: dict[str, Tensor] = without_aliases({**parameters, **buffers})
    never = frozenset[str]().union(*(row.never_pruned for row in dialects.every()))
    outside = {
        name
        for name, value in kept.items()
        if name not in parameters or name.rpartition(".")[2] in never or not _can_train(value)
    }
    frozen = frozenset(name for name in kept if name in parameters and not parameters[name].requires_grad)
    tensors = {name: kept[name].detach().cpu().clone() for name in {**state, **kept} if name in kept}
    return Weights(tensors, frozenset(outside), frozen=frozen, heads=heads_of(model, tensors))
