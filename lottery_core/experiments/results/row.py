"""The row of a finished run, and the score of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lottery_core.experiments.graph import Run
from lottery_core.pruning import MAGNITUDE
from lottery_core.tickets import TOGETHER, WEIGHT

LARGEST = 1e100  # tables square and sum values, which must not overflow


@dataclass(frozen=True)
class Score:
    """The score of one run, and what the run took.

    :param score: the score
    :param score_se: the score's standard error; NaN if there is none
    :param returns: number of values that the score averages, e.g. of the last L episodes
    :param steps: number of environment steps or updates trained
    :param wall_seconds: wall-clock time of the run in seconds
    :param cpu_seconds: CPU time of the run in seconds; if it was resumed, that of its earlier processes is estimated
        from their wall-clock time
    :param eval_score: mean return of the trained agent in new episodes; ``None`` without an evaluation
    :param eval_se: the standard error of ``eval_score``; ``None`` for fewer than two episodes
    :param eval_episodes: number of new episodes
    :param rewind_steps: steps, as in ``steps``, that the dense run had trained at the rewind point; None if unknown
    :param more: name -> value of further scores of the same run
    :param scoring: how the run was scored, as options of a command line; empty if training itself gives the score
    :param search: how far the run was to train, if it only searched for the next ticket; empty for a scored run
    :param share: share of the training that was done, in (0, 1]
    :param stopped: where a search run ended, for users
    """

    score: float
    score_se: float = math.nan
    returns: int = 1
    steps: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    eval_score: float | None = None
    eval_se: float | None = None
    eval_episodes: int = 0
    rewind_steps: int | None = None
    more: Mapping[str, float] = field(default_factory=dict, hash=False)
    scoring: str = ""
    search: str = ""
    share: float = 1.0
    stopped: str = ""


@dataclass(frozen=True)
class Row:
    """The result of one finished run. Its counts and fractions are those of the parameters in the pool."""

    experiment: str
    seed: int
    kind: str
    round: int
    pool: int
    pruned: int
    surviving: int
    pruned_fraction: float
    surviving_fraction: float
    score: float
    score_se: float
    returns: int
    steps: int
    wall_seconds: float
    cpu_seconds: float
    collapsed: tuple[str, ...]
    ticket: str
    versions: str
    eval_score: float | None = None
    eval_se: float | None = None
    eval_episodes: int = 0
    rewind_steps: int | None = None
    criterion: str = MAGNITUDE.name
    networks: str = ""  # survivors by network if there are several: "actor=12/4610 critic=900/4545"
    scope_shares: str = TOGETHER
    scoring: str = ""
    more: Mapping[str, float] = field(default_factory=dict, hash=False)
    score_label: str = ""  # description of the score; missing in rows of 0.1
    search: str = ""  # how far a search run was to train; empty for a scored run
    share: float = 1.0  # of the training that was done
    stopped: str = ""  # where a search run ended
    noise: int = 1  # number of the training of this ticket; further ones have other noise
    not_run: str = ""  # why the run was left out, "at the floor"; it has no score then
    same_as: str = ""  # the run of the same ticket, "winning/round-01", whose outcome was copied instead of training
    output_scale: float | None = None  # product of the layers' root mean squares at the start of a ticket
    gradual: str = ""  # begin, end and steps of the schedule of a ticket that was pruned gradually
    granularity: str = WEIGHT
    carried: int | None = None  # parameters in tensors whose masks came from another experiment; None for other kinds
    unmatched: str = ""  # what happened to the other tensors of such a ticket

    @property
    def run(self) -> Run:
        """The run that this row records."""
        return Run(self.seed, self.kind, self.round, self.noise, bool(self.search))


def check_numbers(row: Row | Score, damaged: Callable[[object], Exception]) -> None:
    """Check the numbers of a row or score, which may come from a damaged file.

    A score may be NaN or infinite, but not a time or a count; and no value may be larger than any run can produce.

    :param row: the row or score
    :param damaged: makes the exception for a reason
    """
    for name in ("returns", "steps", "wall_seconds", "cpu_seconds", "eval_episodes", "rewind_steps", "share"):
        value = getattr(row, name)
        if value is not None and not 0 <= value < math.inf:
            raise damaged(f"'{name}' must be a number of at least 0, not {value}")
    names = ("score", "score_se", "wall_seconds", "cpu_seconds", "eval_score", "eval_se", "output_scale")
    values = {name: getattr(row, name, None) for name in names} | {f"score: {name}": x for name, x in row.more.items()}
    for name, value in values.items():
        if value is not None and math.isfinite(value) and abs(value) > LARGEST:
            raise damaged(f"'{name}' is {value:g}, more than can be averaged")
