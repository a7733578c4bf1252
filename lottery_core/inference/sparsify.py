"""Make a pruned model faster: replace layers by sparse ones where that is measured to be faster.

arXiv 1906.02768 concludes that "sparse matrix multiplication libraries would be necessary to realize" the gain; torch
has such a library.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.inference.candidates import Layer, layers_of, memory, sparse_form
from lottery_core.inference.layers import CsrMatrix, SparseLinear
from lottery_core.inference.lstm import SparseLSTM, SparseLSTMCell
from lottery_core.inference.sparse_report import LayerReport, SparseReport
from lottery_core.inference.timings import Load, Timings

AUTO, CSR = "auto", "csr"
FORMS = (AUTO, CSR)
_LEAST_PRUNED = 0.5  # below, CSR products were slower on every machine tried, so they are not measured
_LEAST_GAIN = 1.05  # least measured speed-up of a sparse layer; timings are that noisy
_SHORT = 128  # tokens; over longer sequences attention takes up to 1.5 times as long without torch's fused form
_LEAST_GAIN_UNFUSED = 2.0  # least measured speed-up of a layer that such attention calls
_WORKING_SET = 1 << 26  # bytes of weights used in one measurement at most; no processor cache holds more
_MOST_COPIES = 24

Loads = Callable[[str], Load]


def sparsify(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    tokens: int | Loads | None = None,
    form: str = AUTO,
    timings: Timings | None = None,
) -> SparseReport:
    """Replace layers of a pruned model, in place, by sparse ones for inference.

    Linear layers, unidirectional LSTMs and LSTM cells can become sparse; torch has no sparse form of other layers. The
    outputs stay the same up to float32 rounding. Give ``example_inputs`` or ``tokens``, since the speed of a layer
    depends on the size of a call::

        model.eval()
        print(sparsify(model, tokens=8))

    :param model: a model in evaluation mode whose pruned weights are 0; changed in place
    :param example_inputs: typical inputs of the model: a tensor, a tuple of arguments or a dict of keyword arguments;
        layers that this call does not reach stay dense
    :param tokens: number of rows in a call of each layer, or a function from a layer's name to its
        :class:`~lottery_core.inference.timings.Load`
    :param form: ``auto``: layers that are faster sparse, as measured on this machine; ``csr``: every layer that has a
        zero and a sparse form, even if it becomes slower
    :param timings: cache of measured times, by default the user's
    :returns: the report: the form of every layer, and why a layer stays dense
    :raises ConfigError: the form is unknown, the model is in training mode, ``tokens`` is invalid, or for ``auto`` not
        exactly one of ``example_inputs`` and ``tokens`` is given
    """
    if form not in FORMS:
        raise unknown_choice(form, "form", FORMS)
    if model.training:
        raise ConfigError("the model is in training mode: sparse layers are for inference, call model.eval() first")
    if form == AUTO and (example_inputs is None) == (tokens is None):
        raise ConfigError("give either example_inputs or tokens: which form is faster depends on the size of a call")
    if tokens is not None and not callable(tokens):
        tokens = _count(tokens)
    layers = layers_of(model)
    before = memory(model)
    loads: Mapping[str, Counter[Load]] = {}
    candidates = [layer for layer in layers if layer.why is None and layer.pruned >= _LEAST_PRUNED]
    if form == AUTO and candidates:
        loads = (
            _recorded_loads(model, example_inputs, candidates) if tokens is None else _given_loads(tokens, candidates)
        )
    chooser = _Chooser(form, loads, timings or Timings(), min(before, _WORKING_SET))
    with torch.no_grad():
        reports = [*_already_sparse(model), *map(chooser.choose, layers)]
    chooser.timings.save()
    return SparseReport(tuple(reports), before, memory(model))


def _already_sparse(model: nn.Module) -> Iterator[LayerReport]:
    inner = {id(cell) for lstm in model.modules() if isinstance(lstm, SparseLSTM) for cell in lstm.layers}
    for name, module in model.named_modules():
        if isinstance(module, (SparseLinear, SparseLSTM, SparseLSTMCell)) and id(module) not in inner:
            matrices = [part for part in module.modules() if isinstance(part, CsrMatrix)]
            kept = sum(matrix.values.numel() for matrix in matrices)
            pruned = 1 - kept / max(1, sum(matrix.shape[0] * matrix.shape[1] for matrix in matrices))
            size = memory(module)
            yield LayerReport(name, matrices[0].shape, pruned, CSR, None, size, size, None)


def _count(tokens: Any) -> int:
    try:
        count = 0 if isinstance(tokens, bool) else operator.index(tokens)
    except TypeError:
        count = 0
    if count < 1:
        raise ConfigError(f"tokens must be a whole number, at least 1, not {tokens}")
    return count


class _Chooser:
    # Chooses the form of each layer; a matrix that several layers share is made sparse once.

    def __init__(self, form: str, loads: Mapping[str, Counter[Load]], timings: Timings, working_set: int) -> None:
        self.form, self.loads, self.timings, self.working_set = form, loads, timings, working_set
        self._sparse: dict[Tensor, CsrMatrix] = {}

    def _matrix(self, dense: Tensor) -> CsrMatrix:
        if dense not in self._sparse:
            self._sparse[dense] = CsrMatrix.of(dense)
        return self._sparse[dense]

    def choose(self, layer: Layer) -> LayerReport:
        gain, why, size = None, layer.why, memory(layer.module)
        if why is None:
            why = self._why_not_tried(layer)
        if why is None:
            sparse = sparse_form(layer.module, self._matrix)
            if self.form == AUTO:
                try:
                    gain = self._gain(layer, sparse)
                    why = self._why_not_sparse(layer, gain)
                except RuntimeError as error:  # a product that this build of torch, or this GPU, lacks
                    why = f"torch has no such product: {str(error).splitlines()[0]}"
            if why is None:
                layer.replace(sparse)
                return LayerReport(layer.name, layer.shape, layer.pruned, CSR, gain, size, memory(sparse), None)
        return LayerReport(layer.name, layer.shape, layer.pruned, "dense", gain, size, size, why)

    def _why_not_sparse(self, layer: Layer, gain: float) -> str | None:
        if gain < _LEAST_GAIN:
            return "not faster"
        long = any(load.steps > _SHORT for load in self.loads[layer.name])
        return "attention's fused form is lost" if layer.fused and long and gain < _LEAST_GAIN_UNFUSED else None

    def _why_not_tried(self, layer: Layer) -> str | None:
        if not layer.pruned:
            return "no zeros"
        if self.form == AUTO and layer.pruned < _LEAST_PRUNED:
            return f"less than {_LEAST_PRUNED:.0%} pruned"
        if self.form == AUTO and not self.loads.get(layer.name):
            return "not called"
        return None

    def _gain(self, layer: Layer, sparse: nn.Module) -> float:
        dense_seconds = sparse_seconds = 0.0
        matrix = layer.matrices[0]
        shapes = "+".join("x".join(map(str, part.shape)) for part in layer.matrices)
        description = f"{type(layer.module).__name__} {shapes} {str(matrix.dtype)[6:]} pruned={layer.pruned:.2f}"
        # Copies called in turn, because in a model other layers displace a layer's weights from the processor's cache.
        copies = max(1, min(_MOST_COPIES, self.working_set // memory(layer.module)))
        for load, calls in self.loads[layer.name].items():
            measured = load.rounded()
            inputs = _inputs(layer.module, measured, matrix)
            seconds = self.timings.compare(
                f"{description} x{copies} {measured.rows}/{measured.steps}",
                lambda inputs=inputs: (_chain(layer.module, copies, inputs), _chain(sparse, copies, inputs)),  # type: ignore[misc]
                matrix.device,
            )
            dense_seconds += calls * load.rows / measured.rows * seconds[0]
            sparse_seconds += calls * load.rows / measured.rows * seconds[1]
        return dense_seconds / sparse_seconds


def _chain(module: nn.Module, copies: int, inputs: Tensor) -> Callable[[], None]:
    chained = [module, *(copy.deepcopy(module) for _ in range(copies - 1))]

    def run() -> None:
        for layer in chained:
            layer(inputs)

    return run


def _inputs(module: nn.Module, load: Load, like: Tensor) -> Tensor:
    if isinstance(module, nn.LSTM):
        shape = (load.steps, load.rows // load.steps, module.input_size)
        return like.new_ones(shape).normal_().transpose(0, 1) if module.batch_first else like.new_ones(shape).normal_()
    return like.new_ones(load.rows, like.shape[1]).normal_()


def _given_loads(tokens: int | Loads, layers: Sequence[Layer]) -> dict[str, Counter[Load]]:
    if isinstance(tokens, int):
        return {layer.name: Counter([Load(tokens)]) for layer in layers}
    return {layer.name: Counter([tokens(layer.name)]) for layer in layers}


def _recorded_loads(model: nn.Module, example: Any, layers: Sequence[Layer]) -> dict[str, Counter[Load]]:
    # The loads of each layer in one call of the model.
    loads: dict[str, Counter[Load]] = {layer.name: Counter() for layer in layers}

    def recorder(layer: Layer) -> Callable[..., None]:
        def record(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            tokens = [*inputs, *named.values()][0]
            steps = 1
            if isinstance(module, nn.LSTM):
                if not isinstance(tokens, Tensor):  # packed sequences
                    steps, tokens = len(tokens.batch_sizes), tokens.data
                elif tokens.dim() == 3:
                    steps = tokens.shape[1 if module.batch_first else 0]
                else:
                    steps = len(tokens)
            rows = tokens.numel() // max(1, tokens.shape[-1])
            if rows:
                loads[layer.name][Load(rows, steps)] += 1

        return record

    hooks = [layer.module.register_forward_hook(recorder(layer), with_kwargs=True) for layer in layers]
    fused = [each for layer in layers for each in layer.fused_parents()]
    try:
        for parent, flag in fused:
            setattr(parent, flag, True)
        with torch.no_grad():
            if isinstance(example, Mapping):
                model(**example)
            else:
                model(*(example if type(example) in (tuple, list) else (example,)))
    finally:
        for parent, flag in fused:
            setattr(parent, flag, False)
        for hook in hooks:
            hook.remove()
    return loads
