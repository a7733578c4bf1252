"""Policies with sparse layers, for inference only."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import NoReturn

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.errors import ConfigError
from lottery_core.inference import AUTO, SparseReport, Timings, load_sparse, sparsify


def sparsify_policy(
    model: BaseAlgorithm, observations: int = 1, form: str = AUTO, timings: Timings | None = None
) -> SparseReport:
    """Replace layers of a trained policy by sparse layers that are measured to be faster on this machine.

    ``model.predict`` works as before and returns the same actions. The model can no longer learn, and it cannot be
    saved, so keep its zip. A network of a few hundred units gains nothing for a single observation: shrink it instead,
    ``lottery export MODEL.zip -o SMALL.zip --form shrunk``.

    :param model: a trained ticket
    :param observations: number of observations in one call of ``predict``, i.e. the number of environments
    :param form: ``auto``, or ``csr`` for every layer with zeros, even where that is slower
    :param timings: cache of measured times
    :returns: what was done with each layer, a report to ``print``
    :raises ConfigError: the form is unknown, or ``observations`` is not a whole number of at least 1
    """
    try:
        count = 0 if isinstance(observations, bool) else operator.index(observations)  # also of numpy's kinds
    except TypeError:
        count = 0
    if count < 1:
        raise ConfigError(f"observations must be a whole number, at least 1, not {observations}")
    model.policy.set_training_mode(False)
    report = sparsify(model.policy, tokens=count, form=form, timings=timings)
    if report.sparse:
        _refuse_state_dict(model)
    return report


def load_sparse_policy(path: str | Path, model: BaseAlgorithm) -> BaseAlgorithm:
    """Load a policy with sparse layers that ``lottery export MODEL.zip -o MODEL.csr --form csr`` wrote.

    See :func:`lottery_core.load_sparse`.

    :param path: the file
    :param model: a model of the same architecture; the weights of its policy are replaced
    :returns: ``model``, which can neither learn nor be saved
    :raises CheckpointError: the file cannot be read
    :raises MismatchError: the model has another architecture
    """
    load_sparse(path, model.policy)
    _refuse_state_dict(model)
    return model


def _refuse_state_dict(model: BaseAlgorithm) -> None:
    # model.save and model.get_parameters both begin with policy.state_dict().
    model.policy.register_state_dict_pre_hook(_refuse)  # type: ignore[no-untyped-call]


def _refuse(*_: object) -> NoReturn:
    raise ConfigError("a policy with sparse layers cannot be saved as an SB3 zip: keep the zip that it was loaded from")
