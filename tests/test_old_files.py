"""What version 0.1.0 wrote is read and continued: tickets, models, sparse files, experiment folders of both plugins.

``tests/data/version-0.1/README.md`` has the commands that made the files; the same commands continue them here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stable_baselines3 import A2C

from lottery_core import Ticket, load_sparse, read_weights
from sb3_lottery import load_sparse_policy
from tests.conftest import Result, one_line
from tests.sb3_lottery.helpers import assert_dead

ROOT = Path(__file__).parents[1]
OLD = ROOT / "tests/data/version-0.1"
README = (OLD / "README.md").read_text().replace("\\\n", " ")
MODULES = {
    "sb3-lottery": "sb3_lottery.cli",
    "fairseq-lottery": "fairseq_lottery.launcher",
    "lottery": "lottery_core.cli",
}
DIGEST = "e3fde23f76eff71971b93734f98ebf8ced78f8735fa8f4568a14c6f834103ca3"


def command(name: str, **changed: str) -> list[str]:
    """A command of that README, with other values of the options ``changed`` (``prune_rate="0.4"``)."""
    (line,) = re.findall(rf"^    {name} (--out .*|.* --out .*)$", README, re.M)
    for option, value in changed.items():
        line, count = re.subn(rf"(--{option.replace('_', '-')}) \S+", rf"\1 {value}", line)
        assert count == 1, (option, line)
    return [name, *line.split()]


def run(words: list[str], folder: Path) -> Result:
    """Run a command of the project in ``folder``, as a process of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", MODULES[words[0]], *words[1:]],
        capture_output=True,
        text=True,
        cwd=folder,
        # The folder has folders with the names of packages.
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        timeout=900,
        check=False,
    )


def copy_of(folder: Path) -> Path:
    """A copy of everything, with the times of the files."""
    return shutil.copytree(OLD, folder / "old")


