"""Translate the test split with fairseq and with CTranslate2: BLEU, hypotheses that are the same, and speed."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils, utils
from fairseq.data import data_utils

from fairseq_lottery.names import tokenizer_of
from lottery_core.errors import ConfigError

SPLIT, BEAM, BATCH = "test", 4, 8
_LONGEST = 200  # fairseq-generate's --max-len-b
_LEAST_SAME = 0.9  # of the hypotheses, in float32; the rest are ties that rounding breaks
_TIE = 1e-3  # difference of mean log probabilities that rounding may make
_EVERY = 20.0  # seconds between lines of progress
_NO_WORD = "\ue000"  # a character for private use
Tokens = list[str]


@dataclass(frozen=True)
class Comparison:
    """Translations of fairseq and of CTranslate2, beam search with 4 hypotheses, 8 sentences at a time.

    :param sentences: number of sentences
    :param same: number of sentences with the same hypothesis
    :param ties: number of sentences whose hypotheses differ, but that of CTranslate2 is as good by fairseq's own score
    :param bleu: BLEU of fairseq and of CTranslate2
    :param tokenisation: sacrebleu's tokenisation
    :param speed: target tokens a second of fairseq and of CTranslate2
    :param threads: number of threads of each
    """

    sentences: int
    same: int
    ties: int
    bleu: tuple[float, float]
    tokenisation: str
    speed: tuple[float, float]
    threads: int

    @property
    def fine(self) -> bool:
        """Whether the models translate alike, up to rounding."""
        return self.same + self.ties >= _LEAST_SAME * self.sentences

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {**asdict(self), "beam": BEAM, "batch": BATCH, "split": SPLIT}

    def __str__(self) -> str:
        ours, theirs = self.speed
        return (
            f"{SPLIT} split, beam {BEAM}: the same hypothesis for {self.same:,} of {self.sentences:,} sentences "
            f"({self.same / self.sentences:.1%}), {self.ties:,} more are ties; BLEU {self.bleu[1]:.2f}, fairseq "
            f"{self.bleu[0]:.2f} (tokenisation {self.tokenisation}); {theirs:,.0f} tokens/s, fairseq {ours:,.0f} "
            f"({theirs / ours:.1f} times; batches of {BATCH}, threads: {self.threads})"
        )


def compare(checkpoint: Path, model: Path, data: Path, kind: str) -> Comparison:
    """Translate the test split with both models.

    :param checkpoint: plain checkpoint of fairseq
    :param model: folder of the converted model
    :param data: folder with the dictionaries and the test split
    :param kind: type of the converted model's weights, ``"float32"`` or ``"int8"``
    :raises ConfigError: the test split cannot be read, or has no sentence that the model can translate
    """
    fairseq = _Fairseq(checkpoint, data)
    fast = _CTranslate2(model, kind, fairseq.longest)
    found: dict[int, tuple[Tokens, Tokens]] = {}
    seconds, tokens = [0.0, 0.0], [0, 0]
    ties = done = 0
    said = time.monotonic()
    total = len(fairseq.dataset)
    for sample in fairseq.batches():
        numbers = sample["id"].tolist()
        sources = [fairseq.source(number) for number in numbers]
        times = [time.perf_counter()]
        outputs = [fairseq.translate(sample)]
        times.append(time.perf_counter())
        outputs.append(fast.translate(sources))
        times.append(time.perf_counter())
        for index, output in enumerate(outputs):
            seconds[index] += times[index + 1] - times[index]
            tokens[index] += sum(len(each) + 1 for each in output)
        for number, ours, theirs in zip(numbers, *outputs, strict=True):
            found[number] = ours, theirs
            ties += ours != theirs and fairseq.score(number, theirs) >= fairseq.score(number, ours) - _TIE
        done += len(numbers)
        if time.monotonic() - said > _EVERY:
            said = time.monotonic()
            print(f"translated {done:,} of {total:,} sentences", file=sys.stderr, flush=True)
    if not found:
        raise ConfigError(f"the {SPLIT} split of {data} has no sentence that is short enough for the model")
    texts = [[fairseq.text(each) for each in side] for side in zip(*found.values(), strict=True)]
    references = [fairseq.text(fairseq.reference(number)) for number in found]
    bleu, tokenisation = _bleu(fairseq.units, fairseq.tokenizer, references, texts)
    speed = tokens[0] / seconds[0], tokens[1] / seconds[1]
    same = sum(ours == theirs for ours, theirs in found.values())
    return Comparison(len(found), same, ties, bleu, tokenisation, speed, torch.get_num_threads())


class _Fairseq:
    # The model, the test split and beam search of fairseq-generate.
    def __init__(self, checkpoint: Path, data: Path) -> None:
        models, cfg, self.task = checkpoint_utils.load_model_ensemble_and_task(
            [str(checkpoint)], arg_overrides={"data": str(data)}
        )
        try:
            self.task.load_dataset(SPLIT, task_cfg=cfg.task)
            self.dataset = self.task.dataset(SPLIT)
            targets = [self.target(number) for number in range(len(self.dataset))]  # reads everything once
        except Exception as error:  # a damaged file can raise anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ConfigError(f"cannot read the {SPLIT} split of {data}: {reason}") from error
        if not targets:
            raise ConfigError(f"the {SPLIT} split of {data} has no sentences")
        self.models = [models[0].eval()]
        models[0].prepare_for_inference_(cfg)
        self.generator = self.task.build_generator(self.models, Namespace(beam=BEAM, max_len_b=_LONGEST))
        self.longest = min(_LONGEST, models[0].max_decoder_positions() - 1)
        self.units = _units(targets[:200])
        self.tokenizer = tokenizer_of(self.task) or "13a"

    def batches(self) -> Iterator[Any]:
        batches = self.task.get_batch_iterator(
            dataset=self.dataset,
            max_sentences=BATCH,
            max_positions=utils.resolve_max_positions(self.task.max_positions(), self.models[0].max_positions()),
            ignore_invalid_inputs=True,
            required_batch_size_multiple=1,
        )
        return iter(batches.next_epoch_itr(shuffle=False))

    def source(self, number: int) -> Tokens:
        return _words(self.task.source_dictionary, self.dataset[number]["source"])

    def target(self, number: int) -> Tokens:
        return _words(self.task.target_dictionary, self.dataset[number]["target"])

    def translate(self, sample: Any) -> list[Tokens]:
        found = self.task.inference_step(self.generator, self.models, sample)
        return [_words(self.task.target_dictionary, hypotheses[0]["tokens"]) for hypotheses in found]

    def reference(self, number: int) -> Tokens:
        # An unknown word is none that a model could print.
        unknown = self.task.target_dictionary.unk_word
        return [_NO_WORD if word == unknown else word for word in self.target(number)]

    @torch.no_grad()
    def score(self, number: int, words: Tokens) -> float:
        # Mean log probability of a translation and its end, by which beam search ranks hypotheses.
        dictionary = self.task.target_dictionary
        indices = [dictionary.index(word) for word in words]
        source = self.dataset[number]["source"].unsqueeze(0)
        before = torch.tensor([[dictionary.eos(), *indices]])
        output = self.models[0](source, torch.tensor([source.shape[1]]), before)
        chances = self.models[0].get_normalized_probs(output, log_probs=True)[0]
        return float(chances[torch.arange(len(indices) + 1), [*indices, dictionary.eos()]].mean())

    def text(self, words: Tokens) -> str:
        return str(data_utils.post_process(" ".join(words), self.units) if self.units else " ".join(words))


class _CTranslate2:
    def __init__(self, folder: Path, kind: str, longest: int) -> None:
        import ctranslate2

        threads = torch.get_num_threads()
        self.longest = longest
        self.translator = ctranslate2.Translator(
            str(folder), device="cpu", compute_type=kind, inter_threads=1, intra_threads=threads
        )

    def translate(self, sources: Sequence[Tokens]) -> list[Tokens]:
        found = self.translator.translate_batch(list(sources), beam_size=BEAM, max_decoding_length=self.longest)
        return [result.hypotheses[0] for result in found]


def _words(dictionary: Any, indices: torch.Tensor) -> Tokens:
    return [dictionary[index] for index in indices.tolist() if index not in (dictionary.eos(), dictionary.pad())]


def _units(sentences: Sequence[Tokens]) -> str | None:
    # What fairseq-generate's --remove-bpe would be: the mark of subword units.
    words = [word for sentence in sentences for word in sentence]
    marks: dict[str, Callable[[str], bool]] = {
        "sentencepiece": lambda word: "\u2581" in word,
        "@@ ": lambda word: word.endswith("@@"),
    }
    return next((mark for mark, marked in marks.items() if any(map(marked, words))), None)


def _bleu(
    units: str | None, tokenizer: str, references: Sequence[str], texts: Sequence[Sequence[str]]
) -> tuple[tuple[float, float], str]:
    from sacrebleu.metrics.bleu import BLEU

    # Pieces of sentencepiece join to untokenised text; other data are tokenised already.
    tokenisation = tokenizer if units == "sentencepiece" else "none"
    try:
        metric = BLEU(tokenize=tokenisation, force=True)
    except RuntimeError:  # the packages of its tokenizer are not here
        tokenisation = "char"
        metric = BLEU(tokenize=tokenisation, force=True)
    ours, theirs = (float(metric.corpus_score(text, [references]).score) for text in texts)
    return (ours, theirs), tokenisation
