"""rl_zoo3's tuned hyperparameters of a game, as values of the options of ``sb3-lottery``.

The Python expressions in the zoo's YAML files are parsed, never evaluated: only literals, ``dict(...)`` and names are
accepted.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.backends import FRAME_STACK, atari_game
from sb3_lottery.models import (
    ACTIVATIONS,
    OPTIMIZERS,
    Algorithm,
    accepted_hyperparameters,
    accepted_policy_arguments,
    algorithm,
    default_activation,
)

INSTALLED = "installed"
_FILES = {"recurrentppo": "ppo_lstm"}
_EPOCHS = 20
_ATARI_WRAPPER = "stable_baselines3.common.atari_wrappers.AtariWrapper"
# Arguments of the algorithms that the zoo gives as names of classes.
_CLASSES = ("replay_buffer_class", "replay_buffer_kwargs")


@dataclass(frozen=True)
class ZooEntry:
    """The zoo's settings of an algorithm on a game.

    :param preset: values of options, see :data:`sb3_lottery.cli.presets.PRESETS`
    :param notes: lines for the user: the source, and what differs from the zoo
    """

    preset: Mapping[str, Any]
    notes: tuple[str, ...]


def zoo_entry(algo: str, env: str, file: str = INSTALLED) -> ZooEntry:
    """Read the tuned hyperparameters of ``algo`` for ``env``; all others keep SB3's defaults.

    :param algo: one of :data:`sb3_lottery.models.ALGORITHMS`
    :param env: id of the environment
    :param file: YAML file in the zoo's form; :data:`INSTALLED` for the file of the installed rl_zoo3
    :raises ConfigError: rl_zoo3 is not installed or does not have the game, or a setting has no option here
    :raises OptimizerError: the algorithm has no optimizer (ARS)
    """
    kind = algorithm(algo)
    path = _installed(algo) if file == INSTALLED else Path(file)
    row, has_entry = _row(path, env)
    where = f"{path.name} of rl_zoo3 {importlib.metadata.version('rl_zoo3')}" if file == INSTALLED else str(path)
    source = where if has_entry else f"the default of {where}, which has no entry for it"
    notes = [f"{kind.title} on {env} as in {source}"]
    try:
        total = int(float(row.pop("n_timesteps")))
        preset: dict[str, Any] = {
            "algo": algo,
            "env": env,
            "epoch": f"timesteps:{max(1, total // _EPOCHS)}",
            "epochs": _EPOCHS,
            "n_envs": int(row.pop("n_envs", 1)),
            **_policy(kind, row),
            **_normalize(row),
            **_atari(env, row, notes),
        }
        hyperparams = _hyperparams(row)
    except ConfigError:
        raise
    except (KeyError, ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{path}: cannot read the settings of {env}: {type(error).__name__}: {error}") from error
    notes.append(
        f"{total:,} timesteps a run, as in the zoo: a shorter --epoch timesteps:N, or fewer --epochs, shortens it"
    )
    accepted = accepted_hyperparameters(kind)
    unknown = [name for name in hyperparams if name not in accepted or name in _CLASSES]
    if unknown:
        raise ConfigError(
            f"{where} has {', '.join(map(str, unknown))} for {env}, for which sb3-lottery has no option: "
            "train with rl_zoo3 itself and add LotteryCallback to its callbacks"
        )
    if "ortho_init" not in preset and kind.on_policy:
        notes.append("ortho_init is off: pruning would remove the action head first; --ortho-init is the zoo's setting")
    return ZooEntry({**preset, "hyperparams": hyperparams}, tuple(notes))


def _installed(algo: str) -> Path:
    spec = importlib.util.find_spec("rl_zoo3")
    if spec is None or spec.origin is None:
        raise ConfigError("--zoo needs rl_zoo3, which is not installed: pip install rl_zoo3 (or this project's 'zoo')")
    folder = Path(spec.origin).parent / "hyperparams"
    path = folder / f"{_FILES.get(algo, algo)}.yml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yml")))
        raise ConfigError(f"rl_zoo3 has no hyperparameters for {algo}, only for {known}")
    return path


def _row(path: Path, env: str) -> tuple[dict[str, Any], bool]:
    try:
        games = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(games, dict):
        raise ConfigError(f"{path} is not a file of hyperparameters: it must have a mapping for each game")
    keys = [env, *(["atari"] if atari_game(env) else []), "default"]
    key = next((key for key in keys if key in games), None)
    if key is None:
        raise unknown_choice(env, f"game of {path.name}", sorted(map(str, games)))
    if not isinstance(games[key], dict):
        raise ConfigError(f"{path}: the settings of {env} are not a mapping")
    return dict(games[key]), key != "default"


def _value(text: Any) -> Any:
    # dict(net_arch=[64], activation_fn=nn.ReLU) -> {"net_arch": [64], "activation_fn": "ReLU"}
    if not isinstance(text, str):
        return text
    return ast.literal_eval(_Words().visit(ast.parse(text.strip(), mode="eval")))


class _Words(ast.NodeTransformer):
    """A transformer that makes a literal: ``dict(...)`` becomes a dict, and a name its last word as a string."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
            raise ValueError(f"'{ast.unparse(node)}' is not a plain value")
        keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(list(keys), [self.visit(keyword.value) for keyword in node.keywords])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(node.attr)


