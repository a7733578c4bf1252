"""Options of ``sb3-lottery``: their help, presets under them, and the experiment they make."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lottery_core.cli import Parser
from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.experiments import LEARNING_RATE, Experiment, parse_point
from lottery_core.experiments.executors import add_executor_options
from lottery_core.pruning import CHAINS, CONTROLS
from lottery_core.version import VERSION
from sb3_lottery.backends import atari_game
from sb3_lottery.cli.environment_options import DEFAULTS, add_environment_options, settle
from sb3_lottery.cli.key_value import KeyValue
from sb3_lottery.cli.presets import PRESETS
from sb3_lottery.cli.zoo import INSTALLED, zoo_entry
from sb3_lottery.models import ACTIVATIONS, ALGORITHMS, OPTIMIZERS, ModelSettings, algorithm, scope_words
from sb3_lottery.training import UNITS, Evaluation, TrainingSpec, all_versions, rewind_of, score_label

_DEFAULTS: dict[str, Any] = {
    "rounds": 20,
    "prune_rate": 0.2,
    "rewind": "epoch:1",
    "epochs": 20,
    "score_episodes": 100,
    "kinds": ["winning", "random"],
    "seeds": [1],
    "scope": ["all"],
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
    **DEFAULTS,
}
_REQUIRED = ("algo", "env", "out", "epoch")


def parser() -> Parser:
    """The parser of ``sb3-lottery``; options that were not given are absent, so that presets show through."""
    result = Parser(
        prog="sb3-lottery",
        description="Find winning tickets for a Stable-Baselines3 agent, and train controls beside them.",
        epilog="Of a finished run: sb3-lottery play RUN (on the screen or as a video), sb3-lottery inputs RUN (what of "
        "its input a ticket still sees).",
        argument_default=argparse.SUPPRESS,
    )
    kinds = "; ".join(
        [*(f"{k}: {c.meaning}" for k, c in CHAINS.items()), *(f"{k}: {c.meaning}" for k, c in CONTROLS.items())]
    )

    result.add_argument("--version", action="version", version=f"sb3-lottery {VERSION}")
    group = result.add_argument_group("experiment")
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the experiment; the same command goes on in it"
    )
    group.add_argument(
        "--preset", metavar="NAME", help="a game with its settings, see --list-presets; options override it"
    )
    group.add_argument(
        "--zoo",
        nargs="?",
        const=INSTALLED,
        metavar="FILE",
        help="settings of --algo on --env as tuned in the installed rl_zoo3, or in a YAML file of its form; options "
        "override them",
    )
    group.add_argument(
        "--list-presets", action="store_true", default=False, help="print the presets, where from, what a run costs"
    )
    group.add_argument("--rounds", type=int, metavar="N", help="rounds of pruning (20); 0: the dense runs alone")
    group.add_argument(
        "--prune-rate", type=float, metavar="P", help="share of the remaining parameters a round removes (0.2)"
    )
    group.add_argument(
        "--rewind",
        metavar="POINT",
        help="rewind point: epoch:N, episodes:N, updates:N, timesteps:N or init (epoch:1); none: the survivors keep "
        "their trained weights and go on at the last learning rate",
    )
    group.add_argument(
        "--rewind-what",
        choices=["weights", LEARNING_RATE],
        help="lr: the survivors keep their trained weights, only the learning rate's schedule restarts (weights)",
    )
    group.add_argument("--kinds", nargs="+", metavar="KIND", help=f"kinds of ticket (winning random). {kinds}")
    group.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="one repeat of everything a seed (1)")
    group.add_argument(
        "--scope",
        nargs="+",
        metavar="SCOPE",
        help="all, layers (no output layers), actor, critic, or regular expressions (all)",
    )
    add_executor_options(group)
    group.add_argument(
        "--dry-run", action="store_true", default=False, help="print the plan: each run, its folder, its command"
    )
    group.add_argument(
        "--tensorboard", action="store_true", default=False, help="TensorBoard files in each run's folder"
    )
    group.add_argument("--quiet", action="store_true", default=False, help="no progress")

    group = result.add_argument_group("training and score")
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
        "--eval-episodes", type=int, metavar="N", help="evaluate each trained agent in N fresh episodes, too (none)"
    )
    group.add_argument(
        "--deterministic", action="store_true", default=False, help="evaluate with the best action, not a sampled one"
    )

    group = result.add_argument_group("agent")
    group.add_argument("--algo", metavar="NAME", help=f"{', '.join(ALGORITHMS)}")
    group.add_argument("--env", metavar="ID", help="an environment's id, e.g. CartPole-v1, BreakoutNoFrameskip-v4")
    add_environment_options(group)
    group.add_argument("--n-envs", type=int, metavar="N", help="environments side by side (1)")
    group.add_argument(
        "--reward-scale", type=float, metavar="X", help="rewards times X for training, not for the score (1)"
    )
    group.add_argument(
        "--net-arch",
        nargs="+",
        type=int,
        metavar="UNITS",
        help="units of each hidden layer, of a CNN those behind its convolutions (64 64; Atari: 512)",
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
        help="SB3's orthogonal initialisation; pruning then kills the action head first (no)",
    )
    group.add_argument(
        "--hyperparams",
        nargs="+",
        action=KeyValue,
        metavar="NAME:VALUE",
        help="arguments of the algorithm; learning_rate and clip_range also lin_X: from X down to 0",
    )
    group.add_argument("--optimizer", metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (the algorithm's own)")
    group.add_argument("--optimizer-kwargs", nargs="+", action=KeyValue, metavar="NAME:VALUE", help="for --optimizer")
    group.add_argument(
        "--policy-kwargs",
        nargs="+",
        action=KeyValue,
        metavar="NAME:VALUE",
        help="further arguments of the policy, e.g. lstm_hidden_size:64 n_critics:1",
    )
    group.add_argument(
        "--fused", action="store_true", default=False, help="fused Adam or AdamW: not slowed down by zeros on CPU"
    )
    group.add_argument("--device", metavar="NAME", help="cpu, cuda or auto (cpu)")
    return result


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all options: given ones over those of the preset over defaults.

    :raises ConfigError: unknown preset, or a required option is missing
    """
    preset: dict[str, Any] = {}
    if "zoo" in given:
        preset = _zoo_preset(given)
    if "preset" in given:
        if given["preset"] not in PRESETS:
            raise unknown_choice(given["preset"], "preset", PRESETS)
        preset = dict(PRESETS[given["preset"]])
    if given.get("algo", preset.get("algo")) != preset.get("algo"):
        for name in ("hyperparams", "optimizer", "optimizer_kwargs"):
            preset.pop(name, None)  # they are of the preset's algorithm
    if given.get("optimizer", preset.get("optimizer")) != preset.get("optimizer"):
        preset.pop("optimizer_kwargs", None)
    values = {**_DEFAULTS, **preset, **given}
    values["hyperparams"] = {**preset.get("hyperparams", {}), **given.get("hyperparams", {})}
    values["optimizer_kwargs"] = {**preset.get("optimizer_kwargs", {}), **given.get("optimizer_kwargs", {})}
    theirs = dict(preset.get("policy_kwargs", {}))
    if "net_arch" in given or given.get("shared_trunk"):
        theirs.pop("net_arch", None)
    values["policy_kwargs"] = {**theirs, **given.get("policy_kwargs", {})}
    if given.get("normalize") is not None:
        values["normalize"] = {**(preset.get("normalize") or {}), **given["normalize"]}
    if given.get("rewind") == LEARNING_RATE:
        raise ConfigError("--rewind lr: to keep the trained weights and restart the schedule is --rewind-what lr")
    if given.get("rewind_what") == LEARNING_RATE and "rewind" in given:
        raise ConfigError("--rewind-what lr keeps the trained weights, so there is no rewind point: leave --rewind out")
    missing = [f"--{name.replace('_', '-')}" for name in _REQUIRED if name not in values]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing (--preset gives all but --out)"
        )
    if values.get("fused"):
        values = _fuse(values)
    return settle(values, given, preset)


