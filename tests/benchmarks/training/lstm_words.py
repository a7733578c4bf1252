"""Words a second of ``lottery_lstm_lm`` against fairseq's ``lstm_lm``, both 2 x 650, alternated.

    python -m tests.benchmarks.training.lstm_words [--pairs 4]

A training step (forward, backward, fairseq's Adam) on 30 x 50 words of a vocabulary of 12,000, one thread, with the
malloc settings that the README advises.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch
from fairseq.models.lstm_lm import LSTMLanguageModel, base_architecture
from torch import nn

from tests.benchmarks.training.fairseq_update import Task, Training, lstm, with_malloc_settings

LIMIT = 1.4
WORDS = 12000


def fairseq_lstm(task: Task) -> nn.Module:
    sizes = {"decoder_embed_dim": 650, "decoder_hidden_size": 650, "decoder_out_embed_dim": 650, "decoder_layers": 2}
    args = argparse.Namespace(**sizes, dropout=0.5, criterion="cross_entropy", tokens_per_sample=50)
    base_architecture(args)
    task.dictionary = task.words
    return LSTMLanguageModel.build_model(args, task)  # type: ignore[no-any-return]


class Samples(Training):
    """A training of fairseq's model on samples of the same size."""

    def __init__(self) -> None:
        super().__init__(fairseq_lstm, WORDS, masked=False)
        tokens = torch.randint(4, WORDS, (30, 50))
        net_input: dict[str, Any] = {"src_tokens": tokens, "src_lengths": torch.full((30,), 50)}
        self.sample = {"net_input": net_input, "target": tokens, "ntokens": tokens.numel()}


def main() -> int:
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    theirs, ours = Samples(), Training(lstm, WORDS, masked=False)
    theirs.update(), ours.update()
    seconds: dict[str, list[float]] = {"lstm_lm": [], "lottery_lstm_lm": []}
    for _ in range(args.pairs):
        for name, which in (("lstm_lm", theirs), ("lottery_lstm_lm", ours)):
            start = time.process_time()
            which.update()
            seconds[name].append(time.process_time() - start)
    speed = {name: 1500 / statistics.median(times) for name, times in seconds.items()}
    ratio = speed["lottery_lstm_lm"] / speed["lstm_lm"]
    print(", ".join(f"{name} {value:.0f} words/s" for name, value in speed.items()), f"ratio {ratio:.2f}")
    print(f"limit {LIMIT} {'met' if ratio >= LIMIT else 'MISSED'}")
    return 0 if ratio >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
