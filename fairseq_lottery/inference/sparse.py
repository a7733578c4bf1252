"""``--sparse-inference``: translate or score with sparse layers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from fairseq_lottery.inference.dead_units import remove_dead_units
from fairseq_lottery.inference.decoding import take_shortcuts
from lottery_core.inference import AUTO, CSR, Load, sparsify

log = logging.getLogger("fairseq_lottery")
OFF = "off"
MODES = (AUTO, OFF, CSR)
_LENGTH = 25  # tokens in a sentence, assumed while there is no data set (fairseq-interactive)
_ENCODER = re.compile(r"(^|\.)encoder\.")  # also models.de-en.encoder of a multilingual model
_ONCE_PER_SENTENCE = ("encoder_attn.k_proj", "encoder_attn.v_proj")  # once per sentence, for all source tokens

Loads = Callable[[str], Load]


def make_sparse(models: Iterable[Any], options: Any, loads: Callable[[Any], Loads]) -> None:
    """Take dead units out of trained models and make their layers sparse, in place.

    Models in training mode stay as they are, although validation also generates.

    :param models: fairseq models; an entry may be ``None``
    :param options: configuration of a lottery task
    :param loads: returns the work of each layer of a model
    """
    if options.sparse_inference == OFF:
        return
    for model in models:
        # fairseq sets this attribute just before inference (fairseq_model.py:make_generation_fast_).
        if model is None or model.training or not getattr(model, "_is_generation_fast", False):
            continue
        removed = remove_dead_units(model)
        if removed:
            log.info("%s", removed)
        log.info("sparse inference (%s)\n%s", options.sparse_inference, _report(model, options.sparse_inference, loads))


def _report(model: nn.Module, mode: str, loads: Callable[[Any], Loads]) -> object:
    report = sparsify(model, tokens=loads(model) if mode == AUTO else None, form=mode)
    take_shortcuts(model)
    return report


def loads_of_generation(task: Any, model: Any, beam: int) -> Loads:
    """Estimate the work of each layer in generation: the encoder sees a batch, the decoder one token per hypothesis.

    The decoder of a non-autoregressive model sees the whole of one hypothesis of each sentence in every iteration.

    :param task: a lottery task, which knows the size of batches
    :param model: the model
    :param beam: hypotheses per sentence in beam search
    :returns: layer name -> tokens per call
    """
    dataset = getattr(task, "datasets", {}).get(task.lottery_options.gen_subset)
    length = _mean(getattr(dataset, "src_sizes", None))
    sentences = _sentences(task.lottery_options.batch_size, task.lottery_options.max_tokens, length)

    from fairseq.models.nat import FairseqNATModel

    whole = isinstance(model, FairseqNATModel)

    def load(name: str) -> Load:
        if whole or _ENCODER.search(name):
            return Load(sentences * length, length)
        return Load(sentences * beam * (length if name.endswith(_ONCE_PER_SENTENCE) else 1))

    return load


def loads_of_scoring(task: Any, dataset: Any) -> Loads:
    """Estimate the work of each layer in ``fairseq-eval-lm``: all tokens of a batch.

    :param task: a lottery task, which knows the size of batches
    :param dataset: the data set to score
    :returns: layer name -> tokens per call
    """
    length = _mean(getattr(dataset, "sizes", None))
    sentences = _sentences(task.lottery_options.batch_size, task.lottery_options.max_tokens, length)
    return lambda name: Load(sentences * length, length)


def _sentences(batch_size: int | None, max_tokens: int | None, length: int) -> int:
    by_tokens = None if max_tokens is None else max(1, max_tokens // length)
    return min(filter(None, (batch_size, by_tokens)), default=1)


def _mean(sizes: Any) -> int:
    return _LENGTH if sizes is None or not len(sizes) else max(1, round(float(sizes.mean())))
