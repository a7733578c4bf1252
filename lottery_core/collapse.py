"""The warning about a layer in which nothing survives."""

from __future__ import annotations


def collapse_warning(name: str, where: str) -> str:
    """One line about the collapsed layer ``name``, and what is likely wrong.

    :param name: of a tensor of two or more dimensions without a survivor
    :param where: the run or the ticket
    """
    return (
        f"WARNING: {where}: the layer '{name}' has collapsed: no parameter of it survives. "
        "If it is an output layer, its small initial values lose against the others: "
        "Stable-Baselines3's ortho_init=True does that to 'action_net'; use policy_kwargs=dict(ortho_init=False)"
    )
