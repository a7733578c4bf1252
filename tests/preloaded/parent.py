"""A parent: loads a framework, then forks a child of its client for each order."""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import importlib.util
import io
import json
import logging
import os
import pickle
import re
import resource
import runpy
import select
import signal
import socket
import sys
import threading
import time
import types
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.preloaded.client import LIBC, ONE_THREAD, high, install, only, pair
from tests.preloaded.commands import BARE, LIMITS, LOADED, ROOT, SCRIPTS, SIZE, simple

# Read by the interpreter, the C library or a package when a process starts; a fork must have those of its parent.
# KMP_ and LD_LIBRARY_PATH are not among them: packages set them, for the processes that they start.
_AT_START = re.compile(
    r"PYTHON(?!PATH$|UNBUFFERED$|SAFEPATH$)|LANG|LC_|LD_PRELOAD|MPL|(OMP|MKL|GOMP|OPENBLAS|ATEN)_|TORCH_(?!NCCL_)"
)
_SET_DEATH_SIGNAL = 1
_environment: dict[str, str] = {}  # with which the first parent of this one started
_loaded: dict[str, str] = {}  # what packages have set there since


def main(name: str, numbers: list[int]) -> None:
    """Load what a parent loads and serve; in a fork, run the command that was ordered and end.

    :param name: the parent, a key of :data:`LOADED`
    :param numbers: file descriptors of the connection to the process that it serves, and of the socket where it listens
    """
    path = os.environ["PYTHONPATH"].split(os.pathsep)
    if not _environment:
        _environment.update(os.environ)
    for module in LOADED[name]:
        if importlib.util.find_spec(module.partition(".")[0]):
            importlib.import_module(module)
    _loaded.update({key: value for key, value in os.environ.items() if _environment.get(key) != value})
    sys.path[:] = [folder for folder in sys.path if folder not in ("", os.getcwd(), *path)]  # each command has its own
    install()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    # What packages would take apart at the end is theirs; a command tidies up after itself alone.
    for registered in weakref.finalize._registry.values():  # type: ignore[attr-defined]
        registered.atexit = False
    client, listener = (high(socket.socket(fileno=number), 768) for number in numbers)
    words = _serve(client, listener, name)
    status = 0
    try:
        _run(words)
    except KeyboardInterrupt as stopped:
        trace = stopped.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        sys.excepthook(type(stopped), stopped.with_traceback(trace), trace)
        _tidy_up()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        status = ended.code or 0
    _tidy_up()
    os._exit(status & 0xFF)


def _tidy_up() -> None:
    """End as an interpreter does, but for taking the modules apart, which costs more than the fork."""
    threading._shutdown()  # type: ignore[attr-defined]
    # Nor to wait 5 seconds for a loader's worker, where a function collects the loader before this one is called.
    sys.modules["torch.utils.data._utils"]._set_python_exit_flag()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError as error:
        raise SystemExit(120) from error


def _serve(client: socket.socket, listener: socket.socket | None, name: str) -> list[str]:
    """Fork a child for each order; returns the command line, in that child alone.

    :param client: its orders are children of the client
    :param listener: whoever connects gets a child of another process, which passes on signals and the exit status
    :param name: the parent's name
    """
    while True:
        heard, _, _ = select.select([client, listener] if listener else [client], [], [])
        asking = client if client in heard or listener is None else listener.accept()[0]
        message, files, *_ = socket.recv_fds(asking, SIZE, 64)
        if not message and asking is client:  # the client has ended
            os._exit(0)
        order = json.loads(message or b"{}")
        if not order or _differs(order, name):
            asking.send(b"0")
        elif between := os.fork():
            if asking is client:
                os.waitpid(between, 0)
        else:
            if listener is not None:
                listener.close()
            between = os.getpid()
            if child := os.fork():
                _mind(child, None if asking is client else asking)
            _begin(order, between)
            parents, theirs = pair(768)
            command = os.getpid()
            if os.fork():  # the command; the other one is the parent of its commands
                theirs.close()
                only(name, parents)
                _become(order, files)
                asking.send(str(command).encode())
                asking.close()
                client.close()
                return list(order["args"])
            LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() != command:
                os._exit(1)
            parents.close()
            client.close()
            asking.close()
            client, listener, asking = theirs, None, theirs
        for file in files:
            os.close(file)
        if asking is not client:
            asking.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # those that have minded a command
                    pass


def _mind(child: int, asking: socket.socket | None) -> NoReturn:
    """Be the parent of a command for one that could not be it, or leave it to the client, which can."""
    if asking is None:
        os._exit(0)
    ended = os.pidfd_open(child)
    while ended not in select.select([asking, ended], [], [])[0]:
        number = asking.recv(SIZE)
        os.kill(child, int(number or signal.SIGKILL))
        if not number:
            os._exit(1)
    asking.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    os._exit(0)


