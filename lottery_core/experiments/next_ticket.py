"""The steps between two runs of an experiment: find the next ticket, and make the result row of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from lottery_core.errors import CheckpointError, DamagedError, TicketError
from lottery_core.experiments.experiment import Experiment
from lottery_core.experiments.graph import COPY, LINE, Run, copies, dense, paths, pruned_run, start_folder
from lottery_core.experiments.probe import Line, score_line
from lottery_core.experiments.protocols import Framework
from lottery_core.experiments.results import Row, read_marker
from lottery_core.files import read_object
from lottery_core.pruning import (
    CHAINS,
    DENSE,
    FULL,
    GRADUALLY,
    IN_TRAINING,
    KEPT,
    NOTHING,
    TRANSFERS,
    MaskWatch,
    PruningInTraining,
    PruningSchedule,
    any_rewinds,
    control_ticket,
    layout_of_weights,
    parse_search,
    prune,
    transferred,
)
from lottery_core.pruning import INIT as AT_INIT
from lottery_core.tickets import (
    UNIT,
    Masks,
    Origin,
    Ticket,
    Weights,
    networks_of,
    output_scale,
    ticket_notes,
)


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
    pool = _pool(experiment, rewind) if previous is None else previous.masks.pool
    kept = chain.rewinds and experiment.rewind in KEPT
    if run.kind in TRANSFERS:
        return _transferred(experiment, run, trained if kept else rewind, trained)
    ticket = prune(
        trained,
        trained if kept else rewind,
        survivors=experiment.schedule(pool, run.round)[run.round],
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
        lambda pool: experiment.schedule(pool, run.round)[run.round],
        renames=source.renames,
        unmatched=source.unmatched,
        scope=experiment.scope,
        criterion=experiment.criterion,
        scope_shares=experiment.scope_shares,
        rewind_point=experiment.rewind,
        seed=run.seed,
        shuffle_seed=run.control_seed,
    )
    return ticket.with_origin(round=run.round)


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
    :raises RunError: a pruned weight of a copy is not 0.0
    """
    assert experiment.probed is not None
    ends = [experiment.out / other.folder for other in copies(run)]
    ticket = Ticket.load(ends[0] / paths.TICKET)
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
    origin = Origin(
        kind=run.kind,
        round=run.round,
        scope=experiment.scope,
        prune_rate=None,
        rewind=experiment.rewind if kind.rewinds else AT_INIT,
        seed=run.seed,
        scope_shares=experiment.scope_shares,
        granularity=experiment.granularity,
        heads=start.heads if experiment.granularity == UNIT else {},
    )
    names = start.pool(experiment.scope)
    ticket = Ticket.of(Masks.ones({name: start.tensors[name] for name in names}), start.tensors, origin)
    survivors = experiment.schedule(ticket.masks.pool, run.round)[run.round]
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
    pool = _pool(experiment, weights) if ticket is None else ticket.masks.pool
    left = pool if ticket is None else ticket.masks.surviving
    survivors = experiment.schedule(pool, run.round + 1)[run.round + 1]
    if survivors >= left and not run.search:
        return None
    search = parse_search(experiment.search) if run.search else None
    layout = layout_of_weights(weights, experiment.scope, experiment.granularity)
    return MaskWatch(masks, survivors, search, epochs, experiment.criterion, experiment.scope_shares, layout)


def trained_already(experiment: Experiment, run: Run) -> Run | None:
    """Return a finished run of another kind that trained the same ticket under the same noise, or ``None``.

    :param experiment: the configuration
    :param run: a run whose ticket was found
    """
    ticket = experiment.out / run.folder / paths.TICKET
    if run.kind not in CHAINS or not ticket.exists():
        return None
    begins_alike = experiment.after_rewind == FULL and experiment.rewind != NOTHING
    content = Ticket.load(ticket).content
    for kind, chain in CHAINS.items():
        other = replace(run, kind=kind)
        if kind == run.kind or not (begins_alike or chain.rewinds == CHAINS[run.kind].rewinds):
            continue
        folder = experiment.out / other.folder
        row = read_marker(folder, experiment)
        if row is None or row.same_as or not is_readable(folder / paths.TICKET):
            continue
        if Ticket.load(folder / paths.TICKET).content == content:
            return other
    return None


