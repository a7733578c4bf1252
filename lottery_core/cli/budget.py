"""``--budget``: levels, search and seeds chosen from what the dense run took, and seeds from the spread alone.

The number of seeds is fixed in two stages (Stein, 1945): a few seeds show how much the differences spread, and the
spread alone says how many are needed. Whether a difference was significant is never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from lottery_core.errors import ConfigError
from lottery_core.experiments import (
    Cost,
    Experiment,
    Row,
    Run,
    as_kept,
    asked_for,
    choice_of,
    cost_of,
    dense,
    duration,
    has_tickets,
    paths,
    read_budget,
    read_marker,
    read_rows,
)
from lottery_core.files import read_curve, write_json
from lottery_core.pruning import BEST_OF, SEARCH_FULL, Look, parse_search, rounds_of_levels, settles_at
from lottery_core.pruning import BUDGET as BUDGET_KINDS
from lottery_core.reports import answer, length, looks_of, of_rows

WALL, CPU, RUNS = "wall-clock time", "CPU time", "trainings"
PILOT = 3  # seeds that show the spread
_LEVELS = (0.5, 0.2, 0.1, 0.05, 0.02)
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(cpu)?\s*(s|min|h|d|runs?)?")
_MOST_SEEDS = 100


@dataclass(frozen=True)
class Budget:
    """What an experiment may cost in all.

    :param of: :data:`WALL`, :data:`CPU` or :data:`RUNS`
    :param amount: seconds, or number of full trainings
    """

    of: str
    amount: float

    def __str__(self) -> str:
        return f"{self.amount:g} {RUNS}" if self.of == RUNS else f"{duration(self.amount)} of {self.of}"


@dataclass(frozen=True)
class Plan:
    """A way to do an experiment within a budget.

    :param experiment: the experiment, with its rounds, levels, search and seeds
    :param cost: its cost in full trainings
    :param share: share of a training that a search round takes, as the dense run shows
    """

    experiment: Experiment
    cost: Cost
    share: float


def parse_budget(word: str) -> Budget:
    """Parse a budget: ``6h``, ``90min`` or ``2d`` of wall-clock time, ``12cpuh`` of CPU time, or ``40`` trainings.

    :param word: the word
    :raises ConfigError: the word has another form, or the amount is 0
    """
    match = _FORM.fullmatch(word.strip())
    unit = match.group(3) if match else None
    if match is None or not float(match.group(1)) or (match.group(2) and unit not in _UNITS):
        raise ConfigError(f"--budget '{word}' is not understood; accepted: 6h, 90min, 2d, 12cpuh, or 40runs")
    amount = float(match.group(1))
    if unit not in _UNITS:
        return Budget(RUNS, amount)
    return Budget(CPU if match.group(2) else WALL, amount * _UNITS[unit])


def ways(experiment: Experiment, chosen: Iterable[str], looks: Sequence[Look]) -> Iterator[tuple[Experiment, float]]:
    """Yield the ways to do an experiment, the plainest first, and the share of a training that a search round takes.

    :param experiment: the configuration
    :param chosen: names of the settings that the user chose: ``"levels"`` (also by rounds) and ``"search"`` stay
    :param looks: the checks of the mask in the dense run
    """
    chosen = set(chosen)
    own = parse_search(experiment.search)
    yield experiment, _share(own.mean, own.threshold, looks)
    scored = () if "levels" in chosen else _levels_of(experiment)
    if scored:
        experiment = replace(experiment, score_rounds=scored, rounds=scored[-1])
        yield experiment, _share(own.mean, own.threshold, looks)
    if "search" not in chosen and own.full and not set(experiment.kinds) & {*BUDGET_KINDS, *BEST_OF}:
        settled = parse_search("settled")
        yield replace(experiment, search=str(settled)), _share(None, settled.threshold, looks)


def _levels_of(experiment: Experiment) -> tuple[int, ...]:
    scored: tuple[int, ...] = ()
    with suppress(ConfigError):  # at a small rate deep levels take too many rounds
        for level in _LEVELS:  # at a large rate two levels may have the same round
            round_ = rounds_of_levels([level], experiment.prune_rate, experiment.first)[0]
            scored += (round_,) if not scored or round_ > scored[-1] else ()
    return scored


def _share(share: float | None, threshold: float | None, looks: Sequence[Look]) -> float:
    if threshold is not None:
        return settles_at(list(looks), threshold) or 1.0
    return share or 1.0


def plan_within(
    budget: Budget,
    first: Row,
    options: Iterable[tuple[Experiment, float]],
    seeds: Sequence[int],
    jobs: int,
    most: int,
) -> Plan:
    """Choose the plainest way that leaves room for the pilot's seeds, and as many seeds as fit.

    :param budget: the budget, of the whole experiment
    :param first: row of the dense run
    :param options: the ways, see :func:`ways`
    :param seeds: the seeds that may be used, in their order
    :param jobs: number of parallel runs
    :param most: the largest number of seeds
    :raises ConfigError: not even one seed fits, however it is done
    """
    best: Plan | None = None
    for experiment, share in options:
        for count in range(1, min(most, len(seeds)) + 1):
            candidate = replace(experiment, seeds=tuple(seeds[:count]))
            cost = cost_of(candidate.plan(), candidate.needs, partial(_share_of_run, candidate, share))
            if _price(budget, cost, first, jobs) > budget.amount:
                break
            if best is None or count > len(best.experiment.seeds):
                best = Plan(candidate, cost, share)
        if best is not None and len(best.experiment.seeds) >= min(PILOT, most, len(seeds)):
            return best
    if best is None:
        raise ConfigError(
            f"--budget {budget} is too small: the dense run alone took {duration(first.wall_seconds)} "
            f"({duration(first.cpu_seconds)} of CPU time), and no way to do one seed fits"
        )
    return best


def _share_of_run(experiment: Experiment, share: float, run: Run) -> float:
    return share if run.search else length(run, experiment.alike(run))


def _price(budget: Budget, cost: Cost, first: Row, jobs: int) -> float:
    if budget.of == RUNS:
        return cost.total
    if budget.of == CPU:
        return cost.total * first.cpu_seconds
    return max(cost.total / jobs, cost.critical) * first.wall_seconds


def seeds_by_spread(experiment: Experiment, rows: Sequence[Row]) -> int | None:
    """Return how many seeds the spread of the pilot asks for, whatever the difference is.

    :param experiment: the configuration
    :param rows: rows of the pilot
    :returns: the number; ``None`` if fewer than two seeds or no scale say nothing about it
    """
    found = answer(rows, of_rows(rows, experiment).question(None))
    need = next((need for need in found.needed if need.whole), None)
    return None if need is None else need.seeds or _MOST_SEEDS


def run_within(
    word: str,
    experiment: Experiment,
    chosen: Iterable[str],
    jobs: int,
    run: Callable[[Experiment], object],
    say: Callable[[str], None],
) -> Experiment:
    """Plan and do an experiment within a budget: the dense run, the pilot, then the seeds that the spread asks for.

    What was chosen is kept in ``budget.json``, and kept when the same command resumes.

    :param word: the budget, see :func:`parse_budget`
    :param experiment: the configuration; if the user chose its seeds, as many of them are used as fit
    :param chosen: names of the settings that the user chose: ``"levels"``, ``"search"``, ``"seeds"``
    :param jobs: number of parallel runs
    :param run: does the runs of an experiment that are not done
    :param say: shows a line
    :returns: the experiment as it was done
    :raises LotteryError: the budget is too small or was planned for something else, or see ``run``
    """
    budget, chosen = parse_budget(word), set(chosen)
    seeds = experiment.seeds if "seeds" in chosen else tuple(range(experiment.seeds[0], experiment.seeds[0] + 100))
    kept, asked = read_budget(experiment), asked_for(experiment, chosen)
    experiment = as_kept(experiment, chosen, word)
    if kept or has_tickets(experiment.out):  # their levels and search stay; another budget may have other seeds
        chosen |= {"levels", "search"}
    if kept.get("budget") != word:
        first = dense_row(experiment, run)
        curve = experiment.out / dense(experiment.seeds[0]).folder / paths.LEARNING
        options = ways(experiment, chosen, looks_of(read_curve(curve)))
        pilot = plan_within(budget, first, options, seeds, jobs, most=PILOT)
        kept = {"budget": word, **choice_of(pilot.experiment), "share": pilot.share, "fixed": False, "asked": asked}
        write_json(experiment.out / paths.BUDGET, kept)
        say(sentence(budget, first, pilot, jobs))
        experiment = pilot.experiment
    run(experiment)
    if not kept["fixed"]:
        first = dense_row(experiment, run)
        wanted = len(seeds) if "seeds" in chosen else seeds_by_spread(experiment, read_rows(experiment.out, experiment))
        most = max(len(experiment.seeds), wanted or 0)
        with suppress(ConfigError):  # the pilot has been trained, also where fewer jobs have less room now
            final = plan_within(budget, first, [(experiment, float(kept["share"]))], seeds, jobs, most).experiment
            experiment = max(experiment, final, key=lambda one: len(one.seeds))
        kept = {**kept, **choice_of(experiment), "fixed": True}
        write_json(experiment.out / paths.BUDGET, kept)
        count = len(experiment.seeds)
        if "seeds" in chosen:
            say(f"seeds: {wanted} were chosen, {count} are trained{'' if count == wanted else ', as many as fit'}")
        else:
            asks = "says nothing about the seeds" if wanted is None else f"asks for {wanted} seeds"
            say(f"seeds: the spread {asks}, {count} are trained (fixed now, from the spread alone)")
        run(experiment)
    return experiment


def dense_row(experiment: Experiment, run: Callable[[Experiment], object]) -> Row:
    """Return the row of the first seed's dense run, which is trained if it is not done.

    :param experiment: the configuration
    :param run: does the runs of an experiment that are not done
    :raises LotteryError: see ``run``
    """
    folder = experiment.out / dense(experiment.seeds[0]).folder
    row = read_marker(folder, experiment) if folder.exists() else None
    if row is None:
        run(replace(experiment, seeds=experiment.seeds[:1], rounds=0))
        row = read_marker(folder, experiment)
    assert row is not None
    return row


def sentence(budget: Budget, first: Row, plan: Plan, jobs: int) -> str:
    """Return what was chosen, for users.

    :param budget: the budget
    :param first: row of the dense run
    :param plan: the plan
    :param jobs: number of parallel runs
    """
    chosen = plan.experiment
    levels = "all rounds are scored"
    if chosen.score_rounds:
        levels = f"rounds {' '.join(map(str, chosen.score_rounds))} are scored"
    search = "search in full"
    if chosen.search != SEARCH_FULL:
        search = f"--search {chosen.search}, of which the dense run expects {plan.share:.0%} of a training"
    price = max(plan.cost.total / jobs, plan.cost.critical) * first.wall_seconds
    return (
        f"budget of {budget}: the dense run took {duration(first.wall_seconds)}; {levels}, {search}, "
        f"{len(chosen.seeds)} seeds at first: {plan.cost.total:.1f} trainings, {plan.cost.critical:.1f} one after the "
        f"other, about {duration(price)} with {jobs} at a time"
    )
