"""What a budget chose for an experiment, kept in ``budget.json``, and what a later command may ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments.configuration.experiment import Experiment
from lottery_core.experiments.configuration.stored import DEFAULTS, only_dense, read_row
from lottery_core.experiments.graph import paths
from lottery_core.files import from_json, read_object

_CHOICE = ("rounds", "score_rounds", "search", "seeds")


@dataclass(frozen=True)
class _Kept:
    budget: str
    rounds: int
    score_rounds: tuple[int, ...]
    search: str
    seeds: tuple[int, ...]
    share: float
    fixed: bool
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    kinds: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    repeat_noise: int | None = None  # not kept by earlier versions


def read_budget(experiment: Experiment) -> dict[str, Any]:
    """Return what a budget chose in an experiment's folder; empty if there was none.

    :param experiment: the configuration
    :raises ConfigError: what was kept is damaged
    """
    path = experiment.out / paths.BUDGET
    row = dict(read_object(path))
    if row:
        kept = from_json(_Kept, row, lambda why: ConfigError(f"{path} is damaged: {why}"))
        from_json(_Asked, kept.asked, lambda why: ConfigError(f"{path} is damaged: in 'asked', {why}"))
    return row


def choice_of(experiment: Experiment) -> dict[str, Any]:
    """Return what a budget chooses, to be kept.

    :param experiment: the experiment as it was chosen
    """
    return {name: getattr(experiment, name) for name in _CHOICE}


def asked_for(experiment: Experiment, chosen: Collection[str]) -> dict[str, Any]:
    """Return for what a budget was planned, to be kept: kinds, trainings a ticket, and seeds if the user limited them.

    :param experiment: the configuration as the user gave it
    :param chosen: names of the settings that the user chose
    """
    seeds = experiment.seeds if "seeds" in chosen else None
    return {"kinds": experiment.kinds, "seeds": seeds, "repeat_noise": experiment.repeat_noise}


def with_choice(experiment: Experiment, kept: Mapping[str, Any]) -> Experiment:
    """Return an experiment as a budget chose it.

    :param experiment: the configuration
    :param kept: what was kept
    :raises ConfigError: the experiment cannot have it
    """
    scored, seeds = tuple(kept["score_rounds"]), tuple(kept["seeds"])
    return replace(experiment, rounds=kept["rounds"], score_rounds=scored, search=kept["search"], seeds=seeds)


def has_tickets(out: Path) -> bool:
    """Return whether the folder of an experiment has begun with more than dense runs, so that its levels are fixed.

    :param out: the folder
    """
    return bool(read_row(out)) and not only_dense(out)


def as_kept(experiment: Experiment, chosen: Collection[str], word: str | None) -> Experiment:
    """Return an experiment with the levels and the search that its folder has, where a budget would choose them.

    :param experiment: the configuration as the user gives it
    :param chosen: names of the settings that the user chose
    :param word: the budget; ``None`` returns the experiment as it is
    :returns: the experiment; also with the seeds that were chosen, if it was for this budget
    :raises ConfigError: it asks for something else than what was kept, see :func:`check_same_choice`
    """
    if word is None:
        return experiment
    kept = read_budget(experiment)
    check_same_choice(experiment, chosen, kept, word)
    if kept:
        found = with_choice(experiment, kept)
        return found if kept["budget"] == word else replace(found, seeds=experiment.seeds)
    if not has_tickets(experiment.out):
        return experiment
    row = {**DEFAULTS, **read_row(experiment.out)}
    levels = {} if "levels" in chosen else {"rounds": row["rounds"], "score_rounds": tuple(row["score_rounds"])}
    search = {} if "search" in chosen else {"search": row["search"]}
    return replace(experiment, **levels, **search)


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
    if experiment.repeat_noise > (asked.get("repeat_noise") or experiment.repeat_noise):
        more.append("further trainings of each ticket")
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
    if kept and kept["budget"] != word:
        return (
            f"--budget {word}: levels and search stay as --budget {kept['budget']} chose them, and the seeds are "
            "chosen anew; the plan above has the ones that were asked for"
        )
    if not kept and has_tickets(experiment.out):
        return (
            f"--budget {word}: levels and search stay as this folder has them, and the seeds are chosen from its dense "
            "run and its spread; the plan above is without it"
        )
    if not kept:
        return (
            f"--budget {word}: the dense run of seed {experiment.seeds[0]} is trained first, then levels, search and "
            "seeds are chosen; the plan above is what was asked for, without it"
        )
    before = with_choice(experiment, kept)
    more = "" if kept.get("fixed") else ", and more seeds if their spread asks for them and they fit"
    return f"--budget {word} chose {_shown(before)} with {len(before.seeds)} seeds, as above{more}"
