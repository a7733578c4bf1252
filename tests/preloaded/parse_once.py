"""What Hydra would do anew whenever options become a configuration: three quarters of half a second in every fork."""

from __future__ import annotations

import copy
import importlib
import sys
import warnings
from types import CodeType
from typing import Any

from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.options import get_training_parser, parse_args_and_arch
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

_parsed: dict[tuple[str, str], Any] = {}
_callers: dict[CodeType, tuple[str | None, str | None]] = {}
_parse = OverridesParser.parse_rule
_INITIALIZE: Any = importlib.import_module("hydra.initialize")  # hydra.initialize is a class
_detect = _INITIALIZE.detect_calling_file_or_module_from_stack_frame
_lists: dict[str, tuple[Any, ...]] = {}
_composed: dict[str, DictConfig] = {}
_groups: dict[str, bool] = {}
_CHOICES = ("known_choices", "known_choices_per_group", "override_choices", "override_metadata")
_list_defaults: Any = defaults_list._create_defaults_list
_compose = ConfigLoaderImpl._compose_config_from_defaults_list
_group_exists = ConfigRepository.group_exists


def _parse_once(self: OverridesParser, text: str, rule: str) -> Any:
    """Most options have their default value, in every command."""
    if (text, rule) not in _parsed:
        _parsed[text, rule] = _parse(self, text, rule)
    return copy.copy(_parsed[text, rule])


def _detect_once(depth: int) -> tuple[str | None, str | None]:
    """Looks up the lines of code of the whole stack to know the file of one frame."""
    code = sys._getframe(depth).f_code
    if code not in _callers:
        _callers[code] = _detect(depth + 1)
    return _callers[code]


def _copy_no_deeper_than_needed(self: CachingConfigRepository, delegate: IConfigRepository) -> None:
    """What is changed in a repository is the list of its sources, which gets another list."""
    self.delegate, self.cache = copy.copy(delegate), {}


def _list_once(repo: IConfigRepository, name: str | None, overrides: Any, **options: bool) -> tuple[Any, Any]:
    """Which task, model, optimizer and so on are chosen says which defaults belong to them."""
    chosen = (overrides.override_choices, overrides.append_group_defaults, overrides.deletions)
    key = repr((name, chosen, sorted(options.items())))
    if key not in _lists:
        found = _list_defaults(repo, name, overrides, **options)
        _lists[key] = (*found, *(copy.copy(getattr(overrides, choices)) for choices in _CHOICES))
    defaults, tree, *states = _lists[key]
    for choices, state in zip(_CHOICES, states, strict=True):
        setattr(overrides, choices, copy.copy(state))
    return [*defaults], tree


def _compose_once(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
    """The values of a command come later, on a copy."""
    key = repr(defaults)
    if key not in _composed:
        _composed[key] = _compose(self, defaults, repo)
    return copy.deepcopy(_composed[key])


def _group_exists_once(self: ConfigRepository, config_path: str) -> bool:
    """No command adds a group; every option is asked for whether it is one."""
    if config_path not in _groups:
        _groups[config_path] = _group_exists(self, config_path)
    return _groups[config_path]


def warm(*lines: list[str]) -> None:
    """Make the configurations of typical commands, of which forks keep what they share.

    :param lines: arguments of ``fairseq-train``
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what fairseq uses in Hydra
        for words in lines:
            convert_namespace_to_omegaconf(parse_args_and_arch(get_training_parser(), ["no-data", *words]))


OverridesParser.parse_rule = _parse_once  # type: ignore[method-assign]
defaults_list._create_defaults_list = _list_once
ConfigLoaderImpl._compose_config_from_defaults_list = _compose_once  # type: ignore[method-assign]
ConfigRepository.group_exists = _group_exists_once  # type: ignore[method-assign]
_INITIALIZE.detect_calling_file_or_module_from_stack_frame = _detect_once
CachingConfigRepository.__init__ = _copy_no_deeper_than_needed  # type: ignore[method-assign]
warm(["--arch", "transformer"])
