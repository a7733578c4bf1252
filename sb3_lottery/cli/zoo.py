"""rl_zoo3's tuned hyperparameters of a game, as a preset of the options of ``sb3-lottery``.

The zoo's YAML files are read, never run: of the Python in their strings only literals, ``dict(...)`` and names count.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lottery_core.errors import ConfigError, unknown_choice
from sb3_lottery.backends import atari_game
from sb3_lottery.backends.request import FRAME_STACK
from sb3_lottery.models import ACTIVATIONS, OPTIMIZERS, algorithm, hyperparameters, policy_arguments

INSTALLED = "installed"
_FILES = {"recurrentppo": "ppo_lstm"}
_EPOCHS = 20
_ATARI_WRAPPER = "stable_baselines3.common.atari_wrappers.AtariWrapper"
# Arguments of the algorithms that the zoo gives as the names of classes.
_CLASSES = ("replay_buffer_class", "replay_buffer_kwargs")


@dataclass(frozen=True)
class ZooEntry:
    """What the zoo says about an algorithm on a game.

    :param preset: values of options, see :data:`sb3_lottery.cli.presets.PRESETS`
    :param notes: lines for people: where it is from, and what differs from the zoo
    """

    preset: Mapping[str, Any]
    notes: tuple[str, ...]


def zoo_entry(algo: str, env: str, file: str = INSTALLED) -> ZooEntry:
    """The tuned hyperparameters of ``algo`` for ``env``; what they leave open is SB3's default.

    :param algo: one of :data:`sb3_lottery.models.algorithms.ALGORITHMS`
    :param env: id of the environment
    :param file: a YAML file of the zoo's form; :data:`INSTALLED` for that of the installed rl_zoo3
    :raises ConfigError: no rl_zoo3, no such game in it, or settings that have no option here
    """
    path = _installed(algo) if file == INSTALLED else Path(file)
    row, own = _row(path, env)
    where = f"{path.name} of rl_zoo3 {importlib.metadata.version('rl_zoo3')}" if file == INSTALLED else str(path)
    source = where if own else f"the default of {where}, which has no entry for it"
    notes = [f"{algorithm(algo).title} on {env} as in {source}"]
    try:
        total = int(float(row.pop("n_timesteps")))
        preset: dict[str, Any] = {
            "algo": algo,
            "env": env,
            "epoch": f"timesteps:{max(1, total // _EPOCHS)}",
            "epochs": _EPOCHS,
            "n_envs": int(row.pop("n_envs", 1)),
            **_policy(algo, row),
            **_normalize(row),
            **_atari(env, row, notes),
        }
        hyperparams = _hyperparams(row)
    except ConfigError:
        raise
    except (KeyError, ValueError, TypeError, SyntaxError) as error:
        raise ConfigError(f"{path}: cannot understand {env}: {type(error).__name__}: {error}") from error
    unknown = [name for name in hyperparams if name not in hyperparameters(algo) or name in _CLASSES]
    if unknown:
        raise ConfigError(
            f"{where} has {', '.join(unknown)} for {env}, which sb3-lottery has no option for: "
            "train with rl_zoo3 itself, and LotteryCallback among its callbacks"
        )
    if "ortho_init" not in preset and algorithm(algo).on_policy:
        notes.append("ortho_init is off, since pruning would kill the action head first; --ortho-init is as in the zoo")
    return ZooEntry({**preset, "hyperparams": hyperparams}, tuple(notes))


def _installed(algo: str) -> Path:
    spec = importlib.util.find_spec("rl_zoo3")
    if spec is None or spec.origin is None:
        raise ConfigError("--zoo needs rl_zoo3, which is not installed: pip install rl_zoo3 (or this project's 'zoo')")
    folder = Path(spec.origin).parent / "hyperparams"
    algorithm(algo)  # an unknown one has a message of its own
    path = folder / f"{_FILES.get(algo, algo)}.yml"
    if not path.exists():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yml")))
        raise ConfigError(f"rl_zoo3 has no hyperparameters for {algo}; it has them for {known}")
    return path


def _row(path: Path, env: str) -> tuple[dict[str, Any], bool]:
    try:
        games = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(games, dict):
        raise ConfigError(f"{path} is no file of hyperparameters: it must have a mapping for each game")
    keys = [env, *(["atari"] if atari_game(env) else []), "default"]
    key = next((key for key in keys if key in games), None)
    if key is None:
        raise unknown_choice(env, f"game of {path.name}", sorted(map(str, games)))
    if not isinstance(games[key], dict):
        raise ConfigError(f"{path}: the settings of {env} are no mapping")
    return dict(games[key]), key != "default"


def _value(text: Any) -> Any:
    # dict(net_arch=[64], activation_fn=nn.ReLU) -> {"net_arch": [64], "activation_fn": "ReLU"}
    if not isinstance(text, str):
        return text
    return ast.literal_eval(_Words().visit(ast.parse(text.strip(), mode="eval")))


class _Words(ast.NodeTransformer):
    """``dict(...)`` as a display and names as their last word, so that what is left is a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
            raise ValueError(f"'{ast.unparse(node)}' is not a plain value")
        keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(list(keys), [self.visit(keyword.value) for keyword in node.keywords])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(node.attr)


