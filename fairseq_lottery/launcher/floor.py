"""``fairseq-lottery floor``: measure the floor of an experiment that has none, e.g. of an earlier version."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.framework import load_trusted
from fairseq_lottery.launcher.options import import_user_dir
from fairseq_lottery.launcher.scoring import measure_floor
from lottery_core.cli import Parser, add_trust
from lottery_core.errors import ConfigError
from lottery_core.experiments import dense, paths, read_marker, write_floor


def floor_parser() -> Parser:
    """Make the parser of ``fairseq-lottery floor``."""
    result = Parser(prog="fairseq-lottery floor", description="Measure what a model scores that has learned nothing.")
    result.add_argument("out", type=Path, metavar="DIR", help="folder of an experiment; its report then has this floor")
    add_trust(result)
    return result


def floor(words: Sequence[str], training: Sequence[str] = ()) -> None:
    """Run ``fairseq-lottery floor``.

    :param words: words of the command line after ``floor``
    :param training: words after ``--``, which must be empty
    :raises LotteryError: bad input, or the floor cannot be measured
    """
    args = floor_parser().parse_args(list(words))
    if training:
        raise ConfigError("floor trains nothing: leave out what follows --")
    out = args.out
    experiment = load_trusted(out, args.trust)
    run = dense(experiment.seeds[0])
    if read_marker(out / run.folder, experiment) is None:
        raise ConfigError(f"{out}: {run} has not finished, and its model and its task are needed")
    logging.getLogger().setLevel(logging.ERROR)
    import_user_dir(FairseqArguments(experiment.settings["arguments"]))
    found = measure_floor(experiment, out / run.folder)
    if found is None:
        raise ConfigError(f"there is no floor for scores of the command '{experiment.scoring['score'][0]}'")
    score, what = found
    write_floor(out, score, what)
    print(f"floor: {score.score:.4g} ({what}), in {out / paths.FLOOR}")
