"""The steps between two runs of an experiment: find the next ticket, and make the result row of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lottery_core.errors import CheckpointError, ConfigError, DamagedError, RunError, TicketError
from lottery_core.experiments.configuration import Experiment, Line, score_line
from lottery_core.experiments.graph import COPY, LINE, Run, copies, dense, paths, pruned_run, start_folder
from lottery_core.experiments.protocols import Framework
from lottery_core.files import stamp
from lottery_core.pruning import (
    CHAINS,
    CONTROLS,
    DENSE,
    IN_TRAINING,
    KEPT,
    MAGNITUDE,
    TRANSFERS,
    MaskWatch,
    PruningInTraining,
    PruningSchedule,
    control_ticket,
    layout_of_weights,
    of_values_alone,
    prune,
    transferred,
)
from lottery_core.pruning import INIT as AT_INIT
from lottery_core.tickets import UNIT, Masks, Origin, Ticket, Weights


def find_ticket(experiment: Experiment, framework: Framework, run: Run) -> Ticket:
    """Find the ticket of ``run`` by pruning the trained weights of an earlier run.

    :param experiment: the configuration
    :param framework: reads the trained weights
    :param run: a run of a chain, or a further training of any ticket
    :raises PruneError: weights are NaN, or nothing is left to prune
    :raises DamagedError: a finished run's file cannot be read
    """
    out = experiment.out
    if run.kind == COPY:
        return _copy(experiment, run)
    if run.repeats:
        return _again(experiment, run)
    chain = CHAINS[run.kind]
    source, start = pruned_run(run, experiment.searches), out / dense(run.seed).folder
    with _intact(start):
        rewind = Weights.load(start / (paths.REWIND if chain.rewinds else paths.INIT))
    with _intact(out / source.folder):
        # The rewind point was saved from the model and distinguishes parameters from buffers; a checkpoint does not.
        trained = framework.weights(out / source.folder).like(rewind)
        previous = None if source.kind == DENSE else Ticket.load(out / source.folder / paths.TICKET)
    pool = pool_size(experiment, rewind) if previous is None else previous.masks.pool
    kept = chain.rewinds and experiment.rewind in KEPT
    if run.kind in TRANSFERS:
        return _transferred(experiment, run, trained if kept else rewind, trained)
    ticket = prune(
        trained,
        trained if kept else rewind,
        survivors=experiment.survivors(pool, run.round),
        previous=previous,
        scope=experiment.scope,
        kind=run.kind,
        rewind_point=experiment.rewind if chain.rewinds else "init",
        seed=run.seed,
        criterion=experiment.criterion,
        scope_shares=experiment.scope_shares,
        granularity=experiment.granularity,
    )
    return ticket.with_origin(round=run.round, prune_rate=experiment.prune_rate if chain.iterative else None)


def _transferred(experiment: Experiment, run: Run, start: Weights, trained: Weights) -> Ticket:
    source = experiment.tickets_from
    assert source is not None
    ticket = transferred(
        run.kind,
        source.load(run),
        start,
        trained,
        lambda pool: experiment.survivors(pool, run.round),
        renames=source.renames,
        unmatched=source.unmatched,
        scope=experiment.scope,
        criterion=experiment.criterion,
        scope_shares=experiment.scope_shares,
        rewind_point=experiment.rewind,
        seed=run.seed,
        shuffle_seed=run.control_seed,
    )
    _require_one_parent(experiment.out, run, ticket)
    return ticket.with_origin(round=run.round)


def _require_one_parent(out: Path, run: Run, ticket: Ticket) -> None:
    # A kind and its control differ only in what their name says, so both come from one ticket.
    for kind in TRANSFERS.keys() - {run.kind}:
        folder = out / replace(run, kind=kind).folder
        if not (folder / paths.TICKET).exists():
            continue
        with _intact(folder):
            parent = Ticket.load(folder / paths.TICKET).origin.parent
        if parent != ticket.origin.parent:
            raise ConfigError(
                f"--tickets-from has other tickets than when {folder} took its own: remove that folder, or use another "
                "--out"
            )


def _copy(experiment: Experiment, run: Run) -> Ticket:
    assert experiment.probed is not None
    folder = experiment.out / start_folder(run)
    with _intact(experiment.out / dense(run.seed).folder):
        start = Weights.load(folder / paths.REWIND)
    return experiment.probed.copy(experiment.out, run, start, experiment.scope)


def line_between(
    experiment: Experiment,
    weights: Callable[[Path], Weights],
    run: Run,
    measure: Callable[[Mapping[str, Tensor], float], tuple[float, float]],
    lower_is_better: bool,
) -> Line:
    """Score the straight line between the copies of a point; called in the process of the line's run.

    :param experiment: the configuration
    :param weights: reads the trained weights in the folder of a run
    :param run: the run of the line
    :param measure: (weights by name, share of the way) -> score and its standard error
    :param lower_is_better: whether lower scores are better
    :raises RunError: the copies have different tickets, or a pruned weight of a copy is not 0.0
    """
    assert experiment.probed is not None
    ends = [experiment.out / other.folder for other in copies(run)]
    ticket, other_ticket = (Ticket.load(folder / paths.TICKET) for folder in ends)
    if ticket.masks != other_ticket.masks:
        places = " and ".join(map(str, ends))
        raise RunError(f"the copies have different tickets: remove {places}, and run the command again")
    like = Weights.load(experiment.out / dense(run.seed).folder / paths.INIT)
    first, second = (weights(folder).like(like) for folder in ends)
    return score_line(first, second, experiment.probed.steps, measure, lower_is_better, ticket.masks)


def _again(experiment: Experiment, run: Run) -> Ticket:
    # The ticket of the first training; for the dense network one that keeps everything and starts where it started.
    folder = experiment.out / run.first.folder
    with _intact(folder):
        if run.kind != DENSE:
            return Ticket.load(folder / paths.TICKET)
        start = Weights.load(folder / paths.INIT)
    whole = Masks(
        {name: torch.ones(start.tensors[name].shape, dtype=torch.bool) for name in start.pool(experiment.scope)}
    )
    origin = Origin(kind=DENSE, round=0, rewind=AT_INIT, seed=run.seed, scope=tuple(experiment.scope))
    return Ticket.of(whole, start.tensors, origin)


def make_control(out: Path, run: Run, fresh: Weights) -> Ticket:
    """Make the ticket of a control from the winning ticket of its round; called in the process that trains it.

    :param out: the experiment's folder
    :param run: a run whose kind is one of :data:`lottery_core.CONTROLS`
    :param fresh: weights that the model's own initialiser drew with ``run.control_seed``; the model that is trained
        is made with ``run.noise_seed``, so that all kinds share the noise of training
    """
    outside = Experiment.load(out).outside
    winning = Ticket.load(out / run.winning.folder / paths.TICKET)
    rewind = Weights.load(out / dense(run.seed).folder / paths.REWIND)
    return control_ticket(run.kind, winning, run.control_seed, fresh=fresh, rewind=rewind, outside=outside)


def check_files(experiment: Experiment, framework: Framework, run: Run) -> None:
    """Check what the process of a run will read from other runs, while these can still be trained again.

    :param experiment: the configuration
    :param framework: reads trained weights
    :param run: the run; only controls, runs that are pruned while they train, and lines read anything
    :raises DamagedError: a finished run's file cannot be read
    """
    folder = experiment.out / dense(run.seed).folder
    if run.kind == LINE:
        for end in (experiment.out / copy.folder for copy in copies(run)):
            with _intact(end):
                framework.weights(end)
                Ticket.load(end / paths.TICKET)
    elif run.repeats or run.kind not in {*CONTROLS, *IN_TRAINING}:
        return
    rewinds = run.kind in CONTROLS or (run.kind in IN_TRAINING and IN_TRAINING[run.kind].rewinds)
    file = folder / (paths.REWIND if rewinds else paths.INIT)
    with _intact(folder):
        _read_weights(file, stamp(file))


def prune_in_training(out: Path, run: Run, epochs: float = 1) -> tuple[Ticket, PruningInTraining]:
    """Prepare a run whose ticket is found while it trains; called in the process that trains it.

    :param out: the experiment's folder
    :param run: a run whose kind is one of :data:`lottery_core.pruning.IN_TRAINING`
    :param epochs: length of the training in epochs
    :returns: the ticket to start from, in which everything survives, and what finds its masks. In the end,
        ``ticket.with_masks(pruning.masks)`` is to be written beside the trained weights
    :raises DamagedError: the dense run's file cannot be read
    """
    experiment, kind = Experiment.load(out), IN_TRAINING[run.kind]
    folder = out / dense(run.seed).folder
    with _intact(folder):
        start = Weights.load(folder / (paths.REWIND if kind.rewinds else paths.INIT))
    whole = Masks.ones({name: start.tensors[name] for name in start.pool(experiment.scope)})
    survivors = experiment.survivors(whole.pool, run.round)
    origin = Origin(
        kind=run.kind,
        round=run.round,
        scope=experiment.scope,
        prune_rate=None,
        rewind=experiment.rewind if kind.rewinds else AT_INIT,
        seed=run.seed,
        scope_shares=experiment.scope_shares,
        granularity=experiment.granularity,
        criterion=MAGNITUDE.name if kind.by_gradient else of_values_alone(experiment.criterion).name,
        heads=start.heads if experiment.granularity == UNIT else {},
        asked=survivors if experiment.granularity == UNIT else None,
    )
    ticket = Ticket.of(whole, start.tensors, origin)
    planned = PruningSchedule.parse(experiment.gradual).for_kind(kind, epochs)
    return ticket, PruningInTraining.of(ticket, planned, survivors)


def mask_watch(
    experiment: Experiment, run: Run, weights: Weights, ticket: Ticket | None, epochs: int = 1
) -> MaskWatch | None:
    """Make the watch over the mask that the round after ``run`` would get, for the process that trains ``run``.

    :param experiment: the configuration
    :param run: the run
    :param weights: its start values
    :param ticket: its ticket; ``None`` for a dense run
    :param epochs: epochs of its training, each of which ends with a check
    :returns: the watch; ``None`` if the next round would prune nothing, or the run's own mask changes as it trains
    """
    if run.kind in IN_TRAINING or experiment.probed is not None:
        return None
    masks = weights.pool(experiment.scope) if ticket is None else ticket.masks
    pool = pool_size(experiment, weights) if ticket is None else ticket.masks.pool
    left = pool if ticket is None else ticket.masks.surviving
    survivors = experiment.survivors(pool, run.round + 1)
    if survivors >= left and not run.search:
        return None
    search = experiment.search_of(run) if run.search else None
    layout = layout_of_weights(weights, experiment.scope, experiment.granularity)
    return MaskWatch(masks, survivors, search, epochs, experiment.criterion, experiment.scope_shares, layout)


def is_readable(ticket: Path) -> bool:
    """Return whether a ticket exists and can be read.

    :param ticket: the ticket's file
    """
    try:
        _read_whole(ticket, stamp(ticket))
    except TicketError:
        return False
    return True


@lru_cache(maxsize=1 << 14)
def _read_whole(ticket: Path, of_file: tuple[int, ...]) -> None:
    # Every control of a round asks for the same large file; one that cannot be read is read again.
    Ticket.load(ticket)


@lru_cache(maxsize=1 << 14)
def _read_weights(path: Path, of_file: tuple[int, ...]) -> None:
    # Every control of a seed asks for the same file.
    Weights.load(path)


@contextmanager
def _intact(folder: Path) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, TicketError) as error:
        raise DamagedError(str(error), folder) from error


def pool_size(experiment: Experiment, weights: Weights) -> int:
    """Return the number of parameters in the pool of an experiment.

    :param experiment: the configuration
    :param weights: weights of its model
    """
    names = weights.pool(experiment.scope)
    return sum(weights.tensors[name].numel() for name in names)
