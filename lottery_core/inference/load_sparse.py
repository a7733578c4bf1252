"""Load a sparse file into a model with sparse layers, without a dense copy of their matrices."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from lottery_core import dialects
from lottery_core.errors import CheckpointError, ConfigError, MismatchError
from lottery_core.inference.candidates import Layer, layers_of, places_in, sparse_form
from lottery_core.inference.layers import CsrMatrix, SparseEmbedding
from lottery_core.inference.sparse_file import SparseFile
from lottery_core.tickets import equal_bits, is_own, matching, require_same_shapes

_LEAST_PRUNED = 0.5  # below, indices and values take more memory than the dense matrix


class Builder(Protocol):
    """The function that a dialect names as ``build``."""

    def __call__(self, config: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
        """Build the model of a file's configuration, with its parameters on the device "meta"."""


def load_sparse(path: str | Path, model: nn.Module | None = None, **options: Any) -> nn.Module:
    """Load a file that ``lottery export --form csr`` wrote.

    Linear layers, embeddings and LSTMs become sparse wherever at least half of their weights are pruned.

    :param path: the sparse file
    :param model: a model of the same architecture, whose layers and weights are replaced; build it inside
        :func:`parameters_on_meta` to save its memory. ``None``: the plugin of the file's framework builds it
    :param options: settings that differ from those stored in the file, e.g. ``data="data-bin/..."`` if the data folder
        is elsewhere on this machine
    :returns: the model, in evaluation mode
    :raises CheckpointError: the file cannot be read, or its plugin is not installed
    :raises ConfigError: an option is unknown, or the data folder lacks the dictionaries
    :raises MismatchError: the model has another architecture; the message names the first tensor that differs
    """
    file = SparseFile(path)
    if model is not None and options:
        raise ConfigError(f"{', '.join(options)}: options are for the model that the plugin builds, and one was given")
    if model is None:
        model = _builder(file)(file.config, options)
    fill(model, file)
    return model


def _builder(file: SparseFile) -> Builder:
    if not file.framework:
        raise CheckpointError(f"{file.path} needs a model of its architecture: load_sparse(path, model)")
    reference = dialects.named(file.framework).build
    try:
        builder: Builder | None = None if reference is None else dialects.load(reference)
    except ImportError:
        builder = None
    if builder is None:
        raise CheckpointError(f"{file.path} needs the plugin of {file.framework}")
    return builder


