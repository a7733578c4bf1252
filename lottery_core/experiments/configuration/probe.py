"""A stability probe: candidate rewind points, the straight line between two copies, and how unstable a point is.

Two copies of a network are trained from the weights at a point under different noise. If the score along the straight
line between their ends is as good as at the ends, training was stable to its own noise from that point on (Frankle et
al. 2020, arXiv 1912.05671, section 3).
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core import dialects
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments.graph import Run, paths
from lottery_core.files import from_json, read_object, write_json
from lottery_core.pruning import parse_share
from lottery_core.tickets import Masks, Origin, Ticket, Weights, plain_names

POINTS = ("init", "1%", "2%", "5%", "10%")
STEPS = 11
THRESHOLD = 0.05


@dataclass(frozen=True)
class Probe:
    """The candidate points of a probe.

    :param points: the points, as the framework types them, rising
    :param of: file of a ticket whose masks the copies have, relative to the experiment's folder; empty: dense copies
    :param steps: number of points on each line, with both ends
    :param sha256: digest of that ticket, so that another one is another probe; empty in folders of earlier versions
    :raises ConfigError: there is no point, one occurs twice, or a line has fewer than three points
    """

    points: tuple[str, ...]
    of: str = ""
    steps: int = STEPS
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.points or len(set(self.points)) < len(self.points):
            raise ConfigError(f"--points must name different points, not {' '.join(self.points) or 'none'}")
        if self.steps < 3:
            raise ConfigError(
                f"--steps must be at least 3 (both ends of a line and one network between them), not {self.steps}"
            )

    def as_json(self) -> dict[str, Any]:
        """Return JSON values for the entry ``probe`` of an experiment."""
        row = {**asdict(self), "points": list(self.points)}
        return row if self.sha256 else {name: value for name, value in row.items() if name != "sha256"}

    @classmethod
    def of_json(cls, out: Path, value: Mapping[str, Any]) -> Probe:
        """Read the values of :meth:`as_json`.

        :param out: the experiment's folder, for messages
        :param value: the values
        :raises ConfigError: a value is damaged
        """
        return from_json(
            cls, value, lambda why: ConfigError(f"cannot read the entry 'probe' in {out / paths.EXPERIMENT}: {why}")
        )

    def ticket(self, out: Path) -> Ticket | None:
        """Read the ticket whose masks the copies have; ``None`` if they are dense.

        :param out: the experiment's folder
        :raises TicketError: the ticket cannot be read
        :raises ConfigError: it is another one than when the probe began
        """
        if not self.of:
            return None
        path = os.path.normpath(out.resolve() / self.of)
        ticket = Ticket.load(path)
        if self.sha256 not in ("", ticket.digest):
            raise ConfigError(f"--of {path} has changed since the probe began: put the same ticket there again")
        return ticket

    def copy(self, out: Path, run: Run, start: Weights, scope: Sequence[str]) -> Ticket:
        """Make the ticket of a copy: the weights at its point, dense or with the masks of the probed ticket.

        :param out: the experiment's folder
        :param run: the copy's run
        :param start: weights at its point
        :param scope: which of them are in the pool of a dense copy
        :raises MismatchError: the probed ticket is of another architecture
        """
        origin = Origin(
            kind=run.kind, round=run.round, rewind=self.points[run.round - 1], seed=run.seed, scope=tuple(scope)
        )
        ticket = self.ticket(out)
        if ticket is None:
            return Ticket.of(
                Masks.ones({name: start.tensors[name] for name in start.pool(scope)}), start.tensors, origin
            )
        ticket = ticket.named_as(start.tensors)
        ticket.require_fit({name: tensor.shape for name, tensor in start.tensors.items()}, start.source)
        return Ticket.of(ticket.masks, start.tensors, origin)


def parse_points(words: Iterable[str], length: int, unit: str, parse: Callable[[str], str]) -> tuple[str, ...]:
    """Return candidate points as a framework types them, without those that occur twice.

    :param words: points, or shares of the training, e.g. ``"5%"``
    :param length: length of the training
    :param unit: its unit
    :param parse: checks a point that is not a share, and returns it as the framework types it
    :raises ConfigError: a word is not understood
    """
    points = []
    for word in words:
        if word.endswith("%") or word.replace(".", "", 1).isdigit():
            share = parse_share(word, "--points")
            points.append(f"{unit}:{max(1, round(share * length))}")
        else:
            points.append(parse(word))
    return tuple(dict.fromkeys(points))


def coinciding(points: Sequence[str]) -> str:
    """Return a line for users about candidate points that are the same network.

    :param points: the points
    """
    return f"no update lies between the points {' and '.join(points)}, so they are the same network: one would do"


@dataclass(frozen=True)
class Line:
    """The scores along the straight line between the ends of two copies.

    :param shares: share of the way, rising from 0 (the first copy) to 1 (the second)
    :param scores: the score at each share
    :param errors: standard error of each score, NaN where there is none
    :param lower_is_better: whether lower scores are better
    :param running: names of running statistics that were interpolated like the weights
    """

    shares: tuple[float, ...]
    scores: tuple[float, ...]
    errors: tuple[float, ...]
    lower_is_better: bool
    running: tuple[str, ...] = ()

    @property
    def ends(self) -> float:
        """The mean score of the two copies."""
        return (self.scores[0] + self.scores[-1]) / 2

    @property
    def worst(self) -> int:
        """Where the worst score stands; the first of equal ones. A score that is not finite is the worst."""
        bad = [math.inf if not math.isfinite(score) else score * self._sign for score in self.scores]
        return bad.index(max(bad))

    @property
    def barrier(self) -> float:
        """By how much the worst score on the line is worse than the mean of the ends, at least 0; infinite if it is."""
        if not math.isfinite(self.scores[self.worst]):
            return math.inf
        return (self.scores[self.worst] - self.ends) * self._sign

    @property
    def error(self) -> float:
        """The standard error of the barrier, from those of the three scores, which are taken as independent."""
        worst, first, last = self.errors[self.worst], self.errors[0], self.errors[-1]
        if self.worst in (0, len(self.scores) - 1):
            return math.hypot(first, last) / 2
        return math.sqrt(worst**2 + (first**2 + last**2) / 4)

    @property
    def _sign(self) -> float:
        return 1.0 if self.lower_is_better else -1.0

    def write(self, folder: Path) -> None:
        """Write ``line.json`` into the folder of a run.

        :raises WriteError: the file cannot be written
        """
        write_json(folder / paths.LINE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Line:
        """Read ``line.json`` in the folder of a run.

        :raises RunError: it is missing or damaged
        """
        path = folder / paths.LINE
        line = from_json(cls, read_object(path), lambda why: RunError(f"cannot read {path}: {why}"))
        if not 3 <= len(line.shares) == len(line.scores) == len(line.errors):
            raise RunError(f"cannot read {path}: it lacks the score of a point")
        return line


def between(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the values on the straight line between two networks.

    Both ends are exact, and so is every point between two equal values: what is pruned in both stays 0.0.
    Values that are not floating point (counters) are those of the first network.

    :param first: values of the first network, by name
    :param second: values of the second one, of the same names and shapes
    :param share: share of the way, in [0, 1]
    """
    return {
        # Where both are infinite, lerp alone gives NaN.
        name: torch.where(value == second[name], value, torch.lerp(value, second[name], share))
        if value.is_floating_point() or value.is_complex()
        else value
        for name, value in first.items()
    }


