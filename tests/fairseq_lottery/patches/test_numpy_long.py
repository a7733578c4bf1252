"""Names that numpy 2 has no more."""

from __future__ import annotations

import numpy
import torch
from fairseq.data import TokenBlockDataset

import fairseq_lottery  # noqa: F401


def test_blocks_that_end_with_sentences() -> None:
    sentences = [torch.tensor([4, 5, 2]), torch.tensor([5, 2]), torch.tensor([4, 4, 4, 2])]
    blocks = TokenBlockDataset(sentences, numpy.array([3, 2, 4]), None, pad=1, eos=2, break_mode="eos")
    assert [blocks[index].tolist() for index in range(3)] == [each.tolist() for each in sentences]
