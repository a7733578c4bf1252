"""Tickets from another experiment: where they are, whether they suffice, and the tickets here that they give."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, TicketError
from lottery_core.experiments.configuration.stored import configuration_digest
from lottery_core.experiments.graph import Run, paths
from lottery_core.files import from_json
from lottery_core.pruning import (
    ALONE_DENSE,
    TRANSFERS,
    WINNING,
    Partners,
    Rename,
    check_names,
    check_unmatched,
    partners,
    same_level,
)
from lottery_core.tickets import Masks, Ticket, Weights, read_masks_and_names

_SEED = re.compile(r"seed-(\d+)")


@dataclass(frozen=True)
class TicketSource:
    """Another experiment whose winning tickets are transferred.

    :param place: its folder, or the folder of one of its seeds, whose tickets every seed here then gets
    :param maps: changes of the names there, as ``REGEX=REPLACEMENT``
    :param unmatched: what happens to tensors without a partner, one of :data:`lottery_core.pruning.UNMATCHED`
    :param sha256: digest of its configuration, so that another experiment in its place is seen; empty: not known
    :raises ConfigError: a change of names or ``unmatched`` is not understood
    """

    place: Path
    maps: tuple[str, ...] = ()
    unmatched: str = ALONE_DENSE
    sha256: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_unmatched(self.unmatched)
        _ = self.renames

    @property
    def renames(self) -> tuple[Rename, ...]:
        """The changes of names."""
        return tuple(map(Rename.parse, self.maps))

    @property
    def leaves_dense(self) -> bool:
        """Whether tensors without a partner are not pruned."""
        return self.unmatched == ALONE_DENSE

    def as_json(self, out: Path) -> dict[str, Any]:
        """Return JSON values; the place is relative to the experiment's folder, so that both can move together.

        :param out: folder of the experiment that gets the tickets
        """
        place = os.path.relpath(self.place.resolve(), out.resolve())
        row = {"tickets_from": place, "map": list(self.maps), "unmatched": self.unmatched}
        sha256 = self.sha256 or configuration_digest(self._experiment)
        return {**row, "sha256": sha256} if sha256 else row

    @classmethod
    def of_json(cls, out: Path, value: Mapping[str, Any]) -> TicketSource:
        """Read the values of :meth:`as_json`.

        :param out: folder of the experiment that gets the tickets
        :param value: the values
        :raises ConfigError: a value is damaged
        """

        def damaged(why: str) -> ConfigError:
            return ConfigError(f"cannot read the entry 'transfer' in {out / paths.EXPERIMENT}: {why}")

        row = from_json(_Row, value, damaged)
        # Without the dots: the experiment's own folder may not exist yet.
        return cls(Path(os.path.normpath(out.resolve() / row.tickets_from)), row.map, row.unmatched, row.sha256)

    def ticket(self, seed: int, round_: int) -> Path:
        """Return the file of the winning ticket for a seed and a round here; it may be missing.

        :param seed: the seed here
        :param round_: the round, the same there
        """
        its = seed if self._seed is None else self._seed
        scored, searched = (
            self._experiment / Run(its, WINNING, round_, search=search).folder / paths.TICKET
            for search in (False, True)
        )
        return searched if searched.exists() and not scored.exists() else scored

    def check(
        self,
        out: Path,
        runs: Iterable[Run],
        weights: Weights | None,
        scope: tuple[str, ...],
        left: Callable[[int, int], int],
    ) -> list[str]:
        """Check that every run has its ticket there, and return lines for users about what is carried over.

        :param out: folder of the experiment that gets the tickets
        :param runs: its runs that need a ticket
        :param weights: weights of a new network here; ``None`` compares no tensors
        :param scope: which of them are in the pool
        :param left: (parameters of a pool, round) -> number of them that survive that round here
        :raises ConfigError: the place is this experiment or holds another one than before, a ticket is missing or
            cannot be read, a change of names gives two tensors the same one, or no tensor has a partner
        """
        if self._experiment.resolve() == out.resolve():
            raise ConfigError(f"--tickets-from {_shown(self.place)} is this experiment: give another one")
        needed: dict[Path, Run] = {}
        for run in runs:
            path = self.ticket(run.seed, run.round)
            if not path.exists():
                raise ConfigError(f"--tickets-from: {run} needs {_shown(path)}, which is missing{self._there(run)}")
            if TRANSFERS[run.kind].values or path not in needed:
                needed[path] = run
        if needed:
            self._require_same()
        lines: list[str] = []
        shares: dict[int, tuple[float, float]] = {}
        for path, run in needed.items():
            masks, found = self._partners(path, weights, scope, TRANSFERS[run.kind].values)
            shares.setdefault(run.round, self._shares(masks, found, run.round, left))
            if found is not None and not lines:
                lines.append(f"tickets from {_shown(self.place)}: {found.describe(self.unmatched)}")
        return [*lines, *self._share_lines(shares)]

    def _partners(
        self, path: Path, weights: Weights | None, scope: tuple[str, ...], values: bool
    ) -> tuple[Masks, Partners | None]:
        try:
            masks, rest = read_masks_and_names(path)
            if weights is None:
                return masks, None
            if values:
                check_names((*masks, *rest), self.renames, weights.tensors)
            return masks, partners(weights, scope, masks, self.renames)
        except TicketError as error:
            raise ConfigError(f"--tickets-from: {error}") from error

    def _shares(
        self, masks: Masks, found: Partners | None, round_: int, left: Callable[[int, int], int]
    ) -> tuple[float, float]:
        # What survives of the pool here, in the ticket and in a ticket that is searched here.
        if found is None:
            return masks.surviving / masks.pool, left(masks.pool, round_) / masks.pool
        return self._survivors(masks, found, round_, left) / found.pool, left(found.pool, round_) / found.pool

    def _survivors(self, masks: Masks, found: Partners, round_: int, left: Callable[[int, int], int]) -> int:
        alone = found.pool - found.carried
        rest = alone if self.leaves_dense or not alone else max(1, left(alone, round_))
        return rest + sum(int(masks[there].sum()) for there in found.names.values())

    def kept(
        self, masks: Masks, round_: int, weights: Weights, scope: tuple[str, ...], left: Callable[[int, int], int]
    ) -> tuple[Partners, int]:
        """Return which tensors here get a mask of a ticket there, and how many parameters here survive then.

        :param masks: masks of the ticket there
        :param round_: its round
        :param weights: weights of the network here
        :param scope: which of them are in the pool
        :param left: (parameters of a pool, round) -> number of them that survive that round here
        :raises ConfigError: no tensor has a partner, or the masks do not fit
        """
        found = partners(weights, scope, masks, self.renames)
        return found, self._survivors(masks, found, round_, left)

    def _share_lines(self, shares: Mapping[int, tuple[float, float]]) -> list[str]:
        for round_, (there, here) in sorted(shares.items()):
            if not same_level(there, here):
                return [
                    f"WARNING: tickets from {_shown(self.place)} keep other shares than tickets that are searched here "
                    f"(round {round_}: {there:.1%}, here {here:.1%}), so the report does not compare them: use the "
                    "same --prune-rate and --first, or another --unmatched"
                ]
        return []

    def load(self, run: Run) -> Ticket:
        """Read the winning ticket for a run here.

        :raises ConfigError: it is missing, cannot be read, or the place holds another experiment than before
        """
        self._require_same()
        try:
            return Ticket.load(self.ticket(run.seed, run.round))
        except TicketError as error:
            raise ConfigError(f"--tickets-from: {run} needs a ticket of another experiment: {error}") from error

    def _require_same(self) -> None:
        if self.sha256 and configuration_digest(self._experiment) not in ("", self.sha256):
            raise ConfigError(
                f"--tickets-from {_shown(self.place)} holds another experiment than when this one took its tickets: "
                "put the same one there again, or use another --out"
            )

    @property
    def _seed(self) -> int | None:
        if (self.place / paths.EXPERIMENT).exists():  # an experiment's folder may have the name of a seed's
            return None
        match = _SEED.fullmatch(self.place.resolve().name)
        return None if match is None else int(match[1])

    @property
    def _experiment(self) -> Path:
        return self.place if self._seed is None else self.place.resolve().parent

    def _there(self, run: Run) -> str:
        folder = self.place / WINNING
        if self._seed is None:
            seeds = sorted(int(found[1]) for path in self.place.glob("seed-*") if (found := _SEED.fullmatch(path.name)))
            if not seeds:
                return f": {_shown(self.place)} is not the folder of an experiment with winning tickets"
            if run.seed not in seeds:
                here = " ".join(map(str, seeds))
                one = f"{_shown(self.place)}/seed-{seeds[0]}"
                return f" (it has the seeds {here}): {one} gives every seed the tickets of that one"
            folder = self.place / f"seed-{run.seed}" / WINNING
        rounds = sorted({path.parent.name.rpartition("-")[2] for path in folder.glob(f"*/{paths.TICKET}")})
        return f" (it has rounds {rounds[0]} to {rounds[-1]})" if rounds else " (it has no winning ticket)"


@dataclass(frozen=True)
class _Row:
    tickets_from: str
    map: tuple[str, ...] = ()
    unmatched: str = ALONE_DENSE
    sha256: str = ""


def _shown(path: Path) -> str:
    return os.path.relpath(path) if len(os.path.relpath(path)) < len(str(path)) else str(path)
