"""Commands of the tests start from a parent that has loaded torch and a framework: a start from nothing takes seconds.

``subprocess.Popen`` in the tests, and in the commands that they start, recognises a command of this project and of
fairseq. Instead of a new interpreter it gets a fork of a parent process that has imported the framework and done
nothing else. The fork is a child of the caller and has what a process of its own has: arguments, folder, environment,
open files, session and process group, limits, signals, exit status. Its own commands come from a fork that was made
before it ran.

A command starts from nothing where a fork could differ: other modules on its path, settings that an interpreter reads
when it starts, more than one thread. So do all commands of a test with the mark ``real_starts``, and of every test
where ``LOTTERY_TEST_REAL_STARTS`` is set.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import functools
import gc
import importlib
import inspect
import io
import json
import logging
import os
import pickle
import re
import resource
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

REAL = "LOTTERY_TEST_REAL_STARTS"
ROOT = Path(__file__).parents[1]
_CORE = ("torch._dynamo", "lottery_core.cli", "matplotlib.pyplot")  # torch loads its compiler with the first optimizer
# What each parent loads. Not the commands themselves, nor fairseq_lottery: their imports register and patch.
LOADED = {
    "core": (*_CORE,),
    "sb3": (*_CORE, "sb3_contrib", "sb3_lottery.models", "sb3_lottery.training"),
    "fairseq": (*_CORE, "fairseq.tasks", "fairseq.models", "fairseq.trainer", "torch.distributed.fsdp", "sacrebleu"),
}
_FAIRSEQ = ("train", "preprocess", "generate", "validate", "interactive", "eval_lm")
MODULES = {
    "lottery_core.cli": "core",
    "tests.lottery_core.toy": "core",
    "tests.started": "core",
    **dict.fromkeys(("sb3_lottery.cli", "sb3_lottery.cli.worker", "sb3_lottery.find.worker"), "sb3"),
    **dict.fromkeys(("fairseq_lottery.launcher", "fairseq_lottery.launcher.worker"), "fairseq"),
    "rl_zoo3.train": "sb3",
    "tests.fairseq_lottery.unguarded": "fairseq",
    **dict.fromkeys((f"fairseq_cli.{name}" for name in _FAIRSEQ), "fairseq"),
}
# Scripts beside the interpreter -> their parent and what they call.
SCRIPTS = {
    "lottery": ("core", "lottery_core.cli:main"),
    "sb3-lottery": ("sb3", "sb3_lottery.cli:main"),
    "fairseq-lottery": ("fairseq", "fairseq_lottery.launcher:main"),
    **{f"fairseq-{name.replace('_', '-')}": ("fairseq", f"fairseq_cli.{name}:cli_main") for name in _FAIRSEQ},
}
# Read by the interpreter, the C library or a package when a process starts; a fork must have those of its parent.
_AT_START = re.compile(r"PYTHON(?!PATH$|UNBUFFERED$)|LANG|LC_|LD_|MPL|(OMP|MKL|KMP|GOMP|OPENBLAS|ATEN|TORCH)_")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_NOFILE)
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36
_SIZE = 1 << 18  # bytes of an order; Linux allows about 200 KB
_LIBC = ctypes.CDLL(None)
_start: Any = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_SIGNATURE = inspect.signature(_start)
_lock = threading.Lock()
_parents: dict[str, socket.socket | None] = {}  # by name; None: there is none, and none is started


def install() -> None:
    """Let ``subprocess.Popen`` of this process fork commands from parents, on Linux."""
    if sys.platform == "linux":
        subprocess.Popen._execute_child = _execute_child  # type: ignore[attr-defined]


@functools.wraps(_start)
def _execute_child(self: Any, *args: Any) -> None:
    given = _SIGNATURE.bind(self, *args).arguments
    pid = _fork(given)
    if pid is None:
        _start(self, *args)
    else:
        self.pid = pid
        self._child_created = True
        self._close_pipe_fds(*(given[pipe] for pipe in _PIPES))


def _fork(given: dict[str, Any]) -> int | None:
    """The process id of a fork with the arguments of ``Popen``; ``None``: it has to start from nothing."""
    env = dict(os.environ if given["env"] is None else given["env"])
    name, cwd = _parent_of(given["args"]), os.fspath(given["cwd"] or os.getcwd())
    others = ("executable", "shell", "gid", "gids", "uid")
    if name is None or any(given[other] for other in others) or env.get(REAL) or not os.path.isdir(cwd):
        return None
    try:
        preexec = pickle.dumps(given["preexec_fn"]).hex()
    except (AttributeError, TypeError, pickle.PicklingError):  # a function that only this process has
        return None
    standard = [given[pipe] for pipe in ("p2cread", "c2pwrite", "errwrite")]
    files = [*(own if pipe == -1 else pipe for own, pipe in enumerate(standard)), *given["pass_fds"]]
    os.umask(umask := os.umask(0))
    order = {
        "args": [os.fspath(word) for word in given["args"]],
        "env": env,
        "cwd": cwd,
        "preexec": preexec,
        "files": [0, 1, 2, *given["pass_fds"]],
        "session": given["start_new_session"],
        "group": given.get("process_group", -1),
        "interrupts": signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
        "umask": umask,
        "limits": [resource.getrlimit(limit) for limit in _LIMITS],
        "client": os.getpid(),
    }
    with _lock:
        parent = _parent(name)
        if parent is None:
            return None
        _LIBC.prctl(_SET_SUBREAPER, 1)  # the fork is an orphan for a moment, and becomes a child of this process
        try:
            socket.send_fds(parent, [json.dumps(order).encode()], files)
            answer = int(parent.recv(_SIZE) or 0)
        except OSError:  # a command line that is too long, or the parent was killed with its process group
            answer = 0
        finally:
            _LIBC.prctl(_SET_SUBREAPER, 0)
    return answer or None


def _parent_of(args: Any) -> str | None:
    """The name of the parent that can start a command line; ``None``: no one can."""
    if not isinstance(args, list | tuple):
        return None
    words = [os.fspath(word) for word in args]
    if words[0] == sys.executable and words[1:2] == ["-m"] and len(words) > 2:
        return MODULES.get(words[2])
    path = Path(words[0])
    return SCRIPTS[path.name][0] if path.name in SCRIPTS and path.parent == Path(sys.executable).parent else None


def _parent(name: str) -> socket.socket | None:
    if name not in _parents:
        ours, theirs = _pair()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        code = f"from tests import preloaded; preloaded.main({name!r}, {theirs.fileno()})"
        nothing: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        environment = {**os.environ, "PYTHONPATH": path, **_ONE_THREAD}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, pass_fds=[theirs.fileno()], **nothing)
        process.returncode = 0  # it ends when this process does, and nobody waits for it
        theirs.close()
        _parents[name] = ours
    return _parents[name]


def _pair() -> list[socket.socket]:
    """Two ends of a connection, with numbers that no order asks for."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return [socket.socket(fileno=fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, 512)) for end in ends]


