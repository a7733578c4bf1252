"""Truncated BPTT: the text as B contiguous streams in blocks of T words; the LSTM state carries over between blocks.

Inputs and targets are cut from the same text, shifted by one word, so no target is lost between two blocks. The lengths
of the streams differ by at most one word, so no word is lost at the end either.
"""

# No postponed annotations here: fairseq reads the types of a configuration's fields when it makes its parser.

import logging
import os
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq import utils
from fairseq.data import FairseqDataset, data_utils, iterators
from torch import Tensor

from fairseq_lottery.options import LotteryOptions
from lottery_core.errors import ConfigError

log = logging.getLogger("fairseq_lottery")


@dataclass
class LanguageModelingOptions(LotteryOptions):
    """Options of ``lottery_language_modeling``: those of every lottery task and ``--truncated-bptt``."""

    truncated_bptt: int = field(
        default=0,
        metadata={
            "help": "train on --batch-size contiguous streams in blocks of N words, keeping the state (0: samples)"
        },
    )


class StreamDataset(FairseqDataset):  # type: ignore[misc]
    """A text as contiguous streams in blocks; item ``k * streams + b`` is block ``k`` of stream ``b``.

    :param words: the text, one-dimensional, every sentence with its end-of-sentence symbol
    :param streams: number of streams
    :param block: words in a block
    :param pad: symbol that fills the last block of streams that are one word shorter
    :param eos: symbol before the first word
    :raises ConfigError: there are more streams than words
    """

    def __init__(self, words: Tensor, streams: int, block: int, pad: int, eos: int) -> None:
        if words.numel() < streams:
            raise ConfigError(f"{words.numel()} words are too few for {streams} streams: lower --batch-size")
        self.words, self.streams, self.block, self.pad = words, streams, block, pad
        self.inputs = torch.cat([words.new_tensor([eos]), words[:-1]])
        short, longer = divmod(words.numel(), streams)
        lengths = torch.tensor([short + 1] * longer + [short] * (streams - longer))
        self._ends = lengths.cumsum(0)
        self._starts = self._ends - lengths
        self.length = int(lengths[0])
        self.blocks = -(-self.length // block)

    def __len__(self) -> int:
        return self.blocks * self.streams

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, stream = divmod(index, self.streams)
        start = int(self._starts[stream]) + number * self.block
        end = min(start + self.block, int(self._ends[stream]))
        width = min(self.block, self.length - number * self.block)
        source, target = (torch.full((width,), self.pad, dtype=torch.long) for _ in range(2))
        source[: end - start] = self.inputs[start:end]
        target[: end - start] = self.words[start:end]
        return {"id": index, "source": source, "target": target, "words": end - start}

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate one block from each of several streams into a batch."""
        source = torch.stack([sample["source"] for sample in samples])
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": sum(sample["words"] for sample in samples),
            "net_input": {
                "src_tokens": source,
                "src_lengths": torch.full((len(samples),), source.size(1)),
                "continues": samples[0]["id"] >= self.streams,
            },
            "target": torch.stack([sample["target"] for sample in samples]),
        }

    def batches(self, shards: int) -> list[list[int]]:
        """Return the item numbers of all batches, in the order of the text.

        :param shards: number of ranks; they take the batches in turn, so that each rank keeps its streams
        """
        size = self.streams // shards
        return [
            [block * self.streams + rank * size + stream for stream in range(size)]
            for block in range(self.blocks)
            for rank in range(shards)
        ]

    def num_tokens(self, index: int) -> int:
        """Return the number of words in an item."""
        return self.block

    def size(self, index: int) -> int:
        """Return the number of words in an item."""
        return self.block


class StreamText(FairseqDataset):  # type: ignore[misc]
    """A whole text; the number of streams is set when its batches are made.

    :param words: the text, one-dimensional
    """

    def __init__(self, words: Tensor) -> None:
        self.words = words

    def __len__(self) -> int:
        return self.words.numel()


def ranks() -> int:
    """Return the number of processes that train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def all_streams(part: Tensor) -> Tensor:
    """Gather a state tensor from all ranks.

    :param part: hidden or cell state of this rank's streams, layers x streams x units
    :returns: the state of all streams, in the order of the text
    """
    part = part.contiguous()
    parts = [torch.empty_like(part) for _ in range(ranks())]
    torch.distributed.all_gather(parts, part)
    return torch.cat(parts, dim=1)


class StreamTask:
    """Mix-in, placed before ``language_modeling``, for the option ``--truncated-bptt``."""

    _all_carried: list[Tensor] | None = None
    _began: tuple[int, Any, Any] | None = None  # last update: number, first items, state before them
    _stepped = True

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model.

        :param cfg: the model's configuration
        :param from_checkpoint: whether a checkpoint will be loaded, for inference
        :raises ConfigError: the model starts every block from a zero state
        """
        model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        if self.args.truncated_bptt and not getattr(model, "carries_state", False):  # type: ignore[attr-defined]
            raise ConfigError("--truncated-bptt needs a model that carries its state: --arch lottery_lstm_lm")
        return model

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> Any:
        """Load a split; under ``--truncated-bptt`` as one text.

        :raises ConfigError: ``--truncated-bptt`` is not positive, or cannot be combined with another option
        """
        args = self.args  # type: ignore[attr-defined]
        if not args.truncated_bptt:
            return super().load_dataset(split, epoch=epoch, combine=combine, **kwargs)  # type: ignore[misc]
        if args.truncated_bptt < 1 or args.output_dictionary_size >= 0 or args.add_bos_token:
            raise ConfigError(
                "--truncated-bptt takes a length of at least 1, without --output-dictionary-size and --add-bos-token"
            )
        folders = utils.split_paths(args.data)
        path = os.path.join(folders[(epoch - 1) % len(folders)], split)
        sentences = data_utils.load_indexed_dataset(path, self.dictionary, args.dataset_impl, combine=combine)  # type: ignore[attr-defined]
        if sentences is None:
            raise FileNotFoundError(f"Dataset not found: {split} ({path})")
        # 4 bytes per word, half of what fairseq's own tensors need.
        text = StreamText(torch.cat([sentences[index].to(torch.int32) for index in range(len(sentences))]))
        self.datasets[split] = text  # type: ignore[attr-defined]
        return text

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return blocks in the order of the text, with exactly ``--batch-size`` streams on each rank."""
        if not isinstance(dataset, StreamText):
            return super().get_batch_iterator(dataset, *args, **kwargs)  # type: ignore[misc]
        shards = kwargs.get("num_shards", 1)
        batches = self.dataset_to_epoch_iter.get(dataset)  # type: ignore[attr-defined]
        if batches is not None and not kwargs.get("disable_iterator_cache", False):
            return batches
        # Without a batch size (fairseq-eval-lm) the text is one stream, scored as in a single pass over it.
        streams = (kwargs.get("max_sentences") or 1) * shards
        words = self.dictionary  # type: ignore[attr-defined]
        blocks = StreamDataset(dataset.words, streams, self.args.truncated_bptt, words.pad(), words.eos())  # type: ignore[attr-defined]
        batches = iterators.EpochBatchIterator(
            dataset=blocks,
            collate_fn=blocks.collater,
            batch_sampler=blocks.batches(shards),
            seed=kwargs.get("seed", 1),
            num_shards=shards,
            shard_id=kwargs.get("shard_id", 0),
            num_workers=kwargs.get("num_workers", 0),
            epoch=kwargs.get("epoch", 1),
            buffer_size=kwargs.get("data_buffer_size", 0),
            disable_shuffling=True,
            reuse_dataloader=True,
        )
        self.dataset_to_epoch_iter[dataset] = batches  # type: ignore[attr-defined]
        return batches

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Run forward and backward; if ``--amp`` repeats an update that overflowed, start from the same LSTM state."""
        if self._stepped and self.args.truncated_bptt and sample:  # type: ignore[attr-defined]
            self._begin_update(sample["id"], update_num)
        self._stepped = False
        return super().train_step(sample, model, criterion, optimizer, update_num, *args, **kwargs)  # type: ignore[misc]

    def _begin_update(self, items: Tensor, update_num: int) -> None:
        if self._began is not None:
            number, before, state = self._began
            if number == update_num and torch.equal(items, before):
                self._carried.pop(True, None)
                self._carried.update({} if state is None else {True: state})
        self._began = update_num, items, self._carried.get(True)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Run the optimizer step, then gather the state of all ranks, because only rank 0 writes checkpoints."""
        super().optimizer_step(optimizer, model=model, update_num=update_num)  # type: ignore[misc]
        self._stepped = True
        state = self._carried.get(True)
        if state is None or ranks() == 1:
            return
        # This gathers a few hundred kilobytes, while the gradients take a few hundred megabytes.
        self._all_carried = [all_streams(part) for part in state]

    @property
    def _carried(self) -> dict[bool, Any]:
        decoder = getattr(self._bare_model, "decoder", None)  # type: ignore[attr-defined]
        return getattr(decoder, "carried", {})

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """Return the carried state, which a checkpoint in the middle of an epoch must contain."""
        state = self._carried.get(True) if ranks() == 1 else self._all_carried
        return {} if state is None else {type(self).__name__: {"carried": [part.cpu().clone() for part in state]}}

    def set_checkpoint_dict(self, kept: dict[str, Any]) -> None:
        """Restore the carried state of this rank's streams; the number of ranks may have changed.

        :param kept: what :meth:`get_checkpoint_dict` returned under the task's class name
        """
        if "carried" not in kept:
            return
        before, now = kept["carried"][0].size(1), self._train_batches.dataset.streams  # type: ignore[attr-defined]
        if before != now:
            log.warning("resumed mid-epoch with %d streams instead of %d: they restart from a zero state", now, before)
            return
        count = ranks()
        rank = torch.distributed.get_rank() if count > 1 else 0
        where = next(self._bare_model.parameters())  # type: ignore[attr-defined]
        hidden, cell = (part.chunk(count, dim=1)[rank].to(where).contiguous() for part in kept["carried"])
        self._carried[True] = (hidden, cell)
