"""LSTMs that store their weights as compressed sparse rows (CSR), for inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lottery_core.inference.layers import CsrMatrix, ForInference, frozen


def _cast(state: tuple[Tensor, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return state[0].to(dtype), state[1].to(dtype)


def _step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    # Gates in the order of nn.LSTM: input, forget, cell, output; units are rows.
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell


class SparseLSTMCell(ForInference):
    """``nn.LSTMCell`` with sparse weights.

    :param inputs: weights of the input, (4 * hidden_size, input_size)
    :param recurrent: weights of the state, (4 * hidden_size, hidden_size)
    :param bias: sum of both biases, (4 * hidden_size,)
    """

    def __init__(self, inputs: CsrMatrix, recurrent: CsrMatrix, bias: Tensor | None) -> None:
        super().__init__()
        self.inputs, self.recurrent = inputs, recurrent
        self.input_size, self.hidden_size = inputs.shape[1], recurrent.shape[1]
        self.bias = None if bias is None else frozen(bias)

    def forward(self, input: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Compute one step as ``nn.LSTMCell`` does, with or without a batch dimension.

        :param input: input, (batch, input_size)
        :param state: hidden and cell state, (batch, hidden_size) each; by default zeros
        :returns: the new hidden and cell state
        """
        if torch.is_autocast_enabled(input.device.type):  # see SparseMatrix.times
            dtype = self.inputs.values.dtype
            with torch.autocast(input.device.type, enabled=False):
                return self.forward(input.to(dtype), None if state is None else _cast(state, dtype))
        tokens = input if input.dim() == 2 else input.unsqueeze(0)
        if state is None:
            zeros = tokens.new_zeros(len(tokens), self.hidden_size)
            state = (zeros, zeros)
        hidden, cell = (part.reshape(-1, self.hidden_size).t().contiguous() for part in state)
        gates = self.inputs.times_columns(tokens.t().contiguous(), self.bias)
        hidden, cell = _step(self.recurrent.times_columns(hidden, gates), cell)
        shape = (*input.shape[:-1], self.hidden_size)
        return hidden.t().contiguous().view(shape), cell.t().contiguous().view(shape)


class SparseLSTM(ForInference):
    """Unidirectional ``nn.LSTM`` with sparse weights.

    :param layers: one cell per layer, from input to output
    :param batch_first: whether inputs are (batch, steps, features) instead of (steps, batch, features)
    """

    def __init__(self, layers: list[SparseLSTMCell], batch_first: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.input_size, self.hidden_size = layers[0].input_size, layers[0].hidden_size
        self.num_layers, self.batch_first = len(layers), batch_first

    def flatten_parameters(self) -> None:
        """Do nothing; code that uses ``nn.LSTM`` calls it."""

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        """Run padded, packed or unbatched sequences, with the arguments and results of ``nn.LSTM``."""
        if isinstance(input, PackedSequence):
            if hx is not None and input.sorted_indices is not None:
                hx = (hx[0].index_select(1, input.sorted_indices), hx[1].index_select(1, input.sorted_indices))
            output, state = self._run(input.data, input.batch_sizes.tolist(), hx)
            if input.unsorted_indices is not None:
                state = (
                    state[0].index_select(1, input.unsorted_indices),
                    state[1].index_select(1, input.unsorted_indices),
                )
            packed = PackedSequence(output, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
            return packed, state
        if input.dim() == 2:
            output, state = self.forward(
                input.unsqueeze(0 if self.batch_first else 1),
                None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1)),
            )
            return output.squeeze(0 if self.batch_first else 1), (state[0].squeeze(1), state[1].squeeze(1))
        steps = input.transpose(0, 1) if self.batch_first else input
        length, batch = steps.shape[:2]
        output, state = self._run(steps.reshape(length * batch, steps.shape[2]), [batch] * length, hx)
        output = output.view(length, batch, self.hidden_size)
        return (output.transpose(0, 1) if self.batch_first else output), state

    def _run(
        self, tokens: Tensor, batches: list[int], hx: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        first = self.layers[0]
        assert isinstance(first, SparseLSTMCell)
        if torch.is_autocast_enabled(tokens.device.type):  # see SparseMatrix.times
            dtype = first.inputs.values.dtype
            with torch.autocast(tokens.device.type, enabled=False):
                return self._run(tokens.to(dtype), batches, None if hx is None else _cast(hx, dtype))
        columns = tokens.t().contiguous()
        hiddens, cells = [], []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, SparseLSTMCell)
            if hx is None:
                hidden = cell = tokens.new_zeros(self.hidden_size, batches[0])
            else:
                hidden, cell = hx[0][index].t().contiguous(), hx[1][index].t().contiguous()
            gates = layer.inputs.times_columns(columns, layer.bias)
            outputs, ended_hidden, ended_cell = [], [], []
            position = 0
            for batch in batches:
                if batch < hidden.shape[1]:  # packed: the shortest sequences have ended
                    ended_hidden.append(hidden[:, batch:])
                    ended_cell.append(cell[:, batch:])
                    hidden, cell = hidden[:, :batch].contiguous(), cell[:, :batch]
                step_gates = gates[:, position : position + batch]
                hidden, cell = _step(layer.recurrent.times_columns(hidden, step_gates), cell)
                outputs.append(hidden)
                position += batch
            columns = torch.cat(outputs, dim=1)
            hiddens.append(torch.cat([hidden, *reversed(ended_hidden)], dim=1).t())
            cells.append(torch.cat([cell, *reversed(ended_cell)], dim=1).t())
        return columns.t().contiguous(), (torch.stack(hiddens), torch.stack(cells))
