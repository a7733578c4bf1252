"""Describe a ticket as text and as JSON, and warn of layers and networks that have too few weights left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from lottery_core import dialects
from lottery_core.files import printable
from lottery_core.tickets.masks import is_layer
from lottery_core.tickets.networks import dead_units, networks_of, thin_layers
from lottery_core.tickets.origin import SEPARATE, TOGETHER, WEIGHT
from lottery_core.tickets.ticket import Ticket
from lottery_core.tickets.ticket_file import FORMAT_VERSION

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_MOST = 1000  # maximum characters of a line, which untrusted files may influence


def describe(ticket: Ticket) -> dict[str, Any]:
    """Return everything about ``ticket`` but its values, as JSON values; fractions are of the pool or of the tensor."""
    masks = ticket.masks
    return {
        "format_version": FORMAT_VERSION,
        "digest": ticket.digest,
        **asdict(ticket.origin),
        "scope": list(ticket.origin.scope),
        "pool": masks.pool,
        "pruned": masks.pruned,
        "surviving": masks.surviving,
        "pruned_fraction": masks.pruned / masks.pool,
        "surviving_fraction": masks.surviving / masks.pool,
        "collapsed": masks.collapsed(),
        "output_scale": output_scale(ticket),
        "networks": [asdict(network) for network in networks_of(masks, ticket.rest)],
        "tensors": [
            {
                "name": name,
                "shape": list(mask.shape),
                "dtype": str(ticket.weights[name].dtype)[6:],
                "pruned": mask.numel() - survivors,
                "surviving": survivors,
                **_dead_units(name, mask, ticket.origin.heads),
            }
            for (name, mask), survivors in zip(masks.items(), masks.survivors().values(), strict=True)
        ],
        "outside_scope": sorted(ticket.rest),
    }


def output_scale(ticket: Ticket) -> float:
    """Return the product of the root mean squares of every layer's survivors at the start; 0 if one is all zero.

    Layers without survivors are left out. Between tickets with as many survivors in each layer, the ratio is how much
    larger the outputs of the one are than those of the other, as far as activations are linear.

    :param ticket: the ticket
    """
    scale = 1.0
    for name, mask in ticket.masks.items():
        if is_layer(name, mask) and bool(mask.any()):
            scale *= float(ticket.weights[name][mask].double().square().mean().sqrt())
    return scale


def _dead_units(name: str, mask: Tensor, heads: Mapping[str, int]) -> dict[str, int]:
    if not is_layer(name, mask):
        return {}
    units, inputs = dead_units(name, mask, heads)
    return {"dead_units": units, "unread_inputs": inputs}


def render(ticket: Ticket, colour: bool = False) -> str:
    """Format the content of ``ticket`` as text.

    :param ticket: the ticket
    :param colour: whether to print collapsed layers in red; they are always marked
    """
    facts = describe(ticket)
    origin = ticket.origin
    rate = "" if origin.prune_rate is None else f", prune rate {origin.prune_rate:g}"
    lines = [
        f"{origin.kind} ticket, round {origin.round}, seed {origin.seed}{rate}, scope {' '.join(origin.scope)}, "
        f"criterion {origin.criterion}"
        + ("" if origin.scope_shares == TOGETHER else f", scope shares {origin.scope_shares}")
        + ("" if origin.granularity == WEIGHT else f", granularity {origin.granularity}"),
        f"rewind point {origin.rewind}; parent {origin.parent or 'none (the first round)'}",
        f"digest {ticket.digest}",
        f"made with {', '.join(f'{name} {version}' for name, version in origin.versions.items())}",
        f"pool {facts['pool']:,}: pruned {facts['pruned']:,} ({facts['pruned_fraction']:.2%}), "
        f"surviving {facts['surviving']:,} ({facts['surviving_fraction']:.2%})",
    ]
    lines += asked_lines(ticket)
    if origin.carried:
        lines.append(f"masks from the parent, a ticket of another experiment: {', '.join(origin.carried)}")
    lines.append(f"output scale {facts['output_scale']:.4g} (product of the layers' root mean squares at the start)")
    lines += network_lines(ticket)
    lines = [printable(line, _MOST) for line in lines]
    names = {entry["name"]: printable(entry["name"]) for entry in facts["tensors"]}
    width = max(map(len, names.values()))
    # Dead units are rows of a layer without a survivor (of an LSTM in all gates); unread inputs are such columns.
    head = f"{'tensor':{width}}  {'shape':>16}  {'pruned':>12}  {'surviving':>12}  {'surviving':>9}"
    lines.append(f"{head}  {'dead units':>10}  {'unread inputs':>13}")
    for entry in facts["tensors"]:
        total = entry["pruned"] + entry["surviving"]
        shape = "x".join(map(str, entry["shape"])) or "scalar"
        share = entry["surviving"] / total if total else 0.0
        counts = f"{entry['pruned']:12,}  {entry['surviving']:12,}  {share:9.2%}"
        line = f"{names[entry['name']]:{width}}  {shape:>16}  {counts}"
        if "dead_units" in entry:
            line += f"  {entry['dead_units']:10,}  {entry['unread_inputs']:13,}"
        if entry["name"] in facts["collapsed"]:
            line = f"{_RED if colour else ''}{line}  COLLAPSED{_PLAIN if colour else ''}"
        lines.append(line)
    if ticket.rest:
        lines.append(f"outside the scope, whole: {', '.join(map(printable, sorted(ticket.rest)))}")
    warnings = ticket_warnings(ticket, "this ticket")
    return "\n".join([*lines, *(f"{_RED if colour else ''}{line}{_PLAIN if colour else ''}" for line in warnings)])


def asked_lines(ticket: Ticket) -> list[str]:
    """Return one line about how well whole units meet the count that the round asked for; none for single weights.

    :param ticket: the ticket
    """
    asked, surviving = ticket.origin.asked, ticket.masks.surviving
    if asked is None:
        return []
    return [f"whole units: {surviving:,} survive where {asked:,} were asked for ({surviving - asked:+,})"]


def network_lines(ticket: Ticket) -> list[str]:
    """Return one line per network: what survives, and how many inputs reach an output if that is known.

    :param ticket: the ticket
    """
    networks = networks_of(ticket.masks, ticket.rest)
    if len(networks) > 1:
        return [f"  {network}" for network in networks]
    return [f"  {networks[0].flow}"] if networks and networks[0].flow else []


def ticket_notes(ticket: Ticket, where: str) -> list[str]:
    """Return how well whole units meet the count that was asked for, and the warnings, one line each.

    :param ticket: the ticket
    :param where: the run or the ticket, for the message
    """
    return [*(f"{where}: {line}" for line in asked_lines(ticket)), *ticket_warnings(ticket, where)]


def ticket_warnings(ticket: Ticket, where: str) -> list[str]:
    """Return what users should know before they train a ticket, one line each.

    :param ticket: the ticket
    :param where: the run or the ticket, for the message
    """
    collapsed = ticket.masks.collapsed()
    return [
        *(collapse_warning(name, where) for name in collapsed),
        *(_starvation_warnings(ticket, where, collapsed)),
        *(
            f"WARNING: {where}: {count} low-ranked parameters of '{printable(name)}' survive, each the last of its "
            "slice: the weight is divided by the norm of each slice (weight_norm, spectral_norm), which must not be 0"
            for name, count in ticket.origin.spared.items()
        ),
    ]


def _starvation_warnings(ticket: Ticket, where: str, collapsed: Sequence[str]) -> Iterator[str]:
    masks, networks = ticket.masks, networks_of(ticket.masks, ticket.rest)
    share, survivors = masks.surviving / masks.pool, masks.survivors()
    remedy = "prune less, or leave it out of the scope"
    if len(networks) > 1 and ticket.origin.scope_shares != SEPARATE:
        names = " and ".join(network.name for network in networks if network.inputs is not None)
        remedy += f", or prune {names or 'each network'} at the same rate (scope shares 'separate')"
    for name in thin_layers(masks):
        kept, total = survivors[name], masks[name].numel()
        yield (
            f"WARNING: {where}: the layer '{printable(name)}' keeps {kept:,} of {total:,} weights ({kept / total:.2%}; "
            f"the whole pool keeps {share:.1%}), and collapses soon if pruning goes on: {remedy}"
        )
    for network in networks:
        # A collapsed layer has its own warning, and no input reaches an output through it.
        if network.starved and not (collapsed and not network.reaching):
            few = f"only {network.reaching:,}" if network.reaching else "none"
            yield (
                f"WARNING: {where}: {few} of the {network.inputs:,} inputs of the {network.name} still "
                f"reach{'' if network.reaching else 'es'} an output"
            )


def collapse_warning(name: str, where: str) -> str:
    """Return one line about a collapsed layer and its likely cause.

    :param name: a tensor of two or more dimensions without a survivor
    :param where: the run or the ticket
    """
    hints = filter(None, (row.collapse_hint(name) for row in dialects.every()))
    hint = next(hints, "only biases pass it, so what follows sees no input (prune less, or leave it out of the scope)")
    return f"WARNING: {where}: the layer '{printable(name)}' has collapsed, no parameter of it survives: {hint}"