def runs_of(experiment: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of the runs of an experiment, with its bytes and the time of its last change."""
    files = [path for path in experiment.glob("seed-*/**/*") if path.is_file()]
    return {str(path.relative_to(experiment)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def continued(name: str, experiment: Path, rounds: int, kinds: int) -> Result:
    """Continue an experiment of one round to ``rounds``; asserts that all it had is left as it was."""
    before, rows = runs_of(experiment), (experiment / "results.csv").read_bytes().splitlines()
    result = run(command(name, rounds=str(rounds)), experiment.parent)
    assert result.returncode == 0, result.stderr[-3000:]
    after = runs_of(experiment)
    assert {path: after[path] for path in before} == before
    new = {Path(path).parent.as_posix() for path in after.keys() - before.keys()}
    assert len(new) == kinds
    assert all(folder.endswith("/round-02") for folder in new)
    now = (experiment / "results.csv").read_bytes().splitlines()
    assert len(now) == 1 + 1 + kinds * rounds  # the header, the dense run, and the tickets
    # Byte for byte; only at their end the header and the rows may have got columns that 0.1.0 did not know.
    kept = [next(row for row in now if (row + b",").startswith(old + b",")) for old in rows]
    assert kept == [row for row in now if row in kept]
    assert len({row.count(b",") for row in now}) == 1
    return result


@pytest.fixture(scope="module")
def sb3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The experiment of SB3, continued to two rounds."""
    experiment = copy_of(tmp_path_factory.mktemp("sb3")) / "sb3"
    return experiment, continued("sb3-lottery", experiment, rounds=2, kinds=3)


def test_a_ticket_is_read_with_its_digest(tmp_path: Path) -> None:
    ticket = Ticket.load(copy_of(tmp_path) / "ticket.safetensors")
    assert ticket.digest == DIGEST
    assert (ticket.origin.kind, ticket.origin.round) == ("winning", 2)
    assert (ticket.masks.pruned, ticket.masks.surviving) == (151, 100)


def test_an_old_ticket_saved_again_is_the_same(tmp_path: Path) -> None:
    old = Ticket.load(OLD / "ticket.safetensors")
    old.save(tmp_path / "again.safetensors")
    again = Ticket.load(tmp_path / "again.safetensors")
    assert again.digest == old.digest
    assert again.origin == old.origin


def test_a_model_is_read_by_plain_stable_baselines3() -> None:
    folder = OLD / "sb3/seed-1/winning/round-01"
    model = A2C.load(folder / "model.zip", device="cpu")
    assert_dead(model.policy.state_dict(), Ticket.load(folder / "ticket.safetensors").masks)


def test_a_sparse_file_is_read_into_the_same_policy() -> None:
    zip_file = OLD / "sb3/seed-1/winning/round-01/model.zip"
    dense, sparse, module = (A2C.load(zip_file, device="cpu") for _ in range(3))
    with torch.no_grad():
        for model in (sparse, module):  # what they are of must come from the sparse file
            for parameter in model.policy.parameters():
                parameter.fill_(1.0)
    load_sparse_policy(OLD / "policy.csr", sparse)
    load_sparse(OLD / "policy.csr", module.policy)
    observations = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    expected = dense.policy.get_distribution(observations).distribution.logits
    for model in (sparse, module):
        found = model.policy.get_distribution(observations).distribution.logits
        torch.testing.assert_close(found, expected)


def test_weights_are_read_from_every_old_file() -> None:
    for path in (
        "sb3/seed-1/dense/model.zip",
        "sb3/seed-1/dense/rewind.safetensors",
        "fairseq/seed-1/dense/checkpoint_last.pt",
        "fairseq/seed-1/dense/rewind.safetensors",
    ):
        assert read_weights(OLD / path).tensors, path


@pytest.mark.parametrize(("experiment", "runs"), [("sb3", 4), ("fairseq", 3)])
def test_an_old_marker_counts_as_done(tmp_path: Path, experiment: str, runs: int) -> None:
    result = run(["lottery", "status", experiment], copy_of(tmp_path))
    assert result.returncode == 0, result.stderr
    assert f"{experiment}: {runs} done, of {runs} runs" in result.stdout


def test_an_experiment_of_sb3_gets_a_second_round(sb3: tuple[Path, Result]) -> None:
    experiment, result = sb3
    assert "4 of 7 runs are done already" in result.stderr
    for kind in ("winning", "random", "permuted"):
        ticket = Ticket.load(experiment / f"seed-1/{kind}/round-02/ticket.safetensors")
        assert (ticket.origin.kind, ticket.origin.round, ticket.masks.surviving) == (kind, 2, 63)


def test_the_second_round_prunes_the_old_first_one(sb3: tuple[Path, Result]) -> None:
    first, second = (Ticket.load(sb3[0] / f"seed-1/winning/round-0{k}/ticket.safetensors") for k in (1, 2))
    assert second.origin.parent == first.digest
    assert all(not bool((mask & ~first.masks[name]).any()) for name, mask in second.masks.items())


def test_an_option_that_changed_is_refused_with_the_difference(tmp_path: Path) -> None:
    folder = copy_of(tmp_path)
    before = runs_of(folder / "sb3")
    one_line(run(command("sb3-lottery", prune_rate="0.4"), folder), "prune_rate: 0.5 -> 0.4")
    one_line(run(command("sb3-lottery", epochs="3"), folder), "epochs", "2 -> 3")
    assert runs_of(folder / "sb3") == before


def test_an_experiment_of_fairseq_gets_a_second_round(tmp_path: Path) -> None:
    pytest.importorskip("fairseq", reason="the fairseq plugin's tests need fairseq-fixed")
    folder = copy_of(tmp_path)
    result = continued("fairseq-lottery", folder / "fairseq", rounds=2, kinds=2)
    assert "3 of 5 runs are done already" in result.stderr
    first, second = (Ticket.load(folder / f"fairseq/seed-1/winning/round-0{k}/ticket.safetensors") for k in (1, 2))
    assert second.origin.parent == first.digest
    assert second.masks.surviving == 220
    before = runs_of(folder / "fairseq")
    one_line(run(command("fairseq-lottery", rewind="update:3"), folder), "rewind: updates:2 -> updates:3")
    one_line(run(command("fairseq-lottery", lr="0.02"), folder), "0.01", "0.02")
    assert runs_of(folder / "fairseq") == before