def _policy(algo: str, row: dict[str, Any]) -> dict[str, Any]:
    given = dict(_value(row.pop("policy_kwargs", None)) or {})
    titles = {title: kind for kind, title in algorithm(algo).policies.items()}
    title = row.pop("policy")
    if title not in titles:
        raise unknown_choice(title, f"policy of {algorithm(algo).title}", titles)
    found: dict[str, Any] = {"policy": titles[title], "net_arch": None, "activation": _own_activation(algo)}
    layers = given.pop("net_arch", None)
    if isinstance(layers, dict):
        given["net_arch"] = layers
    elif layers is not None:
        found["net_arch"] = list(layers)
    if "activation_fn" in given:
        found["activation"] = _named(given.pop("activation_fn"), ACTIVATIONS, "activation")
    if "ortho_init" in given:
        found["ortho_init"] = bool(given.pop("ortho_init"))
    if "optimizer_class" in given:
        found["optimizer"] = _named(given.pop("optimizer_class"), OPTIMIZERS, "optimizer")
        found["optimizer_kwargs"] = dict(given.pop("optimizer_kwargs", {}))
    unknown = [name for name in given if name not in policy_arguments(algo)]
    if unknown:
        raise ConfigError(f"sb3-lottery has no option for the zoo's policy_kwargs {', '.join(unknown)}")
    return {**found, "policy_kwargs": given}


def _own_activation(algo: str) -> str:
    row = algorithm(algo)
    default = inspect.signature(row.load().policy_aliases[row.policy()].__init__).parameters["activation_fn"].default
    return _named(default.__name__, ACTIVATIONS, "activation")


def _named(word: str, known: Mapping[str, type], what: str) -> str:
    for name, kind in known.items():
        if kind.__name__ == word:
            return name
    raise ConfigError(f"unknown {what} of the zoo '{word}': known are {', '.join(k.__name__ for k in known.values())}")


def _normalize(row: dict[str, Any]) -> dict[str, Any]:
    found = _value(row.pop("normalize", False))
    if found is False:
        return {}
    return {"normalize": {} if found is True else dict(found)}


def _atari(env: str, row: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    if atari_game(env) is None:
        return {}
    wrappers = row.get("env_wrapper") or []
    if row.get("frame_stack") != FRAME_STACK or not isinstance(wrappers, list) or len(wrappers) != 1:
        return {}  # refused below, by name
    wrapper = wrappers[0] if isinstance(wrappers[0], dict) else {wrappers[0]: {}}
    if set(wrapper) != {_ATARI_WRAPPER}:
        return {}
    if (wrapper[_ATARI_WRAPPER] or {}).get("terminal_on_life_loss", True):
        notes.append("an episode is a whole game; the zoo's ends with each life")
    del row["env_wrapper"], row["frame_stack"]
    return {"clip_reward": True}


def _hyperparams(row: dict[str, Any]) -> dict[str, Any]:
    found = dict(row)
    noise, deviation = found.pop("noise_type", None), found.pop("noise_std", None)
    if noise is not None:
        if str(noise).strip() != "normal":
            raise ConfigError(f"the zoo's noise_type {noise} has no option here: normal has")
        found["action_noise"] = float(deviation)
    return found
