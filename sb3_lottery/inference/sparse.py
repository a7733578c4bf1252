"""A policy with sparse layers, for playing."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.errors import ConfigError
from lottery_core.inference import AUTO, SparseReport, Timings, load_sparse, sparsify


def sparsify_policy(
    model: BaseAlgorithm, observations: int = 1, form: str = AUTO, timings: Timings | None = None
) -> SparseReport:
    """Replace the layers of a trained policy by sparse ones where this machine is measured to be faster with them.

    ``model.predict`` works as before, with the same actions; the model can no longer learn or be saved, so keep its
    zip. A network of a few hundred units gains nothing at one observation: make it smaller instead,
    ``lottery export MODEL.zip -o SMALL.zip --form shrunk``.

    :param model: a trained ticket
    :param observations: in one call of ``predict``: the number of environments
    :param form: ``auto``, or ``csr``: wherever a layer has zeros, also where that is slower
    :param timings: where measured times are remembered
    :returns: what became of each layer; ``print`` it
    :raises ConfigError: no such form, or no observation
    """
    model.policy.set_training_mode(False)
    report = sparsify(model.policy, tokens=observations, form=form, timings=timings)
    if report.sparse:
        model.save = _refuse  # type: ignore[method-assign]
    return report


def load_sparse_policy(path: str | Path, model: BaseAlgorithm) -> BaseAlgorithm:
    """Read what ``lottery export MODEL.zip -o MODEL.csr --form csr`` wrote, as :func:`lottery_core.load_sparse`.

    :param path: the file
    :param model: of the same architecture, untrained; its policy's weights go
    :returns: ``model``; it can neither learn nor be saved
    :raises CheckpointError: the file cannot be read
    :raises MismatchError: the model is of another architecture
    """
    load_sparse(path, model.policy)
    model.save = _refuse  # type: ignore[method-assign]
    return model


def _refuse(*_: object, **__: object) -> NoReturn:
    raise ConfigError("a policy with sparse layers cannot be saved as an SB3 zip: keep the one that it was loaded from")
