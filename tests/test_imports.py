"""The core stands on torch alone, and no package imports what it must not."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import lottery_core

HERE = Path(lottery_core.__file__).parents[1]

TORCH_ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"stable_baselines3", "sb3_contrib", "gymnasium", "fairseq", "matplotlib",
                                      "safetensors", "zstandard", "sb3_lottery", "fairseq_lottery", "cloudpickle"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import torch
from lottery_core import apply_ticket, prune, snapshot
model = torch.nn.Linear(8, 8)
rewind = snapshot(model)
ticket = prune(snapshot(model), rewind, rate=0.2)
with apply_ticket(ticket, model, torch.optim.SGD(model.parameters(), lr=0.1)) as keeper:
    model(torch.randn(2, 8)).sum().backward()
    keeper.check()
print(ticket.masks.surviving)
"""


def test_the_core_works_with_torch_alone() -> None:
    result = subprocess.run([sys.executable, "-c", TORCH_ALONE], capture_output=True, text=True, check=False)
    assert result.stdout == "58\n", result.stderr


def test_arrows_between_packages_point_at_the_core_only() -> None:
    ours = {"lottery_core", "sb3_lottery", "fairseq_lottery"}
    for package in ours:
        may = {package, "lottery_core"}
        for path in (HERE / package).glob("**/*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for name in names:
                    assert name.partition(".")[0] not in ours - may, f"{path} imports {name}"
