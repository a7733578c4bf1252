"""The files that give the dense run its initial weights, e.g. ``--finetune-from-model``: which they are, by digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.names import INITIAL_WEIGHTS, LAST
from fairseq_lottery.task import require_first_update
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, dense, paths, read_row
from lottery_core.files import file_digest

DIGESTS = "initial_weights"  # key of the settings: option -> SHA-256 of its file


def with_digests(experiment: Experiment, arguments: FairseqArguments) -> Experiment:
    """Add the digests of the files with initial weights to the settings, so that other files are another experiment.

    A folder of an earlier version goes on without them. Once all dense runs are done no file is needed.

    :param experiment: the experiment
    :param arguments: the user's own arguments
    :raises ConfigError: a file that a dense run needs cannot be read
    """
    before = read_row(experiment.out)
    known: Mapping[str, Any] = before.get("settings", {}).get(DIGESTS, {})
    waiting = _waits(experiment)
    digests = {}
    for option, path in _files(arguments):
        if waiting or path.exists():
            digests[option] = file_digest(path, option)
        elif option in known:
            digests[option] = known[option]
    if not digests or (before and not known):
        return experiment
    return replace(experiment, settings={**experiment.settings, DIGESTS: digests})


def check_start(experiment: Experiment, options: Any) -> None:
    """Check that the dense runs that are still to be trained will write their initial weights.

    :param experiment: the experiment
    :param options: fairseq's ``checkpoint`` section
    :raises ConfigError: they would go on with the updates of another training
    """
    if _waits(experiment):  # into a folder of its own, whatever lies in fairseq's default one
        folder = str(experiment.out / dense(experiment.seeds[0]).folder)
        require_first_update(SimpleNamespace(**{**options, "save_dir": folder}))


def require_same_files(experiment: Experiment) -> None:
    """Check, before a dense run begins, that the files with initial weights are those of the experiment.

    :param experiment: the experiment
    :raises ConfigError: a file has changed, or cannot be read
    """
    known = experiment.settings.get(DIGESTS, {})
    for option, path in _files(FairseqArguments(experiment.settings["arguments"])):
        if option in known and file_digest(path, option) != known[option]:
            raise ConfigError(f"{option} {path} has changed since the experiment began")


def _waits(experiment: Experiment) -> bool:
    # Whether a dense run is still to be trained.
    return any(not (experiment.out / dense(seed).folder / paths.MARKER).exists() for seed in experiment.seeds)


def _files(arguments: FairseqArguments) -> Iterator[tuple[str, Path]]:
    for option in INITIAL_WEIGHTS:
        value = arguments.value(option)
        # fairseq looks for its own default in the folder of the run, and an address may need the network.
        if value is not None and value != LAST and "://" not in value:
            yield option, Path(value)
