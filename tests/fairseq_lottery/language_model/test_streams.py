"""Truncated BPTT: contiguous streams, state carried, no target lost, evaluation equal to one full-length pass."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from torch.nn import functional

import fairseq_lottery  # noqa: F401
from fairseq_lottery.language_model.lstm import LotteryLstmLm, LotteryLstmLmConfig, LstmDecoder
from fairseq_lottery.language_model.streams import StreamDataset, StreamTask
from lottery_core import Ticket, prune
from lottery_core.errors import ConfigError
from lottery_core.tickets.weights import Weights, snapshot
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, LM, assert_dead, load, split, train

LSTM = split("--arch lottery_lstm_lm --decoder-embed-dim 16 --decoder-hidden-size 16 --dropout 0.2")
BPTT = split("--truncated-bptt 7 --batch-size 5")


def streams(words: int = 103, count: int = 5, block: int = 7) -> StreamDataset:
    return StreamDataset(torch.arange(4, 4 + words, dtype=torch.int32), count, block, pad=1, eos=2)


@pytest.mark.parametrize("shards", [1, 5])
def test_every_word_is_a_target_once_and_in_order(shards: int) -> None:
    data = streams()
    seen: dict[int, list[int]] = {}
    inputs: dict[int, list[int]] = {}
    for number, batch in enumerate(data.batches(shards)):
        sample = data.collater([data[index] for index in batch])
        rank = number % shards
        assert len(batch) == 5 // shards
        assert sample["ntokens"] == int((sample["target"] != 1).sum())
        assert sample["net_input"]["continues"] == (number >= shards)
        for row, target in enumerate(sample["target"]):
            stream = rank * len(batch) + row
            kept = target != 1
            seen.setdefault(stream, []).extend(target[kept].tolist())
            inputs.setdefault(stream, []).extend(sample["net_input"]["src_tokens"][row][kept].tolist())
    targets = [word for stream in range(5) for word in seen[stream]]
    assert targets == list(range(4, 107))
    assert [word for stream in range(5) for word in inputs[stream]] == [2, *range(4, 106)]
    assert {len(part) for part in seen.values()} == {20, 21}


def test_too_few_words() -> None:
    with pytest.raises(ConfigError, match="3 words are too few for 5 streams"):
        streams(words=3)


def small_decoder(tied: bool = False) -> LstmDecoder:
    words = Dictionary()
    for number in range(110):
        words.add_symbol(str(number))
    torch.manual_seed(1)
    cfg = LotteryLstmLmConfig(decoder_embed_dim=8, decoder_hidden_size=8, share_decoder_input_output_embed=tied)
    return LstmDecoder(words, cfg).eval()


def test_blocks_equal_one_pass_and_state_is_detached() -> None:
    decoder = small_decoder()
    data = streams(count=1)
    whole, _ = decoder(data.inputs[None].long())
    parts = []
    for batch in data.batches(1):
        output, _ = decoder(**_renamed(data.collater([data[index] for index in batch])["net_input"]))
        parts.append(output)
        assert not any(part.requires_grad for part in decoder.carried[False])
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)
    kept = [part.clone() for part in decoder.carried[False]]
    decoder.train()(data.inputs[None, :5].long(), continues=False)
    assert all(torch.equal(*pair) for pair in zip(kept, decoder.carried[False], strict=True)), "training disturbs it"
    decoder.eval()(data.inputs[None, :5].long())
    assert all(torch.equal(*pair) for pair in zip(kept, decoder.carried[False], strict=True))


class Forward:
    """As much of a task as the mix-in calls; remembers the scores of each batch."""

    def __init__(self, decoder: LstmDecoder) -> None:
        self.args = SimpleNamespace(truncated_bptt=7)
        self._bare_model = SimpleNamespace(decoder=decoder)
        self.seen: list[torch.Tensor] = []

    def train_step(self, sample: dict[str, Any], *_: object) -> None:
        self.seen.append(self._bare_model.decoder(**_renamed(sample["net_input"]))[0].detach())

    def optimizer_step(self, *_: object, **more: object) -> None:
        """Nothing."""


class Streams(StreamTask, Forward):
    """A task without training."""


@pytest.mark.parametrize("frequency", [1, 2])
@torch.no_grad()
def test_an_update_that_overflowed_is_repeated_from_the_same_state(frequency: int) -> None:
    """``--amp`` does so, twice by default, and then goes on with the next batches (fairseq/trainer.py:train_step)."""
    data = streams()
    samples = [data.collater([data[index] for index in batch]) for batch in data.batches(1)]
    plain, task = (Streams(small_decoder().train()) for _ in range(2))
    for each in (plain, task):
        each._bare_model.decoder.lstm.dropout = 0.0
    for sample in samples:
        Forward.train_step(plain, sample)

    def update(number: int, first: int) -> list[torch.Tensor]:
        task.seen.clear()
        for sample in samples[first : first + frequency]:
            StreamTask.train_step(task, sample, None, None, None, number)
        task.optimizer_step(None, model=None, update_num=number)
        return list(task.seen)

    given_up = (1, 2 * frequency)
    for number, first in ((0, 0), (1, frequency), (1, frequency), given_up):
        for scores, expected in zip(update(number, first), plain.seen[first:], strict=False):
            assert torch.equal(scores, expected)


def _renamed(net_input: dict[str, object]) -> dict[str, object]:
    return {"prev_output_tokens": net_input["src_tokens"], "continues": net_input["continues"]}


def test_tied_output_and_sizes() -> None:
    decoder = small_decoder(tied=True)
    assert decoder.output_projection.weight is decoder.embed_tokens.weight
    with pytest.raises(ConfigError, match=r"--decoder-embed-dim \(8\) and --decoder-hidden-size \(4\) to be equal"):
        LstmDecoder(
            decoder.dictionary,
            LotteryLstmLmConfig(decoder_embed_dim=8, decoder_hidden_size=4, share_decoder_input_output_embed=True),
        )


def test_training_resuming_and_scoring(lm_data: Path, tmp_path: Path) -> None:
    """A tied LSTM ticket, resumed in the middle of an epoch, scored in blocks by fairseq-eval-lm."""
    words = [*LM, *LSTM, "--share-decoder-input-output-embed", *ADAM, *BPTT]
    train(lm_data, tmp_path / "dense", *words, "--rewind-point", "epoch:1")
    ticket = tmp_path / "t.safetensors"
    rewind = ["--rewind", tmp_path / "dense" / "rewind.safetensors", "--rate", 0.5]
    helpers.lottery("prune", tmp_path / "dense" / "checkpoint_last.pt", *rewind, "-o", ticket)
    train(lm_data, tmp_path / "whole", *words, "--ticket", ticket)
    train(lm_data, tmp_path / "parts", *words, "--ticket", ticket, "--max-update", 11)
    train(lm_data, tmp_path / "parts", *words, "--ticket", ticket)
    whole, parts = (load(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("whole", "parts"))
    assert_dead(whole, ticket, aliases=2)
    assert helpers.same(whole, parts), "the carried state was lost"

    task = ["--user-dir", helpers.USER_DIR, "--task", "lottery_language_modeling", "--truncated-bptt", 9, "--cpu"]
    path = tmp_path / "whole" / "checkpoint_last.pt"
    done = helpers.run(helpers.command("fairseq-eval-lm", lm_data, "--path", path, *task))
    match = re.search(r"Loss \(base 2\): ([\d.]+)", done.stdout + done.stderr)
    assert match
    loss = float(match.group(1))
    assert loss == pytest.approx(_full_pass(lm_data, whole), abs=2e-4)


def _full_pass(data: Path, state: dict[str, torch.Tensor]) -> float:
    """Bits a word of the test split, in one pass without any of the plugin's data code."""
    from fairseq.data import data_utils

    words = Dictionary.load(str(data / "dict.txt"))
    sentences = data_utils.load_indexed_dataset(str(data / "test"), words)
    text = torch.cat([sentences[index] for index in range(len(sentences))]).long()
    decoder = LstmDecoder(words, LotteryLstmLmConfig(decoder_embed_dim=16, decoder_hidden_size=16)).eval()
    decoder.load_state_dict({name.removeprefix("decoder."): tensor for name, tensor in state.items()})
    with torch.no_grad():
        logits, _ = decoder(torch.cat([torch.tensor([words.eos()]), text[:-1]])[None])
    return float(functional.cross_entropy(logits[0], text)) / math.log(2)


