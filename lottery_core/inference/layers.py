"""Layers whose weights are kept as compressed sparse rows (CSR), for inference.

Stock torch multiplies CSR matrices by MKL on a CPU and by cuSPARSE on a GPU. Of its ways the fastest is taken: 32-bit
indices, and the tokens as columns, because then MKL works on several tokens at once.
"""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lottery_core.errors import ConfigError

Me = TypeVar("Me", bound="ForInference")


class ForInference(nn.Module):
    """A module that does not train."""

    def train(self: Me, mode: bool = True) -> Me:
        """:raises ConfigError: it cannot be trained"""
        if mode:
            raise ConfigError(
                "sparse layers are for inference: train the model that they were made from; model.eval() undoes this"
            )
        return super().train(False)


def frozen(tensor: Tensor) -> nn.Parameter:
    """A parameter, so that a model's device and type can be told by its parameters; but one that does not train."""
    return nn.Parameter(tensor.detach(), requires_grad=False)


class CsrMatrix(ForInference):
    """A matrix (rows x columns) of which only what is not zero is kept: a value and an index of 4 bytes each.

    Its parts are ordinary tensors, so that it can be copied, moved and pickled like any module; torch's own CSR
    tensors cannot.

    :param row_starts: where each row begins in the other two, (rows + 1,), int32
    :param column_indices: the column of each value, (values,), int32
    :param values: what is not zero, row by row, (values,)
    :param columns: number of columns
    """

    row_starts: Tensor
    column_indices: Tensor

    def __init__(self, row_starts: Tensor, column_indices: Tensor, values: Tensor, columns: int) -> None:
        super().__init__()
        self.register_buffer("row_starts", row_starts)
        self.register_buffer("column_indices", column_indices)
        self.values = frozen(values)
        self.shape = (len(row_starts) - 1, columns)
        self._built: Tensor | None = None

    @classmethod
    def of(cls, dense: Tensor) -> CsrMatrix:
        """The non-zero values of a dense matrix."""
        dense = dense.detach()
        rows, columns = dense.shape
        flat = dense.reshape(-1).nonzero()[:, 0]
        counts = dense.count_nonzero(dim=1)
        starts = torch.zeros(rows + 1, dtype=torch.int32, device=dense.device)
        torch.cumsum(counts, 0, out=starts[1:])
        return cls(starts, (flat % columns).int(), dense.reshape(-1)[flat], columns)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_built": None}

    def tensor(self) -> Tensor:
        """The same as a torch CSR tensor, on the same memory."""
        built = self._built
        if built is None or built.values().data_ptr() != self.values.data_ptr():
            # Outside of inference mode, or the tensor that is kept could be used in no other.
            with torch.inference_mode(False), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                # Not checked: a look at every index, at each rebuild.
                built = torch.sparse_csr_tensor(
                    self.row_starts, self.column_indices, self.values.detach(), size=self.shape, check_invariants=False
                )
            self._built = built
        return built

    def dense(self) -> Tensor:
        """The matrix with its zeros, a copy."""
        result: Tensor = self.tensor().to_dense()
        return result

    def copy_for_reading(self) -> Tensor:
        """:meth:`dense`, with a warning: whoever reads the weights of a sparse layer is slowed down by it."""
        warnings.warn("the weight of a sparse layer is read as a dense matrix, which is slow", stacklevel=3)
        return self.dense()

    def bytes(self) -> int:
        """Memory of values and indices."""
        return sum(part.numel() * part.element_size() for part in (self.row_starts, self.column_indices, self.values))

    def times_columns(self, columns: Tensor, bias: Tensor | None = None) -> Tensor:
        """The product with a matrix of tokens side by side.

        :param columns: (columns of this, tokens), contiguous
        :param bias: (rows of this,) or (rows of this, tokens), added
        :returns: (rows of this, tokens), contiguous
        """
        matrix = self.tensor()
        if self.values.dtype not in (torch.float32, torch.float64) and self.values.device.type == "cpu":
            raise ConfigError(f"torch has no sparse product of {str(self.values.dtype)[6:]} on a CPU: use float32")
        if columns.shape[1] == 1:
            vector = columns[:, 0]
            one = torch.mv(matrix, vector) if bias is None else torch.addmv(bias.reshape(-1), matrix, vector)
            return one.unsqueeze(1)
        if bias is None:
            return torch.mm(matrix, columns)
        start = bias.unsqueeze(1).expand(-1, columns.shape[1]) if bias.dim() == 1 else bias
        return torch.addmm(start, matrix, columns)

    def times(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """What ``nn.functional.linear(tokens, self, bias)`` is for a dense matrix.

        :param tokens: (..., columns of this)
        :param bias: (rows of this,)
        :returns: (..., rows of this), contiguous
        """
        rows, columns = self.shape
        if torch.is_autocast_enabled(tokens.device.type):  # which would cast to what there is no sparse product of
            with torch.autocast(tokens.device.type, enabled=False):
                return self.times(tokens.to(self.values.dtype), bias)
        flat = tokens.reshape(-1, columns)
        if not len(flat):
            return tokens.new_zeros(*tokens.shape[:-1], rows)
        result = self.times_columns(flat.t().contiguous(), bias)
        return result.t().contiguous().view(*tokens.shape[:-1], rows)

    def rows(self, indices: Tensor) -> Tensor:
        """Some rows, dense.

        :param indices: any shape, integers
        :returns: (..., columns of this)
        """
        wanted = indices.reshape(-1)
        starts = self.row_starts[wanted].long()
        counts = self.row_starts[wanted + 1].long() - starts
        row = torch.repeat_interleave(counts)
        position = torch.arange(len(row), device=row.device) + (starts - counts.cumsum(0) + counts)[row]
        result = self.values.detach().new_zeros(len(wanted), self.shape[1])
        result[row, self.column_indices[position].long()] = self.values[position]
        return result.view(*indices.shape, self.shape[1])


class SparseLinear(ForInference):
    """``nn.Linear`` with a sparse weight.

    :param matrix: (out_features x in_features)
    :param bias: (out_features,)
    """

    def __init__(self, matrix: CsrMatrix, bias: Tensor | None) -> None:
        super().__init__()
        self.matrix = matrix
        self.out_features, self.in_features = matrix.shape
        self.bias = None if bias is None else frozen(bias)

    @property
    def weight(self) -> Tensor:
        """The weight, dense: a copy, made each time; for code that reads it past the layer."""
        return self.matrix.copy_for_reading()

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (..., in_features) to (..., out_features)."""
        return self.matrix.times(tokens, self.bias)

    def extra_repr(self) -> str:
        """As ``nn.Linear``, and how many weights there are."""
        count = self.matrix.values.numel()
        return f"in_features={self.in_features}, out_features={self.out_features}, weights={count}"


class SparseEmbedding(ForInference):
    """``nn.Embedding`` with sparse rows.

    :param matrix: (words x features)
    :param padding_idx: of the embedding; its row is read like any other
    """

    def __init__(self, matrix: CsrMatrix, padding_idx: int | None) -> None:
        super().__init__()
        self.matrix = matrix
        self.num_embeddings, self.embedding_dim = matrix.shape
        self.padding_idx = padding_idx

    @property
    def weight(self) -> Tensor:
        """The rows, dense: a copy, made each time; for code that reads it past the layer."""
        return self.matrix.copy_for_reading()

    def forward(self, indices: Tensor) -> Tensor:
        """Indices of words (...) to features (..., embedding_dim)."""
        return self.matrix.rows(indices)
