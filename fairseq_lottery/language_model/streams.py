"""True truncated BPTT: the text as B contiguous streams, read in blocks of T words, state carried from block to block.

Input and target are cut from one stream shifted by a word, so no target is lost between two blocks; the streams'
lengths differ by at most one word, so none is lost at the end either.
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
    """Options of ``lottery_language_modeling`` beside those of every lottery task."""

    truncated_bptt: int = field(
        default=0,
        metadata={"help": "blocks of N words of --batch-size contiguous streams, state carried on (0: samples)"},
    )


class StreamDataset(FairseqDataset):  # type: ignore[misc]
    """A text as contiguous streams in blocks; item ``k * streams + b`` is block ``k`` of stream ``b``.

    :param words: the text, one long tensor, each sentence with its end
    :param streams: how many
    :param block: words in a block
    :param pad: fills the last block of the streams that are one word shorter
    :param eos: stands before the first word
    :raises ConfigError: more streams than words
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
        """A batch: one block of some streams."""
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
        """Batches in the order of the text, in turns for each of ``shards`` ranks: a rank keeps its streams."""
        size = self.streams // shards
        return [
            [block * self.streams + rank * size + stream for stream in range(size)]
            for block in range(self.blocks)
            for rank in range(shards)
        ]

    def num_tokens(self, index: int) -> int:
        """Words of an item."""
        return self.block

    def size(self, index: int) -> int:
        """Words of an item."""
        return self.block


class StreamText(FairseqDataset):  # type: ignore[misc]
    """A whole text; how many streams it makes is known when it is read."""

    def __init__(self, words: Tensor) -> None:
        self.words = words

    def __len__(self) -> int:
        return self.words.numel()


def ranks() -> int:
    """How many processes train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def all_streams(part: Tensor) -> Tensor:
    """The ``part`` of a carried state, layers x streams x units, of all ranks' streams in the order of the text."""
    part = part.contiguous()
    found = [torch.empty_like(part) for _ in range(ranks())]
    torch.distributed.all_gather(found, part)
    return torch.cat(found, dim=1)


class StreamTask:
    """Mix-in before ``language_modeling``: the option ``--truncated-bptt``."""

    _all_carried: list[Tensor] | None = None

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """:raises ConfigError: the model starts every block from zero"""
        model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        if self.args.truncated_bptt and not getattr(model, "carries_state", False):  # type: ignore[attr-defined]
            raise ConfigError("--truncated-bptt needs a model that carries its state: --arch lottery_lstm_lm")
        return model

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> Any:
        """The split as one text where ``--truncated-bptt`` is given."""
        args = self.args  # type: ignore[attr-defined]
        if not args.truncated_bptt:
            return super().load_dataset(split, epoch=epoch, combine=combine, **kwargs)  # type: ignore[misc]
        if args.truncated_bptt < 1 or args.output_dictionary_size >= 0 or args.add_bos_token:
            raise ConfigError(
                "--truncated-bptt takes a length of at least 1, without --output-dictionary-size and --add-bos-token"
            )
        folders = utils.split_paths(args.data)
        path = os.path.join(folders[(epoch - 1) % len(folders)], split)
        found = data_utils.load_indexed_dataset(path, self.dictionary, args.dataset_impl, combine=combine)  # type: ignore[attr-defined]
        if found is None:
            raise FileNotFoundError(f"Dataset not found: {split} ({path})")
        # 4 bytes a word: half of what the words themselves take.
        text = StreamText(torch.cat([found[index].to(torch.int32) for index in range(len(found))]))
        self.datasets[split] = text  # type: ignore[attr-defined]
        return text

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Blocks in the order of the text; ``--batch-size`` streams on each rank, exactly."""
        if not isinstance(dataset, StreamText):
            return super().get_batch_iterator(dataset, *args, **kwargs)  # type: ignore[misc]
        shards = kwargs.get("num_shards", 1)
        made = self.dataset_to_epoch_iter.get(dataset)  # type: ignore[attr-defined]
        if made is not None and not kwargs.get("disable_iterator_cache", False):
            return made
        # Without a batch size (fairseq-eval-lm) the text is one stream, and the score that of one full-length pass.
        streams = (kwargs.get("max_sentences") or 1) * shards
        words = self.dictionary  # type: ignore[attr-defined]
        blocks = StreamDataset(dataset.words, streams, self.args.truncated_bptt, words.pad(), words.eos())  # type: ignore[attr-defined]
        made = iterators.EpochBatchIterator(
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
        self.dataset_to_epoch_iter[dataset] = made  # type: ignore[attr-defined]
        return made

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """A step; then every rank gets the state that all carry, because only rank 0 is asked for a checkpoint."""
        super().optimizer_step(optimizer, model=model, update_num=update_num)  # type: ignore[misc]
        state = self._carried.get(True)
        if state is None or ranks() == 1:
            return
        # Some hundred kilobytes, where the gradients are some hundred megabytes.
        self._all_carried = [all_streams(part) for part in state]

    @property
    def _carried(self) -> dict[bool, Any]:
        decoder = getattr(self._bare_model, "decoder", None)  # type: ignore[attr-defined]
        return getattr(decoder, "carried", {})

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """What a checkpoint in the middle of an epoch must hold beside fairseq's own: the carried state."""
        state = self._carried.get(True) if ranks() == 1 else self._all_carried
        return {} if state is None else {type(self).__name__: {"carried": [part.cpu().clone() for part in state]}}

    def set_checkpoint_dict(self, kept: dict[str, Any]) -> None:
        """Go on from the carried state, each rank from that of its own streams; the number of ranks may be another."""
        if "carried" not in kept:
            return
        before, now = kept["carried"][0].size(1), self._train_batches.dataset.streams  # type: ignore[attr-defined]
        if before != now:
            log.warning("resumed in the middle of an epoch with %d streams for %d: they start from zero", now, before)
            return
        count = ranks()
        rank = torch.distributed.get_rank() if count > 1 else 0
        where = next(self._bare_model.parameters())  # type: ignore[attr-defined]
        hidden, cell = (part.chunk(count, dim=1)[rank].to(where).contiguous() for part in kept["carried"])
        self._carried[True] = (hidden, cell)
