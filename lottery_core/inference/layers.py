"""Layers that store their weights as compressed sparse rows (CSR), for inference.

Stock torch multiplies CSR matrices with MKL on a CPU and with cuSPARSE on a GPU. The fastest variant is used: 32-bit
indices, and tokens as columns, so that MKL processes several tokens at once.
"""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lottery_core.errors import ConfigError

Self = TypeVar("Self", bound="ForInference")


class ForInference(nn.Module):
    """A module that cannot be trained."""

    def train(self: Self, mode: bool = True) -> Self:
        """Set evaluation mode.

        :param mode: must be ``False``
        :raises ConfigError: ``mode`` is ``True``
        """
        if mode:
            raise ConfigError(
                "sparse layers are for inference only: train the dense model, or call model.eval() on this one"
            )
        return super().train(False)


def frozen(tensor: Tensor) -> nn.Parameter:
    """Make a parameter without gradient; a model's device and type are often read from its parameters."""
    return nn.Parameter(tensor.detach(), requires_grad=False)


class CsrMatrix(ForInference):
    """A matrix (rows, columns) that stores only its non-zero values, with a 4-byte index each.

    Its parts are ordinary tensors, so that it can be copied, moved and pickled like any module; torch's own CSR
    tensors cannot.

    :param row_starts: position of each row's first value, (rows + 1,), int32
    :param column_indices: column of each value, (values,), int32
    :param values: non-zero values, row by row, (values,)
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
        self._built_from = 0  # address of the values

    @classmethod
    def of(cls, dense: Tensor) -> CsrMatrix:
        """Make the sparse matrix of a dense one, (rows, columns)."""
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
        """Return the matrix as a torch CSR tensor that shares its memory."""
        built = self._built
        values = self._parameters["values"]  # as self.values, without the way through nn.Module.__getattr__
        assert values is not None
        if built is None or self._built_from != values.data_ptr():
            if values.dtype not in (torch.float32, torch.float64) and values.device.type == "cpu":
                raise ConfigError(f"torch has no sparse product in {str(values.dtype)[6:]} on a CPU: use float32")
            # A cached tensor made in inference mode could not be used outside of it.
            with torch.inference_mode(False), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                # Checking the invariants would read every index at each rebuild.
                built = torch.sparse_csr_tensor(
                    self.row_starts, self.column_indices, self.values.detach(), size=self.shape, check_invariants=False
                )
            self._built, self._built_from = built, values.data_ptr()
        return built

    def dense(self) -> Tensor:
        """Return a dense copy of the matrix."""
        result: Tensor = self.tensor().to_dense()
        return result

    def copy_for_reading(self) -> Tensor:
        """Return a dense copy of the matrix, with a warning that this is slow."""
        warnings.warn("the weight of a sparse layer is read as a dense matrix, which is slow", stacklevel=3)
        return self.dense()

    def bytes(self) -> int:
        """Return the memory of values and indices, in bytes."""
        return sum(part.numel() * part.element_size() for part in (self.row_starts, self.column_indices, self.values))

    def times_columns(self, columns: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply by a matrix whose columns are tokens.

        :param columns: the tokens, (columns of this matrix, tokens), contiguous
        :param bias: added to the product, (rows of this matrix,) or (rows of this matrix, tokens)
        :returns: the product, (rows of this matrix, tokens), contiguous
        :raises ConfigError: torch has no sparse product in this type on a CPU
        """
        if not columns.shape[1]:
            return columns.new_zeros(self.shape[0], 0)
        matrix = self.tensor()
        if columns.shape[1] == 1:
            vector = columns[:, 0]
            product = torch.mv(matrix, vector) if bias is None else torch.addmv(bias.reshape(-1), matrix, vector)
            return product.unsqueeze(1)
        if bias is None:
            return torch.mm(matrix, columns)
        start = bias.unsqueeze(1).expand(-1, columns.shape[1]) if bias.dim() == 1 else bias
        return torch.addmm(start, matrix, columns)

    def times(self, tokens: Tensor, bias: Tensor | None, contiguous: bool = True) -> Tensor:
        """Compute ``nn.functional.linear(tokens, matrix, bias)`` with this matrix.

        :param tokens: tokens, (..., columns of this matrix)
        :param bias: bias, (rows of this matrix,)
        :param contiguous: whether to copy the outputs if they are not contiguous
        :returns: outputs, (..., rows of this matrix)
        """
        rows, columns = self.shape
        if torch.is_autocast_enabled(tokens.device.type):  # autocast would use a type without a sparse product
            with torch.autocast(tokens.device.type, enabled=False):
                return self.times(tokens.to(self.values.dtype), bias)
        result = self.times_columns(tokens.reshape(-1, columns).t().contiguous(), bias).t()
        return (result.contiguous() if contiguous else result).view(*tokens.shape[:-1], rows)

    def rows(self, indices: Tensor) -> Tensor:
        """Select rows.

        :param indices: row numbers, of any shape (...)
        :returns: the rows, dense, (..., columns of this matrix)
        :raises IndexError: a number is negative or too large
        """
        flat = indices.reshape(-1)
        if flat.numel() and not 0 <= int(flat.min()) <= int(flat.max()) < self.shape[0]:
            raise IndexError(f"index out of range: {int(flat.min())} to {int(flat.max())}, of {self.shape[0]} rows")
        starts = self.row_starts[flat].long()
        counts = self.row_starts[flat + 1].long() - starts
        row = torch.repeat_interleave(counts)
        position = torch.arange(len(row), device=row.device) + (starts - counts.cumsum(0) + counts)[row]
        result = self.values.detach().new_zeros(len(flat), self.shape[1])
        result[row, self.column_indices[position].long()] = self.values[position]
        return result.view(*indices.shape, self.shape[1])


class SparseLinear(ForInference):
    """``nn.Linear`` with a sparse weight.

    :param matrix: the weight, (out_features, in_features)
    :param bias: the bias, (out_features,)
    """

    def __init__(self, matrix: CsrMatrix, bias: Tensor | None) -> None:
        super().__init__()
        self.matrix = matrix
        self.out_features, self.in_features = matrix.shape
        self.bias = None if bias is None else frozen(bias)
        self.contiguous = True  # False where the next layer does not mind

    @property
    def weight(self) -> Tensor:
        """A dense copy of the weight, made at each access, for code that reads it directly."""
        return self.matrix.copy_for_reading()

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (..., in_features) to outputs (..., out_features)."""
        return self.matrix.times(tokens, self.bias, self.contiguous)

    def extra_repr(self) -> str:
        """Describe the layer as ``nn.Linear`` does, and its number of weights."""
        count = self.matrix.values.numel()
        return f"in_features={self.in_features}, out_features={self.out_features}, weights={count}"


class SparseEmbedding(ForInference):
    """``nn.Embedding`` with sparse rows.

    :param matrix: the embedding vectors, (num_embeddings, embedding_dim)
    :param padding_idx: index of the padding word, kept for code that reads it; its row is stored like any other
    """

    def __init__(self, matrix: CsrMatrix, padding_idx: int | None) -> None:
        super().__init__()
        self.matrix = matrix
        self.num_embeddings, self.embedding_dim = matrix.shape
        self.padding_idx = padding_idx

    @property
    def weight(self) -> Tensor:
        """A dense copy of the embedding vectors, made at each access, for code that reads them directly."""
        return self.matrix.copy_for_reading()

    def forward(self, indices: Tensor) -> Tensor:
        """Map word indices (...) to embedding vectors (..., embedding_dim)."""
        return self.matrix.rows(indices)
