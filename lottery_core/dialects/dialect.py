"""One row: what the files, the names and the settings of a framework mean."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Settings = Mapping[str, Any]


def _no_words(names: Collection[str]) -> Mapping[str, str]:
    return {}


def _no_networks(names: Collection[str]) -> Mapping[str, Sequence[str]]:
    return {}


def _never(names: Collection[str]) -> bool:
    return False


def _no_steps(content: Settings) -> Mapping[str, int]:
    return {}


def _one_return(settings: Settings) -> int:
    return 1


def _fresh_episodes(settings: Settings, episodes: int) -> str:
    return f"mean of {episodes} evaluations"


@dataclass(frozen=True)
class Dialect:
    """What the files, the names and the settings of one framework mean. Only ``name`` and ``title`` have no default.

    Files:

    :param name: the framework's name in ``experiment.json``
    :param title: the framework's name in messages
    :param file: one of its files, for help texts, e.g. ``"a fairseq checkpoint"``
    :param archive_member: the member of its zip files that holds the policy's state dict
    :param optimizer_members: matches the members of its zip files that hold the states of the policy's optimizers
    :param archive_facts: the member of its zip files that holds the model's settings as JSON
    :param steps_trained: content of a checkpoint, or of ``archive_facts`` -> unit and number of what it has trained for
    :param checkpoint_key: a key that only its checkpoints have at the top
    :param recognises: whether a state dict with these names is one of its models
    :param unties: its checkpoints store tied parameters as separate copies
    :param self_contained: its files load without this project, so there is no plain form to export
    :param safe_globals: dotted names of the classes and functions that its checkpoints may unpickle

    Names of tensors:

    :param buffers: last parts of the names of buffers, which files do not tell from parameters
    :param never_pruned: last parts of the names of parameters that are in no pool
    :param outside_layers: matches the names of embeddings, norms and output layers, left out by the scope ``layers``
    :param stacks: matches (prefix, number) of numbered layers, the last of which is an output layer
    :param running_mean: matches the name of a norm's running mean
    :param target_network: matches the names of target networks, which follow the networks that are pruned
    :param scope_words: the names of all parameters -> words of a scope and the regular expressions they stand for
    :param networks: the names of all parameters -> networks (actor, critic), each with regular expressions that match
        its layers, in the order in which data passes them; what several networks match is shared by them
    :param not_sequential: matches the names of layers that do not just follow one another: embeddings, attention
    :param collapse_hint: the name of a collapsed layer -> what is likely wrong, ``None`` where it has no advice

    Modules, settings, plugin:

    :param fused_flag: attribute that makes its attention call the projections instead of reading their weights
    :param steps: what the length of a training run counts, for reports
    :param returns_asked: settings of an experiment -> how many returns each score is meant to average
    :param evaluation_label: settings, number of episodes -> what an evaluation's score is
    :param inputs: ``"module:function"`` that counts the weights that read each input of a model, see
        :class:`lottery_core.reports.page.InputsOf`
    :param export: ``"module:function"``, see :class:`lottery_core.inference.Exporter`
    :param build: ``"module:function"``, see :class:`lottery_core.inference.Builder`
    """

    name: str
    title: str
    file: str = ""
    archive_member: str | None = None
    optimizer_members: re.Pattern[str] | None = None
    archive_facts: str | None = None
    steps_trained: Callable[[Mapping[str, Any]], Mapping[str, int]] = _no_steps
    checkpoint_key: str | None = None
    recognises: Callable[[Collection[str]], bool] = _never
    unties: bool = False
    self_contained: bool = False
    safe_globals: tuple[str, ...] = ()
    buffers: frozenset[str] = frozenset()
    never_pruned: frozenset[str] = frozenset()
    outside_layers: re.Pattern[str] | None = None
    stacks: re.Pattern[str] | None = None
    running_mean: re.Pattern[str] | None = None
    target_network: re.Pattern[str] | None = None
    scope_words: Callable[[Collection[str]], Mapping[str, str]] = _no_words
    networks: Callable[[Collection[str]], Mapping[str, Sequence[str]]] = _no_networks
    not_sequential: re.Pattern[str] | None = None
    collapse_hint: Callable[[str], str | None] = field(default=lambda name: None)
    fused_flag: str | None = None
    steps: str = "steps"
    returns_asked: Callable[[Settings], int] = _one_return
    evaluation_label: Callable[[Settings, int], str] = _fresh_episodes
    inputs: str | None = None
    export: str | None = None
    build: str | None = None


def load(reference: str) -> Any:
    """The object that ``"module:attribute"`` refers to.

    :raises ImportError: the module or one that it needs is not installed
    """
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
