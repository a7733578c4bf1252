"""``stability`` and ``--rewind auto``: the options of a probe, and the experiment that does its runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lottery_core.cli.budget import parse_budget
from lottery_core.cli.common import Parser
from lottery_core.errors import ConfigError
from lottery_core.experiments import (
    KEPT,
    POINTS,
    REMAINING,
    STEPS,
    THRESHOLD,
    Experiment,
    Probe,
    Progress,
    paths,
    read_row,
)
from lottery_core.pruning import INIT, SEARCH_FULL, WINNING
from lottery_core.reports import Stability, check_threshold, stability

AUTO = "auto"
STABILITY = "stability"  # the subcommand
PROBE_DEFAULTS: dict[str, Any] = {"points": list(POINTS), "of": None, "steps": STEPS, "threshold": THRESHOLD}
# Options about tickets, which a probe does not train.
_OF_TICKETS = (
    *("kinds", "rounds", "prune_rate", "repeat_noise", "rewind", "rewind_what", "after_rewind", "criterion"),
    *("scope_shares", "gradual", "outside", "score_at", "score_rounds", "first", "search", "stop_at_floor", "budget"),
    *("tickets_from", "map", "unmatched", "granularity"),
)


def add_stability_options(group: argparse._ActionsContainer) -> None:
    """Add ``--points``, ``--of``, ``--steps`` and ``--threshold``.

    :param group: a parser or an argument group
    """
    add = group.add_argument
    shown = " ".join(POINTS).replace("%", "%%")
    add(
        "--points",
        nargs="+",
        metavar="POINT",
        help=f"candidate rewind points: shares of the training, or points as for --rewind ({shown})",
    )
    add("--of", type=Path, metavar="TICKET", help="probe a ticket: the copies have its masks (dense copies)")
    add("--steps", type=int, metavar="N", help=f"networks on each line, with both ends ({STEPS})")
    add(
        "--threshold",
        type=float,
        metavar="SHARE",
        help="largest instability of a stable point, as a share of the distance from the measured floor to the copies' "
        f"score ({THRESHOLD:g})",
    )


def refuse_ticket_options(given: Mapping[str, Any]) -> None:
    """Check that no option was given to ``stability`` that only concerns tickets.

    :param given: options that were given, by name
    :raises ConfigError: such an option was given
    """
    for name in _OF_TICKETS:
        if name in given:
            raise ConfigError(f"--{name.replace('_', '-')} is for tickets: stability trains copies of one network")


def refuse_probe_options(given: Mapping[str, Any]) -> None:
    """Check that no option of a probe was given without one.

    :param given: options that were given, by name
    :raises ConfigError: such an option was given, and ``--rewind`` is not ``auto``
    """
    for name in PROBE_DEFAULTS if given.get("rewind") != AUTO else ():
        if name in given:
            raise ConfigError(f"--{name} is for the stability of rewind points: it needs --rewind {AUTO}")


def threshold_of(given: Mapping[str, Any]) -> float:
    """Return the largest instability of a stable point.

    :param given: options that were given, by name
    :raises ConfigError: it is not larger than 0
    """
    return check_threshold(float({**PROBE_DEFAULTS, **given}["threshold"]))


def with_probed_point(
    given: Mapping[str, Any],
    probe: Callable[[Mapping[str, Any]], object],
    check: Callable[[Mapping[str, Any]], object],
) -> Mapping[str, Any] | None:
    """Return the options of an experiment with the rewind point that a probe chooses, under ``--rewind auto``.

    An experiment that has begun keeps its point, and needs no further probe.

    :param given: options that were given, by name
    :param probe: does the runs of a probe with its options
    :param check: checks the options of the experiment, with a rewind point in the place of ``auto``, before the probe
    :returns: the same options if another rewind point was given; ``None`` if a dry run has only listed the probe's runs
    :raises ConfigError: an option of a probe was given without ``--rewind auto``, a budget was given that would not
        count the probe, or no candidate is stable
    :raises LotteryError: an option of the experiment is invalid
    """
    refuse_probe_options(given)
    if given.get("rewind") != AUTO or "out" not in given:
        return given
    threshold = threshold_of(given)
    begun = _point_of(given["out"])
    if given.get("budget") is not None:
        parse_budget(given["budget"])
    if begun:
        Progress(quiet=given["quiet"]).say(f"--rewind {AUTO}: {begun}, with which {given['out']} began")
        return {**given, "rewind": begun}
    if given.get("budget") is not None:
        raise ConfigError(
            f"--rewind {AUTO}: --budget does not count the trainings of the probe: run {STABILITY} first, with as many "
            "--points and --seeds as you want to pay for, then give its point, --rewind POINT"
        )
    check({**given, "rewind": INIT, "quiet": True})
    folder = given["out"] / paths.PROBE
    probe({**without_ticket_options(given), "out": folder})
    if given["dry_run"]:
        print("the runs of the experiment follow from the probe's point")
        return None
    point = chosen_point(stability(folder, threshold), folder)
    Progress(quiet=given["quiet"]).say(f"--rewind {AUTO}: {point}")
    return {**given, "rewind": point}


def _point_of(out: Path) -> str | None:
    # Another point would be refused, and one that keeps the trained weights is none that a probe chooses.
    point = read_row(out).get("rewind")
    return None if point in (None, *KEPT) else str(point)


def as_stability_parser(result: Parser, command: str, usage: str, scored: str) -> Parser:
    """Turn the parser of a command into that of its ``stability``: the same options.

    :param result: the command's parser
    :param command: its name
    :param usage: the arguments of ``stability``
    :param scored: the end of the description: what is scored, and how
    """
    result.prog = f"{command} {STABILITY}"
    result.usage = f"{command} {STABILITY} {usage}"
    result.description = (
        "Probe candidate rewind points: from each of them two copies of the network are trained under different noise, "
        f"and the {scored}. A probe trains no tickets, so these options are refused: "
        f"{', '.join('--' + name.replace('_', '-') for name in _OF_TICKETS)}."
    )
    return result


def without_ticket_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an experiment without those that a probe of it does not have, for ``--rewind auto``.

    :param given: options that were given, by name
    """
    return {name: value for name, value in given.items() if name not in _OF_TICKETS}


