"""Compare cheap ways to find tickets with the plain chain: levels, searches that end early, a large first round.

    nice python recipes/cheap_chains.py OUT [--experiment cartpole] [--seeds 1-10] [--ways settled ...] [--jobs 2]
    python recipes/cheap_chains.py OUT --table     # only the table of what is there

Each way is an experiment of its own in ``OUT/EXPERIMENT/WAY`` that begins with the dense runs of the plain chain. A
command that is stopped goes on where it was. The table is printed and written to ``OUT/EXPERIMENT/ways.csv``:

- cost: steps of all trainings and searches over those of the plain chain, which scores every round;
- critical: trainings one after the other, whatever the number of jobs;
- how small: parameters down to which winning tickets keep the dense score within the margin, plain and cheap;
- area: mean normalised score of winning tickets (dense is 1, the floor 0) over the levels that both ways have, and the
  difference with its one-sided 95% bound over seeds; not inferior above -0.03;
- overlap: Jaccard index of the winning masks at the levels that both ways share, and the one of masks drawn at random.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lottery_core import Ticket
from lottery_core.experiments import Experiment, Row, paths, read_row, read_rows, read_searches
from lottery_core.pruning import DENSE, FLOOR, WINNING
from lottery_core.reports import answer, costs, filled, source_of

MARGIN = -0.03  # difference of normalised areas above which a way is not inferior
PLAIN = "plain"
_SMALL = "--algo a2c --env CartPole-v1 --epoch timesteps:256 --epochs 20 --rewind epoch:1 --net-arch 32 32"
_TO_4 = "--eval-episodes 100 --rounds 6 --prune-rate 0.42"  # 58% to 3.8%, as in evidence.sh
EXPERIMENTS = {
    "cartpole": f"--preset cartpole-steps --epoch timesteps:16000 {_TO_4}",
    "acrobot": f"--preset acrobot-steps {_TO_4}",
    "tiny": f"{_SMALL} --rounds 4 --prune-rate 0.5",
}
_LEVELS = "--score-at 34% 11% 4%"
WAYS = {
    PLAIN: "",
    "levels": _LEVELS,
    "half": f"{_LEVELS} --search 0.5",
    "settled-0.05": f"{_LEVELS} --search settled:0.05",
    "settled": f"{_LEVELS} --search settled:0.02",
    "settled-0.01": f"{_LEVELS} --search settled:0.01",
    "first": f"{_LEVELS} --search settled:0.02 --first 50%",
    "half-first": f"{_LEVELS} --search 0.5 --first 50%",
}


@dataclass(frozen=True)
class Line:
    """A line of the table.

    :param experiment: name of the experiment
    :param way: name of the way
    :param seeds: seeds that both ways have finished
    :param cost: steps over those of the plain chain
    :param critical: trainings one after the other
    :param small_plain: share of the pool down to which winning tickets of the plain chain keep the score
    :param small: the same for the cheap way
    :param area_plain: mean normalised score of the plain chain
    :param area: the same for the cheap way
    :param difference: mean difference of the areas over seeds
    :param bound: its one-sided 95% bound; NaN for one seed
    :param overlap: mean Jaccard index of the winning masks
    :param chance: the index of masks drawn at random, with as many survivors
    """

    experiment: str
    way: str
    seeds: int
    cost: float
    critical: float
    small_plain: float
    small: float
    area_plain: float
    area: float
    difference: float
    bound: float
    overlap: float
    chance: float


def command(experiment: str, way: str, out: Path, seeds: Sequence[str], jobs: int) -> list[str]:
    """Return the command of one way.

    :param experiment: name of the experiment
    :param way: name of the way
    :param out: its folder
    :param seeds: words of ``--seeds``
    :param jobs: number of parallel runs
    """
    options = EXPERIMENTS[experiment]
    if "--score-at" in WAYS[way]:  # the lowest level is the last round
        options = _without_rounds(EXPERIMENTS[experiment])
    words = [*options.split(), *WAYS[way].split(), "--kinds", WINNING, "random", "--seeds", *seeds]
    return [sys.executable, "-m", "sb3_lottery.cli", *words, "--out", str(out), "--jobs", str(jobs)]


def _without_rounds(options: str) -> str:
    words = options.split()
    place = words.index("--rounds")
    return " ".join(words[:place] + words[place + 2 :])


def begin_with_dense(plain: Path, out: Path) -> None:
    """Copy the dense runs of the plain chain into the folder of a way that has none yet.

    :param plain: folder of the plain chain
    :param out: folder of the way
    """
    for marker in sorted(plain.glob(f"seed-*/{DENSE}/{paths.MARKER}")):
        target = out / marker.parent.relative_to(plain)
        if not target.exists():
            part = target.with_name(f".{target.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(marker.parent, part)
            part.rename(target)
    if not (out / paths.EXPERIMENT).exists() and (plain / paths.FLOOR).exists():
        shutil.copy(plain / paths.FLOOR, out / paths.FLOOR)


def run(out: Path, experiment: str, ways: Sequence[str], seeds: Sequence[str], jobs: int) -> None:
    """Do the plain chain, then the other ways; each is resumed where it was.

    :param out: folder of all experiments
    :param experiment: name of the experiment
    :param ways: names of the ways
    :param seeds: words of ``--seeds``
    :param jobs: number of parallel runs
    """
    plain = out / experiment / PLAIN
    for way in dict.fromkeys([PLAIN, *ways]):
        folder = out / experiment / way
        folder.mkdir(parents=True, exist_ok=True)
        if way != PLAIN:
            begin_with_dense(plain, folder)
        subprocess.run(command(experiment, way, folder, seeds, jobs), check=True)
        if way == PLAIN and not (plain / paths.FLOOR).exists():
            subprocess.run([sys.executable, "-m", "sb3_lottery.cli", "floor", str(plain)], check=True)


def lines(out: Path, experiment: str) -> list[Line]:
    """Return the table of the ways that are there.

    :param out: folder of all experiments
    :param experiment: name of the experiment
    """
    plain = out / experiment / PLAIN
    return [
        line
        for way in WAYS
        if way != PLAIN and read_row(out / experiment / way)
        for line in _line(plain, out / experiment / way, experiment)
    ]


def _line(plain: Path, folder: Path, experiment: str) -> Iterator[Line]:
    before, after = read_rows(plain), read_rows(folder)
    seeds = sorted(_finished(plain, before) & _finished(folder, after))
    if not seeds:
        return
    kinds = {row.kind for row in after}  # the plain chain may have others
    ours, theirs = ([row for row in rows if row.seed in seeds and row.kind in kinds] for rows in (after, before))
    searches = [row for row in read_searches(folder) if row.seed in seeds]
    chosen = Experiment.load(folder)
    curves = [_curves(rows) for rows in (theirs, ours)]
    scale = _scale([*theirs, *(row for row in before if row.kind == FLOOR)])
    areas = [_areas(*(some[seed] for some in curves), *scale) for seed in seeds]
    differences = [cheap - full for full, cheap in areas]
    overlaps = list(_overlaps(plain, folder, theirs, ours))
    cost = sum(row.steps for row in [*ours, *searches]) / sum(row.steps for row in theirs)
    yield Line(
        experiment,
        folder.name,
        len(seeds),
        cost,
        costs(chosen, searches)[0].critical,
        *(_how_small(source, seeds) for source in (plain, folder)),
        statistics.fmean(full for full, _ in areas),
        statistics.fmean(cheap for _, cheap in areas),
        statistics.fmean(differences),
        lower_bound(differences),
        *(statistics.fmean(each) for each in zip(*overlaps, strict=True)),
    )


def _finished(out: Path, rows: Sequence[Row]) -> set[int]:
    # Seeds whose scored runs are all there.
    experiment, done = Experiment.load(out), {row.run for row in rows}
    return {
        seed
        for seed in experiment.seeds
        if all(run in done or run.search for run in experiment.plan() if run.seed == seed)
    }


def _scale(rows: Sequence[Row]) -> tuple[float, float]:
    floors = [row.score for row in rows if row.kind == FLOOR]
    dense = statistics.fmean(row.score for row in rows if row.kind == DENSE)
    return (floors[0] if floors else 0.0), dense


def _curves(rows: Sequence[Row]) -> Mapping[int, list[tuple[float, float]]]:
    # seed -> (halvings of the pool, score) of the dense network and of winning tickets
    found: dict[int, list[tuple[float, float]]] = {}
    for row in sorted(filled(rows), key=lambda row: row.round):
        if row.kind in (DENSE, WINNING):
            found.setdefault(row.seed, []).append((math.log2(row.pool / row.surviving), row.score))
    return found


def area(points: Sequence[tuple[float, float]], places: Sequence[float]) -> float:
    """Return the mean score over the halvings between the first and the last place, the line between points straight.

    :param points: (halvings of the pool, score), by rising halvings, from the dense network on
    :param places: the places at which the line is read, rising
    """
    values = [_at(points, place) for place in places]
    parts = zip(places, places[1:], values, values[1:], strict=False)
    width = places[-1] - places[0]
    return math.fsum((right - left) * (one + other) / 2 for left, right, one, other in parts) / width


def _at(points: Sequence[tuple[float, float]], place: float) -> float:
    for (left, one), (right, other) in itertools.pairwise(points):
        if left <= place <= right:
            return one + (other - one) * (place - left) / (right - left)
    return points[-1][1]


def _areas(
    full: Sequence[tuple[float, float]], cheap: Sequence[tuple[float, float]], floor: float, dense: float
) -> tuple[float, float]:
    # Read at the levels of the cheap way alone: the plain chain's other levels would be compared with straight lines.
    last = min(full[-1][0], cheap[-1][0])
    places = [place for place, _ in cheap if place <= last + 1e-9]
    found = [(area(points, places) - floor) / (dense - floor) for points in (full, cheap)]
    return found[0], found[1]


def lower_bound(differences: Sequence[float]) -> float:
    """Return the one-sided 95% bound below the mean of paired differences, by Student's t; NaN for one.

    :param differences: one difference per seed
    """
    if len(differences) < 2:
        return math.nan
    from scipy import stats

    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.fmean(differences) - float(stats.t.ppf(0.95, len(differences) - 1)) * error


def _how_small(folder: Path, seeds: Sequence[int]) -> float:
    source = source_of(folder)
    rows = [row for row in source.rows if row.seed in seeds or row.kind == FLOOR]
    found = answer(rows, source.question(None))
    return next((each.surviving for each in found.thresholds if each.kind == WINNING), math.nan)


def _overlaps(plain: Path, folder: Path, full: Sequence[Row], cheap: Sequence[Row]) -> Iterator[tuple[float, float]]:
    known = {(row.seed, row.surviving): row for row in full if row.kind == WINNING}
    for row in cheap:
        other = known.get((row.seed, row.surviving))
        if row.kind != WINNING or other is None or row.not_run or other.not_run:
            continue
        one, two = (
            Ticket.load(out / run.folder / paths.TICKET) for out, run in ((plain, other.run), (folder, row.run))
        )
        share = row.surviving_fraction
        yield one.masks.overlap(two.masks), share / (2 - share)
    if not any((row.seed, row.surviving) in known for row in cheap if row.kind == WINNING):
        yield math.nan, math.nan


def table(found: Sequence[Line]) -> str:
    """Return the table in Markdown.

    :param found: its lines
    """
    head = [
        *("experiment", "way", "seeds", "cost", "critical", "how small, plain", "cheap"),
        *("area, plain", "cheap", "difference", "95% bound", "not inferior", "overlap", "chance"),
    ]
    rows = [head, ["---"] * len(head)]
    for line in found:
        bound = "-" if math.isnan(line.bound) else f"{line.bound:+.3f}"
        inferior = "-" if math.isnan(line.bound) else "yes" if line.bound > MARGIN else "not shown"
        small = ["-" if math.isnan(value) else f"{100 * value:.2g}%" for value in (line.small_plain, line.small)]
        areas = [f"{line.area_plain:.3f}", f"{line.area:.3f}", f"{line.difference:+.3f}", bound]
        ends = [inferior, f"{line.overlap:.2f}", f"{line.chance:.2f}"]
        first = [line.experiment, line.way, str(line.seeds), f"{line.cost:.2f}", f"{line.critical:.1f}"]
        rows.append([*first, *small, *areas, *ends])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Do the ways and print their table.

    :param argv: command-line arguments; ``None`` means those of ``sys.argv``
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--experiment", choices=list(EXPERIMENTS), default="cartpole")
    parser.add_argument("--ways", nargs="+", choices=[way for way in WAYS if way != PLAIN], default=list(WAYS)[1:])
    parser.add_argument("--seeds", nargs="+", default=["1-10"], metavar="SEED")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    args = parser.parse_args(argv)
    if not args.table:
        os.nice(10)
        run(args.out, args.experiment, args.ways, args.seeds, args.jobs)
    found = lines(args.out, args.experiment)
    if not found:
        parser.error(f"{args.out / args.experiment} has no way with a finished seed to compare with the plain chain")
    with open(args.out / args.experiment / "ways.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(found[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in found)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
