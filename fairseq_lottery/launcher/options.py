"""The options of ``fairseq-lottery``, and the arguments of ``fairseq-train`` that follow them after ``--``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import USER_DIR, FairseqArguments
from fairseq_lottery.names import BLEU, LOG_PPL, PREFIX, SCORES, TOKENIZED_BLEU
from fairseq_lottery.task import parse_rewind
from lottery_core.cli import DEFAULTS, Parser, add_experiment_options
from lottery_core.dialects import LOWER_IS_BETTER
from lottery_core.errors import ConfigError
from lottery_core.experiments import FULL, Experiment
from lottery_core.tickets import versions
from lottery_core.version import VERSION

# Arguments of fairseq-train that fairseq-lottery sets itself.
_SET_PER_ROUND = (
    *("--save-dir", "--seed", "--scope", "--rewind", "--rewind-point"),
    *("--ticket", "--ticket-kind", "--ticket-seed"),
)
_DEFAULTS: dict[str, Any] = {
    **DEFAULTS,
    "score": None,
    "average": 1,
    "gen_subset": "test",
    "generate": "--beam 5 --remove-bpe",
    "reference": None,
    "lower_is_better": False,
    "launcher": None,
}
_LABELS = {
    LOG_PPL: "log perplexity (nats a word) on the {split} split",
    BLEU: "BLEU (sacrebleu, detokenised) on the {split} split",
    TOKENIZED_BLEU: "BLEU (tokenised, case-sensitive) on the {split} split",
}


def parser() -> Parser:
    """Make the parser of ``fairseq-lottery``, for everything before ``--``; see :func:`resolve` for the defaults."""
    result = Parser(
        prog="fairseq-lottery",
        usage="fairseq-lottery --out DIR [option ...] -- DATA [fairseq-train argument ...]",
        description="Find winning tickets with fairseq-train, and train controls beside them.",
        argument_default=argparse.SUPPRESS,
    )
    result.add_argument("--version", action="version", version=f"fairseq-lottery {VERSION}")
    result.add_argument(
        "--print-user-dir", action="version", version=USER_DIR, help="print the plugin's path, for --user-dir"
    )
    add_experiment_options(
        result,
        rewind="rewind point: update:N, epoch:N or init (epoch:1)",
        scope="all, layers, or regular expressions for names of parameters (all)",
    )
    add = result.add_argument
    add(
        "--score",
        metavar="SCORE",
        help=f"{', '.join(SCORES)}, or a command that prints a number on its last line, run in the folder of a run "
        "with LOTTERY_CHECKPOINT set (log_ppl for language models, else bleu)",
    )
    add("--lower-is-better", action="store_true", help="lower scores of that command are better; for the report")
    add("--average", type=int, metavar="N", help="score the mean of the checkpoints of the last N epochs (1)")
    add("--gen-subset", metavar="SPLIT", help="split to score (test)")
    add("--generate", metavar="ARGS", help="more arguments of fairseq-generate, for BLEU ('--beam 5 --remove-bpe')")
    add("--reference", type=Path, metavar="FILE", help="detokenised references for BLEU (those in the data)")
    add(
        "--launcher",
        metavar="CMD",
        help="command that starts the training instead of python, e.g. 'torchrun --nproc_per_node 2'",
    )
    return result


def resolve(given: Mapping[str, Any]) -> argparse.Namespace:
    """Fill in the defaults of the options that were not given.

    :param given: what :func:`parser` made of the command line, as a mapping
    :raises ConfigError: ``--out`` is missing
    """
    if "out" not in given:
        raise ConfigError("--out is missing: give the experiment's folder")
    return argparse.Namespace(**{**_DEFAULTS, **given})


def with_task(arguments: FairseqArguments) -> FairseqArguments:
    """Replace the task by its lottery task; ``translation`` is fairseq's default.

    :param arguments: arguments of ``fairseq-train``, as the user gave them
    :raises ConfigError: there are none, or one of them is set by ``fairseq-lottery``
    """
    if not arguments.words:
        raise ConfigError("give the arguments of fairseq-train after --, the data folder first")
    for option in _SET_PER_ROUND:
        if arguments.given(option):
            raise ConfigError(f"{option} is set by fairseq-lottery for each round: leave it out")
    task = arguments.task or "translation"
    if not task.startswith(PREFIX):
        task = PREFIX + task
    return arguments.without("--task").plus("--task", task)


def parse_fairseq(arguments: FairseqArguments) -> Any:
    """Let fairseq parse its arguments; a bad one ends this process with fairseq's own message.

    :param arguments: arguments of ``fairseq-train``
    :returns: fairseq's configuration
    """
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    words = list(arguments.with_user_dir().words)
    before = sys.argv
    sys.argv = ["fairseq-train", *words]  # fairseq looks for --user-dir there while it makes its parser
    try:
        fairseq_parser = options.get_training_parser()
        return convert_namespace_to_omegaconf(options.parse_args_and_arch(fairseq_parser, input_args=words))
    finally:
        sys.argv = before


def experiment_of(args: argparse.Namespace, arguments: FairseqArguments) -> Experiment:
    """Make the experiment that the options describe.

    :param args: options of ``fairseq-lottery``, see :func:`resolve`
    :param arguments: arguments of ``fairseq-train``, see :func:`with_task`
    :raises LotteryError: an option has a value that cannot work
    """
    if args.after_rewind != FULL:
        raise ConfigError(f"--after-rewind {args.after_rewind} is for sb3-lottery: fairseq-lottery trains in full")
    if args.average < 1:
        raise ConfigError(f"--average must be at least 1, not {args.average}")
    score = args.score or (LOG_PPL if arguments.task == f"{PREFIX}language_modeling" else BLEU)
    if args.lower_is_better and score in _LABELS:
        raise ConfigError(f"--lower-is-better is for a score of your own: of {score} it is known")
    lower = LOWER_IS_BETTER if args.lower_is_better else ""
    label = _LABELS[score].format(split=args.gen_subset) if score in _LABELS else f"score of {score}{lower}"
    try:
        shlex.split(args.generate), shlex.split(args.launcher or "")
    except ValueError as error:
        raise ConfigError(f"--generate or --launcher is not a valid command line: {error}") from error
    if args.reference is not None and not args.reference.is_file():
        raise ConfigError(f"the reference {args.reference} does not exist")
    return Experiment(
        out=args.out,
        framework="fairseq",
        settings={
            "arguments": list(arguments.words),
            "score": score,
            "average": args.average,
            "gen_subset": args.gen_subset,
            "generate": args.generate,
            "reference": None if args.reference is None else str(args.reference.resolve()),
            "threads": args.threads,
        },
        prune_rate=args.prune_rate,
        criterion=args.criterion,
        scope_shares=args.scope_shares,
        rewind=str(parse_rewind(args.rewind, "--rewind")),
        scope=tuple(args.scope),
        kinds=tuple(args.kinds),
        seeds=tuple(args.seeds),
        rounds=args.rounds,
        score_label=label,
        versions=all_versions(),
    )


def all_versions() -> dict[str, str]:
    """Return the versions of the packages that decide the bits of a fairseq run."""
    from importlib.metadata import PackageNotFoundError, version

    result = versions()
    for name in ("fairseq-fixed", "fairseq", "sacrebleu"):
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            continue
    return result