class _SkipInitialisation(TorchFunctionMode):
    # Initialising a tensor without memory does nothing, yet torch would import its compiler for it.
    _skipped = frozenset((Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.copy_))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        target = [*args, *(kwargs or {}).values()][0] if args or kwargs else None
        initialises = func in self._skipped or getattr(func, "__module__", None) == nn.init.__name__
        if initialises and isinstance(target, Tensor) and target.is_meta:
            return target
        return func(*args, **(kwargs or {}))


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Build modules whose parameters take no memory; buffers are built as usual.

    Only the calling thread is affected. (``torch.device("meta")`` would also discard the tables that a module computes
    when it is built, such as positional embeddings.)
    """
    thread = threading.get_ident()

    def move_to_meta(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        if parameter.is_meta or threading.get_ident() != thread:
            return None
        return nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)

    # torch annotates the hook as returning nothing, but documents and uses a returned parameter.
    hook = register_module_parameter_registration_hook(move_to_meta)  # type: ignore[arg-type]
    try:
        with _SkipInitialisation():
            yield
    finally:
        hook.remove()


def give_memory(model: nn.Module) -> None:
    """Give the parameters of a model built inside :func:`parameters_on_meta` memory on the CPU; tied ones stay tied."""
    allocated: dict[Tensor, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.is_meta:
                continue
            if parameter not in allocated:
                allocated[parameter] = nn.Parameter(torch.empty_like(parameter, device="cpu"), parameter.requires_grad)
            setattr(module, name, allocated[parameter])


@torch.no_grad()
def fill(model: nn.Module, file: SparseFile) -> None:
    """Load the weights of a file into a model and put it into evaluation mode.

    Layers at least half pruned are replaced by sparse ones, which saves memory.

    :param model: a model of the file's architecture, with or without memory for its parameters; changed in place
    :param file: the opened sparse file
    :raises MismatchError: the model has another architecture; it is left unchanged
    """
    weights = _Weights(file, _names_in_file(model, file))
    layers = [layer for layer in _layers_with_sparse_form(model) if weights.smaller_if_sparse(layer)]
    _load_dense(model, weights, {layer.module: layer.matrices for layer in layers})
    for layer in layers:
        layer.replace(_sparse_layer(layer.module, weights))
    model.eval()


def _names_in_file(model: nn.Module, file: SparseFile) -> dict[Tensor, str]:
    """Map every tensor of the model's state dict to its name in the file.

    :raises MismatchError: shapes, tied tensors or kinds of numbers differ
    """
    # Entries from get_extra_state are neither parameters nor buffers.
    state = {name: value for name, value in model.state_dict(keep_vars=True).items() if is_own(name, value)}
    shapes = file.shapes()
    shapes |= {alias: shapes[name] for alias, name in file.aliases.items()}
    mapping = matching(state, shapes) or {name: name for name in state}
    state = {mapping[name]: tensor for name, tensor in state.items()}
    require_same_shapes(shapes, {name: tensor.shape for name, tensor in state.items()}, str(file.path), "the model")
    names: dict[Tensor, str] = {}
    for name, tensor in state.items():
        stored = file.aliases.get(name, name)
        first = names.setdefault(tensor, stored)
        # A file keeps equal constant vectors, such as two zero biases, under several names.
        if first != stored and not equal_bits(file.tensor(first), file.tensor(stored)):
            raise MismatchError(f"'{name}' is tied to '{first}' in the model, but not in {file.path}")
        if tensor.is_floating_point() != file.is_floating_point(stored):
            raise MismatchError(f"'{name}' holds integers in either the model or {file.path}, not in both")
    return names


class _Weights:
    """A reader of a file's weights for the tensors of a model; it reads each name once, so tied tensors stay tied.

    :param file: the opened sparse file
    :param names: name in the file of each tensor, see :func:`_names_in_file`
    """

    def __init__(self, file: SparseFile, names: Mapping[Tensor, str]) -> None:
        self.file, self.names = file, names
        self._dense: dict[str, Tensor] = {}
        self._sparse: dict[str, CsrMatrix] = {}

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self.names

    def dense(self, tensor: Tensor) -> Tensor:
        """Return the weights for ``tensor``, of its type, device and class."""
        name = self.names[tensor]
        if name not in self._dense:
            loaded = self.file.tensor(name).to(_device_for(tensor), tensor.dtype)
            is_parameter = isinstance(tensor, nn.Parameter)
            self._dense[name] = nn.Parameter(loaded, tensor.requires_grad) if is_parameter else loaded
        return self._dense[name]

    def sparse(self, weight: Tensor) -> CsrMatrix:
        """Return the sparse matrix for ``weight``, of its type and device."""
        name = self.names[weight]
        if name not in self._sparse:
            self._sparse[name] = self.file.matrix(name).to(weight.dtype).to(_device_for(weight))
        return self._sparse[name]

    def smaller_if_sparse(self, layer: Layer) -> bool:
        """Return whether a layer takes less memory sparse; never for parametrised weights, which are in no file."""
        return all(
            weight in self.names and self.file.pruned(self.names[weight]) >= _LEAST_PRUNED for weight in layer.matrices
        )


def _device_for(tensor: Tensor) -> torch.device:
    return torch.device("cpu") if tensor.is_meta else tensor.device


def _load_dense(model: nn.Module, weights: _Weights, sparse_matrices: Mapping[nn.Module, tuple[Tensor, ...]]) -> None:
    for module in model.modules():
        skipped = set(sparse_matrices.get(module, ()))  # read as sparse, never as dense
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor in weights and tensor not in skipped:
                setattr(module, name, weights.dense(tensor))


def _sparse_layer(module: nn.Module, weights: _Weights) -> nn.Module:
    if isinstance(module, nn.Embedding):
        return SparseEmbedding(weights.sparse(module.weight), module.padding_idx)
    return sparse_form(module, weights.sparse)


def _layers_with_sparse_form(model: nn.Module) -> list[Layer]:
    # Embeddings become sparse only here: it saves memory, but no time.
    places = places_in(model)
    embeddings = [
        Layer(name, module, tuple(places[id(module)]), (module.weight,), None)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        and type(module).forward is nn.Embedding.forward
        and module.max_norm is None
        and module is not model
    ]
    return [*embeddings, *(layer for layer in layers_of(model) if layer.why is None)]
