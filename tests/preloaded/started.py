"""What a process was started with, as JSON: ``-m tests.preloaded.started [nested | wait | STATUS | fail]``."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import torch


def facts() -> dict[str, Any]:
    """What a program can see of its start."""
    os.umask(mask := os.umask(0))
    return {
        "argv": sys.argv[1:],
        "main": sys.argv[0],
        "spec": sys.modules["__main__"].__spec__.name,  # type: ignore[union-attr]
        "folder": os.getcwd(),
        "path": [entry for entry in sys.path if "site-packages" not in entry],
        "environment": {key: value for key, value in os.environ.items() if key != "_"},
        "input": sys.stdin.read() if not sys.stdin.isatty() else "",
        "files": sorted(int(file.name) for file in Path("/proc/self/fd").iterdir() if int(file.name) < 256)[:-1],
        "parent": os.getppid(),
        "leads": (os.getpid() == os.getsid(0), os.getpid() == os.getpgid(0)),
        "group": os.getpgid(0) in (os.getpid(), os.getpgid(os.getppid())),
        "umask": mask,
        "limits": resource.getrlimit(resource.RLIMIT_FSIZE),
        "interrupt": str(signal.getsignal(signal.SIGINT)),
        "terminate": str(signal.getsignal(signal.SIGTERM)),
        "threads": torch.get_num_threads(),
    }


def main() -> int:
    """Print the facts; then end as the first argument says."""
    drawn = [random.random(), numpy.random.random(), torch.initial_seed()]
    loaded = {"preloaded": "tests.preloaded.parent" in sys.modules, "project": "lottery_core" in sys.modules}
    seen = facts() | loaded | {"pid": os.getpid(), "drawn": drawn}
    wanted = sys.argv[1] if len(sys.argv) > 1 else "0"
    if wanted == "nested":
        words = [sys.executable, "-m", "tests.preloaded.started", "3"]
        inner = subprocess.run(words, capture_output=True, text=True, check=False, start_new_session=True)
        print(json.dumps([seen, inner.returncode, json.loads(inner.stdout)]))
        return 0
    print(json.dumps(seen), flush=wanted == "wait")
    if wanted == "wait":
        signal.pause()
    if wanted == "fail":
        raise RuntimeError("on purpose")
    if wanted == "words":
        sys.exit("a last word")
    return int(wanted)


if __name__ == "__main__":
    sys.exit(main())
