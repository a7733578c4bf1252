"""The configuration of an experiment, kept in ``experiment.json``: everything that determines its tickets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lottery_core import dialects
from lottery_core.errors import ConfigError, LotteryError
from lottery_core.experiments.configuration.settings import Settings
from lottery_core.experiments.configuration.stored import (
    DEFAULTS,
    OF_0_1,
    SEARCHING,
    digest_of,
    has_transfers,
    only_dense,
    read_row,
)
from lottery_core.experiments.graph import Run, paths
from lottery_core.files import differences, from_json, sign, write_json
from lottery_core.pruning import DENSE, KINDS


def as_json(value: Any) -> Any:
    """Return a value as it would be read from a file: tuples as lists."""
    return json.loads(json.dumps(value))


@dataclass(frozen=True)
class Experiment(Settings):
    """The configuration of an experiment: everything that determines its tickets.

    Its fields are those of :class:`~lottery_core.experiments.configuration.settings.Settings`.
    """

    def fixed(self) -> dict[str, Any]:
        """Return the settings that must not change between two commands in one folder.

        Kinds, seeds, rounds and trainings may be added. Settings that earlier folders lack are left out at their
        default. The scoring is not included.
        """
        later = {name: value for name, value in self._later().items() if value != DEFAULTS[name]}
        later.pop("score_rounds", None)  # no ticket and no score depends on which others are scored
        return {
            "framework": self.framework,
            "prune_rate": self.prune_rate,
            "rewind": self.rewind,
            "scope": list(self.scope),
            "settings": dict(self.settings),
            **later,
            **({} if self.scoring else {"score_label": self.score_label}),
        }

    def _later(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in DEFAULTS}
        return {**values, "score_rounds": list(self.score_rounds), "probe": dict(self.probe)}

    def digest(self) -> str:
        """SHA-256 of :meth:`fixed`, which identifies the configuration in the marker of a finished run."""
        return digest_of(self._as_stored)

    def digest_for(self, run: Run) -> str:
        """Return :meth:`digest` as a marker of ``run`` has it: that of a dense run, without how tickets are found.

        :param run: the run
        """
        return self._digest_of_dense if run.kind == DENSE else self.digest()

    def accepts(self, configuration: str) -> bool:
        """Return whether a marker with the digest ``configuration`` is of this experiment; 0.1 wrote another digest."""
        if configuration in (self.digest(), self._digest_of_dense):
            return True
        row = read_row(self.out)
        known = row.get(OF_0_1, {}).get("configuration") == configuration
        return known and Experiment.load(self.out).digest() == self.digest()

    @cached_property
    def _digest_of_dense(self) -> str:
        # Dense runs may be older than the decision how to search; other runs are not, see check_same_as_before.
        return digest_of({name: value for name, value in self._as_stored.items() if name not in SEARCHING})

    @cached_property
    def _as_stored(self) -> dict[str, Any]:
        # What means the same may be written otherwise, 1 for 1.0 or nothing for null: the folder keeps its own way.
        now, before = self.fixed(), read_row(self.out)
        same = (name for name in now if name in before and not differences(before[name], as_json(now[name])))
        return {**now, **{name: before[name] for name in same}}

    @property
    def scoring_text(self) -> str:
        """The scoring as options of a command line; empty if training itself gives the score."""
        return dialects.scoring_text(self.scoring)

    def scoring_of_0_1(self) -> str:
        """Return the scoring of runs whose markers were written by 0.1, which did not record it there."""
        return str(read_row(self.out).get(OF_0_1, {}).get("scoring", "")) if self.scoring else ""

    def write(self) -> None:
        """Write ``experiment.json``, keeping kinds, seeds, rounds of earlier commands in the folder.

        :raises ConfigError: the folder holds an experiment of another configuration; the message shows the differences
        :raises WriteError: the file cannot be written
        """
        before = self.check_same_as_before()
        whole = self
        if before:
            kinds = self._kinds_before(before)
            whole = replace(
                self,
                kinds=tuple(kind for kind in KINDS if kind in {*kinds, *self.kinds}),
                seeds=tuple(dict.fromkeys([*before["seeds"], *self.seeds])),
                rounds=max(before["rounds"], self.rounds),
                repeat_noise=max(before.get("repeat_noise", 1), self.repeat_noise),
            )
            before = {key: value for key, value in before.items() if key not in SEARCHING}
        fields = {name: getattr(whole, name) for name in ("kinds", "seeds", "rounds", "repeat_noise")}
        # Keys that this version does not know were written by a later one, and are kept.
        row = {
            **before,
            "name": self.name,
            **{name: value for name, value in self._later().items() if value != DEFAULTS[name]},
            **self._as_stored,
            **fields,
            **({"transfer": dict(self.transfer)} if self.transfer else {}),
            **({"score_label": self.score_label, "scoring": dict(self.scoring)} if self.scoring else {}),
            "versions": dict(self.versions),
            "command": self.command,
        }
        write_json(self.out / paths.EXPERIMENT, row)
        sign(self.out / paths.EXPERIMENT)

    def _kinds_before(self, row: Mapping[str, Any]) -> Sequence[str]:
        kinds: Sequence[str] = row["kinds"] if row["rounds"] else ()  # dense runs alone have none
        if not only_dense(self.out):
            return kinds
        # Nothing of them has begun, and the search may be another one.
        return [kind for kind in kinds if self._allows(kind)]

    def _allows(self, kind: str) -> bool:
        try:
            replace(self, kinds=(kind,))
        except LotteryError:
            return False
        return True

    def version_changes(self) -> list[str]:
        """Return the packages whose version has changed since the folder's last command, as ``name: old -> new``."""
        before = read_row(self.out)
        return differences(before["versions"], dict(self.versions)) if before else []

    def check_same_as_before(self) -> dict[str, Any]:
        """Check that the folder holds no experiment other than this one.

        :returns: the content of ``experiment.json``; empty if there is none
        :raises ConfigError: the folder's experiment has another configuration; the message shows the differences
        """
        before = read_row(self.out)
        if before:
            now = as_json({**self.fixed(), **self._later()})
            undecided = SEARCHING if only_dense(self.out) else ()
            known = {key: {**DEFAULTS, **before}.get(key) for key in now}
            fixed = [key for key in now if key not in undecided]
            changes = differences({key: known[key] for key in fixed}, {key: now[key] for key in fixed})
            if changes:
                raise ConfigError(
                    f"{self.out} holds an experiment of another configuration ({'; '.join(changes)}): "
                    "use another --out, or the same options"
                )
            begun = has_transfers(self.out, before["kinds"])
            changes = self._other_transfer(before.get("transfer", {})) if begun else []
            if changes:
                raise ConfigError(
                    f"{self.out} has tickets of another experiment already ({'; '.join(changes)}): use another --out, "
                    "or the same --tickets-from, --map and --unmatched"
                )
        return before

    def _other_transfer(self, before: Mapping[str, Any]) -> list[str]:
        # The digest is that of the other experiment, wherever it lies now; folders of earlier versions have none.
        ignored = {"tickets_from"} if "sha256" in before.keys() & self.transfer.keys() else {"sha256"}
        first, now = ({name: row[name] for name in row.keys() - ignored} for row in (before, self.transfer))
        return differences(first, now)

    @classmethod
    def load(cls, out: Path) -> Experiment:
        """Load the experiment in the folder ``out``.

        :raises ConfigError: there is no experiment, or it is damaged
        """
        row = read_row(out)
        if not row:
            raise ConfigError(f"{out} holds no experiment ({paths.EXPERIMENT} is missing)")

        def damaged(why: str) -> ConfigError:
            return ConfigError(f"cannot read {out / paths.EXPERIMENT}: {why}")

        try:
            return from_json(cls, {**DEFAULTS, **row, "out": None}, damaged, convert={"out": lambda _: out})
        except LotteryError as error:
            line = str(error)
            raise error if str(out) in line else damaged(line) from error