def is_readable(ticket: Path) -> bool:
    """Return whether a ticket exists and can be read.

    :param ticket: the ticket's file
    """
    try:
        Ticket.load(ticket)
    except TicketError:
        return False
    return True


def make_row(experiment: Experiment, framework: Framework, run: Run) -> Row:
    """Make the result row of a run whose training has succeeded.

    :param experiment: the configuration
    :param framework: reads the score
    :param run: the run
    """
    folder = experiment.out / run.folder
    score = framework.score(folder)
    same_as = str(read_object(folder / paths.SAME_AS).get("run", ""))
    if same_as:
        score = replace(score, wall_seconds=0.0, cpu_seconds=0.0)
    carried: int | None = None
    collapsed: list[str] = []
    digest = networks = ""
    scale: float | None = None
    if run.kind == LINE:
        masks = Ticket.load(experiment.out / copies(run)[0].folder / paths.TICKET).masks
        pool, surviving = masks.pool, masks.surviving
    elif not run.has_ticket:
        pool = surviving = _pool(experiment, Weights.load(folder / paths.INIT))
    else:
        ticket = Ticket.load(folder / paths.TICKET)
        pool, surviving = ticket.masks.pool, ticket.masks.surviving
        collapsed, digest = ticket.masks.collapsed(), ticket.digest
        networks, scale = _by_network(ticket), output_scale(ticket)
        if run.kind in TRANSFERS:
            carried = sum(ticket.masks[name].numel() for name in ticket.origin.carried)
    source = experiment.tickets_from if carried is not None else None
    return Row(
        experiment=experiment.name,
        seed=run.seed,
        kind=run.kind,
        round=run.round,
        noise=run.noise,
        pool=pool,
        pruned=pool - surviving,
        surviving=surviving,
        pruned_fraction=(pool - surviving) / pool,
        surviving_fraction=surviving / pool,
        collapsed=tuple(collapsed),
        ticket=digest,
        versions=" ".join(f"{name}={version}" for name, version in sorted(experiment.versions.items())),
        criterion=experiment.criterion,
        networks=networks,
        scope_shares=experiment.scope_shares,
        granularity=experiment.granularity,
        score_label=experiment.score_label,
        output_scale=scale,
        gradual=experiment.gradual if run.kind == GRADUALLY else "",
        same_as=same_as,
        carried=carried,
        unmatched="" if source is None else source.unmatched,
        **asdict(score),
    )


def _by_network(ticket: Ticket) -> str:
    # For a single network, the row's own counts suffice.
    networks = networks_of(ticket.masks, ticket.rest)
    if len(networks) < 2:
        return ""
    return " ".join(f"{network.name}={network.surviving}/{network.pool}" for network in networks)


def warnings_about(experiment: Experiment, run: Run, row: Row) -> Iterator[str]:
    """Yield what users should know about a finished run before they trust its score, one line each.

    :param experiment: the configuration
    :param run: the run
    :param row: the run's row
    """
    folder = experiment.out / run.folder
    if run.kind not in (DENSE, LINE) and not run.repeats:
        yield from ticket_notes(Ticket.load(folder / paths.TICKET), f"{run}")
    rewinds_late = not run.has_ticket and any_rewinds(experiment.kinds) and experiment.rewind not in (AT_INIT, *KEPT)
    if rewinds_late and _same(experiment, folder / paths.INIT, folder / paths.REWIND):
        yield (
            f"WARNING: {run}: nothing had changed at the rewind point {experiment.rewind} (no update before it, or "
            "a learning rate of 0), so tickets are rewound to the initialisation; choose a later point, or say init"
        )


def _same(experiment: Experiment, first: Path, second: Path) -> bool:
    try:
        start, point = Weights.load(first), Weights.load(second)
    except CheckpointError:  # damaged meanwhile: reported when the file is needed
        return False
    names = start.pool(experiment.scope)
    return all(torch.equal(start.tensors[name], point.tensors[name]) for name in names)


@contextmanager
def _intact(folder: Path) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, TicketError) as error:
        raise DamagedError(str(error), folder) from error


def _pool(experiment: Experiment, weights: Weights) -> int:
    names = weights.pool(experiment.scope)
    return sum(weights.tensors[name].numel() for name in names)
