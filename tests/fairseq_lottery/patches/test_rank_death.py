"""A killed torchrun leaves no rank behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

from tests.conftest import wait_until
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.patches.upstream import source

# As torchrun does: the rank in a session of its own. It is killed after the rank has told that it is ready.
TORCHRUN = """
import subprocess, sys
rank = "import os, time; import fairseq_lottery; print(os.getpid(), flush=True); time.sleep(3600)"
subprocess.run([sys.executable, "-c", rank], start_new_session=True)
"""


def test_upstream_starts_a_session() -> None:
    assert 'kwargs["start_new_session"] = True' in source(SubprocessHandler._popen)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal")
@pytest.mark.parametrize("by_torchrun", [True, False])
def test_a_rank_dies_with_torchrun(by_torchrun: bool) -> None:
    environment = helpers.environment(**({"TORCHELASTIC_RUN_ID": "none"} if by_torchrun else {}))
    parent = subprocess.Popen(
        [sys.executable, "-c", TORCHRUN], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert parent.stdout
    rank = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    gone = wait_until(lambda: not helpers.alive(rank), 900 if by_torchrun else 1)
    assert gone == by_torchrun
    if not by_torchrun:
        os.kill(rank, signal.SIGKILL)
