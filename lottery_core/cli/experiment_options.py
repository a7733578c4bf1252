"""The options of an experiment that every plugin's command has: its folder, rounds, kinds, seeds, scope, executor."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lottery_core.cli.completion import accept
from lottery_core.cli.help_text import GRANULARITIES, listed
from lottery_core.cli.search_options import SEARCH_DEFAULTS, add_search_options, search_settings
from lottery_core.cli.transfer_options import TRANSFER_DEFAULTS
from lottery_core.experiments import AFTER_REWIND, FULL, MOST_SEEDS
from lottery_core.experiments.executors import add_executor_options
from lottery_core.pruning import CRITERIA, FRESH, GRADUAL, MAGNITUDE, MEANINGS, REWIND
from lottery_core.tickets import SEPARATE, TOGETHER, WEIGHT

_RANGE = re.compile(r"(\d{1,10})-(\d{1,10})")
# Values of options that neither the user nor a preset gives; an option that was not given is absent from the namespace.
DEFAULTS: dict[str, Any] = {
    "rounds": 20,
    "prune_rate": 0.2,
    "rewind": "epoch:1",
    "kinds": ["winning", "random"],
    "seeds": [1],
    "repeat_noise": 1,
    "scope": ["all"],
    "criterion": MAGNITUDE.name,
    "after_rewind": FULL,
    "scope_shares": TOGETHER,
    "gradual": str(GRADUAL),
    "outside": "",
    "granularity": WEIGHT,
    **SEARCH_DEFAULTS,
    **TRANSFER_DEFAULTS,
}


def experiment_settings(values: Mapping[str, Any], rounds_given: bool) -> dict[str, Any]:
    """Return the settings of an experiment that the options of :func:`add_experiment_options` choose.

    Not among them is the rewind point, whose units are the framework's, nor what :func:`run_experiment` gets.

    :param values: values of all options, those that were not given from :data:`DEFAULTS`
    :param rounds_given: whether ``--rounds`` was given, see
        :func:`~lottery_core.cli.search_options.search_settings`
    :returns: keyword arguments of :class:`~lottery_core.experiments.Experiment`
    :raises LotteryError: a value is invalid
    """
    same = (
        "prune_rate",
        "criterion",
        "after_rewind",
        "scope_shares",
        "gradual",
        "outside",
        "granularity",
        "repeat_noise",
    )
    several = {name: tuple(values[name]) for name in ("kinds", "seeds", "scope")}
    return {**{name: values[name] for name in same}, **several, **search_settings(values, rounds_given)}


def seeds(word: str) -> list[int]:
    """The seeds of a word: ``7``, or a range, ``1-10``, with both ends.

    :raises ValueError: no whole number
    :raises argparse.ArgumentTypeError: a range that goes down, or is too long
    """
    ends = _RANGE.fullmatch(word)
    if ends is None:
        return [int(word)]
    first, last = int(ends[1]), int(ends[2])
    if not first <= last < first + MOST_SEEDS:
        raise argparse.ArgumentTypeError(
            f"'{word}' is no range of seeds: it goes up, as 1-10 does, and has at most {MOST_SEEDS:,} seeds"
        )
    return list(range(first, last + 1))


class _Joined(argparse.Action):
    """Joins what the words stand for, each seed once."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, list(dict.fromkeys(seed for some in values for seed in some)))


def add_experiment_options(
    parser: argparse.ArgumentParser, rewind: str, scope: str
) -> tuple[argparse._ArgumentGroup, argparse._ArgumentGroup, argparse._ArgumentGroup]:
    """Add the options to a parser, whose ``argument_default`` must be ``argparse.SUPPRESS``.

    :param parser: the parser
    :param rewind: help text of ``--rewind``, which lists the accepted rewind points
    :param scope: help text of ``--scope``, which lists the accepted words
    :returns: the groups of the options, to which a plugin may add its own: the experiment, the method, where runs train
    """
    experiment = parser.add_argument_group("experiment")
    add = experiment.add_argument
    add("--out", type=Path, metavar="DIR", help="folder of the experiment; rerun the same command to resume in it")
    add("--rounds", type=int, metavar="N", help="rounds of pruning (20); 0: only the dense runs")
    kinds = add("--kinds", nargs="+", metavar="KIND", help=listed("kinds of ticket (winning random)", MEANINGS))
    accept(kinds, MEANINGS)
    add(
        "--seeds",
        nargs="+",
        type=seeds,
        action=_Joined,
        metavar="SEED",
        help="one repeat of the whole experiment per seed (1); 1-10 is a range",
    )
    add(
        "--repeat-noise",
        type=int,
        metavar="N",
        help="train each ticket N times, under different noise of training, to tell luck from tickets (1); gradual and "
        "snip find another mask each time",
    )
    add(
        "--dry-run",
        action="store_true",
        default=False,
        help="only print the plan: each run, its command, whether it is done, and the time left",
    )
    add("--quiet", action="store_true", default=False, help="show no progress")
    method = parser.add_argument_group("pruning and rewinding")
    _add_method(method, rewind, scope)
    add_search_options(parser.add_argument_group("fewer and shorter trainings"))
    where = parser.add_argument_group("where runs train")
    add_executor_options(where)
    return experiment, method, where


def _add_method(group: argparse._ArgumentGroup, rewind: str, scope: str) -> None:
    add = group.add_argument
    add("--prune-rate", type=float, metavar="P", help="share of the remaining parameters that each round removes (0.2)")
    add("--rewind", metavar="POINT", help=rewind)
    after = listed(f"training after the rewind point ({FULL})", AFTER_REWIND)
    accept(add("--after-rewind", metavar="WORD", help=after), AFTER_REWIND)
    add("--scope", nargs="+", metavar="SCOPE", help=scope)
    criteria = {name: criterion.meaning for name, criterion in CRITERIA.items()}
    ranking = listed("how parameters are ranked for pruning (magnitude)", criteria)
    accept(add("--criterion", metavar="NAME", help=ranking), criteria)
    pieces = listed(f"what is pruned at once ({WEIGHT})", GRANULARITIES)
    accept(add("--granularity", metavar="WORD", help=pieces), GRANULARITIES)
    shares = {
        TOGETHER: "all networks are one pool",
        SEPARATE: "actor and critic, or encoder and decoder, are each pruned at the same rate",
    }
    accept(
        add("--scope-shares", metavar="HOW", help=listed(f"whether networks share a pool ({TOGETHER})", shares)), shares
    )
    outside = {
        REWIND: "at the rewind point, as in the winning ticket",
        FRESH: "at fresh values",
    }
    starts = listed(f"where controls with fresh values start outside the scope ({REWIND})", outside)
    accept(add("--outside", choices=[REWIND, FRESH], metavar="HOW", help=starts), outside)
    add(
        "--gradual",
        nargs=3,
        metavar=("BEGIN", "END", "STEPS"),
        help=f"when tickets of kind gradual are pruned: two shares of the training, and a number of steps ({GRADUAL})",
    )
