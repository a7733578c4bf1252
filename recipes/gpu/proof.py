"""The checks of ``recipes/test-gpu.sh``: what holds of a ticket's training on this machine's GPU, or on its CPU.

    python recipes/gpu/proof.py WORK [--short] [--device cuda|cpu]

Prints a table: each check with its result, figures and seconds, and what was skipped and why. Exit status 1 where one
failed.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shlex import split
from typing import Any

import torch
from trainings import BASE, CLOCK, PRECISIONS, SMALL, STREAMS, write_texts

from lottery_core import Ticket, apply_ticket, prune, read_weights, snapshot
from lottery_core.checkpoints import load_checkpoint
from lottery_core.experiments.executors import cores

ROOT = Path(__file__).parents[2]


class Skipped(Exception):
    """A check that this machine or form leaves out."""


class Proof:
    """The checks, and the table that they make.

    :param work: folder for everything that is made
    :param device: ``"cuda"`` or ``"cpu"``
    """

    def __init__(self, work: Path, device: str) -> None:
        self.work, self.device = work, device
        self.rows: list[tuple[str, str, str, float]] = []

    def check(self, name: str, function: Callable[..., str], *args: Any) -> None:
        """Do a check and note how it went; what it raises is noted as its failure."""
        start = time.perf_counter()
        try:
            result, said = "ok", function(*args)
        except Skipped as skipped:
            result, said = "skipped", str(skipped)
        except Exception as error:
            result, said = "FAILED", (str(error).strip().splitlines() or [type(error).__name__])[-1][-300:]
        self.rows.append((name, result, said, time.perf_counter() - start))
        print(f"{result:8}{name:40}{self.rows[-1][3]:6.0f} s  {said}", flush=True)

    def run(self, module: str, *words: object, **environment: str) -> str:
        """Run a module as a process; its output."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        more = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment}
        command = [sys.executable, "-m", module, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **more}, check=False)
        text = done.stdout + done.stderr
        assert done.returncode == 0, f"{module} ended with {done.returncode}: {text[-2000:]}"
        return text

    def train(self, save_dir: Path, *words: object, **environment: str) -> str:
        """fairseq-train, on the device."""
        more = ["--cpu"] if self.device == "cpu" else []
        user_dir = ["--user-dir", ROOT / "fairseq_lottery"] if "--user-dir" not in words else []
        return self.run("fairseq_cli.train", *words, *user_dir, "--save-dir", save_dir, *more, **environment)

    def data(self, kind: str) -> Path:
        """The binary data of a kind, made where they are not there yet."""
        folder = self.work / "data" / kind
        if not (folder / "bin").exists():
            shutil.rmtree(folder / "part", ignore_errors=True)  # of a run that was stopped
            self.run("fairseq_cli.preprocess", *write_texts(folder, kind), "--destdir", folder / "part")
            (folder / "part").rename(folder / "bin")
        return folder / "bin"

    def pruned(self, dense: Path) -> Path:
        """The ticket of a dense run, half of it pruned."""
        words = ["--rewind", dense / "rewind.safetensors", "--rate", "0.5", "-o", dense / "ticket.safetensors"]
        self.run("lottery_core.cli", "prune", dense / "checkpoint_last.pt", *words)
        return dense / "ticket.safetensors"

    def precision(self, name: str) -> str:
        """Dense, prune, ticket, killed, resumed; and at a learning rate of 0, where what is saved is the start."""
        out = self.work / name.replace(" ", "-")
        words: list[Any] = [self.data("pairs"), *SMALL, *split(PRECISIONS[name])]
        if self.device == "cpu" and name == "fp16":
            raise Skipped("flat masters need a GPU")
        overflows = self.device == "cuda" and ("fp16" in name or name == "amp")
        words += ["--fp16-init-scale", 2**26] if overflows else []
        fast: list[Any] = ["--lr", "0.003", "--max-epoch", 2]
        self.train(out / "dense", *words, *fast, "--rewind-point", "update:3")
        ticket = self.pruned(out / "dense")
        runs: dict[str, list[Any]] = {
            "whole": [*fast],
            "parts": [*fast, "--max-update", 4],
            "start": ["--lr", "0", "--max-epoch", 1, *(["--fp16-init-scale", 4] if overflows else [])],
        }
        words += ["--ticket", ticket]
        with ThreadPoolExecutor() as pool:
            jobs = [pool.submit(self.train, out / each, *words, *more) for each, more in runs.items()]
            texts = [job.result() for job in jobs]
        self.train(out / "parts", *words, *fast)
        states = {each: load_checkpoint(out / each / "checkpoint_last.pt") for each in runs}
        masks, start = Ticket.load(ticket).masks, Ticket.load(ticket).start()
        for state in states.values():
            for tensors in (state["model"], state["extra_state"]["ema_fp32_params"]):
                alive = sum(int(tensors[key][~mask].count_nonzero()) for key, mask in masks.items())
                assert not alive, f"{alive} pruned weights are alive"
        rounded = torch.float16 if name.startswith("memory") else torch.float32
        differ = sum(int((states["start"]["model"][key] != start[key].to(rounded)).sum()) for key in start)
        assert not differ, f"{differ} start values differ"
        assert not overflows or "overflow" in texts[0], "no overflow was forced"
        whole, parts = states["whole"]["model"], states["parts"]["model"]
        bits = sum(int((whole[key] != parts[key]).sum()) for key in whole)
        far = max(float((whole[key] - parts[key]).abs().max()) for key in whole)
        assert not bits or (self.device == "cuda" and far < 0.05), f"resumed: {bits} weights differ, by up to {far:.2g}"
        resumed = "the same bits" if not bits else f"{bits} weights differ, by up to {far:.1g}"
        more = ", an overflow forced" if overflows else ""
        return f"dead 0.0, start exact{' to fp16' if name.startswith('memory') else ''}, resumed: {resumed}{more}"

    def streams(self) -> str:
        """The LSTM's streams, killed in the middle of an epoch."""
        out, words = self.work / "streams", [self.data("text"), *STREAMS]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda each: self.train(out / each[0], *words, *each[1]),
                          [("whole", []), ("parts", ["--max-update", 11])]))  # fmt: skip
        self.train(out / "parts", *words)
        whole, parts = (load_checkpoint(out / each / "checkpoint_last.pt")["model"] for each in ("whole", "parts"))
        bits = sum(int((whole[key] != parts[key]).sum()) for key in whole)
        far = max(float((whole[key] - parts[key]).abs().max()) for key in whole)
        assert not bits or (self.device == "cuda" and far < 1e-3), f"{bits} weights differ, by up to {far:.2g}"
        return "resumed: the same bits" if not bits else f"resumed: {bits} weights differ, by up to {far:.1g}"

    def two_ranks(self, backend: str) -> str:
        """Two ranks by torchrun, on one GPU, which nccl refuses and gloo does not."""
        dense = self.work / "bf16/dense"
        words = [self.data("pairs"), *SMALL, "--lr", "0.003", "--max-epoch", 1, "--ddp-backend", backend, "--user-dir",
                 ROOT / "fairseq_lottery", "--save-dir", self.work / backend, "--ticket", dense / "ticket.safetensors",
                 *split("--distributed-world-size 2 --distributed-backend gloo")]  # fmt: skip
        words += ["--cpu"] if self.device == "cpu" else []
        start = ["--nproc_per_node", 2, "--master_port", random.randint(20000, 60000), "-m", "fairseq_cli.train"]
        text = self.run("torch.distributed.run", *start, *words)
        assert "all 2 ranks have the same tickets" in text
        trained = load_checkpoint(self.work / backend / "checkpoint_last.pt")["model"]
        masks = Ticket.load(dense / "ticket.safetensors").masks
        assert not sum(int(trained[key][~mask].count_nonzero()) for key, mask in masks.items())
        return "dead 0.0, the same ticket on both"

    def base(self) -> str:
        """Updates of Transformer Base's sizes, ticket against dense: goals 1.02 of the time, 1.05 of the memory."""
        if self.device == "cpu":
            raise Skipped("Base's sizes need a GPU")
        out, data = self.work / "base", self.data("base")
        (out / "clock").mkdir(parents=True, exist_ok=True)
        (out / "clock/__init__.py").write_text(CLOCK)
        found = {}
        self.train(out / "dense", data, *BASE, "--rewind-point", "init", "--max-update", 1)
        rewind = read_weights(out / "dense/rewind.safetensors")
        prune(rewind, rewind, rate=0.5).save(out / "t.safetensors")
        for name, more in (("dense", []), ("ticket", ["--ticket", out / "t.safetensors"])):
            words = [data, *BASE, *more, "--user-dir", out / "clock"]
            text = self.train(out / f"{name}-run", *words, CLOCK=str(out / f"{name}.json"))
            times, memory = json.loads((out / f"{name}.json").read_text())
            speed = [float(each) for each in re.findall(r'"wps": "([\d.]+)"', text)]
            found[name] = (1000 * statistics.median(times[10:]), memory / 2**30, speed[-1] if speed else 0.0)
        (slow, much, speed_of), (dense, least, plain) = found["ticket"], found["dense"]
        said = f"{slow:.0f} ms an update ({slow / dense:.3f} of dense), {speed_of:.0f} words/s ({plain:.0f}), "
        return said + f"{much:.2f} GiB ({much / least:.3f})"

    def atari(self) -> str:
        """``--preset breakout`` shortened: all threads against one. On a CPU, where networks are slow, fewer games."""
        seconds, games = {}, 1024 if self.device == "cuda" else 2
        for threads in sorted({1, cores()}):
            out = self.work / f"breakout-{threads}"
            words = ["--preset", "breakout", "--out", out, "--rounds", 1, "--kinds", "winning", "--device", self.device,
                     "--epoch", "updates:60", "--epochs", 2, "--rewind", "updates:5", "--score-episodes", 4,
                     "--n-envs", games, "--env-threads", threads, "--no-floor", "--quiet"]  # fmt: skip
            self.run("sb3_lottery.cli", *words)
            lines = (out / "results.csv").read_text().splitlines()
            column = lines[0].split(",").index("wall_seconds")
            seconds[threads] = float(lines[1].split(",")[column])
        times = [f"{value:.1f} s with {threads} threads" for threads, value in seconds.items()]
        return f"{games} games: {', '.join(times)}"

    def own_loop(self, name: str, optimizer: Callable[..., Any], compiled: bool) -> str:
        """``apply_ticket`` in a training loop of one's own."""
        if name == "capturable" and self.device == "cpu":
            raise Skipped("capturable optimizers need a GPU")
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1)).to(self.device)
        before = snapshot(model)
        ticket = prune(before, before, rate=0.3)  # more would leave no path through untrained layers
        steps = optimizer(model.parameters())
        forward = torch.compile(copy.copy(model)) if compiled else model
        with apply_ticket(ticket, model, steps) as keeper:
            for _ in range(20):
                inputs = torch.randn(32, 64, device=self.device)
                steps.zero_grad()
                (forward(inputs) - inputs.sum(1, keepdim=True)).pow(2).mean().backward()
                steps.step()
            keeper.check()
        trained = snapshot(model).tensors
        assert not any(bool(trained[key][~mask].count_nonzero()) for key, mask in ticket.masks.items())
        assert any(not torch.equal(trained[key], ticket.weights[key]) for key in ticket.masks), "nothing moved"
        return "dead 0.0, survivors moved"

    def exports(self, short: bool) -> str:
        """Sparse and shrunk models of checkpoints that this device wrote."""
        whole, dense, said = self.work / "bf16/whole", self.work / "bf16/dense", []
        forms = {"csr": whole / "checkpoint_last.pt"}
        if not short:  # of 3% some units are dead
            few, rewind = self.work / "few", dense / "rewind.safetensors"
            few.mkdir()
            trained = read_weights(dense / "checkpoint_last.pt")
            prune(trained, read_weights(rewind), fraction=0.97).save(few / "t.safetensors")
            more = ["--bf16", "--lr", "0.003", "--max-update", 2, "--ticket", few / "t.safetensors"]
            self.train(few, self.data("pairs"), *SMALL, *more)
            forms["shrunk"] = few / "checkpoint_last.pt"
        for form, checkpoint in forms.items():
            target = self.work / f"small.{form}"
            self.run("lottery_core.cli", "export", checkpoint, "-o", target, "--form", form)
            said.append(f"{form} {target.stat().st_size / checkpoint.stat().st_size:.2f} of the checkpoint")
        return ", ".join(said)


