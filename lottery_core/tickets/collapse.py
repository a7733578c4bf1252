"""The warning about a layer in which nothing survives."""

from __future__ import annotations


def collapse_warning(name: str, where: str) -> str:
    """One line about the collapsed layer ``name``, and what is likely wrong.

    :param name: of a tensor of two or more dimensions without a survivor
    :param where: the run or the ticket
    """
    if name.startswith(("action_net", "value_net")):
        hint = (
            "Stable-Baselines3's ortho_init=True starts output layers with weights so small that pruning takes them "
            "first (use policy_kwargs=dict(ortho_init=False)); where it is off, prune less"
        )
    else:
        hint = "only biases pass it, so what follows sees no input (prune less, or leave it out of the scope)"
    return f"WARNING: {where}: the layer '{name}' has collapsed, no parameter of it survives: {hint}"
