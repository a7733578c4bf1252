"""The question: which scores are better, how much worse counts as equally good, which difference matters."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from lottery_core import dialects
from lottery_core.errors import ConfigError
from lottery_core.reports.answer.curves import number

DISTANCE, DENSE_SHARE, SCORE = "distance", "dense", "score"
EFFECT = 0.10
_PERCENT = re.compile(r"([0-9.]+)%")


@dataclass(frozen=True)
class Margin:
    """How much worse than the dense network a score may be.

    :param amount: a share, or a difference of scores
    :param of: what ``amount`` refers to: ``"distance"`` (a share of the distance from floor to dense), ``"dense"`` (a
        share of the dense score), or ``"score"`` (a difference of scores)
    """

    amount: float
    of: str

    def __str__(self) -> str:
        if self.of == SCORE:
            return number(self.amount, 6)
        return f"{100 * self.amount:.3g}% of {_OF[self.of]}"


_OF = {DISTANCE: "the distance from floor to dense", DENSE_SHARE: "the dense score"}


@dataclass(frozen=True)
class Question:
    """The question about the rows of one experiment.

    :param label: description of the scores
    :param lower_is_better: whether lower scores are better
    :param margin: how much worse than dense still counts as keeping the dense score
    :param effect: the difference of normalised areas (dense is 1, floor 0) that would matter, for the number of seeds
    :param unit: the unit in which the length of a run is counted
    :param least: the lowest possible score, which an untrained network reaches; None if there is none
    :param assumed: whether the direction is assumed because neither the rows nor the experiment contain it
    """

    label: str = "score"
    lower_is_better: bool = False
    margin: Margin = Margin(0.05, DISTANCE)
    effect: float = EFFECT
    unit: str = "steps"
    assumed: bool = False
    least: float | None = None

    @property
    def sign(self) -> float:
        """The factor that makes higher scores better: 1 or -1."""
        return -1.0 if self.lower_is_better else 1.0


def question_of(
    label: str, framework: str, margin: Margin | None = None, effect: float = EFFECT, lower: bool | None = None
) -> Question:
    """Return the usual question about scores of this label.

    :param label: description of the scores; empty if it is unknown
    :param framework: the framework's name; empty if it is unknown
    :param margin: the margin; by default the framework's margin for such scores
    :param effect: the difference of normalised areas that would matter
    :param lower: whether lower scores are better, if the label does not say so; by default derived from the label
    """
    dialect = dialects.named(framework)
    usual = parse_margin(dialect.margin(label))
    direction = dialect.lower_is_better(label) if lower is None or _says_direction(label, framework) else lower
    assumed = not label and lower is None
    return Question(label or "score", direction, margin or usual, effect, dialect.steps, assumed, dialect.least(label))


def _says_direction(label: str, framework: str) -> bool:
    """Return whether the label of a score says if lower ones are better: that of a score which its framework knows.

    :param label: description of the scores
    :param framework: the framework's name
    """
    dialect = dialects.named(framework)
    return dialect.higher_is_better(label) or dialect.lower_is_better(label)


def parse_margin(word: str) -> Margin:
    """Parse a margin: ``5%`` or ``0.05`` of the distance from floor to dense, ``dense:1%``, or ``score:0.03``.

    :raises ConfigError: the text has another form, or a share is outside (0, 100%)
    """
    of, _, amount = word.rpartition(":")
    try:
        if of == SCORE:
            value = float(amount)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"the margin '{word}' must be a difference of scores above 0, e.g. score:0.03")
            return Margin(value, SCORE)
        if of not in ("", DENSE_SHARE):
            raise ValueError
        return Margin(_share(amount, "margin"), of or DISTANCE)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"unknown margin '{word}': accepted are a share of the distance from floor to dense (5% or 0.05), of the "
            "dense score (dense:1%), or a difference of scores (score:0.03)"
        ) from error


def parse_effect(word: str) -> float:
    """Parse a difference of normalised areas: ``0.10`` or ``10%``.

    :raises ConfigError: the text is not a number, or outside (0, 1)
    """
    try:
        return _share(word, "effect")
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"unknown effect '{word}': accepted is a share of the normalised area, e.g. 0.10") from error


def _share(word: str, what: str) -> float:
    percent = _PERCENT.fullmatch(word)
    value = float(percent.group(1)) / 100 if percent else float(word)
    if not 0 < value < 1:
        raise ConfigError(f"the {what} must lie in (0, 100%), but it is {word}")
    return value