def score_line(
    first: Weights,
    second: Weights,
    steps: int,
    measure: Callable[[Mapping[str, Tensor], float], tuple[float, float]],
    lower_is_better: bool,
    masks: Masks | None = None,
) -> Line:
    """Score networks along the straight line between two networks.

    :param first: weights of the first copy
    :param second: weights of the second one
    :param steps: number of points, with both ends
    :param measure: (weights by name, share of the way) -> score of that network and its standard error
    :param lower_is_better: whether lower scores are better
    :param masks: masks of both copies; a pruned weight that is not 0.0 in either is refused
    :raises MismatchError: the copies have different architectures
    :raises RunError: a pruned weight is not 0.0
    """
    first.require_same_shapes(second)
    for name, mask in (masks or {}).items():
        for copy in (first, second):
            if bool((copy.tensors[name][~mask] != 0).any()):
                raise RunError(f"{copy.source}: '{name}' has a pruned weight that is not 0.0")
    shares = tuple(index / (steps - 1) for index in range(steps))
    found = [measure(between(first.tensors, second.tensors, share), share) for share in shares]
    running = tuple(sorted(filter(dialects.is_running, first.tensors)))
    scores, errors = (tuple(map(float, values)) for values in zip(*found, strict=True))
    return Line(shares, scores, errors, lower_is_better, running)


@torch.no_grad()
def set_values(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set parameters and buffers of a model to values by their plain names; others stay as they are.

    :param model: the model
    :param values: name -> value
    """
    plain = plain_names(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        value = values.get(plain(name))
        if value is not None:
            tensor.copy_(value)


def mean_barrier(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the mean instability over seeds and its standard error: of the seeds, or of the scores of a single line.

    :param lines: the lines of one point, one per seed
    """
    values = [line.barrier for line in lines]
    if len(values) < 2:
        return values[0], lines[0].error
    if not all(map(math.isfinite, values)):
        return statistics.fmean(values), math.nan
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
