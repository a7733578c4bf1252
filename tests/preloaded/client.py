"""``subprocess.Popen`` that asks a parent for a fork."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import inspect
import json
import os
import pickle
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.preloaded.commands import (
    ADDRESS,
    FIRST,
    LIMITS,
    LOADED,
    PARENT,
    PARENTS,
    REAL,
    ROOT,
    SCRIPTS,
    SIZE,
    parents_of,
)

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LIBC = ctypes.CDLL(None)
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_SET_SUBREAPER = 36
_start: Any = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_SIGNATURE = inspect.signature(_start)
_lock = threading.RLock()
_parents: dict[str, socket.socket | None] = {}  # by name; None: there is none, and none is started


def install() -> None:
    """Let ``subprocess.Popen`` of this process fork commands from parents, on Linux; flush nothing to the disk."""
    os.fsync = lambda file: None  # it helps in power cuts alone, and the thousands of the tests take minutes
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
    names, cwd = parents_of(given["args"], env.get(PARENT, "")), os.path.abspath(given["cwd"] or os.getcwd())
    others = ("executable", "shell", "gid", "gids", "uid")
    if not names or any(given[other] for other in others) or env.get(REAL) or not os.path.isdir(cwd):
        return None
    try:
        preexec = "" if given["preexec_fn"] is None else pickle.dumps(given["preexec_fn"]).hex()
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
        "limits": [resource.getrlimit(limit) for limit in LIMITS],
        "client": os.getpid(),
    }
    return next(filter(None, (_ask(name, json.dumps(order).encode(), files) for name in names)), None)


def _ask(name: str, order: bytes, files: list[int]) -> int:
    """Send an order to a parent; the process id of the fork, 0 if it would not be what a start from nothing gives."""
    with _lock:
        parent = _parent(name)
        if parent is None:
            return 0
        LIBC.prctl(_SET_SUBREAPER, 1)  # the fork is an orphan for a moment, and becomes a child of this process
        try:
            socket.send_fds(parent, [order], files)
            return int(parent.recv(SIZE) or 0)
        except OSError:  # a command line that is too long, or the parent was killed with its process group
            return 0
        finally:
            LIBC.prctl(_SET_SUBREAPER, 0)


def _parent(name: str) -> socket.socket | None:
    if name not in _parents:
        ours, theirs = pair()
        listener = high(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(ADDRESS.format(os.getpid(), name))
        listener.listen(64)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        options: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        options["env"] = {**os.environ, "PYTHONPATH": path, **ONE_THREAD}
        numbers = [theirs.fileno(), listener.fileno()]
        process = subprocess.Popen(_command(name, numbers), pass_fds=numbers, **options)
        process.returncode = 0  # it ends when this process does, and nobody waits for it
        theirs.close()
        listener.close()
        _parents[name] = ours
    return _parents[name]


def _command(name: str, numbers: list[int]) -> list[str]:
    if name == FIRST:
        return [sys.executable, "-c", f"from tests.preloaded import parent; parent.main({name!r}, {numbers})"]
    # A fork of the first one, or of the bare one.
    return [sys.executable, "-m", "tests.preloaded.parent", name, *map(str, numbers)]


def scripts(folder: Path, **commands: list[str]) -> dict[str, str]:
    """Write scripts for a shell that start commands from parents.

    :param folder: where they are written; made if missing
    :param commands: name -> command line of further ones, beside this environment's (:data:`SCRIPTS`)
    :returns: see :func:`served`
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: [str(Path(sys.executable).parent / name)] for name in SCRIPTS}
    for name, words in {**own, **commands}.items():
        line = shlex.join([sys.executable, "-SE", str(Path(__file__).parent / "shell.py"), *words])
        (folder / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (folder / name).chmod(0o755)
        for parent in parents_of([*words, ""]):
            _parent(parent)
    return served()


def served() -> dict[str, str]:
    """What a shell's environment must have beside the ``PATH``, that scripts are served by this process's parents."""
    return {PARENTS: str(os.getpid())}


def only(name: str, parent: socket.socket) -> None:
    """Use one parent from now on, and start no other."""
    _parents.update(dict.fromkeys(LOADED))
    _parents[name] = parent


def pair(lowest: int = 512) -> list[socket.socket]:
    """Two ends of a connection, see :func:`high`."""
    return [high(end, lowest) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]


def high(end: socket.socket, lowest: int = 512) -> socket.socket:
    """The same socket with a number that no command asks for.

    :param end: the socket
    :param lowest: its least number: 768 in a parent, of which others ask for their own numbers, from 512 on
    """
    with end:
        return socket.socket(fileno=fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, lowest))
