"""The options of ``sb3-lottery``, their help and their defaults."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lottery_core.cli import DEFAULTS as EXPERIMENT_DEFAULTS
from lottery_core.cli import (
    Parser,
    accept,
    add_experiment_options,
    add_stability_options,
    add_transfer_options,
    as_stability_parser,
    version_line,
)
from lottery_core.experiments import LEARNING_RATE
from sb3_lottery.cli.environment_options import DEFAULTS as ENVIRONMENT_DEFAULTS
from sb3_lottery.cli.environment_options import add_environment_options
from sb3_lottery.cli.key_value import KeyValue
from sb3_lottery.cli.presets import PRESETS
from sb3_lottery.cli.zoo import INSTALLED
from sb3_lottery.models import ACTIVATIONS, ALGORITHMS, OPTIMIZERS
from sb3_lottery.training import SCORES, TRAINING

# Values of options that neither the user nor a preset gives.
DEFAULTS: dict[str, Any] = {
    **EXPERIMENT_DEFAULTS,
    "rewind_what": "weights",
    "epochs": 20,
    "score_episodes": 100,
    "eval_episodes": None,
    "score_by": TRAINING,
    "n_envs": 1,
    "reward_scale": 1.0,
    "net_arch": [64, 64],
    "shared_trunk": False,
    "activation": "relu",
    "ortho_init": False,
    "hyperparams": {},
    "optimizer": None,
    "optimizer_kwargs": {},
    "policy_kwargs": {},
    "device": "cpu",
    "from_model": None,
    **ENVIRONMENT_DEFAULTS,
}
_REWIND = (
    "rewind point: epoch:N, episodes:N, updates:N, timesteps:N or init (epoch:1); auto: the earliest stable point of a "
    "probe, see sb3-lottery stability; none: the survivors keep their "
    "trained weights and continue at the last learning rate"
)
_SCOPE = "all, layers (no output layers), trainable (nothing frozen), actor, critic, or regular expressions (all)"


def parser() -> Parser:
    """Return the parser of ``sb3-lottery``; options that were not given are absent, so that a preset's values apply."""
    result = _Sb3Parser(
        prog="sb3-lottery",
        description="Find winning tickets for a Stable-Baselines3 agent, and train controls alongside.",
        usage="sb3-lottery --preset NAME --out DIR [option ...]\n"
        "       sb3-lottery --algo NAME --env ID --epoch LENGTH --out DIR [option ...]\n"
        "       sb3-lottery play|inputs|floor RUN [option ...]  (see sb3-lottery play -h)\n"
        "       sb3-lottery stability --preset NAME --out DIR [option ...]",
        epilog="For a finished run: sb3-lottery play RUN shows or records the agent, sb3-lottery inputs RUN lists the "
        "inputs that a ticket still reads, sb3-lottery floor RUN measures what an agent scores without any learning. "
        "sb3-lottery stability probes rewind points.",
        argument_default=argparse.SUPPRESS,
    )
    packages = ("stable-baselines3", "sb3-contrib", "gymnasium")
    result.add_argument("--version", action="version", version=version_line("sb3-lottery", *packages))
    _add_settings(result.add_argument_group("settings to start from"))
    experiment, method, _ = add_experiment_options(result, _REWIND, _SCOPE)
    experiment.add_argument(
        "--tensorboard", action="store_true", default=False, help="write TensorBoard files to each run's folder"
    )
    method.add_argument(
        "--rewind-what",
        choices=["weights", LEARNING_RATE],
        help="lr: the survivors keep their trained weights, only the learning rate schedule restarts (weights)",
    )
    add_transfer_options(result.add_argument_group("tickets of another experiment"))
    add_stability_options(result.add_argument_group("stability of rewind points, for --rewind auto"))
    _add_training(result.add_argument_group("training and score"))
    _add_agent(result.add_argument_group("agent"))
    return result


def stability_parser() -> Parser:
    """Return the parser of ``sb3-lottery stability``: the options of ``sb3-lottery``, and those of a probe."""
    return as_stability_parser(
        parser(),
        "sb3-lottery",
        "--preset NAME --out DIR [option ...]",
        "agents on the straight line between their ends are evaluated in fresh episodes (--eval-episodes; by "
        "default as in the preset, else 100)",
    )


_LENGTH = "the length of a run is --epoch timesteps:N times --epochs N"


