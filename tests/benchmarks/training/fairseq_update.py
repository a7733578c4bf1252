"""Cost of a fairseq update with masks held, against the same update of the dense model, alternated.

    python -m tests.benchmarks.training.fairseq_update [--pairs 10]

Times whole updates (``task.train_step`` and ``task.optimizer_step`` with fairseq's Adam) on random words, one thread,
with the malloc settings that the README advises, the ticket at 20% surviving: a Transformer of 6 + 6 layers of width
256, and the LSTM of 2 x 650 on blocks of 50 x 30. As in the middle of a training every word has been seen (zeros in
Adam's moments of words that have not are slow on a CPU, with masks and without), and no layer is pruned away, as one
is from an untrained network. A pair runs dense, masked, masked, dense; the median ratio is shown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models.transformer import TransformerModel
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from fairseq.tasks.fairseq_task import FairseqTask
from omegaconf import OmegaConf
from torch import nn

import fairseq_lottery  # noqa: F401
from fairseq_lottery.criterions import LotteryCrossEntropy
from fairseq_lottery.language_model.lstm import LotteryLstmLm, LotteryLstmLmConfig
from fairseq_lottery.task.masks import TaskMasks
from fairseq_lottery.task.task import LotteryTask
from lottery_core import prune, snapshot

LIMIT = 1.02


class Task(LotteryTask, FairseqTask):  # type: ignore[misc]
    """Just enough of a task."""

    def __init__(self, words: int) -> None:
        super().__init__(FairseqConfig())
        self.words = Dictionary()
        for number in range(words - len(self.words)):
            self.words.add_symbol(str(number))

    @property
    def source_dictionary(self) -> Any:
        return self.words

    @property
    def target_dictionary(self) -> Any:
        return self.words


def transformer(task: Task) -> nn.Module:
    sizes = {"embed_dim": 256, "ffn_embed_dim": 1024, "attention_heads": 4, "layers": 6}
    args = argparse.Namespace(share_all_embeddings=True, max_source_positions=128, max_target_positions=128)
    for side in ("encoder", "decoder"):
        for name, value in sizes.items():
            setattr(args, f"{side}_{name}", value)
    from fairseq.models.transformer.transformer_legacy import base_architecture

    base_architecture(args)
    return TransformerModel.build_model(args, task)  # type: ignore[no-any-return]


def lstm(task: Task) -> nn.Module:
    cfg = LotteryLstmLmConfig(decoder_embed_dim=650, decoder_hidden_size=650, dropout=0.5)
    return LotteryLstmLm.build_model(cfg, task)


class Training:
    """A model, its optimizer and a batch; masked or dense."""

    def __init__(self, build: Any, words: int, masked: bool) -> None:
        torch.manual_seed(1)
        self.task = Task(words)
        self.model = build(self.task)
        is_lm = isinstance(self.model, LotteryLstmLm)
        shape = (30, 50) if is_lm else (32, 32)
        tokens = torch.randint(4, words, shape)
        more = {"continues": True} if is_lm else {"prev_output_tokens": tokens}
        lengths = torch.full(shape[:1], shape[1])
        net_input = {"src_tokens": tokens, "src_lengths": lengths, **more}
        self.sample = {"net_input": net_input, "target": tokens, "ntokens": tokens.numel()}
        self.words = words
        self.criterion = LotteryCrossEntropy(self.task, sentence_avg=False)
        if masked:
            weights = snapshot(self.model)
            # Each tensor in units of its own spread, so that all lose about as much, and norms nothing.
            spread = {name: value / (float(value.std(correction=0)) or 1e-3) for name, value in weights.tensors.items()}
            ticket = prune(replace(weights, tensors=spread), weights, fraction=0.8)
            ticket.load_into(self.model)
            self.task._held = TaskMasks(self.model, ticket.masks)
        cfg = OmegaConf.structured(FairseqAdamConfig(lr=[1e-5], adam_betas="(0.9, 0.98)", tpu=False))
        self.optimizer = FairseqAdam(cfg, list(self.model.parameters()))

    def see_every_word(self) -> None:
        """Updates on the whole vocabulary, as many batches as it takes."""
        last = self.sample
        shape = last["target"].shape
        for words in torch.randperm(self.words).split(shape.numel()):
            tokens = words.repeat(-(-shape.numel() // words.numel()))[: shape.numel()].view(shape)
            inputs = {name: tokens if name.endswith("tokens") else value for name, value in last["net_input"].items()}
            self.sample = {**last, "net_input": inputs, "target": tokens}
            self.update()
        self.sample = last

    def update(self) -> None:
        self.optimizer.zero_grad()
        self.task.train_step(self.sample, self.model, self.criterion, self.optimizer, 1)
        self.optimizer.multiply_grads(1 / self.sample["ntokens"])
        self.optimizer.clip_grad_norm(1.0)
        self.task.optimizer_step(self.optimizer, self.model, 1)

    def seconds(self) -> float:
        start = time.process_time()
        self.update()
        return time.process_time() - start


def with_malloc_settings() -> None:
    """Start this program again with large blocks kept by the process, as the recipes do."""
    settings = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **settings})


def main() -> int:
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    fine = True
    print(f"{'update':24}{'dense s':>10}{'masked/dense':>14}   limit")
    for name, build, words in (("Transformer 6 x 256", transformer, 4000), ("LSTM 2 x 650", lstm, 12000)):
        dense, masked = Training(build, words, False), Training(build, words, True)
        for training in (dense, masked):
            training.see_every_word()
        ratios, plain = [], []
        for _ in range(args.pairs):
            times = [which.seconds() for which in (dense, masked, masked, dense)]
            ratios.append((times[1] + times[2]) / (times[0] + times[3]))
            plain.append((times[0] + times[3]) / 2)
        masked.task._held.check()  # type: ignore[union-attr]
        found = statistics.median(ratios)
        fine &= found <= LIMIT
        print(f"{name:24}{statistics.median(plain):10.3f}{found:14.3f}   {LIMIT}", flush=True)
    print(f"limit {'met' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