def _zoo_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    if "preset" in given:
        raise ConfigError("--preset and --zoo both give the settings: leave one out")
    missing = [f"--{name}" for name in ("algo", "env") if name not in given]
    if missing:
        raise ConfigError(f"--zoo needs {' and '.join(missing)}")
    entry = zoo_entry(given["algo"], given["env"], given["zoo"])
    return {**entry.preset, "notes": entry.notes}


def _fuse(values: dict[str, Any]) -> dict[str, Any]:
    optimizer = values["optimizer"] or ("rmsprop-tf" if values["algo"] == "a2c" else "adam")
    if optimizer not in ("adam", "adamw"):
        raise ConfigError(f"--fused is for adam and adamw, not for {optimizer}")
    own: dict[str, Any] = {}
    if values["optimizer"] is None:
        own = dict(algorithm(values["algo"]).own_adam)
        batch = values["hyperparams"].get("batch_size", 32)
        if values["algo"] == "qrdqn" and isinstance(batch, int) and batch > 0:
            own["eps"] = 0.01 / batch  # sb3_contrib/qrdqn/qrdqn.py
    return {**values, "optimizer": optimizer, "optimizer_kwargs": {**own, **values["optimizer_kwargs"], "fused": True}}


def experiment_of(values: Mapping[str, Any]) -> Experiment:
    """The experiment that resolved options describe.

    :raises LotteryError: a value that cannot work
    """
    chosen = {entry.name: values[entry.name] for entry in fields(ModelSettings)}
    layers = chosen["net_arch"]
    model = ModelSettings(**{**chosen, "net_arch": None if layers is None else tuple(layers)})
    epoch = parse_point(values["epoch"], UNITS, "--epoch")
    word = _rewind_word(values)
    spec = TrainingSpec(epoch, values["epochs"], **rewind_of(word, epoch), score_episodes=values["score_episodes"])
    frames_by_gymnasium = model.env_backend == "gymnasium" and atari_game(model.env) is not None
    return Experiment(
        out=values["out"],
        framework="sb3",
        settings={
            "model": model.as_json(),
            "epoch": str(spec.epoch),
            "epochs": spec.epochs,
            "score_episodes": spec.score_episodes,
            "threads": values.get("threads", 1),
            **_evaluation(values),
        },
        prune_rate=values["prune_rate"],
        rewind=word if spec.rewind is None else str(spec.rewind),
        scope=scope_words(values["scope"], algorithm(values["algo"])),
        kinds=tuple(values["kinds"]),
        seeds=tuple(values["seeds"]),
        rounds=values["rounds"],
        score_label=score_label(spec.score_episodes),
        versions=all_versions((algorithm(model.algo).package, "ale" if frames_by_gymnasium else model.env_backend)),
    )


def _evaluation(values: Mapping[str, Any]) -> dict[str, Any]:
    if "eval_episodes" not in values:
        if values.get("deterministic"):
            raise ConfigError("--deterministic is for evaluations: it needs --eval-episodes N")
        return {}
    return {"evaluation": Evaluation(values["eval_episodes"], values.get("deterministic", False)).as_json()}


def _rewind_word(values: Mapping[str, Any]) -> str:
    return LEARNING_RATE if values.get("rewind_what") == LEARNING_RATE else str(values["rewind"])


def training_spec(experiment: Experiment) -> TrainingSpec:
    """How the runs of an experiment are trained, from its ``experiment.json``."""
    settings = experiment.settings
    epoch = parse_point(settings["epoch"], UNITS, "epoch")
    return TrainingSpec(
        epoch, settings["epochs"], **rewind_of(experiment.rewind), score_episodes=settings["score_episodes"]
    )
