"""Which commands start from which parent, and what a parent loads."""

from __future__ import annotations

import itertools
import os
import resource
import sys
from pathlib import Path
from typing import Any

REAL = "LOTTERY_TEST_REAL_STARTS"  # set: every command starts from nothing
PARENT = "LOTTERY_TEST_PARENT"  # the parent of Python code that is no command of ours
PARENTS = "LOTTERY_TEST_PARENTS"  # the process whose parents serve shell scripts
ADDRESS = "\0lottery-tests-{}-{}"  # where they listen: that process, the parent's name
LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_NOFILE)
SIZE = 1 << 18  # bytes of an order; Linux allows about 200 KB
ROOT = Path(__file__).resolve().parents[2]
USER_DIR = ROOT / "fairseq_lottery"
BARE = "-bare"  # the parent that has not loaded this project
FIRST = "core" + BARE  # the parent of all parents
USER = "-user"  # the parent of commands that import this project's user-dir
# The first is torch's compiler, for optimizers, and the second writes what it tells at the end.
_TORCH = ("torch._dynamo", "tabulate", "matplotlib.pyplot", "matplotlib.backends.backend_agg", "safetensors.torch")
_FAIRSEQ = (
    "fairseq.tasks",
    "fairseq.models",
    "fairseq.trainer",
    "fairseq.quantization_utils",
    "torch.distributed.fsdp",
    "sacrebleu",
    "tests.preloaded.parse_once",
)
# What a parent loads, if it is installed. Not fairseq_lottery, which registers and patches, but where the command line
# names it; nor what is ``__main__``.
LOADED = {
    "core-bare": _TORCH,
    "core": ("lottery_core.cli",),
    "sb3-bare": (*_TORCH, "sb3_contrib", "gymnasium.envs.classic_control", "envpool", "yaml"),
    "sb3": ("lottery_core.cli", "sb3_lottery.cli"),
    "fairseq-bare": (*_TORCH, *_FAIRSEQ),
    "fairseq": ("lottery_core.cli",),
    "fairseq-user": ("tests.preloaded.user_dir",),
}
_COMMANDS = ("train", "preprocess", "generate", "validate", "interactive", "eval_lm")
MODULES = {
    "lottery_core.cli": "core",
    "tests.lottery_core.toy": "core",
    "tests.preloaded.started": "core",
    "sb3_lottery.cli": "sb3",
    "sb3_lottery.cli.worker": "sb3",
    "sb3_lottery.find.worker": "sb3",
    "rl_zoo3.train": "sb3",
    "fairseq_lottery.launcher": "fairseq",
    "fairseq_lottery.launcher.worker": "fairseq",
    "tests.fairseq_lottery.unguarded": "fairseq",
    "torch.distributed.run": "fairseq",
    **dict.fromkeys((f"fairseq_cli.{name}" for name in _COMMANDS), "fairseq"),
}
# Scripts beside the interpreter -> their parent and what they call.
SCRIPTS = {
    "lottery": ("core", "lottery_core.cli:main"),
    "sb3-lottery": ("sb3", "sb3_lottery.cli:main"),
    "fairseq-lottery": ("fairseq", "fairseq_lottery.launcher:main"),
    **{f"fairseq-{name.replace('_', '-')}": ("fairseq", f"fairseq_cli.{name}:cli_main") for name in _COMMANDS},
    "fairseq-hydra-train": ("fairseq", "fairseq_cli.hydra_train:cli_main"),
    "ct2-fairseq-converter": ("fairseq", "ctranslate2.converters.fairseq:main"),
}


def simple(words: list[str]) -> list[str]:
    """A command line without ``-u``, which torchrun gives the interpreter."""
    return [words[0], *words[2:]] if words[0] == sys.executable and words[1:2] == ["-u"] else words


def parents_of(args: Any, chosen: str = "") -> tuple[str, ...]:
    """The names of the parents that can start a command line, the better one first; none for a foreign command.

    :param args: the command line
    :param chosen: the parent of code behind ``-c``, of a script, of a module that is not in :data:`MODULES`, and of the
        command ``lottery``, which may load any framework
    """
    words = simple([os.fspath(word) for word in args]) if isinstance(args, list | tuple) else [""]
    path = Path(words[0])
    if words[0] == sys.executable and words[1:3] == ["-m", "tests.preloaded.parent"]:
        own = words[3]
        return (FIRST,) if own.endswith(BARE) else (own.removesuffix(USER) + ("" if own.endswith(USER) else BARE),)
    if words[0] != sys.executable:
        name = SCRIPTS.get(path.name, (None,))[0] if path.parent == Path(sys.executable).parent else None
    elif words[1:2] == ["-m"]:
        module = "".join(words[2:3])
        name = chosen if module == "lottery_core.cli" and chosen else MODULES.get(module, chosen)
    else:
        name = chosen if words[1:2] == ["-c"] or "".join(words[1:2]).endswith(".py") else None
    if not name or name.endswith(BARE):
        return (name,) if name else ()
    return (*((name + USER,) if name + USER in LOADED and _with_user_dir(words) else ()), name, name + BARE)


def _with_user_dir(words: list[str]) -> bool:
    """Whether a command imports this project's user-dir: the launcher, or one that is given it, once and in full."""
    started = "".join(words[2:3]) if words[1:2] == ["-m"] else Path(words[0]).name
    given = [after for word, after in itertools.pairwise(words) if word == "--user-dir"]
    return started.startswith(("fairseq-lottery", "fairseq_lottery.launcher")) or given == [str(USER_DIR)]
