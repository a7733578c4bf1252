"""Sparse layers against torch's dense ones."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from lottery_core.errors import ConfigError
from lottery_core.inference.candidates import sparse_form
from lottery_core.inference.layers import CsrMatrix, SparseEmbedding


def pruned(module: nn.Module, fraction: float = 0.9) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter[torch.rand_like(parameter) < fraction] = 0
    return module.eval()


def near(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert one.is_contiguous() == other.is_contiguous()
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.fixture(autouse=True)
def _no_grad() -> object:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(30,), (1, 30), (5, 30), (2, 3, 30), (0, 30), (2, 0, 30), (1, 1, 30)])
@pytest.mark.parametrize("fraction", [0.9, 1.0, 0.0])
def test_linear(shape: tuple[int, ...], bias: bool, fraction: float) -> None:
    dense = pruned(nn.Linear(30, 12, bias=bias), fraction)
    sparse = sparse_form(dense)
    tokens = torch.randn(shape)
    near(sparse(tokens), dense(tokens))
    near(sparse(tokens.expand(2, *shape).transpose(0, -2)), dense(tokens.expand(2, *shape).transpose(0, -2)))
    assert torch.equal(sparse.matrix.dense(), dense.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_copies_a_layer(dtype: torch.dtype) -> None:
    dense = pruned(nn.Linear(30, 12))
    sparse = sparse_form(dense)
    tokens = torch.randn(4, 30)
    sparse(tokens)  # now it holds torch's own CSR tensor, which can be neither copied nor cast
    for made in (copy.deepcopy(sparse), pickle.loads(pickle.dumps(sparse)), copy.deepcopy(sparse).to(dtype)):
        kind = made.bias.dtype
        near(made(tokens.to(kind)), copy.deepcopy(dense).to(kind)(tokens.to(kind)))
    other = sparse_form(pruned(nn.Linear(30, 12)))
    other.load_state_dict(sparse.state_dict())
    near(other(tokens), dense(tokens))


def test_inference_mode_and_autocast_leave_no_trace() -> None:
    dense = pruned(nn.Linear(30, 12))
    sparse, tokens = sparse_form(dense), torch.randn(4, 30)
    with torch.inference_mode():
        sparse(tokens)
    with torch.enable_grad():
        sparse(tokens.clone().requires_grad_()).sum().backward()
    with torch.autocast("cpu"):
        output = sparse(tokens.bfloat16())
    near(output, dense(tokens.bfloat16().float()))


def test_half_precision_on_a_cpu_is_an_error() -> None:
    sparse = sparse_form(pruned(nn.Linear(30, 12))).half()
    with pytest.raises(ConfigError, match="torch has no sparse product in float16 on a CPU: use float32"):
        sparse(torch.ones(2, 30).half())


def test_code_that_reads_weights_gets_them_with_a_warning() -> None:
    dense = pruned(nn.Linear(30, 12))
    with pytest.warns(UserWarning, match="read as a dense matrix, which is slow"):
        assert torch.equal(sparse_form(dense).weight, dense.weight)


def test_weights_that_change_in_place_are_seen() -> None:
    sparse = sparse_form(pruned(nn.Linear(30, 12, bias=False)))
    tokens = torch.randn(4, 30)
    before = sparse(tokens)
    sparse.matrix.values.mul_(2)
    near(sparse(tokens), 2 * before)


def test_embedding() -> None:
    dense = pruned(nn.Embedding(50, 16))
    sparse = SparseEmbedding(CsrMatrix.of(dense.weight), None)
    for indices in (torch.randint(0, 50, (4, 5)), torch.tensor(3), torch.zeros(0, dtype=torch.long)):
        near(sparse(indices), dense(indices))
    assert torch.equal(sparse.matrix.dense(), dense.weight)
    for index in (-1, -2, 50):  # -1 and -100 mark what is no label
        with pytest.raises(IndexError, match="out of range"):
            sparse(torch.tensor([3, index]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_lstm(batch: int, batch_first: bool, bias: bool) -> None:
    dense = pruned(nn.LSTM(20, 16, 2, batch_first=batch_first, bias=bias))
    sparse = sparse_form(dense)
    tokens = torch.randn((batch, 7, 20) if batch_first else (7, batch, 20))
    state = None
    for _ in range(2):  # from zero, then from where it stopped
        (one, new), (other, new_other) = dense(tokens, state), sparse(tokens, state)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(new, new_other, rtol=1e-5, atol=1e-6)
        state = new
    torch.testing.assert_close(dense(torch.ones(7, 20)), sparse(torch.ones(7, 20)), rtol=1e-5, atol=1e-6)
    plain = sparse(tokens, state)
    with torch.autocast("cpu"):
        torch.testing.assert_close(sparse(tokens, state), plain)


@pytest.mark.parametrize("lengths", [[4], [7, 2, 5], [3, 3, 3], [1, 6]])
@pytest.mark.parametrize("with_state", [True, False])
def test_lstm_of_packed_sequences(lengths: list[int], with_state: bool) -> None:
    dense = pruned(nn.LSTM(20, 16, 2))
    sparse = sparse_form(dense)
    packed = pack_padded_sequence(torch.randn(7, len(lengths), 20), lengths, enforce_sorted=False)
    state = (torch.randn(2, len(lengths), 16), torch.randn(2, len(lengths), 16)) if with_state else None
    (one, ended), (other, ended_other) = dense(packed, state), sparse(packed, state)
    assert isinstance(other, PackedSequence)
    torch.testing.assert_close(one.data, other.data, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ended, ended_other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (1,), (3,)])
def test_lstm_cell(batch: tuple[int, ...]) -> None:
    dense = pruned(nn.LSTMCell(20, 16))
    sparse = sparse_form(dense)
    tokens, state = torch.randn(*batch, 20), (torch.randn(*batch, 16), torch.randn(*batch, 16))
    for given in (None, state):
        plain = sparse(tokens, given)
        torch.testing.assert_close(dense(tokens, given), plain, rtol=1e-5, atol=1e-6)
        with torch.autocast("cpu"):
            torch.testing.assert_close(sparse(tokens, given), plain)
