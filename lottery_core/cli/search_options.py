"""The options that make an experiment cheaper: levels apart from rounds, and search rounds that end early."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments import BOUND, Experiment, check_levels_at_floor
from lottery_core.pruning import (
    SEARCH_FULL,
    check_rate,
    level_after,
    parse_levels,
    parse_search,
    parse_share,
    rounds_of_levels,
)

_LEVELS = 2  # at the floor
SEARCH_DEFAULTS: dict[str, Any] = {
    "score_at": None,
    "score_rounds": None,
    "first": None,
    "search": SEARCH_FULL,
    "stop_at_floor": None,
    "budget": None,
}


def add_search_options(group: argparse._ActionsContainer) -> None:
    """Add ``--score-at``, ``--score-rounds``, ``--first``, ``--search``, ``--stop-at-floor`` and ``--budget``.

    :param group: a parser or an argument group
    """
    add = group.add_argument
    add(
        "--score-at",
        nargs="+",
        metavar="LEVEL",
        help="score tickets only at the rounds nearest to these levels (shares that survive), e.g. 50%% 20%% "
        "10%% 5%% 2%% (every round); kinds that do not prune round by round are trained at these rounds only",
    )
    add("--score-rounds", nargs="+", type=int, metavar="N", help="score tickets only in these rounds: 5 10 15 20 (all)")
    add("--first", metavar="LEVEL", help="share that survives the first round, e.g. 50%% (as --prune-rate says)")
    add(
        "--search",
        metavar="HOW",
        help=f"training of rounds that only search for the next ticket ({SEARCH_FULL}): {SEARCH_FULL}; a share of the "
        "training, e.g. 0.5; shares that rise to the last search round, e.g. 0.2-0.6; settled, or settled:0.02: until "
        "at most that share of the next survivors changes within a twentieth of the training. Tickets of scored rounds "
        "are trained in full",
    )
    add(
        "--stop-at-floor",
        nargs="?",
        const=_LEVELS,
        type=int,
        metavar="N",
        help=f"leave out the deeper levels of a kind in a repeat after N scored levels in a row ({_LEVELS}) within "
        f"{BOUND:.0%}% of the distance from the measured floor to the dense score; a later command without this option "
        "trains them",
    )
    add(
        "--budget",
        metavar="AMOUNT",
        help="what the whole experiment may take: 6h, 90min or 2d of wall-clock time with --jobs, 12cpuh of CPU time, "
        "or 40runs. Levels, search and seeds that are not given are chosen from what the dense run took; the seeds are "
        "fixed from the spread of the first three alone",
    )


def search_settings(values: Mapping[str, Any], rounds_given: bool) -> dict[str, Any]:
    """Return the settings of an experiment that the options choose: rounds, first, search and score_rounds.

    :param values: values of the options, with ``rounds`` and ``prune_rate``
    :param rounds_given: whether ``rounds`` was given, so that it limits the levels; otherwise the lowest level is the
        last round
    :raises ConfigError: a word is not understood, levels do not fall, both levels and rounds are given, or a number is
        below 1
    :raises PruneError: the prune rate is outside (0, 1)
    """
    rate, rounds = check_rate(values["prune_rate"]), values["rounds"]
    first = None if values["first"] is None else parse_share(str(values["first"]), "--first")
    search = parse_search(str(values["search"]))
    if values["score_at"] is not None and values["score_rounds"] is not None:
        raise ConfigError("--score-at and --score-rounds both choose the rounds that are scored: leave one out")
    check_levels_at_floor(values.get("stop_at_floor"))
    scored = tuple(values["score_rounds"] or ())
    if any(round_ < 1 for round_ in scored):
        raise ConfigError(f"--score-rounds must be from 1 on, not {min(scored)}: the dense network is always scored")
    if values["score_at"] is not None:
        scored = rounds_of_levels(parse_levels([str(word) for word in values["score_at"]]), rate, first)
    if scored and not rounds_given:
        rounds = max(scored)
    if scored and rounds and max(scored) > rounds:
        raise ConfigError(f"--rounds {rounds} ends before the last scored round, {max(scored)}: leave --rounds out")
    return {"rounds": rounds, "first": first, "search": str(search), "score_rounds": scored}


def chosen_of(given: Iterable[str]) -> set[str]:
    """Return which settings the user chose, so that ``--budget`` leaves them: ``levels``, ``search``, ``seeds``.

    :param given: names of the options that were given
    """
    names = set(given)
    levels = {"levels"} if names & {"score_at", "score_rounds", "rounds"} else set()
    return levels | (names & {"search", "seeds"})


def search_lines(experiment: Experiment) -> list[str]:
    """Return lines for users about the rounds that are scored and how the others search; none for a plain experiment.

    :param experiment: the configuration
    """
    lines: list[str] = []
    if not experiment.rounds:
        return lines
    if experiment.score_rounds:
        rate, first = experiment.prune_rate, experiment.first
        levels = (f"{round_} ({level_after(round_, rate, first):.1%})" for round_ in experiment.score_rounds)
        lines.append(f"scored rounds, and what survives: {', '.join(levels)}")
    if experiment.last_round < experiment.rounds:
        after = f"{experiment.last_round + 1} to {experiment.rounds}"
        lines.append(f"rounds {after} are not trained: none of them is scored, and no scored round needs them")
    if any(run.search for run in experiment.plan()):
        lines.append(f"search rounds: --search {experiment.search}, in runs of their own")
    return lines
