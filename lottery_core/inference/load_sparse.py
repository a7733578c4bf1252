"""A model with sparse layers from a sparse file, its matrices never dense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lottery_core import dialects
from lottery_core.errors import CheckpointError, MismatchError
from lottery_core.inference.candidates import Layer, layers_of, places_in, sparse_form
from lottery_core.inference.layers import CsrMatrix, SparseEmbedding
from lottery_core.inference.sparse_file import SparseFile
from lottery_core.tickets import require_same_shapes

_LEAST_PRUNED = 0.5  # below, indices and values take more memory than the dense matrix


class Builder(Protocol):
    """The function that a dialect names as ``build``."""

    def __call__(self, config: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
        """The model of a file's configuration, its parameters on the device "meta"."""


def load_sparse(path: str | Path, model: nn.Module | None = None, **options: Any) -> nn.Module:
    """Read what ``lottery export --form csr`` wrote.

    :param path: the file
    :param model: of the same architecture; its layers are replaced, its own weights go. Built in
        :func:`parameters_on_meta` it takes no memory before. ``None``: the file's plugin builds it
    :param options: what has another value here than where the file was made; for fairseq ``data="data-bin/..."``, the
        folder of the dictionaries
    :returns: the model in evaluation mode: linear layers, embeddings and LSTMs sparse wherever at least half of their
        weights are pruned
    :raises CheckpointError: the file cannot be read, or its plugin is not installed
    :raises MismatchError: the model is of another architecture; the line names the first tensor that differs
    """
    file = SparseFile(path)
    if model is None:
        model = _builder(file)(file.config, options)
    fill(model, file)
    return model


def _builder(file: SparseFile) -> Builder:
    if not file.framework:
        raise CheckpointError(f"{file.path} needs the model that it is for: load_sparse(path, model)")
    reference = dialects.named(file.framework).build
    try:
        builder: Builder | None = None if reference is None else dialects.load(reference)
    except ImportError:
        builder = None
    if builder is None:
        raise CheckpointError(f"{file.path} needs the plugin of {file.framework}")
    return builder


class _Uninitialised(TorchFunctionMode):
    # Start values of what has no memory: nothing to do, and torch would import its compiler to do it.
    _skipped = frozenset((Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.copy_))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        filled = [*args, *(kwargs or {}).values()][0] if args or kwargs else None
        fills = func in self._skipped or getattr(func, "__module__", None) == nn.init.__name__
        if fills and isinstance(filled, Tensor) and filled.is_meta:
            return filled
        return func(*args, **(kwargs or {}))


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules made inside have parameters without memory; buffers are as ever.

    (``torch.device("meta")`` would also take the tables that a module computes for itself.)
    """
    original = nn.Module.register_parameter

    def register(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(torch.empty_like(param, device="meta"), param.requires_grad)
        original(module, name, param)

    nn.Module.register_parameter = register  # type: ignore[method-assign, assignment]
    try:
        with _Uninitialised():
            yield
    finally:
        nn.Module.register_parameter = original  # type: ignore[method-assign]


def give_memory(model: nn.Module) -> None:
    """Give the parameters of a model built in :func:`parameters_on_meta` memory on the CPU, tied ones once."""
    given: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta:
                if id(parameter) not in given:
                    given[id(parameter)] = nn.Parameter(
                        torch.empty_like(parameter, device="cpu"), parameter.requires_grad
                    )
                setattr(module, name, given[id(parameter)])


@torch.no_grad()
def fill(model: nn.Module, file: SparseFile) -> None:
    """Give a model the file's weights, its layers sparse where that saves memory; and put it into evaluation mode.

    :raises MismatchError: another architecture; then the model is unchanged
    """
    state = model.state_dict(keep_vars=True)
    shapes = file.shapes()
    shapes |= {alias: shapes[name] for alias, name in file.aliases.items()}
    require_same_shapes(shapes, {name: tensor.shape for name, tensor in state.items()}, str(file.path), "the model")
    names: dict[int, str] = {}
    for name, tensor in state.items():
        first = file.aliases.get(name, name)
        if names.setdefault(id(tensor), first) != first:
            raise MismatchError(f"'{name}' is tied to '{names[id(tensor)]}' in the model, but not in {file.path}")
        if tensor.is_floating_point() != file.is_floating_point(first):
            raise MismatchError(f"'{name}' is of whole numbers in one of the model and {file.path}, not in both")

    def pays(one: Layer) -> bool:  # a parametrised weight is no tensor of the file
        return all(id(w) in names and file.pruned(names[id(w)]) >= _LEAST_PRUNED for w in one.matrices)

    sparse = [one for one in _layers(model) if pays(one)]
    matrices: dict[str, CsrMatrix] = {}

    def matrix(weight: Tensor) -> CsrMatrix:
        name = names[id(weight)]
        if name not in matrices:
            matrices[name] = file.matrix(name).to(weight.dtype).to("cpu" if weight.is_meta else weight.device)
        return matrices[name]

    waiting = {id(one.module): {id(weight) for weight in one.matrices} for one in sparse}
    dense: dict[str, Tensor] = {}
    for module in model.modules():
        mine = waiting.get(id(module), set())
        for own, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if id(tensor) not in names or id(tensor) in mine:
                continue  # no part of the file, or sparse below
            name = names[id(tensor)]
            if name not in dense:
                dense[name] = file.tensor(name).to("cpu" if tensor.is_meta else tensor.device, tensor.dtype)
                if isinstance(tensor, nn.Parameter):
                    dense[name] = nn.Parameter(dense[name], tensor.requires_grad)
            setattr(module, own, dense[name])
    for one in sparse:
        if isinstance(one.module, nn.Embedding):
            one.replace(SparseEmbedding(matrix(one.module.weight), one.module.padding_idx))
        else:
            one.replace(sparse_form(one.module, matrix))
    model.eval()


def _layers(model: nn.Module) -> list[Layer]:
    # Those that have a sparse form; an embedding has one only here, where it saves memory.
    places = places_in(model)
    embeddings = [
        Layer(name, module, tuple(places[id(module)]), (module.weight,), None)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        and type(module).forward is nn.Embedding.forward
        and module.max_norm is None
        and module is not model
    ]
    return [*embeddings, *(one for one in layers_of(model) if one.why is None)]
