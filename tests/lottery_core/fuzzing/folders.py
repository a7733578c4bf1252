"""Mutants of the JSON in an experiment's folder."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Sequence
from pathlib import Path

from lottery_core.experiments import Experiment, Runner, paths, read_rows, read_score, write_csv
from lottery_core.experiments.progress import Progress
from lottery_core.reports import render as render_status
from lottery_core.reports import report, states
from lottery_core.reports.report import tables
from tests.lottery_core.fuzzing import mutations
from tests.lottery_core.fuzzing.reader import Files, Reader
from tests.lottery_core.toy import Here, Toy, experiment


def _folder_seeds(folder: Path) -> Sequence[Files]:
    out = folder / "x"
    Runner(experiment(out, rounds=1), Toy(), Here(out), Progress(quiet=True)).run()
    files = {str(path.relative_to(folder)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    run = "x/seed-1/random/round-01/"
    job = {"name": "j", "token": "a", "id": "3"}
    extra: Files = {
        run + paths.FAILED: json.dumps({"reason": "why"}).encode(),
        run + paths.JOB: json.dumps(job).encode(),
        run + paths.JOB_END: json.dumps({"token": "a", "code": 0}).encode(),
        run + paths.PROGRESS: json.dumps({"text": "half way"}).encode(),
    }
    waiting = {name: data for name, data in files.items() if name != run + paths.MARKER} | extra
    return [files, waiting]


def _change_folder(files: Files, rng: random.Random, folder: Path) -> Files:
    names = sorted(name for name in files if name.endswith(".json"))
    usual = ["x/experiment.json", *(name for name in names if name.endswith((paths.MARKER, paths.SCORE)))]
    for name in [rng.choice(usual if rng.random() < 0.7 else names) for _ in range(rng.choice([1, 1, 2]))]:
        if rng.random() < 0.15:
            files[name] = mutations.flip(files[name], rng)
            continue
        with contextlib.suppress(ValueError, RecursionError):
            tree = mutations.change_json(json.loads(files[name]), rng)
            files[name] = mutations.dump(tree, rng).encode(errors="surrogatepass")
    return files


def _read_folder(folder: Path, turn: int) -> None:
    out = folder / "x"
    if turn % 8 == 0:
        read_score(out / "seed-1/dense")
    elif turn % 8 == 1:
        tables(read_rows(out), None)
    elif turn % 8 == 2:
        experiment(out, rounds=1).write()
    elif turn % 200 == 3:  # the picture takes its time
        report([out], csv=folder / "rows.csv")
    loaded = Experiment.load(out)
    if turn % 2:
        render_status("x", states(loaded, lambda name: None), everything=True)
    else:
        rows = read_rows(out, loaded)
        tables(rows, loaded)
        write_csv(folder / "rows.csv", rows)


FOLDER = Reader("folder", _folder_seeds, _change_folder, _read_folder)