def test_other_streams_than_before_start_from_zero(caplog: pytest.LogCaptureFixture) -> None:
    task, decoder = StreamTask(), small_decoder()
    task._bare_model = LotteryLstmLm(decoder)  # type: ignore[attr-defined]
    kept = {"carried": [torch.ones(2, 6, 8), torch.ones(2, 6, 8)]}
    for count, warnings in ((4, 1), (6, 1)):
        task._train_batches = SimpleNamespace(dataset=SimpleNamespace(streams=count))  # type: ignore[attr-defined]
        task.set_checkpoint_dict(kept)
        assert caplog.text.count("with 4 streams instead of 6: they restart from a zero state") == warnings
        assert bool(decoder.carried) == (count == 6)


# Each rank writes, after each update, a digest of its weights and masks.
DIGESTS = """
import hashlib
import torch
from fairseq_lottery.task.task import LotteryTask
plain = LotteryTask.optimizer_step
def optimizer_step(self, *args, **kwargs):
    plain(self, *args, **kwargs)
    digest = hashlib.sha256()
    for tensor in (*self._bare_model.state_dict().values(), *self._held.masks.values()):
        digest.update(tensor.numpy().tobytes())
    rank = torch.distributed.get_rank()
    with open(f"{self.lottery_options.save_dir}/rank-{rank}", "a") as file:
        print(digest.hexdigest(), file=file)
LotteryTask.optimizer_step = optimizer_step
"""


