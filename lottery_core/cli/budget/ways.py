"""The ways to do an experiment within a budget, and the choice of the plainest one that fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from lottery_core.errors import ConfigError, LotteryError
from lottery_core.experiments import (
    Cost,
    Experiment,
    Row,
    Run,
    cost_of,
    duration,
    has_tickets,
    read_budget,
)
from lottery_core.pruning import (
    BEST_OF,
    SEARCH_FULL,
    Look,
    parse_search,
    rounds_of_levels,
    settles_at,
)
from lottery_core.pruning import BUDGET as BUDGET_KINDS
from lottery_core.reports import length

Check = Callable[[Experiment], list[str]]  # raises the error of an experiment whose tickets cannot be had

WALL, CPU, RUNS = "wall-clock time", "CPU time", "trainings"
PILOT = 3  # seeds that show the spread
_LEVELS = (0.5, 0.2, 0.1, 0.05, 0.02)
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(cpu)?\s*(s|min|h|d|runs?)?")


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


def ways(
    experiment: Experiment, chosen: Iterable[str], looks: Sequence[Look], check: Check | None = None
) -> Iterator[tuple[Experiment, float]]:
    """Yield the ways to do an experiment, the plainest first, and the share of a training that a search round takes.

    :param experiment: the configuration
    :param chosen: names of the settings that the user chose: ``"levels"`` (also by rounds) and ``"search"`` stay
    :param looks: the checks of the mask in the dense run
    :param check: checks that tickets can be had; the deepest levels at which they cannot are left out
    """
    chosen = set(chosen)
    own = parse_search(experiment.search)
    yield experiment, _share(own.mean, own.threshold, looks)
    scored = () if "levels" in chosen else _levels_of(experiment)
    while scored and _why_not(_at(experiment, scored), check) is not None:
        scored = scored[:-1]
    if scored:
        experiment = _at(experiment, scored)
        yield experiment, _share(own.mean, own.threshold, looks)
    if "search" not in chosen and own.full and not set(experiment.kinds) & {*BUDGET_KINDS, *BEST_OF}:
        settled = parse_search("settled")
        yield replace(experiment, search=str(settled)), _share(None, settled.threshold, looks)


def _at(experiment: Experiment, scored: tuple[int, ...]) -> Experiment:
    return replace(experiment, score_rounds=scored, rounds=scored[-1])


def _why_not(experiment: Experiment, check: Check | None) -> LotteryError | None:
    try:
        if check is not None:
            check(experiment)
    except LotteryError as error:
        return error
    return None


def check_ways(word: str | None, experiment: Experiment, chosen: Iterable[str], check: Check) -> list[str]:
    """Check an experiment before its first run; of one whose levels a budget will choose, that it can choose any.

    :param word: the budget; ``None`` if there is none
    :param experiment: the configuration, with the levels that a budget has chosen before
    :param chosen: names of the settings that the user chose
    :param check: checks an experiment, and returns lines for users
    :returns: the lines
    :raises LotteryError: see ``check``; with a budget, that of the levels which were asked for
    """
    chosen = {*chosen, "search"}
    if word is not None and not read_budget(experiment) and not has_tickets(experiment.out):
        for way, _ in ways(experiment, chosen, [], check):
            with suppress(LotteryError):
                return check(way)
    return check(experiment)


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
    check: Check | None = None,
) -> Plan:
    """Choose the plainest way that leaves room for the pilot's seeds, and as many seeds as fit.

    :param budget: the budget, of the whole experiment
    :param first: row of the dense run
    :param options: the ways, see :func:`ways`
    :param seeds: the seeds that may be used, in their order
    :param jobs: number of parallel runs
    :param most: the largest number of seeds
    :param check: checks that the tickets of an experiment can be had
    :raises ConfigError: not even one seed fits, however it is done
    :raises LotteryError: no way has tickets for the first seed, see ``check``
    """
    best: Plan | None = None
    refused: LotteryError | None = None
    for experiment, share in options:
        for count in range(1, min(most, len(seeds)) + 1):
            candidate = replace(experiment, seeds=tuple(seeds[:count]))
            cost = cost_of(candidate.plan(), candidate.needs, partial(_share_of_run, candidate, share))
            if _price(budget, cost, first, jobs) > budget.amount:
                break
            why = _why_not(replace(experiment, seeds=tuple(seeds[count - 1 : count])), check)
            if why is not None:
                refused = refused or why
                break
            if best is None or count > len(best.experiment.seeds):
                best = Plan(candidate, cost, share)
        if best is not None and len(best.experiment.seeds) >= min(PILOT, most, len(seeds)):
            return best
    if best is None and refused is not None:
        raise refused
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
