"""The trainings of ``proof.py``: their command lines, and texts made up for them."""

from __future__ import annotations

import random
from pathlib import Path
from shlex import split
from typing import Any

PRECISIONS = {
    "bf16": "--bf16",
    "fp16": "--fp16",
    "fp16 not flat": "--fp16 --fp16-no-flatten-grads",
    "memory-efficient fp16": "--memory-efficient-fp16",
    "amp": "--amp",
    "fp32": "",
}
SMALL = split(
    "--task lottery_translation --criterion lottery_label_smoothed_cross_entropy --label-smoothing 0.1 "
    "--max-tokens 200 --arch transformer --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 "
    "--decoder-embed-dim 16 --encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 --encoder-attention-heads 2 "
    "--decoder-attention-heads 2 --share-all-embeddings --optimizer adam --weight-decay 0.01 --clip-norm 0.2 --seed 3 "
    "--log-format json --no-epoch-checkpoints --num-workers 0 --store-ema --ema-decay 0.9 --ema-fp32"
)
STREAMS = split(
    "--task lottery_language_modeling --criterion lottery_cross_entropy --arch lottery_lstm_lm --decoder-embed-dim 16 "
    "--decoder-hidden-size 16 --dropout 0.2 --truncated-bptt 7 --batch-size 5 --required-batch-size-multiple 1 "
    "--optimizer adam --lr 0.01 --seed 3 --max-epoch 2 --no-epoch-checkpoints --num-workers 0 --log-format json"
)
BASE = split(
    "--task lottery_translation --criterion lottery_label_smoothed_cross_entropy --label-smoothing 0.1 "
    "--max-tokens 3584 --arch transformer_wmt_en_de --share-all-embeddings --optimizer adam --lr 1e-4 --fp16 "
    "--update-freq 4 --seed 3 --max-update 50 --no-save --disable-validation --log-format json --num-workers 2 "
    "--dropout 0.1"
)
# Writes down how long each update took, and the most memory that was ever allocated.
CLOCK = """
import atexit, json, os, time
import torch, fairseq_lottery
from fairseq.trainer import Trainer
times, most, step = [], [0], Trainer.train_step
def train_step(trainer, *args, **kwargs):
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = step(trainer, *args, **kwargs)
    torch.cuda.synchronize()
    times.append(time.perf_counter() - start)
    return result
Trainer.train_step = train_step
reset = torch.cuda.reset_peak_memory_stats
torch.cuda.reset_peak_memory_stats = lambda: most.append(torch.cuda.max_memory_allocated()) or reset()
atexit.register(lambda: times and open(os.environ["CLOCK"], "w").write(json.dumps([times, max(most)])))
"""
SENTENCES = {"train": 9000, "valid": 10}  # of random words
LANGUAGES = {
    "en": split("zero one two three four five six seven eight nine"),
    "de": split("null eins zwei drei vier fünf sechs sieben acht neun"),
}


def write_texts(folder: Path, kind: str) -> list[Any]:
    """Write the texts of a kind of data; the arguments with which fairseq-preprocess reads them.

    :param folder: folder for the texts, made if missing
    :param kind: ``"pairs"``: digits read out in two languages; ``"text"``: in one; ``"base"``: random words of Base's
        vocabulary
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(5)
    options: list[Any] = split("--source-lang en --target-lang de --joined-dictionary")
    if kind == "base":
        words = [f"w{number}" for number in range(32764)]
        (folder / "dict.txt").write_text("".join(f"{word} 1\n" for word in words), encoding="utf-8")
        options += ["--srcdict", folder / "dict.txt"]
        lines = {name: [" ".join(drawn.choices(words, k=28)) for _ in range(n)] for name, n in SENTENCES.items()}
        texts = {(name, language): lines[name] for name in lines for language in LANGUAGES}
    else:
        numbers = drawn.sample(range(1000, 9999), 260)
        texts = {
            (name, language): [" ".join(digits[int(digit)] for digit in str(number)) for number in part]
            for name, part in (("train", numbers[:220]), ("valid", numbers[220:]))
            for language, digits in LANGUAGES.items()
        }
        options = ["--only-source"] if kind == "text" else options
    for (name, language), text in texts.items():
        (folder / f"{name}.{language}").write_text("\n".join(text) + "\n", encoding="utf-8")
    suffix = ".de" if kind == "text" else ""
    return options + [word for name in ("train", "valid") for word in (f"--{name}pref", f"{folder / name}{suffix}")]
