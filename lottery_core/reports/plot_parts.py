"""Parts of the picture: colours and markers of kinds, labels at the ends of lines, the strip "how small", intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lottery_core.reports.answer import LAST, Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRIP = "how small"  # label of the strip's axes
_COLOURS = {
    "winning": "#0b5fa5",
    "one-shot": "#7b3294",
    "no-rewind": "#1b7837",
    "random": "#d95f02",
    "reinit": "#c51b7d",
    "permuted": "#a6761d",
    "shuffled": "#c29b00",
    "uniform": "#666666",
}
_MARKERS = dict(zip(_COLOURS, "osD^vP*X", strict=True))
# Used in turn for kinds that are not in the tables above.
_MORE_COLOURS = ("#17a2b8", "#8c564b", "#2ca02c", "#e377c2", "#1f1f1f", "#bcbd22", "#9467bd", "#d62728")
_MORE_MARKERS = "<>hpd8H"
_RESAMPLES = 2000
_FONT, _GAP, _MOST = 8.5, 0.043, 22  # of labels: points, least distance as a share of the axes' height, how many fit


def look(kind: str, kinds: Sequence[str]) -> tuple[str, str]:
    """Return the colour and marker of a kind.

    :param kind: the kind
    :param kinds: all kinds in the picture; kinds without a fixed colour get one in turn
    """
    if kind in _COLOURS:
        return _COLOURS[kind], _MARKERS[kind]
    number = [other for other in kinds if other not in _COLOURS].index(kind)
    return _MORE_COLOURS[number % len(_MORE_COLOURS)], _MORE_MARKERS[number % len(_MORE_MARKERS)]


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Return the 95% percentile-bootstrap interval of the mean, which never leaves the range of the scores.

    For three scores or fewer it is their range; NaN if a score is NaN or infinite.

    :param scores: one score per seed
    """
    if not all(map(math.isfinite, scores)):
        return math.nan, math.nan
    if len(scores) < 4:
        return min(scores), max(scores)
    values = np.asarray(scores, dtype=float)
    drawn = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(1), (2.5, 97.5))
    return float(low), float(high)


def interval_words(counts: Sequence[int]) -> str:
    """Describe the bands, for the title.

    :param counts: number of seeds in each cell
    """
    most = max(counts, default=1)
    if most == 1:
        return "one seed"
    name = "range" if most < 4 else "95% bootstrap interval"
    return f"mean and {name} of {most} seeds" if min(counts) == most else f"mean and {name} over seeds"


@dataclass(frozen=True)
class End:
    """The end of a line, where its label is drawn.

    :param text: the label
    :param colour: the line's colour
    :param scores: the line's values; it ends at the last one
    :param place: horizontal position of the end, in data coordinates
    """

    text: str
    colour: str
    scores: Sequence[float]
    place: float


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Label lines at their right ends, in their order, without overlap; draw a legend instead if there are too many.

    :param axes: axes whose limits are final
    :param ends: the ends of the lines, with their labels
    """
    if len(ends) > _MOST:
        handles = [axes.plot([], [], color=end.colour, label=end.text)[0] for end in ends]
        axes.legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=_FONT - 1.5)
        return
    low, high = axes.get_ylim()
    order = sorted(ends, key=lambda end: (-_finite(end.scores[-1], low), -statistics.fmean(_shown(end.scores, low))))
    heights = spread_out([(_finite(end.scores[-1], low) - low) / (high - low) for end in order], _GAP)
    for end, height in zip(order, heights, strict=True):
        axes.annotate(
            end.text,
            xy=(end.place, _finite(end.scores[-1], low)),
            xytext=(1.035, height),
            textcoords="axes fraction",
            va="center",
            fontsize=_FONT,
            color=end.colour,
            annotation_clip=False,
            arrowprops=None
            if not math.isfinite(end.scores[-1])  # no such line was drawn
            else {
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.6,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )


def _finite(score: float, instead: float) -> float:
    return score if math.isfinite(score) else instead


def _shown(scores: Sequence[float], low: float) -> list[float]:
    return [_finite(score, low) for score in scores]


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights in [0, 1] apart until no two are closer than ``gap``; heights that touch move as a block.

    :param heights: heights in descending order
    :param gap: least distance between two heights
    """
    blocks: list[list[float]] = []  # wanted heights of labels that touch

    def top(block: list[float]) -> float:
        half = gap * (len(block) - 1) / 2
        return min(max(statistics.fmean(block) + half, 2 * half), 1.0)

    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and top(blocks[-2]) - gap * len(blocks[-2]) < top(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [top(block) - gap * index for block in blocks for index in range(len(block))]


def draw_strip(axes: Axes, answer: Answer, kinds: Sequence[str], width: float) -> None:
    """Draw how small each kind can be: one line per kind, the mean over seeds with its 95% interval.

    An open marker and an arrow mean that a seed was still inside the margin at the last level.

    :param axes: separate axes under the curves, with the same horizontal axis
    :param answer: the answer, with a threshold for each kind
    :param kinds: the kinds in the picture
    :param width: position of the last level
    """
    rows = [found for found in answer.thresholds if found.kind in kinds]
    for index, found in enumerate(rows):
        colour, marker = look(found.kind, kinds)
        if not found.kept:
            axes.text(0.01, index, "not kept at any level", transform=axes.get_yaxis_transform(), fontsize=7.5,
                      va="center", color=colour)  # fmt: skip
            continue
        open_end = any(seed.censored == LAST for seed in found.seeds)
        at = -math.log(found.surviving)
        if found.high is not None:
            end = width if found.low is None else min(-math.log(found.low), width)
            axes.plot([max(-math.log(found.high), 0), end], [index, index], color=colour, linewidth=2, alpha=0.45)
        axes.plot([at], [index], marker, color=colour, markersize=6, markerfacecolor="white" if open_end else colour)
        if open_end:
            axes.plot([width], [index], ">", color=colour, markersize=5, clip_on=False)
    axes.set_yticks(range(len(rows)), [found.kind for found in rows], fontsize=_FONT)
    for text, found in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_color(look(found.kind, kinds)[0])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(alpha=0.25, axis="x")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    interval_ = ", with the 95% interval" if len(answer.seeds) > 1 else ""
    axes.set_title(
        f"how small: keeps the dense score within {answer.question.margin}{interval_}", loc="left", fontsize=_FONT
    )
