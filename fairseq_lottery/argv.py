"""The arguments of fairseq's commands: split from the options of ``fairseq-lottery``, and parsed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

USER_DIR = str(Path(__file__).parent)


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line at its first ``--`` into the words before it and the words after it."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


@dataclass(frozen=True)
class FairseqArguments:
    """The arguments of one of fairseq's commands: its words, and the values of the options among them.

    Both ``--option value`` and ``--option=value`` are understood. The last occurrence of an option counts.

    :param words: the command line after the command's name; kept as it is, so that it can be stored and run again
    """

    words: Sequence[str] = ()
    _values: dict[str, tuple[int, str | None]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        words = tuple(self.words)
        values: dict[str, tuple[int, str | None]] = {}
        for index, word in enumerate(words):
            option, equals, value = word.partition("=")
            if not option.startswith("-"):
                continue
            if equals:
                values[option] = index, value
            elif index + 1 < len(words):
                values[option] = index, words[index + 1]
            else:
                values.setdefault(option, (index, None))
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "_values", values)

    def given(self, *options: str) -> bool:
        """Return whether any of ``options`` is on the command line."""
        return any(option in self._values for option in options)

    def value(self, *names: str) -> str | None:
        """Return the last value given for an option; ``None`` if the option is not on the command line.

        :param names: the option's names, e.g. ``"--source-lang", "-s"``
        """
        occurrences = [self._values[name] for name in names if name in self._values]
        return max(occurrences)[1] if occurrences else None

    @property
    def task(self) -> str | None:
        """The value of ``--task``."""
        return self.value("--task")

    @property
    def user_dir(self) -> str | None:
        """The value of ``--user-dir``."""
        return self.value("--user-dir")

    @property
    def source_lang(self) -> str | None:
        """The value of ``--source-lang`` or ``-s``."""
        return self.value("--source-lang", "-s")

    @property
    def target_lang(self) -> str | None:
        """The value of ``--target-lang`` or ``-t``."""
        return self.value("--target-lang", "-t")

    @property
    def cpu(self) -> bool:
        """Whether ``--cpu`` is given."""
        return self.given("--cpu")

    @property
    def log_format(self) -> str | None:
        """The value of ``--log-format``."""
        return self.value("--log-format")

    @property
    def keep_last_epochs(self) -> str | None:
        """The value of ``--keep-last-epochs``."""
        return self.value("--keep-last-epochs")

    @property
    def no_epoch_checkpoints(self) -> bool:
        """Whether ``--no-epoch-checkpoints`` is given."""
        return self.given("--no-epoch-checkpoints")

    def plus(self, *words: str) -> FairseqArguments:
        """Return a copy with ``words`` appended."""
        return FairseqArguments((*self.words, *words))

    def without(self, *options: str) -> FairseqArguments:
        """Return a copy without ``options`` and their values; each of them must be an option that takes a value."""
        words: list[str] = []
        is_value = False
        for word in self.words:
            if is_value:
                is_value = False
            elif word in options:
                is_value = True
            elif word.partition("=")[0] not in options:
                words.append(word)
        return FairseqArguments(words)

    def without_flags(self, *options: str) -> FairseqArguments:
        """Return a copy without ``options``, which take no value."""
        return FairseqArguments([word for word in self.words if word not in options])

    def with_user_dir(self) -> FairseqArguments:
        """Return a copy with the plugin's user-dir, unless the arguments already name a user-dir.

        The user-dir is not part of an experiment's settings: the plugin may be installed elsewhere when the experiment
        resumes.
        """
        return self if self.user_dir is not None else self.plus("--user-dir", USER_DIR)
