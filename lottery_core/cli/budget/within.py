"""An experiment within a budget: its dense run, the pilot, and the seeds that its spread asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from lottery_core.cli.budget.ways import PILOT, Check, parse_budget, plan_within, sentence, ways
from lottery_core.errors import CheckpointError, LotteryError
from lottery_core.experiments import (
    Experiment,
    Row,
    as_kept,
    asked_for,
    check_levels,
    choice_of,
    dense,
    has_tickets,
    paths,
    read_budget,
    read_marker,
    read_rows,
)
from lottery_core.files import read_curve, write_json
from lottery_core.pruning import layout_of_weights
from lottery_core.reports import answer, looks_of, of_rows
from lottery_core.tickets import Weights

_MOST_SEEDS = 100


def seeds_by_spread(experiment: Experiment, rows: Sequence[Row]) -> int | None:
    """Return how many seeds the spread of the pilot asks for, whatever the difference is.

    :param experiment: the configuration
    :param rows: rows of the pilot
    :returns: the number for the whole effect, 101 for more than 100; ``None`` if fewer than two seeds or no scale say
        nothing about it
    """
    found = answer(rows, of_rows(rows, experiment).question(None))
    need = next((need for need in found.needed if need.whole), None)
    return None if need is None else need.seeds or _MOST_SEEDS + 1


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
        check = _check_of(experiment)
        options = ways(experiment, chosen, looks_of(read_curve(curve)), check)
        pilot = plan_within(budget, first, options, seeds, jobs, PILOT, check)
        kept = {"budget": word, **choice_of(pilot.experiment), "share": pilot.share, "fixed": False, "asked": asked}
        write_json(experiment.out / paths.BUDGET, kept)
        say(sentence(budget, first, pilot, jobs))
        experiment = pilot.experiment
    run(experiment)
    if not kept["fixed"]:
        first = dense_row(experiment, run)
        wanted = len(seeds) if "seeds" in chosen else seeds_by_spread(experiment, read_rows(experiment.out, experiment))
        most = max(len(experiment.seeds), wanted or 0)
        with suppress(LotteryError):  # the pilot has been trained, also where fewer jobs have less room now
            options = iter([(experiment, float(kept["share"]))])
            final = plan_within(budget, first, options, seeds, jobs, most, _check_of(experiment)).experiment
            experiment = max(experiment, final, key=lambda one: len(one.seeds))
        kept = {**kept, **choice_of(experiment), "fixed": True}
        write_json(experiment.out / paths.BUDGET, kept)
        count = len(experiment.seeds)
        if "seeds" in chosen:
            say(f"seeds: {wanted} were chosen, {count} are trained{'' if count == wanted else ', as many as fit'}")
        else:
            asks = "says nothing about the seeds" if wanted is None else f"asks for {_counted(wanted)} seeds"
            say(f"seeds: the spread of the whole effect {asks}, {count} are trained (fixed now, from the spread alone)")
        run(experiment)
    return experiment


def _counted(seeds: int) -> str:
    return f"{seeds}" if seeds <= _MOST_SEEDS else f"more than {_MOST_SEEDS}"


def _check_of(experiment: Experiment) -> Check:
    # Once the first dense run is there, its start values say which tensors there are.
    try:
        weights = Weights.load(experiment.out / dense(experiment.seeds[0]).folder / paths.INIT)
    except CheckpointError:  # it is reported, and trained again, where a ticket needs it
        return lambda some: check_levels(some, None, None)
    layout = layout_of_weights(weights, experiment.scope, experiment.granularity)
    return lambda some: check_levels(some, weights, layout)


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