def optimizers() -> dict[str, tuple[Callable[..., Any], bool]]:
    """Name -> optimizer of parameters, and whether the model is compiled."""
    adam = torch.optim.Adam
    return {
        "Adam": (lambda parameters: adam(parameters, lr=0.01), False),
        "fused": (lambda parameters: adam(parameters, lr=0.01, fused=True), False),
        "capturable": (lambda parameters: adam(parameters, lr=0.01, capturable=True), False),
        "compiled": (lambda parameters: adam(parameters, lr=0.01), True),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Do the checks; 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--short", action="store_true", help="less than a minute on 2 cores")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    proof = Proof(args.work.absolute(), args.device)
    for name in ["bf16"] if args.short else PRECISIONS:
        proof.check(f"fairseq, {name}", proof.precision, name)
    for name, (optimizer, compiled) in optimizers().items():
        if not (args.short and compiled):
            proof.check(f"apply_ticket, {name}", proof.own_loop, name, optimizer, compiled)
    proof.check("exports", proof.exports, args.short)
    left_out = (
        ["the other precisions", "streams", "two ranks", "Base's sizes", "Atari", "compiled"] if args.short else []
    )
    if not args.short:
        proof.check("LSTM streams", proof.streams)
        for backend in ("c10d", "legacy_ddp"):
            proof.check(f"two ranks, {backend}", proof.two_ranks, backend)
        proof.check("Transformer Base, 50 updates", proof.base)
        proof.check("Atari", proof.atari)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {cores()} cores"
    print(f"\n{where}; Python {sys.version.split()[0]}, torch {torch.__version__}")
    print("\n| check | result | figures | seconds |\n| --- | --- | --- | --- |")
    for name, result, said, seconds in proof.rows:
        print(f"| {name} | {result} | {said} | {seconds:.0f} |")
    if args.short:
        print(f"\nLeft out of the short form: {', '.join(left_out)}.")
    return int(any(result == "FAILED" for _, result, _, _ in proof.rows))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
