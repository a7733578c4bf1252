"""The settings of an experiment, and the checks that they fit together."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.experiments.configuration.probe import Probe
from lottery_core.experiments.configuration.stored import DEFAULTS, SEARCHING, read_row, seeding_of
from lottery_core.experiments.configuration.transfer import TicketSource
from lottery_core.experiments.graph import (
    SEEDINGS,
    Run,
    alike,
    last_trained,
    needs,
    paths,
    plan_probe,
    plan_runs,
    probe_needs,
    with_winning,
)
from lottery_core.pruning import (
    AFTER_REWIND,
    BEST_OF,
    BUDGET,
    FRESH,
    FULL,
    GRADUAL,
    KEPT,
    MAGNITUDE,
    REMAINING,
    REWIND,
    SEARCH_FULL,
    TRANSFERS,
    PruningSchedule,
    Search,
    check_granularity,
    check_outside,
    check_rate,
    check_scope_shares,
    check_units,
    criterion_named,
    needs_rewind_point,
    parse_search,
    schedule,
)
from lottery_core.tickets import ALL, TOGETHER, WEIGHT, Weights, versions


@dataclass(frozen=True)
class Settings:
    """The settings of an experiment, the runs that follow from them, and what each run needs.

    :param out: the experiment's folder
    :param framework: the name of the framework's dialect
    :param settings: the framework's settings for training a run, JSON values; other settings make another experiment
    :param prune_rate: share of the remaining parameters that each round prunes, in (0, 1)
    :param rewind: the rewind point as a string, e.g. ``"epoch:1"``
    :param kinds: kinds of ticket; winning is added where a control needs it
    :param seeds: the seeds of the repeats
    :param rounds: number of pruning rounds; 0: only the dense runs
    :param scope: which parameters are in the pool, see :func:`lottery_core.pool_names`
    :param score_label: description of the score with its unit, for tables and pictures
    :param versions: versions of the packages on which results depend
    :param command: the command line, for the record
    :param criterion: how parameters are ranked for pruning
    :param after_rewind: how long tickets train after the rewind point, one of
        :data:`~lottery_core.experiments.AFTER_REWIND`
    :param scope_shares: whether all networks are one pool (``"together"``), or each is pruned at the same rate
    :param scoring: how finished runs are scored, JSON values; empty if training itself gives the score. With other
        scoring it is the same experiment, whose finished runs are scored again
    :param outside: where parameters outside the scope start in controls with fresh values, see
        :func:`lottery_core.control_ticket`; empty is as before in this folder, else ``"rewind"``
    :param gradual: begin, end and steps of the schedule of tickets that are pruned gradually, in one training
    :param search: how far search rounds train, see :func:`lottery_core.pruning.parse_search`; ``"full"``: a round that
        searches is also scored
    :param first: share of the pool that survives the first round; ``None`` if it prunes as the others do
    :param score_rounds: the rounds whose tickets are trained in full and scored; empty for all of them. With
        ``rounds=0`` these and the search, where they have their default, are those of the folder
    :param repeat_noise: how often each ticket is trained, under different noise
    :param granularity: whether parameters are pruned one by one (``"weight"``), or whole units (``"unit"``)
    :param seeding: which runs of a repeat share the noise of training, one of
        :data:`~lottery_core.experiments.graph.SEEDINGS`; empty: as the folder began, and all of them in a new folder
    :param transfer: whose winning tickets the kinds of :data:`lottery_core.pruning.TRANSFERS` get, see
        :meth:`TicketSource.as_json`; empty: as before in this folder
    :param probe: candidate rewind points whose stability is probed, see :meth:`Probe.as_json`: then there are no
        tickets, but copies of the dense network from each of these points; empty for any other experiment
    :raises PruneError: a rate is outside (0, 1)
    :raises ConfigError: a word is unknown, there is no seed, ``rounds`` is negative, or a setting needs a rewind point
        but there is none
    """

    out: Path
    framework: str
    settings: Mapping[str, Any]
    prune_rate: float
    rewind: str
    kinds: tuple[str, ...]
    seeds: tuple[int, ...]
    rounds: int
    scope: tuple[str, ...] = (ALL,)
    score_label: str = "score"
    versions: Mapping[str, str] = field(default_factory=versions)
    command: str = field(default_factory=lambda: shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    criterion: str = MAGNITUDE.name
    after_rewind: str = FULL
    scope_shares: str = TOGETHER
    scoring: Mapping[str, Any] = field(default_factory=dict)
    gradual: str = str(GRADUAL)
    outside: str = ""
    search: str = SEARCH_FULL
    first: float | None = None
    score_rounds: tuple[int, ...] = ()
    seeding: str = ""
    repeat_noise: int = 1
    granularity: str = WEIGHT
    transfer: Mapping[str, Any] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_rate(self.prune_rate)
        check_scope_shares(self.scope_shares)
        object.__setattr__(self, "gradual", str(PruningSchedule.parse(self.gradual)))
        for kind in self.kinds:
            check_units(kind, check_granularity(self.granularity))
        if not self.rounds:
            self._keep_levels()
        if parse_search(self.search).last is not None and not self.score_rounds:
            raise ConfigError(
                f"--search {self.search} rises to the last scored round, which must be known: give --score-at or "
                "--score-rounds"
            )
        whole = [kind for kind in self.kinds if kind in (*BUDGET, *BEST_OF)]
        if self.searches and whole:
            raise ConfigError(
                f"{whole[0]} is given as much training as a search whose rounds are trained in full: leave it or "
                f"--search {self.search} out"
            )
        if self.first is not None:
            check_rate(self.first, "share that survives the first round")
        object.__setattr__(self, "kinds", with_winning(self.kinds))
        object.__setattr__(self, "out", Path(self.out))
        object.__setattr__(self, "outside", check_outside(self.outside or self._outside_before()))
        object.__setattr__(self, "seeding", self.seeding or seeding_of(self.out))
        object.__setattr__(self, "transfer", self.transfer or dict(read_row(self.out).get("transfer", {})))
        for kind in TRANSFERS.keys() & set(self.kinds) if self.tickets_from is None else ():
            raise ConfigError(
                f"the kind {kind} has the masks of another experiment: give its folder, --tickets-from RUN"
            )
        self.plan()
        if criterion_named(self.criterion).uses_rewind and self.rewind in KEPT:
            raise ConfigError(
                f"the criterion {self.criterion} needs a rewind point, and '{self.rewind}' sets none: give "
                "--rewind POINT, or "
                "another --criterion"
            )
        for kind in filter(needs_rewind_point, self.kinds if self.rewind in KEPT else ()):
            raise ConfigError(
                f"the kind {kind} needs a rewind point, and '{self.rewind}' sets none: give --rewind POINT, or "
                "leave the kind out"
            )
        if self.after_rewind not in AFTER_REWIND:
            raise unknown_choice(self.after_rewind, "length after the rewind point", AFTER_REWIND)
        if self.seeding not in SEEDINGS:
            raise unknown_choice(self.seeding, "seeding", SEEDINGS)
        if self.after_rewind == REMAINING and self.rewind in KEPT:
            raise ConfigError(
                f"--after-rewind remaining needs a rewind point, and '{self.rewind}' sets none: give --rewind "
                "POINT, or --after-rewind full"
            )

    def _keep_levels(self) -> None:
        # Dense runs are the same whatever the levels and the search are, so those of the folder stay.
        before = read_row(self.out)
        for name in SEARCHING:
            if getattr(self, name) in (DEFAULTS[name], ()):
                value = before.get(name, DEFAULTS[name])
                object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)

    def _outside_before(self) -> str:
        before = read_row(self.out)
        if tuple(self.scope) == (ALL,):  # nothing is outside
            return FRESH
        return str(before.get("outside", FRESH)) if before else REWIND

    @property
    def name(self) -> str:
        """The experiment's name, which is the name of its folder."""
        return self.out.resolve().name

    @property
    def first_seed(self) -> int:
        """The seed whose dense run measures the floor: the first one that was given in the folder."""
        return int((read_row(self.out).get("seeds") or self.seeds)[0])

    @cached_property
    def _planned(self) -> frozenset[Run]:
        return frozenset(self.plan())

    def plan(self) -> list[Run]:
        """Return the runs, in the order in which to do them."""
        if self.probed is not None:
            return plan_probe(self.seeds, len(self.probed.points))
        scored = self.score_rounds
        return plan_runs(self.kinds, self.seeds, self.rounds, self.repeat_noise, scored, self.searches)

    @property
    def tickets_from(self) -> TicketSource | None:
        """The other experiment whose tickets are transferred; ``None`` if there is none."""
        return TicketSource.of_json(self.out, self.transfer) if self.transfer else None

    @cached_property
    def probed(self) -> Probe | None:
        """The candidate rewind points that are probed; ``None`` for any experiment that is no probe."""
        return Probe.of_json(self.out, self.probe) if self.probe else None

    def check_transfer(self, weights: Weights | None) -> list[str]:
        """Check that each run that needs a ticket of another experiment has one, and return lines about what it gets.

        :param weights: weights of a new network; ``None`` compares no tensors
        :raises ConfigError: a ticket is missing, or no tensor has a partner there
        """
        source = self.tickets_from
        runs = [run for run in self.plan() if run.kind in TRANSFERS]
        waiting = [run for run in runs if not (self.out / run.folder / paths.MARKER).exists()]
        if source is None:
            return []
        return source.check(self.out, waiting, weights, self.scope, self.survivors)

    def frozen_line(self, weights: Weights) -> str | None:
        """Return a warning if parameters that do not train are in the pool; ``None`` if there are none.

        :param weights: weights of a new network
        """
        frozen = [name for name in weights.pool(self.scope) if name in (weights.frozen or ())]
        if not frozen:
            return None
        count = sum(weights.tensors[name].numel() for name in frozen)
        return (
            f"WARNING: {count:,} parameters that do not train are in the pool ({', '.join(frozen[:3])}, ...), and are "
            "pruned by magnitude: --scope trainable leaves them out"
        )

    @property
    def searches(self) -> bool:
        """Whether rounds are searched in runs of their own, which end before scored runs do."""
        return self.search != SEARCH_FULL

    def search_of(self, run: Run) -> Search:
        """Return how far a search run of this experiment trains.

        :param run: the run
        """
        return parse_search(self.search).of_round(run.round, max(self.score_rounds, default=self.rounds))

    @property
    def last_round(self) -> int:
        """The deepest round that is trained: the last scored one."""
        return last_trained(self.rounds, self.score_rounds)

    def needs(self, run: Run) -> list[Run]:
        """Return the runs that must be done before ``run`` can start."""
        return needs(run, self.searches) if self.probed is None else probe_needs(run)

    @staticmethod
    def plain_needs(run: Run) -> list[Run]:
        """Return what ``run`` needs where every round is trained in full."""
        return needs(run)

    def alike(self, run: Run) -> Run | None:
        """Return the run that trains the same ticket as ``run`` by the rules of their kinds, see :func:`plan.alike`."""
        other = alike(run, self.kinds, self.rewind)
        return other if other in self._planned else None

    def schedule(self, pool: int, rounds: int) -> list[int]:
        """Return the number of survivors after 0, 1, ... ``rounds`` rounds of this experiment.

        :param pool: number of parameters in the pool
        :param rounds: number of rounds
        """
        return schedule(pool, self.prune_rate, rounds, self.first)

    def survivors(self, pool: int, round_: int) -> int:
        """Return the number of survivors of a round of this experiment.

        :param pool: number of parameters in the pool
        :param round_: the round
        """
        return self.schedule(pool, round_)[round_]
