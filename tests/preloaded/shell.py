"""A command line of a shell script, by a fork of a parent: ``python -SE tests/preloaded/shell.py COMMAND LINE``.

A file of its own that imports little, for it stands in for a start: this process passes on signals and the exit status.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys

from commands import (  # beside this file, which is run as a script
    ADDRESS,
    LIMITS,
    PARENT,
    PARENTS,
    REAL,
    SIZE,
    parents_of,
)


def _connection(name: str, order: bytes) -> socket.socket | None:
    """The connection to a parent that has forked the command; ``None``: it would not be what a new process is."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(ADDRESS.format(os.environ[PARENTS], name))
        socket.send_fds(connection, [order], [0, 1, 2])
        return connection if int(connection.recv(SIZE) or 0) else None
    except OSError:
        return None


def main(words: list[str]) -> None:
    """Run a command line and end as it ends.

    :param words: what the script would have started
    """
    os.umask(umask := os.umask(0))
    order = {
        "args": words,
        "env": dict(os.environ),
        "cwd": os.getcwd(),
        "preexec": "",
        "files": [0, 1, 2],
        "session": False,
        "group": 0,  # its own: it may be of another session, so signals to this group are passed on
        "interrupts": signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
        "umask": umask,
        "limits": [resource.getrlimit(limit) for limit in LIMITS],
        "client": 0,
    }
    chosen = os.environ.get(PARENT, "")
    names = parents_of(words, chosen) if PARENTS in os.environ and REAL not in os.environ else ()
    connection = next(filter(None, (_connection(name, json.dumps(order).encode()) for name in names)), None)
    if connection is None:
        os.execv(words[0], words)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: connection.send(str(number).encode()))
    status = int(connection.recv(SIZE) or 1)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main(sys.argv[1:])