def probe_of(experiment: Experiment, points: Sequence[str], values: Mapping[str, Any]) -> Experiment:
    """Return the experiment that does the runs of a probe.

    :param experiment: an experiment with the settings of the runs, and the seeds
    :param points: the candidate points, as the framework types them
    :param values: values of the options, see :data:`PROBE_DEFAULTS`
    :raises LotteryError: a value is invalid, or the ticket cannot be read
    """
    out, of = experiment.out, values["of"]
    place = "" if of is None else os.path.relpath(Path(of).resolve(), out.resolve())
    probe = Probe(tuple(points), place, values["steps"])
    ticket = probe.ticket(out)
    before = read_row(out).get("probe", {})
    if ticket is not None and (not before or "sha256" in before):  # a folder of an earlier version goes on without it
        probe = replace(probe, sha256=ticket.digest)
    return replace(
        experiment,
        kinds=(WINNING,),
        rounds=0,
        rewind=INIT,
        after_rewind=REMAINING,
        repeat_noise=1,
        search=SEARCH_FULL,
        first=None,
        score_rounds=(),
        probe=probe.as_json(),
    )


def probe_line(experiment: Experiment) -> str:
    """Return a line for users about the cost of a probe, before it starts.

    :param experiment: the probe
    """
    assert experiment.probed is not None
    count = len(experiment.probed.points)
    return (
        f"stability of {count} points: {' '.join(experiment.probed.points)}; for each seed a dense training, 2 copies "
        f"from each point for what remains of the training, so at most {1 + 2 * count} trainings, and "
        f"{experiment.probed.steps} networks to score between the copies of each"
    )


def chosen_point(found: Stability, out: Path) -> str:
    """Return the earliest stable point of a probe, for ``--rewind auto``.

    :param found: the result of the probe
    :param out: folder of the probe
    :raises ConfigError: no candidate is stable, or a line is missing
    """
    if found.missing:
        raise ConfigError(
            f"--rewind {AUTO}: {found.missing} of {found.lines} lines are not done ({out}): give all seeds of the probe"
        )
    if found.earliest is None:
        last = found.points[-1]
        if not last.learnt:
            raise ConfigError(
                f"--rewind {AUTO}: copies from {last.point} are no better than the floor ({out / paths.STABILITY}): "
                "train longer, or choose a --rewind point yourself"
            )
        raise ConfigError(
            f"--rewind {AUTO}: no candidate is stable with all later ones: the last one, {last.point}, has an "
            f"instability of {last.share:.1%} ({out / paths.STABILITY}): choose a --rewind point yourself"
        )
    return found.earliest.point
