"""Shortcuts around sparse layers: the same hypotheses and scores, to the last bit, and no stale output."""

from __future__ import annotations

import copy
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import tasks
from fairseq.modules import MultiheadAttention

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.inference import take_shortcuts
from fairseq_lottery.inference.decoding import _JointLinear
from fairseq_lottery.launcher.options import parse_fairseq
from lottery_core.inference import SparseLinear, sparsify
from tests.fairseq_lottery.helpers import split

SIZES = (
    "--arch transformer --encoder-layers 2 --decoder-layers 2 --encoder-embed-dim 32 --decoder-embed-dim 32 "
    "--encoder-ffn-embed-dim 64 --decoder-ffn-embed-dim 64 --encoder-attention-heads 4 --decoder-attention-heads 4 "
    "--share-all-embeddings --max-source-positions 64 --max-target-positions 64 --max-tokens 100 --cpu"
)


class Model:
    """A Transformer with random weights, most of them pruned, in fairseq's beam search."""

    def __init__(self, data: Path, *more: str) -> None:
        words = [str(data), "-s", "en", "-t", "de", "--task", "translation", *split(SIZES), *more]
        cfg = parse_fairseq(FairseqArguments(words))
        self.task = tasks.setup_task(cfg.task)
        self.task.load_dataset("test")
        torch.manual_seed(4)
        self.model: Any = self.task.build_model(cfg.model).eval()
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(3)
                    parameter[torch.rand_like(parameter) < 0.8] = 0
        self.model.make_generation_fast_()
        sparsify(self.model, form="csr")

    def translate(self, batch: int) -> list[tuple[list[int], float]]:
        """Hypotheses with their scores."""
        dataset = self.task.dataset("test")
        options = Namespace(beam=4, max_len_a=0, max_len_b=12, nbest=4)
        generator = self.task.build_generator([self.model], options)
        found = []
        for begin in range(0, 12, batch):
            sample = dataset.collater([dataset[begin + number] for number in range(batch)])
            for hypotheses in self.task.inference_step(generator, [self.model], sample):
                found += [(each["tokens"].tolist(), float(each["score"])) for each in hypotheses]
        return found


@pytest.mark.parametrize(
    "options", ["", "--encoder-normalize-before --decoder-normalize-before", "--activation-fn gelu"]
)
def test_beam_search_to_the_last_bit(options: str, translation_data: Path) -> None:
    one, other = (Model(translation_data, *split(options)) for _ in range(2))
    take_shortcuts(other.model)
    joined = [name for name, module in other.model.named_modules() if isinstance(module, _JointLinear)]
    assert len(joined) == 4 * 3  # of self-attention in encoder and decoder
    kept = [module.contiguous for name, module in other.model.named_modules() if name.endswith("fc1")]
    assert kept == [bool(options.endswith("gelu"))] * 4
    for batch in (1, 4):
        expected = one.translate(batch)
        assert len({tuple(tokens) for tokens, _ in expected}) > 12
        assert other.translate(batch) == expected
    before = [id(module) for module in other.model.modules()]
    take_shortcuts(other.model)
    assert [id(module) for module in other.model.modules()] == before
    again = copy.deepcopy(other.model)
    other.model = again
    assert other.translate(4) == expected


def projections(bias: bool = True) -> tuple[MultiheadAttention, list[SparseLinear]]:
    """Self-attention with joined projections, and the same projections alone."""
    torch.manual_seed(1)
    attention = MultiheadAttention(16, 2, self_attention=True, bias=bias).eval()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter[torch.rand_like(parameter) < 0.5] = 0
    sparsify(attention, form="csr")
    alone = [copy.deepcopy(getattr(attention, name)) for name in ("q_proj", "k_proj", "v_proj")]
    take_shortcuts(attention)
    assert isinstance(attention.q_proj, _JointLinear)
    return attention, alone


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 5, 16), (1, 1, 16), (7, 16), (16,), (0, 4, 16)])
def test_no_output_is_stale(bias: bool, shape: tuple[int, ...]) -> None:
    """The same tensor again, changed in place, another one, outputs that are changed in place, any order."""
    attention, alone = projections(bias)
    joined = [attention.q_proj, attention.k_proj, attention.v_proj]
    tokens, others = torch.randn(2, *shape)

    def check(*order: int) -> None:
        for index in order:
            found, expected = joined[index](tokens), alone[index](tokens)
            assert torch.equal(found, expected)
            assert found.is_contiguous()
            found.mul_(0.5)

    with torch.no_grad():
        check(0, 1, 2)
        check(0, 0, 1)
        tokens.add_(1)
        check(2, 1, 0)
        assert torch.equal(joined[0](others), alone[0](others))
        check(1, 2)
    with torch.inference_mode():
        tokens = torch.randn(shape)
        check(0, 1, 2, 2)
        tokens.add_(1)
        check(0, 1)


def test_other_types_and_autocast() -> None:
    """A model that moves to another type has no joint matrix any more."""
    attention, alone = projections()
    tokens = torch.randn(4, 16)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attention.k_proj(tokens), alone[1](tokens))
    attention.double()
    with torch.no_grad():
        for name, layer in zip(("q_proj", "k_proj", "v_proj"), alone, strict=True):
            found = getattr(attention, name)(tokens.double())
            assert found.dtype == torch.float64
            torch.testing.assert_close(found, layer.double()(tokens.double()))
            assert torch.equal(getattr(attention, name).matrix.dense(), layer.matrix.dense())


def test_what_is_left_as_it_is() -> None:
    """Attention over another input, and projections of which one is dense."""
    torch.manual_seed(1)
    for options in ({"encoder_decoder_attention": True, "kdim": 16, "vdim": 16}, {"self_attention": True}):
        attention: Any = MultiheadAttention(16, 2, **options).eval()
        with torch.no_grad():
            attention.q_proj.weight[:, ::2] = attention.k_proj.weight[:, ::2] = 0
            if "kdim" in options:
                attention.v_proj.weight[:, ::2] = 0
        sparsify(attention, form="csr")
        assert isinstance(attention.q_proj, SparseLinear)
        take_shortcuts(attention)
        assert not any(isinstance(module, _JointLinear) for module in attention.modules())
