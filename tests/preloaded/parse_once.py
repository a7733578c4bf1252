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
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser

_parsed: dict[tuple[str, str], Any] = {}
_callers: dict[CodeType, tuple[str | None, str | None]] = {}
_parse = OverridesParser.parse_rule
_INITIALIZE: Any = importlib.import_module("hydra.initialize")  # hydra.initialize is a class
_detect = _INITIALIZE.detect_calling_file_or_module_from_stack_frame


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


OverridesParser.parse_rule = _parse_once  # type: ignore[method-assign]
_INITIALIZE.detect_calling_file_or_module_from_stack_frame = _detect_once
CachingConfigRepository.__init__ = _copy_no_deeper_than_needed  # type: ignore[method-assign]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what fairseq uses in Hydra
    convert_namespace_to_omegaconf(parse_args_and_arch(get_training_parser(), ["no-data", "--arch", "transformer"]))
