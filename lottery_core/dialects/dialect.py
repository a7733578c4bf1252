"""The dialect of a framework: what its files, names and settings mean."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lottery_core.dialects.units import Shapes, UnitGroup

Settings = Mapping[str, Any]
LOWER_IS_BETTER = ", lower is better"  # suffix of a score's label


def _no_words(names: Collection[str]) -> Mapping[str, str]:
    return {}


def _no_networks(names: Collection[str]) -> Mapping[str, Sequence[str]]:
    return {}


def _no_units(shapes: Shapes, heads: Mapping[str, int]) -> Sequence[UnitGroup]:
    return ()


def _no_heads(content: Settings, names: Collection[str]) -> Mapping[str, int]:
    return {}


def _never(names: Collection[str]) -> bool:
    return False


def _no_steps(content: Settings) -> Mapping[str, int]:
    return {}


def _no_scoring(settings: Settings) -> Settings:
    return {}


def _plain_label(scoring: Settings, name: str) -> str:
    return name


def _no_origin(content: Settings) -> Mapping[str, Any]:
    return {}


def _one_return(settings: Settings) -> int:
    return 1


def _ends_lower(label: str) -> bool:
    return label.endswith(LOWER_IS_BETTER)


def _not_known(label: str) -> bool:
    return False


def _no_label(returns: int) -> str:
    return ""


def _no_least(label: str) -> float | None:
    return None


def _usual_margin(label: str) -> str:
    return "5%"


def _fresh_episodes(settings: Settings, episodes: int) -> str:
    return f"mean of {episodes} evaluations"


@dataclass(frozen=True)
class Dialect:
    """The meaning of one framework's files, names and settings. Only ``name`` and ``title`` have no default.

    Files:

    :param name: the framework's name in ``experiment.json``
    :param title: the framework's name in messages
    :param file: one of its files, for help texts, e.g. ``"a fairseq checkpoint"``
    :param archive_member: the member of its zip files that holds the policy's state dict
    :param optimizer_members: pattern of the members of its zip files that hold the states of the policy's optimizers
    :param archive_facts: the member of its zip files that holds the model's settings as JSON
    :param steps_trained: content of a checkpoint, or of ``archive_facts`` -> unit and number of steps that it was
        trained for
    :param origin: content of a checkpoint, or of ``archive_facts`` -> the ``seed`` of its run and the ``rewind_point``
        that the run wrote, if they are known
    :param heads: content of a checkpoint, names of its tensors -> attention and its number of heads
    :param checkpoint_key: a top-level key that only its checkpoints have
    :param recognises: whether a state dict with these names is one of its models
    :param unties: its checkpoints store tied parameters as separate copies
    :param self_contained: its files load without this project, so there is no plain form to export
    :param safe_globals: dotted names of the classes and functions that its checkpoints may unpickle

    Names of tensors:

    :param buffers: last parts of the names of buffers, which files do not distinguish from parameters
    :param never_pruned: last parts of the names of parameters that are never pruned
    :param outside_layers: pattern of the names of embeddings, norms and output layers, which the scope ``layers``
        leaves out
    :param stacks: pattern with the groups (prefix, number) of numbered layers, the last of which is an output layer
    :param running_mean: pattern of the name of a norm's running mean
    :param target_network: pattern of the names of target networks, which follow the networks that are pruned
    :param scope_words: the names of all parameters -> words of a scope and the regular expressions they stand for
    :param networks: the names of all parameters -> networks (actor, critic), each with regular expressions that match
        its layers, in the order in which data passes them; layers that match several networks are shared by them
    :param units: shapes of all tensors by name, attention -> number of heads -> the units of its networks that can be
        pruned whole, see :class:`UnitFinder`; none if it recognises no network by these names
    :param not_sequential: pattern of the names of layers that do not simply follow one another: embeddings, attention
    :param collapse_hint: the name of a collapsed layer -> the likely cause; ``None`` if there is no advice

    Modules, settings, plugin:

    :param fused_flag: attribute that makes its attention call the projections instead of reading their weights
    :param steps: the unit in which the length of a run is counted, for reports
    :param scoring: settings of an experiment, as 0.1 stored them -> the settings that only say how finished runs are
        scored; ``None`` for those that do not affect its scores
    :param score_label: the scoring of an experiment, name of one of its scores -> description of that score, with its
        unit
    :param returns_asked: settings of an experiment -> how many returns each score is meant to average
    :param evaluation_label: settings, number of episodes -> description of an evaluation's score
    :param lower_is_better: label of a score -> whether lower scores are better
    :param higher_is_better: label of a score -> whether it is one of the framework's own, of which higher ones are
        better; the direction of any other score is up to the user
    :param margin: label of a score -> how much worse than dense counts as equally good, see ``lottery report --margin``
    :param least: label of a score -> the lowest possible score, which an untrained network reaches, if there is one
    :param floor_command: command that measures the floor of an experiment, whose folder follows; empty if there is none
    :param packages: packages that are recorded among the versions of its experiments only
    :param label_of_returns: number of values that a score averages -> label of the score, for rows of 0.1, which have
        no label; empty if it is unknown
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
    origin: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _no_origin
    heads: Callable[[Mapping[str, Any], Collection[str]], Mapping[str, int]] = _no_heads
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
    units: Callable[[Shapes, Mapping[str, int]], Sequence[UnitGroup]] = _no_units
    not_sequential: re.Pattern[str] | None = None
    collapse_hint: Callable[[str], str | None] = field(default=lambda name: None)
    fused_flag: str | None = None
    steps: str = "steps"
    scoring: Callable[[Settings], Settings] = _no_scoring
    score_label: Callable[[Settings, str], str] = _plain_label
    returns_asked: Callable[[Settings], int] = _one_return
    evaluation_label: Callable[[Settings, int], str] = _fresh_episodes
    lower_is_better: Callable[[str], bool] = _ends_lower
    higher_is_better: Callable[[str], bool] = _not_known
    margin: Callable[[str], str] = _usual_margin
    least: Callable[[str], float | None] = _no_least
    floor_command: str = ""
    packages: frozenset[str] = frozenset()
    label_of_returns: Callable[[int], str] = _no_label
    inputs: str | None = None
    export: str | None = None
    build: str | None = None


def load(reference: str) -> Any:
    """Import the object that ``"module:attribute"`` refers to.

    :raises ImportError: the module, or a module that it imports, is not installed
    """
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
