"""Number words in English and German as tiny data, and fairseq's commands as processes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from shlex import split
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.checkpoints.safe_globals import safe_loading
from lottery_core.tickets.ticket import Ticket
from tests import preloaded

ROOT = Path(__file__).parents[2]
USER_DIR = ROOT / "fairseq_lottery"
_ENGLISH = split("zero one two three four five six seven eight nine")
_GERMAN = split("null eins zwei drei vier fünf sechs sieben acht neun")

# Small enough for a second or two of training beside fairseq's start.
TRANSFORMER = split(
    "--arch transformer --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16 "
    "--encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 --encoder-attention-heads 2 --decoder-attention-heads 2 "
    "--share-all-embeddings --max-source-positions 64 --max-target-positions 64 --dropout 0.1"
)
ADAM = split("--optimizer adam --lr 0.003")
TRANSLATION = split(
    "--task lottery_translation --criterion lottery_label_smoothed_cross_entropy --label-smoothing 0.1 "
    "--max-tokens 200 --max-epoch 2"
)
COMMON = split("--cpu --seed 3 --log-format json --log-interval 5 --no-epoch-checkpoints --clip-norm 0.2")
LM = split("--task lottery_language_modeling --criterion lottery_cross_entropy --max-epoch 2")
LM_DATA = split("--tokens-per-sample 16 --batch-size 8 --required-batch-size-multiple 1 --sample-break-mode none")
TRANSFORMER_LM = split(
    "--arch transformer_lm --decoder-layers 1 --decoder-embed-dim 16 --decoder-ffn-embed-dim 32 "
    "--decoder-attention-heads 2 --share-decoder-input-output-embed --dropout 0.1"
)


def write_parallel(folder: Path) -> None:
    """Digits read out, in both languages: train, valid and test without overlap."""
    numbers = random.Random(5).sample(range(1000, 9999), 300)
    for name, part in (("train", numbers[:220]), ("valid", numbers[220:260]), ("test", numbers[260:])):
        for suffix, words in (("en", _ENGLISH), ("de", _GERMAN)):
            lines = [" ".join(words[int(digit)] for digit in str(number)) for number in part]
            (folder / f"{name}.{suffix}").write_text("\n".join(lines) + "\n")


def write_pieces(folder: Path) -> None:
    """The same in units of sentencepiece, a word in two pieces; the untouched text of the test split as well."""
    write_parallel(folder)
    for path in [*folder.glob("*.en"), *folder.glob("*.de")]:
        lines = path.read_text().splitlines()
        pieces = [" ".join(f"\u2581{word[:2]} {word[2:]}" for word in line.split()) for line in lines]
        (path.parent / f"{path.stem}.sp{path.suffix}").write_text("\n".join(pieces) + "\n")


def command(name: str, *arguments: object) -> list[str]:
    """The command line of a fairseq command of this environment."""
    return [str(Path(sys.executable).parent / name), *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}


def run(
    words: Sequence[str], status: int | None = 0, timeout: float = 900, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command and check its exit status."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, env=environment(**env))
    if status is not None:
        assert done.returncode == status, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-4000:]}"
    return done


def train(data: Path, save_dir: Path, *arguments: object, status: int | None = 0, **env: str) -> str:
    """fairseq-train with the user-dir, a process of its own; its output."""
    return side_by_side([[data, "--user-dir", USER_DIR, "--save-dir", save_dir, *COMMON, *arguments]], [env], status)[0]


def two_ranks(data: Path, save_dir: Path, *arguments: object, status: int = 0, own: Any = None) -> list[str]:
    """Both ranks of a fairseq-train, side by side on the CPU; their outputs.

    :param own: rank -> arguments of that rank alone
    """
    handle, meet = tempfile.mkstemp(prefix="meet-")
    os.close(handle)
    os.unlink(meet)
    words = [data, "--user-dir", USER_DIR, "--save-dir", save_dir, *COMMON, "--ddp-backend", "legacy_ddp", *arguments]
    words += [*split("--distributed-world-size 2 --distributed-no-spawn --distributed-backend gloo")]
    words += ["--distributed-init-method", f"file://{meet}"]
    ranks = [[*words, "--distributed-rank", rank, *(own(rank) if own else [])] for rank in (0, 1)]
    return side_by_side(ranks, [{}, {}], status)


def side_by_side(commands: list[list[Any]], environments: list[dict[str, str]], status: int | None = 0) -> list[str]:
    """Several fairseq-trains at once, each with its arguments and environment; their outputs."""
    with ExitStack() as stack:
        logs = [stack.enter_context(tempfile.NamedTemporaryFile("w+", suffix=".log")) for _ in commands]
        started = [
            subprocess.Popen(command("fairseq-train", *words), stdout=log, stderr=log, env=environment(**more))
            for words, log, more in zip(commands, logs, environments, strict=True)
        ]
        statuses = [process.wait() for process in started]
        texts = [Path(log.name).read_text() for log in logs]
    for code, text in zip(statuses, texts, strict=True):
        assert status is None or code == status, f"exit {code}\n{text[-4000:]}"
    return texts


def commands(lines: list[tuple[str, list[Any]]]) -> list[tuple[int, str]]:
    """Exit status and output of fairseq's commands, each a name and its arguments.

    The name ``unguarded`` stands for loading models without the guard, which looks at options.
    """
    own = [sys.executable, "-m", "tests.fairseq_lottery.unguarded"]
    done = []
    for name, words in lines:
        line = [*own, *map(str, words)] if name == "unguarded" else command(f"fairseq-{name}", *words)
        ended = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
        done.append((ended.returncode, ended.stdout))
    return done


def status_of(pid: int) -> tuple[str, int]:
    """State and parent of a process, as Linux tells them; a process that is gone is a zombie without parent."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return state, int(parent)


