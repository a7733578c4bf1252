"""The runs of an experiment, their folders, and the runs that each one needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from lottery_core.errors import ConfigError
from lottery_core.pruning import (
    BEST_OF,
    BUDGET,
    CHAINS,
    CONTROLS,
    DENSE,
    IN_TRAINING,
    INIT,
    KINDS,
    WINNING,
    check_kind,
    derive_seed,
)

ROUND, SEARCH = "round-", "search-"  # of folders
# Who shares the noise of training (environments, actions, order of the data, dropout) within a repeat: all kinds and
# rounds; or, in folders of earlier versions, all but the kinds with fresh values, whose seed gave both.
SHARED, FRESH_APART = "shared", "fresh apart"
SEEDINGS = (SHARED, FRESH_APART)

# Chains that prune trained weights by the experiment's criterion and are trained like any ticket.
_BY_MAGNITUDE = (WINNING, "one-shot", "no-rewind")
_NOISE = "noise-"  # of a folder
_TIMES = " x "  # before the number of trainings
# Runs of a stability probe: a copy of the network from a candidate point, and the line between two of them.
COPY, LINE = "copy", "line"
_OF_PROBE = (COPY, LINE)
_WITHOUT_TICKET = (DENSE, LINE)  # a line trains nothing
_MOST_NOISES = 100
_MOST_ROUNDS, MOST_SEEDS = 1000, 10_000  # a network of 10^12 parameters has one left after 124 rounds of 20%


@dataclass(frozen=True)
class Run:
    """A training run of an experiment.

    :param seed: the seed of the repeat
    :param kind: ``"dense"`` or a kind of ticket
    :param round: 0 where nothing is pruned, from 1 for tickets
    :param noise: 1 for the first training of the ticket; further ones train it again under other noise, or, of a kind
        in :data:`~lottery_core.pruning.BEST_OF`, another ticket of the same round
    :param search: whether the run only trains until the next ticket can be pruned from it; it is not scored
    """

    seed: int
    kind: str
    round: int
    noise: int = 1
    search: bool = False

    @property
    def folder(self) -> Path:
        """The run's folder within the experiment's."""
        top = Path(f"seed-{self.seed}")
        top = (top if self.noise == 1 else top / f"{_NOISE}{self.noise}") / self.kind
        return top if self.kind == DENSE else top / f"{SEARCH if self.search else ROUND}{self.round:02d}"

    @classmethod
    def of_folder(cls, folder: Path) -> tuple[Path, Run]:
        """Return the experiment's folder and the run that is kept in ``folder``.

        :raises ConfigError: ``folder`` is not the folder of a run
        """
        last = folder.name
        deep = 2 if last == DENSE else 3
        try:
            above, noise = folder.parts[-deep], 1
            if above.startswith(_NOISE):
                noise, deep = int(above.removeprefix(_NOISE)), deep + 1
            seed = int(folder.parts[-deep].removeprefix("seed-"))
            kind = DENSE if last == DENSE else folder.parts[-2]
            search = last.startswith(SEARCH)
            number = 0 if last == DENSE else int(last.removeprefix(SEARCH if search else ROUND))
            run = cls(seed, kind, number, noise, search)
        except (ValueError, IndexError):
            run = None
        if run is None or folder.parts[-deep:] != run.folder.parts:
            raise ConfigError(
                f"{folder} is not a run's folder (EXPERIMENT/seed-N/dense, or EXPERIMENT/seed-N/KIND/round-NN or "
                "/search-NN)"
            )
        return folder.parents[deep - 1], run

    @property
    def pace(self) -> str:
        """The name under which durations are averaged, see :func:`split_pace`.

        It is the kind, apart for runs that only search; with a number where a run is longer than one training.
        """
        if self.search:
            return f"{self.kind} search"
        return f"{self.kind}{_TIMES}{trainings(self.round)}" if self.kind in BUDGET else self.kind

    @property
    def winning(self) -> Run:
        """The winning run of the same round, whose ticket a control is made from."""
        return Run(self.seed, WINNING, self.round)

    @property
    def first(self) -> Run:
        """The first training of the same ticket."""
        return replace(self, noise=1)

    @property
    def has_ticket(self) -> bool:
        """Whether the run starts from a ticket; further trainings of the dense network have one that keeps all."""
        return self.kind not in _WITHOUT_TICKET or self.noise > 1

    @property
    def repeats(self) -> bool:
        """Whether the run trains the ticket of another run again, under other noise.

        A kind that is pruned in training begins from the same start again, and finds a mask of its own.
        """
        return self.noise > 1 and self.kind not in BEST_OF

    @property
    def noise_seed(self) -> int:
        """The seed of the noise of training, which all kinds and rounds of a repeat share."""
        return self.seed if self.noise == 1 else derive_seed("noise", self.seed, self.noise)

    @property
    def control_seed(self) -> int:
        """The seed of a control's fresh values and shuffles; it differs by experiment seed, kind, round and draw."""
        draw = () if self.noise == 1 else (self.noise,)
        return derive_seed("control", self.seed, self.kind, self.round, *draw)

    def __str__(self) -> str:
        what = "draw" if self.kind in BEST_OF else "noise"
        again = "" if self.noise == 1 else f", {what} {self.noise}"
        word = "point" if self.kind in _OF_PROBE else "search round" if self.search else "round"
        round_ = "" if self.kind == DENSE else f" {word} {self.round}"
        return f"seed {self.seed} {self.kind}{round_}{again}"


