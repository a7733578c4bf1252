"""What comes of a run: its row, warnings about it, and whether another run has trained the same ticket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

from lottery_core.errors import CheckpointError, TicketError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph import LINE, Run, copies, paths
from lottery_core.experiments.next_ticket import pool_size
from lottery_core.experiments.protocols import Framework
from lottery_core.experiments.results import Row, read_marker
from lottery_core.files import read_object
from lottery_core.pruning import (
    CHAINS,
    DENSE,
    FULL,
    GRADIENT,
    GRADUALLY,
    IN_TRAINING,
    KEPT,
    NOTHING,
    TRANSFERS,
    any_rewinds,
)
from lottery_core.pruning import INIT as AT_INIT
from lottery_core.tickets import Ticket, Weights, networks_of, output_scale, ticket_notes


def trained_already(experiment: Experiment, run: Run) -> Run | None:
    """Return a finished run of another kind that trained the same ticket under the same noise, or ``None``.

    :param experiment: the configuration
    :param run: a run whose ticket was found
    """
    ticket = experiment.out / run.folder / paths.TICKET
    if run.kind not in CHAINS or not ticket.exists():
        return None
    # From the initialisation on, all of the length remains.
    begins_alike = experiment.rewind == AT_INIT or (experiment.after_rewind == FULL and experiment.rewind != NOTHING)
    own = Ticket.load(ticket)
    for kind, chain in CHAINS.items():
        other = replace(run, kind=kind)
        if kind == run.kind or not (begins_alike or chain.rewinds == CHAINS[run.kind].rewinds):
            continue
        folder = experiment.out / other.folder
        row = read_marker(folder, experiment)
        if row is None or row.same_as:
            continue
        try:
            found = Ticket.load(folder / paths.TICKET)
        except TicketError:
            continue
        if found.masks == own.masks and found.content == own.content:  # a digest of the content takes longer
            return other
    return None


def trained_ticket(experiment: Experiment, run: Run) -> Ticket | None:
    """Return the ticket that a run has trained; ``None`` for a dense run and for a line.

    :param experiment: the configuration
    :param run: the run
    :raises TicketError: it cannot be read
    """
    return Ticket.load(experiment.out / run.folder / paths.TICKET) if run.has_ticket and run.kind != LINE else None


def make_row(experiment: Experiment, framework: Framework, run: Run, ticket: Ticket | None) -> Row:
    """Make the result row of a run whose training has succeeded.

    :param experiment: the configuration
    :param framework: reads the score
    :param run: the run
    :param ticket: its ticket, from :func:`trained_ticket`
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
    elif ticket is None:
        pool = surviving = pool_size(experiment, Weights.load(folder / paths.INIT))
    else:
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
        criterion=_criterion(experiment, run, ticket),
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


def _criterion(experiment: Experiment, run: Run, ticket: Ticket | None) -> str:
    # Not every kind can rank its parameters by the experiment's criterion.
    if run.kind in IN_TRAINING and IN_TRAINING[run.kind].by_gradient:
        return GRADIENT
    return experiment.criterion if ticket is None or run.kind == DENSE else ticket.origin.criterion


def _by_network(ticket: Ticket) -> str:
    # For a single network, the row's own counts suffice.
    networks = networks_of(ticket.masks, ticket.rest)
    if len(networks) < 2:
        return ""
    return " ".join(f"{network.name}={network.surviving}/{network.pool}" for network in networks)


def warnings_about(experiment: Experiment, run: Run, ticket: Ticket | None) -> Iterator[str]:
    """Yield what users should know about a finished run before they trust its score, one line each.

    :param experiment: the configuration
    :param run: the run
    :param ticket: its ticket, from :func:`trained_ticket`
    """
    folder = experiment.out / run.folder
    if ticket is not None and run.kind != DENSE and (not run.repeats or run.kind in IN_TRAINING):
        yield from ticket_notes(ticket, f"{run}")
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
