"""Whether an experiment's tickets can be had at all: by whole units, and from another experiment."""

from __future__ import annotations

from lottery_core.experiments.configuration.settings import Settings
from lottery_core.pruning import Layout, check_reachable
from lottery_core.tickets import Weights


def check_levels(experiment: Settings, weights: Weights | None, layout: Layout | None) -> list[str]:
    """Check that each run can have its ticket, and return lines for users about tickets of another experiment.

    :param experiment: the configuration
    :param weights: weights of a new network; ``None`` compares no tensors with those of another experiment
    :param layout: its units; ``None`` if parameters are pruned one by one
    :raises PruneError: whole units cannot leave as few parameters as the last round that is trained asks for
    :raises ConfigError: a ticket of another experiment is missing, or no tensor has a partner there
    """
    if layout is not None:
        check_reachable(layout, experiment.survivors(layout.size, experiment.last_round))
    return experiment.check_transfer(weights)
