"""What a budget chose for an experiment, kept in ``budget.json``, and what a later command may ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments.configuration.experiment import Experiment
from lottery_core.experiments.graph import paths
from lottery_core.files import read_object

_CHOICE = ("rounds", "score_rounds", "search", "seeds")


def read_budget(experiment: Experiment) -> dict[str, Any]:
    """Return what a budget chose in an experiment's folder; empty if there was none.

    :param experiment: the configuration
    """
    return dict(read_object(experiment.out / paths.BUDGET))


def choice_of(experiment: Experiment) -> dict[str, Any]:
    """Return what a budget chooses, to be kept.

    :param experiment: the experiment as it was chosen
    """
    return {name: getattr(experiment, name) for name in _CHOICE}


def asked_for(experiment: Experiment, chosen: Collection[str]) -> dict[str, Any]:
    """Return for what a budget was planned, to be kept: the kinds, and the seeds if the user limited them.

    :param experiment: the configuration as the user gave it
    :param chosen: names of the settings that the user chose
    """
    return {"kinds": experiment.kinds, "seeds": experiment.seeds if "seeds" in chosen else None}


def with_choice(experiment: Experiment, kept: Mapping[str, Any]) -> Experiment:
    """Return an experiment as a budget chose it.

    :param experiment: the configuration
    :param kept: what was kept
    :raises ConfigError: what was kept is damaged
    """
    try:
        return replace(
            experiment,
            rounds=int(kept["rounds"]),
            score_rounds=tuple(map(int, kept["score_rounds"])),
            search=str(kept["search"]),
            seeds=tuple(map(int, kept["seeds"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{experiment.out / paths.BUDGET} is damaged: {error}") from error


def check_same_choice(experiment: Experiment, chosen: Collection[str], kept: Mapping[str, Any], word: str) -> None:
    """Check that a command asks for what the budget of its folder was planned for.

    Another budget is planned again, for its own kinds and seeds; the levels and the search stay.

    :param experiment: the configuration as the user gives it
    :param chosen: names of the settings that the user chose
    :param kept: what was kept; empty if nothing was
    :param word: the budget
    :raises ConfigError: it asks for something else, which the budget would not count or would ignore
    """
    if not kept:
        return
    before, asked = with_choice(experiment, kept), kept.get("asked") or {}
    levels = (before.rounds, before.score_rounds) != (experiment.rounds, experiment.score_rounds)
    ignored = ["other levels"] if levels and "levels" in chosen else []
    if before.search != experiment.search and "search" in chosen:
        ignored.append("another search")
    if ignored:
        raise ConfigError(
            f"the budget of this folder was planned for {_shown(before)}, and {' and '.join(ignored)} would be "
            "ignored: leave these options out, or leave --budget out"
        )
    new = [kind for kind in experiment.kinds if asked.get("kinds") and kind not in asked["kinds"]]
    more = [f"the kinds {', '.join(new)}"] if new else []
    if "seeds" in chosen and asked and asked.get("seeds") != list(experiment.seeds):
        more.append("other seeds")
    if more and kept.get("budget") == word:
        raise ConfigError(
            f"--budget {word} was planned without {' and '.join(more)}: give another amount, of the whole experiment, "
            "and it is planned again, or leave --budget out"
        )


def _shown(experiment: Experiment) -> str:
    scored = " ".join(map(str, experiment.score_rounds)) or f"1 to {experiment.rounds}"
    return f"the scored rounds {scored} and --search {experiment.search}"


def kept_line(experiment: Experiment, kept: Mapping[str, Any], word: str) -> str:
    """Return what a plan that is only shown says about the budget.

    :param experiment: the configuration as the user gives it
    :param kept: what was kept; empty if nothing was
    :param word: the budget
    """
    if kept.get("budget") != word:
        return (
            f"--budget {word}: the dense run of seed {experiment.seeds[0]} is trained first, then levels, search and "
            "seeds are chosen; the plan above is what was asked for, without it"
        )
    before = with_choice(experiment, kept)
    more = "" if kept.get("fixed") else ", and more seeds if their spread asks for them and they fit"
    return f"--budget {word} chose {_shown(before)} with {len(before.seeds)} seeds, as above{more}"
