"""The scope ``layers`` leaves whole what makes the logits, in every architecture of text."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from fairseq.checkpoint_utils import prune_state_dict

from lottery_core.tickets import snapshot
from tests.fairseq_lottery.helpers import bare_task, split

_WIDTHS = "--encoder-embed-dim 16 --decoder-embed-dim 16 --encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32"
_DEEP = f"{_WIDTHS} --encoder-layers 1 --decoder-layers 1 --encoder-attention-heads 2 --decoder-attention-heads 2"
# The language models have 16 words.
_DECODER = "--decoder-embed-dim 20 --decoder-ffn-embed-dim 36 --decoder-layers 1 --decoder-attention-heads 2"
_SOFTMAX = "--adaptive-softmax-cutoff 8,16 --criterion adaptive_loss"
_CONVOLUTIONS = "--encoder-layers [(16,3)] --decoder-layers [(16,3)] --encoder-embed-dim 16 --decoder-embed-dim 16"
_ENCODER = "--encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32 --encoder-attention-heads 2"
# Architecture -> its task, its options, and a layer that is in the pool.
MODELS = {
    "transformer": ("translation", _DEEP, "decoder.layers.0.fc1.weight"),
    "transformer, tied": ("translation", f"{_DEEP} --share-all-embeddings", "decoder.layers.0.fc1.weight"),
    "transformer, adaptive": ("translation", f"{_DEEP} {_SOFTMAX}", "decoder.layers.0.fc1.weight"),
    "fconv": ("translation", f"{_CONVOLUTIONS} --decoder-out-embed-dim 12", "decoder.fc2.weight_v"),
    "fconv, tied": (
        "translation",
        f"{_CONVOLUTIONS} --share-input-output-embed --decoder-out-embed-dim 16",
        "decoder.fc2.weight_v",
    ),
    "lstm": (
        "translation",
        f"{_WIDTHS.split(' --encoder-ffn')[0]} --decoder-out-embed-dim 12",
        "decoder.additional_fc.weight",
    ),
    "lightconv": (
        "translation",
        f"{_DEEP} --encoder-kernel-size-list [3] --decoder-kernel-size-list [3]",
        "decoder.layers.0.fc1.weight",
    ),
    "levenshtein_transformer": ("translation_lev", f"{_DEEP} --share-all-embeddings", "decoder.layers.0.fc1.weight"),
    "transformer_lm": ("language_modeling", _DECODER, "decoder.layers.0.fc1.weight"),
    "transformer_lm, adaptive": (
        "language_modeling",
        f"{_DECODER} --adaptive-softmax-cutoff 8,12 --criterion adaptive_loss --adaptive-input "
        "--adaptive-input-cutoff 8,12 --tie-adaptive-weights --tie-adaptive-proj "
        "--decoder-input-dim 20 --decoder-output-dim 20",
        "decoder.layers.0.fc1.weight",
    ),
    "fconv_lm": (
        "language_modeling",
        "--decoder-embed-dim 20 --decoder-layers [(20,3)]",
        "decoder.convolutions.0.weight_v",
    ),
    "lottery_lstm_lm": (
        "language_modeling",
        "--decoder-embed-dim 20 --decoder-hidden-size 12",
        "decoder.lstm.weight_hh_l0",
    ),
    "roberta": (
        "masked_lm",
        f"{_ENCODER} --max-positions 64 --criterion masked_lm",
        "encoder.sentence_encoder.layers.0.fc1.weight",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_output_layers_stay_whole(name: str, translation_data: Path, lm_data: Path) -> None:
    from fairseq import tasks

    from fairseq_lottery.argv import FairseqArguments
    from fairseq_lottery.launcher.options import parse_fairseq

    task_name, options, inside = MODELS[name]
    arch = name.partition(",")[0]
    translates = task_name.startswith("translation")
    words = [str(translation_data if translates else lm_data), "--task", f"lottery_{task_name}", "--arch", arch]
    words += [*split(options), "--max-tokens", "100", "--cpu"]
    cfg = parse_fairseq(FairseqArguments([*words, *(split("-s en -t de") if translates else [])]))
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    weights = snapshot(model)
    pool = weights.pool("layers")
    assert inside in pool
    # No tensor of the pool has a row or a column a word.
    vocabulary = len(task.target_dictionary or task.source_dictionary)
    assert not [name for name in pool if vocabulary in weights.tensors[name].shape]
    assert not [name for name in pool if "adaptive_softmax" in name or "class_proj" in name]


@pytest.mark.parametrize("given", [{}, {"ticket_kind": "erk", "surviving": 0.5}])
def test_layers_to_keep_are_of_a_larger_model_that_is_loaded(given: dict[str, object], tmp_path: Path) -> None:
    """fairseq would take layers out of the checkpoints of a model that has been built with only those layers."""

    folder = tmp_path / "run"
    folder.mkdir()

    def built(**more: object) -> Namespace:
        cfg = Namespace(arch="transformer", encoder_layers_to_keep="0,2", decoder_layers_to_keep="1")
        bare_task(folder, lambda: torch.nn.Sequential(torch.nn.Linear(4, 4)), **given, **more).build_model(cfg)
        return cfg

    state = {"encoder.layers.1.fc1.weight": torch.ones(1), "decoder.layers.0.fc1.weight": torch.ones(1)}
    assert prune_state_dict(state, built()).keys() == state.keys()
    assert (built().encoder_layers, built().decoder_layers) == (2, 1)
    (tmp_path / "base.pt").write_bytes(b"")
    assert not prune_state_dict(state, built(restore_file=str(tmp_path / "base.pt")))
