"""Points in a training run as users type them: ``episodes:160``, ``updates:1000``, ``epoch:1``, ``init``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lottery_core.errors import ConfigError
from lottery_core.files import printable

INIT = "init"
EPOCH = "epoch"
_DIGITS = 18  # of a count; Python refuses to read more than some thousands
# Rewind points with which survivors keep their trained weights: only the learning rate schedule is rewound (Renda et
# al., arXiv 2003.02389), or nothing is rewound, and training continues at the schedule's last rate.
LEARNING_RATE, NOTHING = "lr", "none"
KEPT = (LEARNING_RATE, NOTHING)
# How long a ticket trains after the rewind point: the whole length again, or what remains of it, with a schedule that
# continues from the rewind point (Frankle et al., arXiv 1912.05671).
FULL, REMAINING = "full", "remaining"
AFTER_REWIND = {
    FULL: "tickets train for the whole length again, with a schedule from its beginning",
    REMAINING: "tickets train for what remains of the length, with a schedule that continues from there",
}


@dataclass(frozen=True)
class Point:
    """A point in a training run, or a length: ``count`` of ``unit`` after the start; 0 is the initialisation."""

    unit: str
    count: int

    def __str__(self) -> str:
        return INIT if self.count == 0 else f"{self.unit}:{self.count}"

    def times(self, factor: int) -> Point:
        """Return the point ``factor`` times as far from the start."""
        return Point(self.unit, self.count * factor)


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def parse_point(
    text: str, units: Sequence[str], option: str, epoch: Point | None = None, words: Sequence[str] = ()
) -> Point:
    """Parse a point that a user typed.

    :param text: e.g. ``"episodes:160"``, ``"episode:160"`` or ``"init"``
    :param units: the accepted units, in the plural
    :param option: the option's name, for messages
    :param epoch: the length of an epoch; ``None`` if epochs are not accepted
    :param words: further words that the option accepts, for messages
    :raises ConfigError: the text has another form, the unit is unknown, or the count is not a whole number
    """
    text = text.strip()
    if text == INIT:
        return Point(units[0], 0)
    unit, _, count = text.partition(":")
    accepted = [f"{name}:N" for name in units] + ([f"{EPOCH}:N"] if epoch else []) + [INIT, *words]
    if text.isdecimal():
        raise ConfigError(f"{option} {text} has no unit: did you mean {_either(f'{name}:{text}' for name in units)}?")
    if not count.isdecimal() or len(count) > _DIGITS:
        raise ConfigError(
            f"{option} '{printable(text, 60)}' is not understood; accepted: {', '.join(accepted)}, where N is a whole "
            "number"
        )
    if unit in (EPOCH, f"{EPOCH}s") and epoch:
        return epoch.times(int(count))
    for name in units:
        if unit in (name, name.removesuffix("s")):
            return Point(name, int(count))
    raise ConfigError(f"{option} '{text}': unknown unit '{unit}'; accepted: {', '.join(accepted)}")