def _policy(algorithm: Algorithm, row: dict[str, Any]) -> dict[str, Any]:
    given = dict(_value(row.pop("policy_kwargs", None)) or {})
    titles = {title: kind for kind, title in algorithm.policies.items()}
    title = row.pop("policy")
    if title not in titles:
        raise unknown_choice(title, f"policy of {algorithm.title}", titles)
    activation = given.pop("activation_fn", default_activation(algorithm).__name__)
    options: dict[str, Any] = {
        "policy": titles[title],
        "net_arch": None,
        "activation": _name_of(activation, ACTIVATIONS, "activation"),
    }
    layers = given.pop("net_arch", None)
    if isinstance(layers, dict):
        given["net_arch"] = layers
    elif layers is not None:
        options["net_arch"] = list(layers)
    if "ortho_init" in given:
        options["ortho_init"] = bool(given.pop("ortho_init"))
    if "optimizer_class" in given:
        options["optimizer"] = _name_of(given.pop("optimizer_class"), OPTIMIZERS, "optimizer")
        options["optimizer_kwargs"] = dict(given.pop("optimizer_kwargs", {}))
    accepted = accepted_policy_arguments(algorithm)
    unknown = [name for name in given if name not in accepted]
    if unknown:
        raise ConfigError(f"sb3-lottery has no option for the zoo's policy_kwargs {', '.join(unknown)}")
    return {**options, "policy_kwargs": given}


def _name_of(title: str, classes: Mapping[str, type], what: str) -> str:
    for name, cls in classes.items():
        if cls.__name__ == title:
            return name
    accepted = ", ".join(cls.__name__ for cls in classes.values())
    raise ConfigError(f"unknown {what} '{title}' in the zoo: accepted: {accepted}")


def _normalize(row: dict[str, Any]) -> dict[str, Any]:
    value = _value(row.pop("normalize", False))
    if value is False:
        return {}
    return {"normalize": {} if value is True else dict(value)}


def _atari(env: str, row: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    if atari_game(env) is None:
        return {}
    wrappers = row.get("env_wrapper") or []
    if row.get("frame_stack") != FRAME_STACK or not isinstance(wrappers, list) or len(wrappers) != 1:
        return {}  # zoo_entry refuses the wrapper by name
    wrapper = wrappers[0] if isinstance(wrappers[0], dict) else {wrappers[0]: {}}
    if set(wrapper) != {_ATARI_WRAPPER}:
        return {}
    if (wrapper[_ATARI_WRAPPER] or {}).get("terminal_on_life_loss", True):
        notes.append("an episode is a whole game; in the zoo an episode ends with each life")
    del row["env_wrapper"], row["frame_stack"]
    return {"clip_reward": True}


def _hyperparams(row: dict[str, Any]) -> dict[str, Any]:
    values = dict(row)
    noise, deviation = values.pop("noise_type", None), values.pop("noise_std", None)
    if noise is not None:
        if str(noise).strip() != "normal":
            raise ConfigError(f"sb3-lottery has no option for the zoo's noise_type {noise}, only for normal")
        values["action_noise"] = float(deviation)
    return values