def main(name: str, number: int) -> None:
    """Load what a parent loads and serve; in a fork, run the command that was ordered.

    :param name: the parent, a key of :data:`LOADED`
    :param number: file descriptor of the connection to the process that it serves
    """
    own = dict(os.environ)
    for module in LOADED[name]:
        importlib.import_module(module)
    install()
    for folder in {"", *own["PYTHONPATH"].split(os.pathsep)}.intersection(sys.path):  # each command has its own
        sys.path.remove(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    loaded = {key: value for key, value in os.environ.items() if own.get(key) != value}
    words = _serve(socket.socket(fileno=number), name, own, loaded)
    status = 0
    try:
        _run(words)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        status = ended.code or 0
    # As an interpreter ends, but for taking the modules apart, which costs more than the fork.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        sys.exit(status)
    os._exit(status & 0xFF)


def _serve(client: socket.socket, name: str, own: dict[str, str], loaded: dict[str, str]) -> list[str]:
    """Fork a child of the client for each order; returns the command line, in that child alone.

    :param own: the environment with which the parent started
    :param loaded: what the packages that it loaded have set there
    """
    while True:
        message, files, *_ = socket.recv_fds(client, _SIZE, 64)
        if not message:  # the client has ended
            os._exit(0)
        order = json.loads(message)
        if _differs(order, own, loaded):
            client.send(b"0")
        elif between := os.fork():
            os.waitpid(between, 0)
        else:
            between = os.getpid()
            if os.fork():
                os._exit(0)
            while os.getppid() == between:
                time.sleep(0.0002)
            if os.getppid() != order["client"]:
                os._exit(1)
            if order["session"]:
                os.setsid()
            elif order["group"] >= 0:
                os.setpgid(0, order["group"])
            ours, theirs = _pair()
            command = os.getpid()
            if os.fork():
                theirs.close()
                order["env"].update(
                    {key: value for key, value in loaded.items() if order["env"].get(key) == own.get(key)}
                )
                _become(order, files)
                client.send(str(command).encode())
                client.close()
                _parents.update(dict.fromkeys(LOADED) | {name: ours})
                return list(order["args"])
            _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() != command:
                os._exit(1)
            ours.close()
            client.close()
            client = theirs
        for file in files:
            os.close(file)


def _differs(order: dict[str, Any], own: dict[str, str], loaded: dict[str, str]) -> bool:
    """Whether a start from nothing would give another process than a fork."""
    env = _ONE_THREAD | order["env"] if "OMP_NUM_THREADS" in order["env"] else order["env"]
    keys = {key for key in {*env, *own} if _AT_START.match(key)}
    if any(env.get(key) not in (own.get(key), loaded.get(key, own.get(key))) for key in keys):
        return True
    folders = [folder for folder in _front(order) if folder != str(ROOT) and os.path.isdir(folder)]
    entries = [entry for folder in folders for entry in os.scandir(folder)]
    found = {entry.name.partition(".")[0] for entry in entries if entry.is_dir() or entry.name.endswith((".py", ".so"))}
    return not found.isdisjoint({"sitecustomize", "usercustomize", *(name.partition(".")[0] for name in sys.modules)})


def _front(order: dict[str, Any]) -> list[str]:
    """The folders where a command looks for modules first."""
    words, path = order["args"], order["env"].get("PYTHONPATH", "")
    first = order["cwd"] if words[1:2] == ["-m"] else os.path.dirname(words[0])
    return [first, *(os.path.join(order["cwd"], part) for part in path.split(os.pathsep) if part)]


def _become(order: dict[str, Any], files: list[int]) -> None:
    """Take over what an order says."""
    high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 256) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(high, order["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    os.umask(order["umask"])
    for limit, values in zip(_LIMITS, order["limits"], strict=True):
        resource.setrlimit(limit, values)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler if order["interrupts"] else signal.SIG_IGN)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    front = _front(order)
    sys.path[:] = [*front, *(folder for folder in sys.path if folder not in front)]
    importlib.invalidate_caches()
    if order["env"].get("PYTHONUNBUFFERED"):
        raw = io.FileIO(1, "w", closefd=False)
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(raw, encoding, errors, write_through=True)  # type: ignore[arg-type,misc]
    elif os.isatty(1):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.modules["numpy"].random.seed()  # each process draws its own
    sys.modules["torch"].default_generator.seed()
    preexec = pickle.loads(bytes.fromhex(order["preexec"]))
    if preexec is not None:
        preexec()


def _run(words: list[str]) -> None:
    """Run a command line as ``__main__``; what it raises is the interpreter's matter."""
    sys.orig_argv[:] = words
    if words[1:2] == ["-m"]:
        module, sys.argv = words[2], words[2:]
    else:
        module, sys.argv = "", words
    target = SCRIPTS.get(Path(words[0]).name, ("", ""))[1]
    if (module or target).startswith("fairseq_cli."):  # they set up the log themselves, before they import fairseq
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
    if module:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        package, _, name = target.partition(":")
        sys.exit(getattr(importlib.import_module(package), name)())