class _Sb3Parser(Parser):
    """A parser that knows the names of SB3 and rl_zoo3 for options of this command."""

    hints = {  # noqa: RUF012
        **dict.fromkeys(("--total-timesteps", "--n-timesteps", "--timesteps", "-n"), _LENGTH),
        **dict.fromkeys(("--env-id", "--environment"), "did you mean --env?"),
    }


def _add_settings(group: argparse._ArgumentGroup) -> None:
    preset = group.add_argument(
        "--preset", metavar="NAME", help="a game with its settings, see --list-presets; options override it"
    )
    accept(preset, PRESETS)
    group.add_argument(
        "--zoo",
        nargs="?",
        const=INSTALLED,
        metavar="FILE",
        help="tuned settings of --algo on --env from the installed rl_zoo3, or from a YAML file of the same form; "
        "options override them",
    )
    group.add_argument(
        "--list-presets",
        action="store_true",
        default=False,
        help="print the presets, their sources and the cost of a run",
    )


def _add_training(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--epoch", metavar="LENGTH", help="length of an epoch: episodes:N, updates:N (optimizer steps) or timesteps:N"
    )
    group.add_argument("--epochs", type=int, metavar="N", help="epochs of each run (20)")
    group.add_argument(
        "--score-episodes",
        type=int,
        metavar="L",
        help="the score is the mean return of the last L training episodes (100)",
    )
    group.add_argument(
        "--eval-episodes", type=int, metavar="N", help="also evaluate each trained agent in N fresh episodes (none)"
    )
    group.add_argument(
        "--score-by",
        choices=SCORES,
        help="the score: the mean return of the last training episodes, or of the fresh episodes of --eval-episodes "
        "(training; presets that end in -steps: evaluation)",
    )
    group.add_argument(
        "--deterministic", action="store_true", default=False, help="evaluate with the best action instead of sampling"
    )
    group.add_argument(
        "--no-floor",
        action="store_true",
        default=False,
        help="do not measure the floor, with which the report compares: the best mean return of 100 episodes of random "
        "actions, of each constant action and of the untrained network (the dense run of the first seed measures it)",
    )


def _add_agent(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--from",
        dest="from_model",
        type=Path,
        metavar="MODEL.zip",
        help="start the dense run from the weights of a trained model of the same architecture (new weights)",
    )
    accept(group.add_argument("--algo", metavar="NAME", help=f"{', '.join(ALGORITHMS)}"), ALGORITHMS)
    group.add_argument("--env", metavar="ID", help="id of an environment, e.g. CartPole-v1, BreakoutNoFrameskip-v4")
    add_environment_options(group)
    group.add_argument("--n-envs", type=int, metavar="N", help="number of environments (1)")
    group.add_argument(
        "--reward-scale", type=float, metavar="X", help="multiply rewards by X in training, not for the score (1)"
    )
    group.add_argument(
        "--net-arch",
        nargs="+",
        type=int,
        metavar="UNITS",
        help="units of each hidden layer, or of each layer after the convolutions of a CNN (64 64; Atari: 512)",
    )
    group.add_argument(
        "--shared-trunk",
        action=argparse.BooleanOptionalAction,
        help="policy and value share the hidden layers, as in the paper (no: SB3's two networks)",
    )
    group.add_argument("--activation", metavar="NAME", help=f"{', '.join(ACTIVATIONS)} (relu)")
    group.add_argument(
        "--ortho-init",
        action=argparse.BooleanOptionalAction,
        help="SB3's orthogonal initialisation, with which pruning removes the action head first (no)",
    )
    group.add_argument(
        "--hyperparams",
        nargs="+",
        action=KeyValue,
        metavar="NAME:VALUE",
        help="arguments of the algorithm; learning_rate, clip_range and clip_range_vf also accept lin_X: linear from X "
        "to 0",
    )
    group.add_argument("--optimizer", metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (the algorithm's own)")
    group.add_argument(
        "--optimizer-kwargs", nargs="+", action=KeyValue, metavar="NAME:VALUE", help="arguments of --optimizer"
    )
    group.add_argument(
        "--policy-kwargs",
        nargs="+",
        action=KeyValue,
        metavar="NAME:VALUE",
        help="further arguments of the policy, e.g. lstm_hidden_size:64 n_critics:1",
    )
    group.add_argument(
        "--fused", action="store_true", default=False, help="fused Adam or AdamW, which zeros do not slow down on a CPU"
    )
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto (cpu)")