def test_two_ranks_train_a_ticket_like_one(lm_data: Path, tmp_path: Path) -> None:
    """2 ranks of 3 streams, stopped and resumed in the middle of an epoch, train like 1 of 6 that was not stopped."""
    words = Dictionary.load(str(lm_data / "dict.txt"))
    torch.manual_seed(1)
    cfg = LotteryLstmLmConfig(decoder_embed_dim=16, decoder_hidden_size=16, share_decoder_input_output_embed=True)
    weights = snapshot(LotteryLstmLm(LstmDecoder(words, cfg)))
    drawn = {name: torch.randn(tensor.shape) for name, tensor in weights.tensors.items()}
    prune(Weights(drawn, weights.outside, "drawn"), weights, rate=0.5).save(tmp_path / "ticket")
    options = [*LM, *LSTM, "--share-decoder-input-output-embed", "--dropout", 0, *ADAM, "--truncated-bptt", 7]
    options += ["--max-epoch", 1, "--ticket", tmp_path / "ticket", "--ticket-kind", "random"]
    train(lm_data, tmp_path / "one", *options, "--batch-size", 6)
    package = helpers.own_user_dir(tmp_path / "user", "digests", DIGESTS)
    options += ["--batch-size", 3, "--user-dir", package]
    helpers.two_ranks(lm_data, tmp_path / "two", *options, "--max-update", 11)
    helpers.two_ranks(lm_data, tmp_path / "two", *options)
    one, two = (load(tmp_path / name / "checkpoint_last.pt") for name in ("one", "two"))
    ticket, other = (Ticket.load(tmp_path / name / "ticket.safetensors") for name in ("one", "two"))
    assert ticket.digest == other.digest
    assert [state["optimizer_history"][-1]["num_updates"] for state in (one, two)] == [27, 27]
    for name, tensor in one["model"].items():
        assert torch.allclose(tensor, two["model"][name], atol=1e-6), name
    assert_dead(two["model"], ticket, aliases=2)
    digests = [(tmp_path / "two" / f"rank-{rank}").read_text().splitlines() for rank in (0, 1)]
    assert len(set(digests[0])) == 27
    assert digests[0] == digests[1], "the ranks have drifted apart"
