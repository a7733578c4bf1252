"""A ticket that is faster: layers of a pruned model as sparse ones, where that is measured to be faster.

The paper ends with the gain that "sparse matrix multiplication libraries would be necessary to realize"; torch has one.
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
from lottery_core.inference.candidates import SKIPS, Layer, layers_of, memory, sparse_form
from lottery_core.inference.layers import CsrMatrix, SparseLinear
from lottery_core.inference.lstm import SparseLSTM, SparseLSTMCell
from lottery_core.inference.sparse_report import LayerReport, SparseReport
from lottery_core.inference.timings import Load, Timings

AUTO, CSR = "auto", "csr"
FORMS = (AUTO, CSR)
_LEAST_PRUNED = 0.5  # below, no CSR product is faster on any machine that was tried: not even measured
_LEAST_GAIN = 1.05  # measured; a layer that gains less stays dense, for timings are that noisy
_SHORT = 128  # tokens of a sequence; over longer ones attention out of torch's fused form is up to half again as slow
_LEAST_GAIN_UNFUSED = 2.0
_ROOM = 1 << 26  # bytes of weights that a layer is measured among, at most; no cache holds more
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

    Linear layers, LSTMs in one direction and LSTM cells; of other layers none is sparse in torch. The outputs are the
    same to float32's rounding. What a layer has to do is told by one of ``example_inputs`` and ``tokens``::

        model.eval()
        print(sparsify(model, tokens=8))

    :param model: in evaluation mode; its pruned weights are 0
    :param example_inputs: what the model is called with: a tensor, a tuple of arguments or a dict of named ones; layers
        that this call does not reach stay dense
    :param tokens: rows of a call of each layer; or a function of a layer's name that gives its
        :class:`~lottery_core.inference.timings.Load`
    :param form: ``auto``: where it is faster, measured on this machine and remembered; ``csr``: wherever a layer has
        a zero and torch can, also where that is slower
    :param timings: where measured times are remembered
    :returns: every layer that was looked at, with what became of it and why
    :raises ConfigError: the model is in training mode, or not exactly one of ``example_inputs`` and ``tokens`` is given
    """
    if form not in FORMS:
        raise unknown_choice(form, "form", FORMS)
    if model.training:
        raise ConfigError("the model is in training mode: sparse layers are for inference, call model.eval() first")
    if form == AUTO and (example_inputs is None) == (tokens is None):
        raise ConfigError("give either example_inputs or tokens: what is faster depends on how much a call has to do")
    if tokens is not None and not callable(tokens):
        tokens = _count(tokens)
    layers = layers_of(model)
    before = memory(model)
    loads: Mapping[str, Counter[Load]] = {}
    asked = [one for one in layers if one.why is None and one.pruned >= _LEAST_PRUNED]
    if form == AUTO and asked:
        loads = _record(model, example_inputs, asked) if tokens is None else _told(tokens, asked)
    chooser = _Chooser(form, loads, timings or Timings(), min(before, _ROOM))
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
    # Decides on one layer after the other; a matrix that several layers share is made sparse once.

    def __init__(self, form: str, loads: Mapping[str, Counter[Load]], timings: Timings, room: int) -> None:
        self.form, self.loads, self.timings, self.room = form, loads, timings, room
        self._made: dict[int, tuple[Tensor, CsrMatrix]] = {}

    def _matrix(self, dense: Tensor) -> CsrMatrix:
        if id(dense) not in self._made:
            self._made[id(dense)] = (dense, CsrMatrix.of(dense))
        return self._made[id(dense)][1]

    def choose(self, one: Layer) -> LayerReport:
        gain, why, size = None, one.why, memory(one.module)
        if why is None:
            why = self._not_worth_a_try(one)
        if why is None:
            sparse = sparse_form(one.module, self._matrix)
            if self.form == AUTO:
                try:
                    gain = self._gain(one, sparse)
                    why = self._not_enough(one, gain)
                except RuntimeError as error:  # a product that this build of torch, or this GPU, does not have
                    why = f"torch has no such product: {str(error).splitlines()[0]}"
            if why is None:
                one.replace(sparse)
                return LayerReport(one.name, one.shape, one.pruned, CSR, gain, size, memory(sparse), None)
        return LayerReport(one.name, one.shape, one.pruned, "dense", gain, size, size, why)

    def _not_enough(self, one: Layer, gain: float) -> str | None:
        if gain < _LEAST_GAIN:
            return "not faster"
        long = any(load.steps > _SHORT for load in self.loads[one.name])
        return "attention's fused form is lost" if one.fused and long and gain < _LEAST_GAIN_UNFUSED else None

    def _not_worth_a_try(self, one: Layer) -> str | None:
        if not one.pruned:
            return "no zeros"
        if self.form == AUTO and one.pruned < _LEAST_PRUNED:
            return f"less than {_LEAST_PRUNED:.0%} pruned"
        if self.form == AUTO and not self.loads.get(one.name):
            return "not called"
        return None

    def _gain(self, one: Layer, sparse: nn.Module) -> float:
        dense_seconds = sparse_seconds = 0.0
        matrix = one.matrices[0]
        shapes = "+".join("x".join(map(str, part.shape)) for part in one.matrices)
        layer = f"{type(one.module).__name__} {shapes} {str(matrix.dtype)[6:]} pruned={one.pruned:.2f}"
        # Copies, one after the other: in a model a layer's weights come from as far away as the others' push them.
        copies = max(1, min(_MOST_COPIES, self.room // memory(one.module)))
        for load, calls in self.loads[one.name].items():
            asked = load.rounded()
            inputs = _inputs(one.module, asked, matrix)
            pair = self.timings.compare(
                f"{layer} x{copies} {asked.rows}/{asked.steps}",
                lambda inputs=inputs: (_chain(one.module, copies, inputs), _chain(sparse, copies, inputs)),  # type: ignore[misc]
                matrix.device,
            )
            dense_seconds += calls * load.rows / asked.rows * pair[0]
            sparse_seconds += calls * load.rows / asked.rows * pair[1]
        return dense_seconds / sparse_seconds


def _chain(module: nn.Module, copies: int, inputs: Tensor) -> Callable[[], None]:
    modules = [module, *(copy.deepcopy(module) for _ in range(copies - 1))]

    def run() -> None:
        for one in modules:
            one(inputs)

    return run


def _inputs(module: nn.Module, load: Load, like: Tensor) -> Tensor:
    if isinstance(module, nn.LSTM):
        shape = (load.steps, load.rows // load.steps, module.input_size)
        return like.new_ones(shape).normal_().transpose(0, 1) if module.batch_first else like.new_ones(shape).normal_()
    return like.new_ones(load.rows, like.shape[1]).normal_()


def _told(tokens: int | Loads, layers: Sequence[Layer]) -> dict[str, Counter[Load]]:
    if isinstance(tokens, int):
        return {one.name: Counter([Load(tokens)]) for one in layers}
    return {one.name: Counter([tokens(one.name)]) for one in layers}


def _record(model: nn.Module, example: Any, layers: Sequence[Layer]) -> dict[str, Counter[Load]]:
    # What each layer is given in one call of the model.
    found: dict[str, Counter[Load]] = {one.name: Counter() for one in layers}

    def recorder(one: Layer) -> Callable[..., None]:
        def record(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            given = [*inputs, *named.values()][0]
            steps = 1
            if isinstance(module, nn.LSTM):
                if not isinstance(given, Tensor):  # packed sequences
                    steps, given = len(given.batch_sizes), given.data
                elif given.dim() == 3:
                    steps = given.shape[1 if module.batch_first else 0]
                else:
                    steps = len(given)
            rows = given.numel() // max(1, given.shape[-1])
            if rows:
                found[one.name][Load(rows, steps)] += 1

        return record

    hooks = [one.module.register_forward_hook(recorder(one), with_kwargs=True) for one in layers]
    fused = [parent for one in layers for parent, _ in one.places if not getattr(parent, SKIPS, True)]
    try:
        for parent in fused:
            setattr(parent, SKIPS, True)
        with torch.no_grad():
            if isinstance(example, Mapping):
                model(**example)
            else:
                model(*(example if type(example) in (tuple, list) else (example,)))
    finally:
        for parent in fused:
            setattr(parent, SKIPS, False)
        for hook in hooks:
            hook.remove()
    return found
