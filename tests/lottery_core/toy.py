"""A framework small enough for tests: trains an MLP on noise, here or as a process of its own."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lottery_core import MaskKeeper, Ticket, Weights, apply_ticket, read_weights, snapshot
from lottery_core.cli.lottery import run_command
from lottery_core.experiments import LINE, line_between, paths, point_folder, set_values
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph.plan import Run
from lottery_core.experiments.next_ticket import make_control, mask_watch, prune_in_training
from lottery_core.experiments.protocols import FinishedInProcess
from lottery_core.experiments.results import Score, read_score, write_score
from lottery_core.files import FolderLock, write_json
from lottery_core.pruning.in_training import GradientSums, PruningInTraining
from lottery_core.pruning.kinds import CONTROLS, FRESH, IN_TRAINING
from tests.lottery_core.helpers import mlp, train


class Toy:
    """See :class:`lottery_core.experiments.protocols.Framework`."""

    name = "toy"

    def command(self, run: Run, folder: Path) -> list[str]:
        return [sys.executable, "-m", "tests.lottery_core.toy", str(folder)]

    def why_not_resumable(self, run: Run, folder: Path) -> str | None:
        return "a toy keeps nothing"

    def weights(self, folder: Path) -> Weights:
        return read_weights(folder / "trained.safetensors")

    def score(self, folder: Path) -> Score:
        return read_score(folder)


def experiment(out: Path, **changes: Any) -> Experiment:
    """A small experiment of the toy."""
    options: dict[str, Any] = {
        "framework": "toy",
        "settings": {"lr": 0.01, "steps": 20},
        "prune_rate": 0.5,
        "rewind": "updates:5",
        "kinds": ("winning", "random"),
        "seeds": (1,),
        "rounds": 3,
        "gradual": "0 0.75 5",
    }
    return Experiment(out=out, **{**options, **changes})


def train_run(out: Path, run: Run) -> None:
    """One run of the toy."""
    experiment = Experiment.load(out)
    folder, settings = out / run.folder, experiment.settings
    if run.kind == LINE:
        line = line_between(experiment, Toy().weights, run, lambda values, share: (loss(values), math.nan), True)
        line.write(folder)
        write_score(folder, Score(line.barrier, steps=0))
        return
    control = CONTROLS.get(run.kind)
    fresh = control and control.needs == FRESH and not run.repeats
    model = mlp(run.control_seed if fresh else run.noise_seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])
    if not run.has_ticket:
        snapshot(model).save(folder / paths.INIT)
        for number, point in enumerate(experiment.probed.points if experiment.probed else (), 1):
            early = mlp(run.noise_seed)
            own = torch.optim.Adam(early.parameters(), lr=settings["lr"])
            count = int(point.removeprefix("updates:").replace("init", "0"))
            train(early, own, steps=count, seed=run.seed)
            write_json(point_folder(folder, number) / paths.REWIND_COUNTS, {"updates": count})
            snapshot(early).save(point_folder(folder, number) / paths.REWIND)
        train(model, optimizer, steps=settings.get("rewind", 5), seed=run.seed)
        snapshot(model).save(folder / paths.REWIND)
    elif run.kind in IN_TRAINING:
        ticket, pruning = prune_in_training(out, run, epochs=2)
        keeper = apply_ticket(ticket, model, optimizer)
    else:
        if control and not run.repeats:
            make_control(out, run, snapshot(model)).save(folder / paths.TICKET)
        ticket = Ticket.load(folder / paths.TICKET)
        keeper = apply_ticket(ticket, model, optimizer)
    write_json(folder / "progress.json", {"text": "half way"})
    time.sleep(float(os.environ.get("TOY_SLEEP", 0)))
    if settings.get("fail") == str(run.folder):
        raise RuntimeError("the toy is broken")
    watch = mask_watch(experiment, run, snapshot(model), ticket) if run.search else None
    share = 1.0 if watch is None or watch.search.share is None else watch.search.share
    steps = round(settings["steps"] * share)
    if run.kind in IN_TRAINING:
        train_and_prune(model, optimizer, keeper, pruning, settings["steps"], run.noise_seed)
        ticket.with_masks(pruning.masks).save(folder / paths.TICKET)
    else:
        train(model, optimizer, steps=steps, seed=run.noise_seed)
    if run.has_ticket:
        keeper.check()
    value = float("nan") if settings.get("nan") == str(run.folder) else 1.0
    trained = snapshot(model)
    Weights({name: tensor * value for name, tensor in trained.tensors.items()}).save(folder / "trained.safetensors")
    score = float(sum(tensor.abs().sum() for tensor in trained.tensors.values()))
    more = {"search": str(watch.search), "share": share, "stopped": f"stopped at {share:.0%}"} if watch else {}
    write_score(folder, Score(score, 0.5, 10, steps, 0.1 * share, 0.1 * share, **more))


def loss(values: Mapping[str, torch.Tensor]) -> float:
    """The error of a network on noise that no training has seen."""
    model = mlp()
    set_values(model, values)
    generator = torch.Generator().manual_seed(99)
    inputs = torch.randn(64, 4, generator=generator)
    with torch.no_grad():
        return float((model(inputs) - torch.randn(64, 2, generator=generator)).pow(2).mean())


def train_and_prune(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keeper: MaskKeeper,
    pruning: PruningInTraining,
    steps: int,
    seed: int = 1,
) -> None:
    """Train, and prune whenever a step of pruning is due."""
    parameters, sums = dict(model.named_parameters()), GradientSums(pruning.masks)

    def before_update(*_: object) -> None:
        for name, parameter in parameters.items():
            sums.add(name, parameter)

    hook = optimizer.register_step_pre_hook(before_update)
    for step in range(1, steps + 1):
        train(model, optimizer, steps=1, seed=1000 * seed + step)
        while pruning.is_due(step / steps):
            values = sums.over(parameters) if pruning.kind.by_gradient else parameters
            keeper.change(pruning.prune(values, step / steps))
            if pruning.kind.by_gradient:
                sums.clear()
                break
    hook.remove()
    assert pruning.complete


class Here:
    """Trains in this process and remembers what."""

    jobs = 1
    retries = 0

    def __init__(self, out: Path) -> None:
        self.out, self.trained = out, list[Run]()

    def start(self, run: Run, folder: Path, lock: FolderLock) -> FinishedInProcess:
        train_run(self.out, run)
        self.trained.append(run)
        return FinishedInProcess()

    def adopt(self, run: Run, folder: Path) -> None:
        return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(run_command(lambda: train_run(*Run.of_folder(Path(sys.argv[1]))), "toy"))
