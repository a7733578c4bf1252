"""docs/fairseq.md tells the truth: each command runs, with a smaller model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lottery_core import Ticket
from tests import preloaded
from tests.fairseq_lottery import helpers

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[2]
PAGE = (HERE / "docs/fairseq.md").read_text()
BLOCKS = re.findall(r"```(bash|python|yaml)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [code for language, code in BLOCKS if language == "bash"]
FILES = [code for language, code in BLOCKS if language != "bash"]

# The same lines, smaller models, shorter trainings.
_TINY = (
    "--encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32 --encoder-attention-heads 2 "
    "--decoder-layers 1 --decoder-embed-dim 16 --decoder-ffn-embed-dim 32 --decoder-attention-heads 2 "
)
_SHORT = {
    "--out runs/units --rounds 8": "--out runs/units --rounds 1",
    '--rounds 8 --rewind none --generate "$GENERATE"': "--rounds 1 --kinds winning --rewind none --score log_ppl",
    "--out runs/masked --rounds 8": "--out runs/masked --rounds 0",
    "--kinds winning random": "--kinds winning",
    "update:1000": "update:1",
    "--max-tokens 4096 --max-epoch 300": f"--max-tokens 400 --max-update 2 --cpu {_TINY}",
    "--max-tokens 4096 --max-epoch 30": f"--max-tokens 400 --max-update 2 --cpu {_TINY}",
    "--arch lightconv": "--arch lightconv --encoder-kernel-size-list [3] --decoder-kernel-size-list [3]",
    "--tokens-per-sample 512": "--tokens-per-sample 32 --encoder-layers 1 --encoder-embed-dim 16 "
    "--encoder-ffn-embed-dim 32 --encoder-attention-heads 2 --max-positions 64 --cpu",
    "--batch-size 16 --max-update 10000": "--batch-size 4 --max-update 2",
    "max_tokens: 4096": "max_tokens: 400",
    "max_epoch: 30": "max_update: 2",
    "seed: 1}": "seed: 1, cpu: true}",
    "_name: transformer,": "_name: transformer, encoder: {layers: 1, embed_dim: 16, ffn_embed_dim: 32, "
    "attention_heads: 2}, decoder: {layers: 1, embed_dim: 16, ffn_embed_dim: 32, attention_heads: 2},",
    "--beam 5": "--beam 1 --max-len-b 5",
    "--beam 4": "--beam 1 --max-len-b 5",
    "--path": "--cpu --max-len-b 5 --path",
    "--cpu --fp16": "--fp16",
}


def short(code: str) -> str:
    for long, replacement in _SHORT.items():
        code = code.replace(long, replacement)
    return code


@pytest.fixture(scope="module")
def folder(piece_data: Path, lm_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's commands are given: its data, its files, and the commands of this checkout."""
    here = tmp_path_factory.mktemp("docs")
    shutil.copytree(piece_data, here / "data-bin/units")
    shutil.copytree(lm_data, here / "data-bin/text")
    (here / "text").mkdir()
    shutil.copy(piece_data.parent / "test.de", here / "text/test.de")
    for code in FILES:
        (name,) = re.findall(r"^# (\S+)$", code, re.M)[:1]
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(short(code))
    own = {"fairseq-lottery": "fairseq_lottery.launcher", "lottery": "lottery_core.cli"}
    preloaded.scripts(here / "bin", **{name: [sys.executable, "-m", module] for name, module in own.items()})
    return here


def run(code: str, folder: Path) -> str:
    """Run a block of the page as bash does."""
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    script = f"set -e\n{short(COMMANDS[0])}\n{short(code)}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=helpers.environment(**preloaded.served(), PATH=path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (code, done.stdout[-1500:], done.stderr[-3000:])
    return done.stdout + done.stderr


def block(*words: str) -> str:
    (code,) = [code for code in COMMANDS if all(word in code for word in words)]
    return code


@pytest.fixture(scope="module")
def units(folder: Path) -> Path:
    """The page's first chain."""
    run(block("--out runs/units"), folder)
    return folder


def test_every_block_is_run() -> None:
    words = [("--out runs/units",), ("rescore",), *((word,) for word in (*RUN, *PARSED))]
    assert sorted([COMMANDS[0], *(block(*each) for each in words)]) == sorted(COMMANDS)


def test_sentencepiece_and_rescore(units: Path) -> None:
    before = (units / "runs/units/seed-1/dense/checkpoint_last.pt").stat().st_mtime_ns
    said = run(block("rescore"), units)
    assert "chrF2" in said
    assert "TER" in said
    assert (units / "runs/units/scores.csv").exists()
    assert (units / "runs/units/seed-1/dense/checkpoint_last.pt").stat().st_mtime_ns == before


PARSED = ("--rewind-what lr", "--tensorboard-logdir", "--user-dir my_tasks")
# What is in the command -> a file that it leaves.
RUN = {
    "--rewind none": "runs/finetuned/seed-1/winning/round-01/result.json",
    "--task masked_lm": "runs/masked/seed-1/dense/result.json",
    "fairseq-hydra-train": "runs/hydra/checkpoint_last.pt",
    "--fp16": "runs/half/checkpoint_last.pt",
    "--arch lightconv": "runs/lightconv/checkpoint_last.pt",
    "levenshtein_transformer": "runs/levenshtein/checkpoint_last.pt",
}


@pytest.mark.parametrize("word", PARSED)
def test_the_command_is_parsed(word: str, folder: Path) -> None:
    said = run(block(word).replace("--rounds 8", "--dry-run --rounds 8"), folder)
    assert "17 runs, 0 done" in said


@pytest.mark.parametrize("word", RUN)
def test_the_command_runs(word: str, units: Path) -> None:
    said = run(block(word), units)
    assert (units / RUN[word]).exists()
    if word == "--rewind none":
        assert_kept(units / "runs/finetuned/seed-1")
    if word == "--task masked_lm":
        assert "loss (bits a token) on the test split" in said
    if word in ("--arch lightconv", "levenshtein_transformer"):
        assert said.count("\nH-") >= 40


def assert_kept(chain: Path) -> None:
    """The survivors of a chain start from their trained weights, at the last learning rate."""
    ticket = Ticket.load(chain / "winning/round-01/ticket.safetensors")
    trained = helpers.load(chain / "dense/checkpoint_last.pt")
    assert ticket.origin.rewind == "none"
    for name, values in ticket.start().items():
        if name in ticket.masks:
            assert torch.equal(values, trained["model"][name].masked_fill(~ticket.masks[name], 0))
    cfg = helpers.load(chain / "winning/round-01/checkpoint_last.pt")["cfg"]
    assert cfg["lr_scheduler"]["_name"] == "fixed"
    assert cfg["optimization"]["lr"] == [trained["last_optimizer_state"]["param_groups"][0]["lr"]]