def dense(seed: int) -> Run:
    """Return the dense run of ``seed``: round 0."""
    return Run(seed, DENSE, 0)


def pruned_run(run: Run, searches: bool = False) -> Run:
    """Return the run whose trained weights are pruned for the ticket of ``run``, or for a control's winning ticket.

    :param run: a run of a ticket
    :param searches: whether rounds are searched in runs of their own
    """
    kind = WINNING if run.kind in CONTROLS else run.kind
    if kind in IN_TRAINING:  # nothing is pruned before; the dense run has the start values
        return dense(run.seed)
    iterative = CHAINS[kind].iterative and run.round > 1
    return Run(run.seed, kind, run.round - 1, search=searches) if iterative else dense(run.seed)


def alike(run: Run, kinds: Sequence[str], rewind: str) -> Run | None:
    """Return the run of another kind that trains the same ticket by the rules of both kinds; ``None`` if there is none.

    In round 1 iterative and one-shot pruning are the same; if the rewind point is the initialisation, so are winning
    and no-rewind tickets. Such a run waits for the other one and takes over its result.

    :param run: the run
    :param kinds: the kinds of the experiment
    :param rewind: the rewind point of the experiment
    """
    own = _rule(run.kind, run.round, rewind)
    earlier = KINDS[: KINDS.index(run.kind)] if own is not None else ()
    same = [kind for kind in earlier if kind in kinds and _rule(kind, run.round, rewind) == own]
    return replace(run, kind=same[0]) if same else None


def _rule(kind: str, round_: int, rewind: str) -> tuple[bool, bool] | None:
    # Whether the trained ticket of the round before is pruned, and whether the survivors are rewound late.
    if kind not in _BY_MAGNITUDE:
        return None
    return CHAINS[kind].iterative and round_ > 1, CHAINS[kind].rewinds and rewind != INIT


def needs(run: Run, searches: bool = False) -> list[Run]:
    """Return the runs that must be done before ``run`` can start.

    A control needs the winning ticket of its round, but that ticket need not be trained yet. A further training needs
    the first one, which has the ticket.

    :param run: a run
    :param searches: whether rounds are searched in runs of their own
    """
    if run.repeats:
        return list(dict.fromkeys([run.first, dense(run.seed)]))
    if run.kind == DENSE:
        return []
    return list(dict.fromkeys([pruned_run(run, searches), dense(run.seed)]))


def check_seeds(seeds: Sequence[int]) -> None:
    """Check that there are seeds, of the range that numpy and gymnasium take.

    :param seeds: the seeds of the repeats
    :raises ConfigError: there is no seed, or one is out of range
    """
    if not seeds:
        raise ConfigError("no seed was given: give at least one")
    if any(not 0 <= seed < 2**32 for seed in seeds):
        raise ConfigError("seeds must not be negative, and must be below 2**32")


