"""The registered lottery tasks; another needs only one line: ``lottery_task("denoising")``."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY, register_task

from fairseq_lottery.language_model import LanguageModelingOptions, StreamTask
from fairseq_lottery.names import PREFIX
from fairseq_lottery.options import LotteryOptions
from fairseq_lottery.task.task import LotteryTask
from lottery_core.errors import unknown_choice


def lottery_task(name: str, mixins: tuple[type, ...] = (LotteryTask,), options: type = LotteryOptions) -> type:
    """Register ``lottery_NAME``: the task ``name``, extended to train tickets.

    One line in any user-dir is enough: ``from fairseq_lottery import lottery_task; lottery_task("denoising")``.

    :param name: a registered task of fairseq or of a user-dir
    :param mixins: classes placed before the task's own class
    :param options: dataclass of options to add to the task's own
    :returns: the class of the new task; the same class when called again
    :raises ConfigError: there is no task ``name``
    """
    if PREFIX + name in TASK_REGISTRY:
        return TASK_REGISTRY[PREFIX + name]  # type: ignore[no-any-return]
    if name not in TASK_REGISTRY:
        raise unknown_choice(name, "task", TASK_REGISTRY)
    base: Any = TASK_REGISTRY[name]
    config: Any = TASK_DATACLASS_REGISTRY.get(name)
    members: dict[str, Any] = {"__module__": __name__, "__doc__": f"{base.__name__} that trains tickets."}
    if config is None:
        members["add_args"] = staticmethod(_arguments_of(base, options))
    else:
        config = make_dataclass(f"Lottery{config.__name__}", [], bases=(options, config))
    made = type(f"Lottery{base.__name__}", (*mixins, base), members)
    return register_task(PREFIX + name, dataclass=config)(made)  # type: ignore[no-any-return]


def _arguments_of(base: Any, options: type) -> Any:
    # A task without a configuration class adds its arguments to the parser itself.
    def add_args(parser: Any) -> None:
        base.add_args(parser)
        gen_parser_from_dataclass(parser, options())

    return add_args


LotteryTranslation = lottery_task("translation")
for _name in ("translation_lev", "multilingual_translation", "masked_lm"):
    lottery_task(_name)
LotteryLanguageModeling = lottery_task("language_modeling", (LotteryTask, StreamTask), LanguageModelingOptions)
