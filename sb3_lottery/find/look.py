"""Inspect the user's model before an experiment starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.experiments import Point, read_row
from lottery_core.pruning import Layout, PruningSchedule, check_scope_shares, derive_seed
from sb3_lottery.layers import units_of
from sb3_lottery.models import algorithm_of, scope_words, weights_of
from sb3_lottery.training import (
    NO_MONITOR,
    MakeModel,
    TrainingSpec,
    call_make_model,
    check_another,
    check_model,
    check_room,
    describe_model,
    early_rewind,
    first_update,
    is_monitored,
    new_statistics,
    references_to,
    whole_rollouts,
)


@dataclass(frozen=True)
class ModelFacts:
    """The properties of the user's model that the experiment needs.

    :param description: the model's description, see :func:`describe_model`
    :param scope: scope with ``actor`` and ``critic`` replaced by regular expressions
    :param packages: packages of the model's classes
    :param spec: length of training, rewind point (one that suits the model if the user gave none) and score
    :param notes: lines for the user about any run with this model
    :param length_note: a line for the user if whole rollouts exceed the length, otherwise ``None``
    :param rewind_notes: lines for the user about the rewind point
    :param layout: the units of the pool; ``None`` if parameters are pruned one by one
    """

    description: dict[str, Any]
    scope: tuple[str, ...]
    packages: set[str]
    spec: TrainingSpec
    notes: tuple[str, ...]
    length_note: str | None
    rewind_notes: tuple[str, ...]
    layout: Layout | None


def look_at(
    make_model: MakeModel,
    seed: int,
    spec: TrainingSpec,
    scope: str | Sequence[str],
    scope_shares: str,
    granularity: str,
    default_rewind: Path | None,
    kinds: Sequence[str],
    schedule: PruningSchedule,
    search: str,
) -> ModelFacts:
    """Make one model, check that it can be trained, and close its environment.

    :param make_model: makes a fresh model from a seed
    :param seed: the seed
    :param spec: length of training, rewind point and score
    :param scope: which parameters are in the pool
    :param scope_shares: ``"together"``: all networks are one pool; ``"separate"``: each is pruned at the same rate
    :param granularity: what is pruned at once, single parameters or whole units
    :param default_rewind: the experiment's folder if the rewind point is the default, which may move; otherwise
        ``None``
    :param kinds: kinds of ticket
    :param schedule: schedule of tickets of kind ``"gradual"``
    :param search: how far rounds train that only search for the next ticket
    :raises LotteryError: the model cannot be trained as specified
    """
    model: BaseAlgorithm = call_make_model(make_model, seed)
    try:
        check_model(model, spec)
        check_room(model, spec, kinds, schedule, search)
        weights = weights_of(model)
        words = scope_words(scope, algorithm_of(model))
        check_scope_shares(scope_shares, weights.pool(words), weights.tensors)
        layout = units_of(model, weights, words, granularity)
        about_rewind: list[str] = []
        if default_rewind is not None:
            spec, about_rewind = _default_rewind(model, spec, default_rewind)
        warnings = early_rewind(model, spec), new_statistics(model, spec)
        described = ModelFacts(
            describe_model(model),
            words,
            {kind.__module__.partition(".")[0] for kind in type(model).__mro__},
            spec,
            tuple(_notes(model)),
            whole_rollouts(model, spec.length),
            (*about_rewind, *(line for line in warnings if line)),
            layout,
        )
    finally:
        if model.env is not None:
            model.env.close()
    used, own_seed = references_to(model), model.seed
    del model
    same = check_another(make_model, derive_seed("another", seed), used, own_seed, weights)
    return replace(described, notes=(*described.notes, same)) if same else described


def _notes(model: BaseAlgorithm) -> Iterator[str]:
    if model.seed is None:
        yield "WARNING: make_model makes a model without seed=: pass the seed, or runs cannot be repeated"
    if model.env is not None and not is_monitored(model.env):
        yield f"WARNING: {NO_MONITOR}"


def _default_rewind(model: BaseAlgorithm, spec: TrainingSpec, out: Path) -> tuple[TrainingSpec, list[str]]:
    # The default point, or just after the first update; a folder that began with an earlier point keeps it.
    first, point = first_update(model), spec.rewind
    if first is None or point is None or point.count > first or read_row(out).get("rewind") == str(point):
        return spec, []
    later = Point("timesteps", first + 1)
    if later.count > spec.length.count:
        later = Point("updates", 1)
    line = f"rewind point {later}, just after the first update: a twentieth of the length ({point}) comes before it"
    return replace(spec, rewind=later), [line]