def plan_runs(
    kinds: Sequence[str],
    seeds: Iterable[int],
    rounds: int,
    noises: int = 1,
    scored: Sequence[int] = (),
    searches: bool = False,
) -> list[Run]:
    """Return all runs of an experiment, by noise, seed and round, each after the runs that it needs.

    Where rounds are searched in runs of their own, these form the chain, and the scored runs hang off it. Otherwise the
    scored runs are the chain, and a kind that prunes iteratively trains in every round, scored or not.

    :param kinds: kinds of ticket; winning is added where a control needs it
    :param seeds: the seeds of the repeats
    :param rounds: number of pruning rounds; 0: only the dense runs, which a later command may prune
    :param noises: how often each scored ticket is trained, under different noise
    :param scored: the rounds whose tickets are trained in full and scored; empty for all
    :param searches: whether rounds are searched in runs of their own
    :raises ConfigError: a kind is unknown, there is no seed, or a seed, ``rounds`` or ``noises`` is out of range
    """
    seeds = list(dict.fromkeys(seeds))
    chosen = with_winning(kinds)
    check_seeds(seeds)
    if rounds > _MOST_ROUNDS or len(seeds) > MOST_SEEDS:
        raise ConfigError(f"at most {_MOST_ROUNDS} rounds and {MOST_SEEDS} seeds, not {rounds} and {len(seeds)}")
    if not 1 <= noises <= _MOST_NOISES:
        raise ConfigError(f"--repeat-noise must be from 1 to {_MOST_NOISES}, not {noises}")
    if rounds < 0:
        raise ConfigError(f"rounds must not be negative, but they are {rounds}")
    wrong = rounds and any(not 1 <= round_ <= rounds for round_ in scored)
    if wrong or any(after <= before for before, after in pairwise(scored)):
        raise ConfigError(f"scored rounds must rise and lie between 1 and {rounds}, not {' '.join(map(str, scored))}")
    order = [kind for kind in KINDS if kind in chosen]
    runs = []
    for seed in seeds:
        runs.append(dense(seed))
        runs += [Run(seed, kind, 0) for kind in order if rounds and not _prunes(kind)]
        last = last_trained(rounds, scored)
        for round_ in range(1, last + 1):
            found = [kind for kind in order if _prunes(kind)]
            on = [kind for kind in found if _prunes_on(kind)]
            runs += [Run(seed, kind, round_, search=True) for kind in on if searches and round_ < last]
            is_scored = not scored or round_ in scored
            runs += [Run(seed, kind, round_) for kind in found if is_scored or (not searches and kind in on)]
    again = [run for run in runs if not run.search and (not scored or run.round in (0, *scored))]
    several = [run for run in again if run.kind in BEST_OF]
    draws = [replace(run, noise=draw) for run in several for draw in range(2, trainings(run.round) + 1)]
    repeated = [run for run in again if run.kind not in BEST_OF]
    return [*runs, *draws, *(replace(run, noise=noise) for noise in range(2, noises + 1) for run in repeated)]


def trainings(round_: int) -> int:
    """Return how many trainings it takes to find and train the winning ticket of a round, the dense one included."""
    return round_ + 1


def last_trained(rounds: int, scored: Sequence[int]) -> int:
    """Return the deepest round that is trained: the last scored one.

    :param rounds: number of rounds
    :param scored: rounds that are trained in full and scored, rising; empty for all of them
    """
    return min(rounds, scored[-1]) if scored else rounds


def split_pace(pace: str) -> tuple[str, int]:
    """Split :attr:`Run.pace` into the name for one training, and the number of trainings that such a run takes.

    :param pace: the name under which the durations of some runs are averaged
    """
    name, _, times = pace.partition(_TIMES)
    return name, int(times or 1)


def _prunes_on(kind: str) -> bool:
    # Whether a round's trained ticket is pruned for the next one.
    return kind in CHAINS and CHAINS[kind].iterative


def _prunes(kind: str) -> bool:
    return kind not in CHAINS or CHAINS[kind].prunes


def with_winning(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return ``kinds`` in the order of :data:`~lottery_core.pruning.kinds.KINDS`, with winning if a control needs it.

    :raises ConfigError: a kind is unknown, or there is none
    """
    if not kinds:
        raise ConfigError(f"no kind of ticket was given: give some of {', '.join(KINDS)}")
    chosen = {check_kind(kind) for kind in kinds}
    if chosen & set(CONTROLS):
        chosen.add(WINNING)
    return tuple(kind for kind in KINDS if kind in chosen)
