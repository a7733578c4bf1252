"""The options of ``fairseq-lottery``, and the fairseq arguments behind ``--``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import USER_DIR, value_of, with_user_dir, without
from fairseq_lottery.names import BLEU, LOG_PPL, PREFIX, SCORES, TOKENIZED_BLEU
from fairseq_lottery.task import parse_rewind
from lottery_core.cli import Parser
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment
from lottery_core.experiments.executors import add_executor_options
from lottery_core.pruning import CHAINS, CONTROLS
from lottery_core.tickets import versions
from lottery_core.version import VERSION

# What the rounds themselves decide.
_OURS = ("--save-dir", "--seed", "--ticket", "--ticket-kind", "--ticket-seed", "--rewind", "--rewind-point", "--scope")
_LABELS = {
    LOG_PPL: "log perplexity (nats a word) on the {split} split",
    BLEU: "BLEU (sacrebleu, detokenised) on the {split} split",
    TOKENIZED_BLEU: "BLEU (tokenised, case-sensitive) on the {split} split",
}


def parser() -> Parser:
    """The parser of ``fairseq-lottery``, for what stands before ``--``."""
    result = Parser(
        prog="fairseq-lottery",
        usage="fairseq-lottery --out DIR [option ...] -- DATA [fairseq-train argument ...]",
        description="Find winning tickets with fairseq-train, and train controls beside them.",
    )
    chains = [f"{kind}: {chain.meaning}" for kind, chain in CHAINS.items()]
    kinds = "; ".join([*chains, *(f"{kind}: {control.meaning}" for kind, control in CONTROLS.items())])
    add = result.add_argument
    add("--version", action="version", version=f"fairseq-lottery {VERSION}")
    add("--out", type=Path, required=True, metavar="DIR", help="the experiment's folder; the same command goes on")
    add("--rounds", type=int, default=20, metavar="N", help="rounds of pruning (20); 0: the dense runs alone")
    add("--prune-rate", type=float, default=0.2, metavar="P", help="share of the remaining parameters removed (0.2)")
    add("--rewind", default="epoch:1", metavar="POINT", help="rewind point: update:N, epoch:N or init (epoch:1)")
    add("--kinds", nargs="+", default=["winning", "random"], metavar="KIND", help=f"(winning random). {kinds}")
    add("--seeds", nargs="+", type=int, default=[1], metavar="SEED", help="one repeat of everything a seed (1)")
    add("--scope", nargs="+", default=["all"], metavar="SCOPE", help="all, layers, or regular expressions (all)")
    add(
        "--score",
        default=None,
        metavar="SCORE",
        help=f"{', '.join(SCORES)}, or a command whose last line is a number, run in the folder of a run with "
        "LOTTERY_CHECKPOINT set (log_ppl for language models, else bleu)",
    )
    add("--average", type=int, default=1, metavar="N", help="score the mean of the last N epochs' checkpoints (1)")
    add("--gen-subset", default="test", metavar="SPLIT", help="the split that is scored (test)")
    add(
        "--generate",
        default="--beam 5 --remove-bpe",
        metavar="ARGS",
        help="more arguments of fairseq-generate, for BLEU ('--beam 5 --remove-bpe')",
    )
    add("--reference", type=Path, metavar="FILE", help="detokenised references for BLEU (those in the data)")
    add("--launcher", metavar="CMD", help="starts the training instead of python, e.g. 'torchrun --nproc_per_node 2'")
    add_executor_options(result)
    add("--dry-run", action="store_true", help="print the plan: each run, its folder, its command")
    add("--quiet", action="store_true", help="no progress")
    add("--print-user-dir", action="version", version=USER_DIR, help="the installed plugin's path, for --user-dir")
    return result


def with_task(words: Sequence[str]) -> list[str]:
    """The fairseq arguments with the lottery's task in them.

    :raises ConfigError: no arguments, or one that the rounds decide
    """
    if not words:
        raise ConfigError("give the arguments of fairseq-train behind --, the data folder first")
    for word in words:
        if word.partition("=")[0] in _OURS:
            raise ConfigError(f"{word.partition('=')[0]} is set by fairseq-lottery for each round: leave it out")
    result = list(words)
    task = value_of(result, "--task") or "translation"
    if not task.startswith(PREFIX):
        task = PREFIX + task
    return [*without(result, "--task"), "--task", task]


def parse_fairseq(words: Sequence[str]) -> Any:
    """fairseq's configuration of a command line; a bad one ends this process with fairseq's own message.

    :param words: arguments of fairseq-train
    """
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    words = with_user_dir(words)
    before = sys.argv
    sys.argv = ["fairseq-train", *words]  # fairseq looks there for --user-dir while it makes its parser
    try:
        made = options.get_training_parser()
        return convert_namespace_to_omegaconf(options.parse_args_and_arch(made, input_args=list(words)))
    finally:
        sys.argv = before


def experiment_of(args: argparse.Namespace, words: Sequence[str]) -> Experiment:
    """The experiment that the options and the fairseq arguments describe.

    :raises LotteryError: a value that cannot work
    """
    if args.average < 1:
        raise ConfigError(f"--average must be at least 1, not {args.average}")
    arguments = with_task(words)
    score = args.score or (LOG_PPL if value_of(arguments, "--task") == f"{PREFIX}language_modeling" else BLEU)
    label = _LABELS.get(score, f"score of {score}").format(split=args.gen_subset)
    try:
        shlex.split(args.generate), shlex.split(args.launcher or "")
    except ValueError as error:
        raise ConfigError(f"--generate or --launcher is no command line: {error}") from error
    if args.reference is not None and not args.reference.is_file():
        raise ConfigError(f"the reference {args.reference} does not exist")
    return Experiment(
        out=args.out,
        framework="fairseq",
        settings={
            "arguments": arguments,
            "score": score,
            "average": args.average,
            "gen_subset": args.gen_subset,
            "generate": args.generate,
            "reference": None if args.reference is None else str(args.reference.resolve()),
            "threads": args.threads,
        },
        prune_rate=args.prune_rate,
        rewind=str(parse_rewind(args.rewind, "--rewind")),
        scope=tuple(args.scope),
        kinds=tuple(args.kinds),
        seeds=tuple(args.seeds),
        rounds=args.rounds,
        score_label=label,
        versions=all_versions(),
    )


def all_versions() -> dict[str, str]:
    """Versions of what decides the bits of a fairseq run."""
    from importlib.metadata import PackageNotFoundError, version

    found = versions()
    for name in ("fairseq-fixed", "fairseq", "sacrebleu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