def alive(pid: int) -> bool:
    """Whether a process runs."""
    return status_of(pid)[0] != "Z"


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    parents = {int(path.name): status_of(int(path.name))[1] for path in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def lottery(*arguments: object, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """The command ``lottery``, which loads fairseq for most of what it does here."""
    words = [sys.executable, "-m", "lottery_core.cli", *map(str, arguments)]
    return run(words, status, **{preloaded.PARENT: "fairseq"})


def load(path: Path) -> dict[str, Any]:
    """A checkpoint, under the allow-list."""
    with safe_loading():
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint."""
    torch.save(state, path)


def tied(state: dict[str, Tensor], name: str) -> list[str]:
    """Every name that a state dict has for the tensor ``name``; a transformer ties equal tensors of one shape."""
    shape = state[name].shape
    return [other for other in state if state[other].shape == shape and torch.equal(state[other], state[name])]


def assert_dead(state: dict[str, Tensor], ticket: Ticket | Path, aliases: int = 1) -> None:
    """Pruned weights are exactly +0.0 in ``state``, under every name, and the others have been trained.

    :param aliases: how many names the tied embedding has at least
    """
    masks = (ticket if isinstance(ticket, Ticket) else Ticket.load(ticket)).masks
    assert masks.pruned > 0
    most = 0
    for name, mask in masks.items():
        names = tied(state, name) if mask.any() and mask.dim() == 2 else [name]
        most = max(most, len(names))
        for each in names:
            dead = state[each][~mask]
            assert not dead.count_nonzero(), f"{int(dead.count_nonzero())} of {each} are alive"
            assert not torch.signbit(dead).any(), f"-0.0 in {each}"
            assert torch.isfinite(state[each]).all()
    assert most >= aliases
    alive = sum(int(state[name][mask].count_nonzero()) for name, mask in masks.items())
    assert alive >= 0.9 * masks.surviving


def own_user_dir(folder: Path, name: str, code: str) -> Path:
    """A user's own user-dir, which builds on the plugin."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"import fairseq_lottery\n{code}\n")
    return package


def refusal(text: str) -> str:
    """The line with which a command of fairseq refused its input; asserts that there is no traceback."""
    assert "Traceback" not in text, text[-3000:]
    lines = [line for line in text.splitlines() if ": error: " in line]
    assert len(lines) == 1, text[-3000:]
    return lines[0]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two state dicts are equal, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def bare_task(folder: Path, build: Callable[[], nn.Module], **given: Any) -> Any:
    """A lottery task without data, whose model is what ``build`` makes; its other options have their defaults."""
    from fairseq_lottery.options import LotteryOptions
    from fairseq_lottery.task import LotteryTask

    class Base:
        def build_model(self, cfg: Any) -> nn.Module:
            return build()

    class Bare(LotteryTask, Base):
        cfg: Any = None

    plain = {entry.name: entry.default for entry in fields(LotteryOptions) if entry.init}
    options = {name: None if str(value).startswith("${") else value for name, value in plain.items()}
    Bare.cfg = SimpleNamespace(**{**options, "save_dir": str(folder), "restore_file": "checkpoint_last.pt", **given})
    return Bare()