def _begin(order: dict[str, Any], between: int) -> None:
    """Get the parent, the session and the process group of an order.

    :param between: the process that has forked this one
    """
    if order["client"]:
        while os.getppid() == between:
            time.sleep(0.0002)
        if os.getppid() != order["client"]:
            os._exit(1)
    else:
        LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if order["session"]:
        os.setsid()
    elif order["group"] >= 0:
        os.setpgid(0, order["group"])


def _differs(order: dict[str, Any], name: str) -> bool:
    """Whether a start from nothing would give another process than a fork."""
    env = ONE_THREAD | order["env"] if "OMP_NUM_THREADS" in order["env"] else order["env"]
    for key in {*env, *_environment}:
        before = _environment.get(key)
        if _AT_START.match(key) and env.get(key) not in (before, _loaded.get(key, before)):
            return True
    if str(ROOT) not in _front(order) and not name.endswith(BARE):
        return True
    folders = [folder for folder in _front(order) if folder != str(ROOT) and os.path.isdir(folder)]
    entries = [entry for folder in folders for entry in os.scandir(folder)]
    found = {entry.name.partition(".")[0] for entry in entries if entry.is_dir() or entry.name.endswith((".py", ".so"))}
    return not found.isdisjoint({"sitecustomize", "usercustomize", *(name.partition(".")[0] for name in sys.modules)})


def _front(order: dict[str, Any]) -> list[str]:
    """The folders where a command looks for modules first."""
    words, env = simple(order["args"]), order["env"]
    script = words[1] if words[0] == sys.executable else words[0]
    own = [os.path.join(order["cwd"], "" if script in ("-m", "-c") else os.path.dirname(script)).rstrip(os.sep)]
    path = [os.path.join(order["cwd"], part) for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    return path if env.get("PYTHONSAFEPATH") else [*own, *path]


def _become(order: dict[str, Any], files: list[int]) -> None:
    """Take over what an order says."""
    kept = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 256) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(kept, order["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    os.umask(order["umask"])
    for limit, values in zip(LIMITS, order["limits"], strict=True):
        resource.setrlimit(limit, values)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler if order["interrupts"] else signal.SIG_IGN)
    os.chdir(order["cwd"])
    loaded = {key: value for key, value in _loaded.items() if order["env"].get(key) == _environment.get(key)}
    os.environ.clear()
    os.environ.update(order["env"] | loaded)
    front = _front(order)
    sys.path[:] = [*front, *(folder for folder in sys.path if folder not in front)]
    importlib.invalidate_caches()
    if order["env"].get("PYTHONUNBUFFERED") or simple(order["args"]) != order["args"]:
        raw: Any = io.FileIO(1, "w", closefd=False)
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = io.TextIOWrapper(raw, encoding, errors, write_through=True)
        sys.__stdout__ = sys.stdout  # type: ignore[misc]
    elif os.isatty(1):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.modules["numpy"].random.seed()  # each process draws its own
    sys.modules["torch"].default_generator.seed()
    if order["preexec"]:
        pickle.loads(bytes.fromhex(order["preexec"]))()


def _run(words: list[str]) -> None:
    """Run a command line as ``__main__``; what it raises is the interpreter's matter."""
    sys.orig_argv[:] = words
    words = simple(words)
    module = words[2] if words[1:2] == ["-m"] else ""
    sys.argv = words[2:] if module else words[1:] if words[0] == sys.executable else words
    target = SCRIPTS.get(Path(words[0]).name, ("", ""))[1]
    if (module or target).startswith("fairseq_cli."):  # they set up the log themselves, before they import fairseq
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
    if "fairseq_lottery" in sys.modules:
        if module.startswith("fairseq_cli."):  # as the interpreter does before it runs a module
            found = importlib.util.find_spec(module)
            sys.argv[0] = (found.origin if found else None) or module
        sys.modules["fairseq_lottery"].patches.install()  # what depends on the command line and the environment
    if module == __name__:
        main(words[3], [*map(int, words[4:])])
    elif module:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    elif words[0] == sys.executable:
        _run_code(words)
    else:
        package, _, name = target.partition(":")
        sys.exit(getattr(importlib.import_module(package), name)())


def _run_code(words: list[str]) -> None:
    """Run ``python -c CODE`` or ``python FILE``."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if words[1] == "-c":
        code, name = words[2], "<string>"
        sys.argv = ["-c", *words[3:]]
    else:
        code, name = Path(words[1]).read_text(), words[1]
        main.__file__ = name
    exec(compile(code, name, "exec", dont_inherit=True), main.__dict__)
