"""The options of ``fairseq-lottery``, and the arguments of ``fairseq-train`` that follow them after ``--``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import USER_DIR, FairseqArguments
from fairseq_lottery.launcher.scoring import (
    SCORING_OPTIONS,
    add_scoring_options,
    default_score,
    scoring_of,
    with_scoring,
)
from fairseq_lottery.names import PREFIX
from fairseq_lottery.task import parse_rewind
from lottery_core.cli import (
    DEFAULTS,
    Parser,
    add_experiment_options,
    add_stability_options,
    add_transfer_options,
    as_stability_parser,
    experiment_settings,
    transfer_settings,
    version_line,
)
from lottery_core.errors import ConfigError
from lottery_core.experiments import LEARNING_RATE, NOTHING, Experiment, paths, read_row
from lottery_core.files import unsigned
from lottery_core.tickets import versions

_PACKAGES = ("fairseq-fixed", "fairseq", "sacrebleu")  # whose versions can change results
# Arguments of fairseq-train that fairseq-lottery sets itself.
_SET_PER_ROUND = (
    *("--save-dir", "--seed", "--scope", "--rewind", "--rewind-point"),
    *("--ticket", "--ticket-kind", "--ticket-seed", "--after-rewind", "--surviving", "--gradual", "--outside"),
    *("--mask-watch", "--probe-points"),
)
_DEFAULTS: dict[str, Any] = {
    **DEFAULTS,
    **dict.fromkeys(SCORING_OPTIONS),  # options that are not given keep the folder's values
    "launcher": None,
    "rewind": None,
    "rewind_what": None,
}


def parser() -> Parser:
    """Make the parser of ``fairseq-lottery``, for everything before ``--``; see :func:`resolve` for the defaults."""
    result = Parser(
        prog="fairseq-lottery",
        usage="fairseq-lottery --out DIR [option ...] -- DATA [fairseq-train option ...]\n"
        "       fairseq-lottery rescore DIR [option ...]  (see fairseq-lottery rescore -h)\n"
        "       fairseq-lottery floor DIR [--trust]\n"
        "       fairseq-lottery stability --out DIR [option ...] -- DATA [fairseq-train option ...]",
        description="Find winning tickets with fairseq-train, and train controls alongside.",
        argument_default=argparse.SUPPRESS,
    )
    result.add_argument("--version", action="version", version=version_line("fairseq-lottery", *_PACKAGES))
    result.add_argument(
        "--print-user-dir", action="version", version=USER_DIR, help="print the plugin's path, for --user-dir"
    )
    _, method, where = add_experiment_options(
        result,
        rewind="rewind point: update:N, epoch:N or init (epoch:1); auto: the earliest stable point of a probe, see "
        "fairseq-lottery stability; none: the survivors keep their trained weights and "
        "train on at the last learning rate",
        scope="all, layers, trainable (nothing frozen), or regular expressions for names of parameters (all)",
    )
    method.add_argument(
        "--rewind-what",
        choices=["weights", LEARNING_RATE],
        help="lr: the survivors keep their trained weights, only the learning rate's schedule restarts (weights)",
    )
    add_transfer_options(result.add_argument_group("tickets of another experiment"))
    add_stability_options(result.add_argument_group("stability of rewind points, for --rewind auto"))
    scores = result.add_argument_group("scores")
    add_scoring_options(scores)
    scores.add_argument(
        "--no-floor",
        action="store_true",
        default=False,
        help="do not measure the floor, with which the report compares: a unigram model of the training text for "
        "log_ppl, the untrained network for other scores (the dense run of the first seed measures it)",
    )
    where.add_argument(
        "--launcher",
        metavar="CMD",
        help="command that starts the training instead of python, e.g. 'torchrun --nproc_per_node 2'",
    )
    return result


def stability_parser() -> Parser:
    """Make the parser of ``fairseq-lottery stability``: the options of ``fairseq-lottery``, and those of a probe."""
    return as_stability_parser(
        parser(),
        "fairseq-lottery",
        "--out DIR [option ...] -- DATA [fairseq-train option ...]",
        "models on the straight line between their ends are scored on the validation split (or --gen-subset), by "
        "log_ppl for language models and by loss for other tasks; other scores are refused, and --average, --generate "
        "and --reference have no effect",
    )


def resolve(given: Mapping[str, Any]) -> argparse.Namespace:
    """Fill in the defaults of the options that were not given.

    :param given: the parsed command line of :func:`parser`, as a mapping
    :raises ConfigError: ``--out`` is missing
    """
    if "out" not in given:
        raise ConfigError("--out is missing: give the experiment's folder")
    return argparse.Namespace(**{**_DEFAULTS, **given}, rounds_given="rounds" in given)


def with_task(arguments: FairseqArguments) -> FairseqArguments:
    """Replace the task by its lottery task; ``translation`` is fairseq's default.

    :param arguments: arguments of ``fairseq-train``, as the user gave them
    :raises ConfigError: there are no arguments, or one of them is set by ``fairseq-lottery``
    """
    if not arguments.words:
        raise ConfigError("give the arguments of fairseq-train after --, the data folder first")
    if Path(arguments.words[0]).name == "fairseq-train":
        raise ConfigError("leave out the word fairseq-train: its arguments follow --, the data folder first")
    for option in _SET_PER_ROUND:
        if arguments.given(option):
            raise ConfigError(f"{option} is set by fairseq-lottery for each round: leave it out")
    task = arguments.task or "translation"
    if not task.startswith(PREFIX):
        task = PREFIX + task
    return arguments.without("--task").plus("--task", task)


def parse_fairseq(arguments: FairseqArguments) -> Any:
    """Parse arguments with fairseq's own parser; a wrong argument ends this process with fairseq's own message.

    :param arguments: arguments of ``fairseq-train``
    :returns: fairseq's configuration
    :raises ConfigError: there is no such task, or a user-dir does not import the plugin
    """
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    _check_user_dir(arguments)
    words = [*arguments.with_user_dir().words]
    if arguments.value("--save-dir") is None:  # nothing is saved; a folder checkpoints/ may be of another training
        words += ["--save-dir", str(Path(os.devnull) / "none")]
    before = sys.argv
    sys.argv = ["fairseq-train", *words]  # fairseq looks for --user-dir there when it makes its parser
    try:
        fairseq_parser = options.get_training_parser()
        return convert_namespace_to_omegaconf(options.parse_args_and_arch(fairseq_parser, input_args=words))
    finally:
        sys.argv = before


def import_user_dir(arguments: FairseqArguments) -> None:
    """Import the user-dir that arguments name, as a process must that loads models of an experiment.

    Its tasks, models and criterions are then registered; the plugin's own are already.

    :param arguments: arguments of ``fairseq-train``
    :raises ConfigError: the user-dir is missing, or does not import the plugin, which it replaces
    """
    from fairseq import utils

    if arguments.user_dir is None:
        return
    folder = Path(arguments.user_dir)
    files = [folder] if folder.is_file() else list(folder.rglob("*.py"))
    if not files:
        raise ConfigError(f"--user-dir {folder} holds no Python file")
    if not any("fairseq_lottery" in file.read_text(encoding="utf-8", errors="replace") for file in files):
        raise ConfigError(f"--user-dir {folder} must import fairseq_lottery, e.g. in its __init__.py")
    utils.import_user_module(argparse.Namespace(user_dir=arguments.user_dir))


def _check_user_dir(arguments: FairseqArguments) -> None:
    from fairseq.tasks import TASK_REGISTRY

    import_user_dir(arguments)
    name = arguments.task or ""
    if name not in TASK_REGISTRY:
        plain = name.removeprefix(PREFIX)
        known = sorted(task.removeprefix(PREFIX) for task in TASK_REGISTRY if task.startswith(PREFIX))
        raise ConfigError(
            f"there is no lottery task for '{plain}'; there are {', '.join(known)}, and any other by one line in a "
            f"--user-dir: import fairseq_lottery; fairseq_lottery.lottery_task('{plain}')"
        )


def experiment_of(args: argparse.Namespace, arguments: FairseqArguments) -> Experiment:
    """Make the experiment that the options describe.

    :param args: options of ``fairseq-lottery``, see :func:`resolve`
    :param arguments: arguments of ``fairseq-train``, see :func:`with_task`
    :raises LotteryError: an option has an invalid value
    """
    try:
        shlex.split(args.launcher or "")
    except ValueError as error:
        raise ConfigError(f"--launcher is not a valid command line: {error}") from error
    given = {name: getattr(args, name) for name in SCORING_OPTIONS}
    scoring = scoring_in(args.out, given, default_score(arguments.task or ""))
    experiment = Experiment(
        out=args.out,
        framework="fairseq",
        settings={
            "arguments": list(arguments.words),
            "threads": args.threads,
        },
        rewind=_rewind_word(args),
        **{**experiment_settings(vars(args), args.rounds_given), **transfer_settings(vars(args))},
        versions=all_versions(),
    )
    return with_scoring(experiment, scoring)


def scoring_in(out: Path, given: Mapping[str, Any], score: str) -> dict[str, Any]:
    """Make the scoring settings of an experiment; what is not given is as in its folder.

    :param out: folder of the experiment
    :param given: values of the options that were given
    :param score: the default score
    :raises ConfigError: a value is invalid, or the folder has a scoring that runs code (a command, options of
        ``fairseq-generate``) from another user or machine
    """
    before = read_row(out).get("scoring", {})
    scoring = scoring_of(given, before, score)
    own = scoring_of(given, {}, score)
    for name in ("score", "generate"):
        if scoring[name] != own[name] and unsigned([out / paths.EXPERIMENT]):
            raise ConfigError(
                f"{out} has --{name} from a command that was not yours on this machine, and it can run code: give "
                f"--{name} yourself"
            )
    return scoring


def _rewind_word(args: argparse.Namespace) -> str:
    if args.rewind == LEARNING_RATE:
        raise ConfigError(
            "--rewind lr: use --rewind-what lr to keep the trained weights and restart the learning rate's schedule"
        )
    if args.rewind_what == LEARNING_RATE:
        if args.rewind is not None:
            raise ConfigError(
                "--rewind-what lr keeps the trained weights, so there is no rewind point: leave --rewind out"
            )
        return LEARNING_RATE
    word = args.rewind or DEFAULTS["rewind"]
    return NOTHING if word == NOTHING else str(parse_rewind(word, "--rewind", (NOTHING,)))


def all_versions() -> dict[str, str]:
    """Return the versions of the packages that can change the results of a fairseq run."""
    from importlib.metadata import PackageNotFoundError, version

    result = versions()
    for name in _PACKAGES:
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            continue
    return result
