"""From the parsed options of ``sb3-lottery`` to one typed, validated request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lottery_core.cli import PROBE_DEFAULTS, experiment_settings, probe_of, transfer_settings, without_ticket_options
from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.experiments import LEARNING_RATE, REMAINING, Experiment, Point, parse_point, parse_points, read_row
from sb3_lottery.analysis import EPISODES
from sb3_lottery.backends import GYMNASIUM, atari_game
from sb3_lottery.cli.environment_options import choose_environment
from sb3_lottery.cli.options import DEFAULTS
from sb3_lottery.cli.presets import PRESETS, SOURCE
from sb3_lottery.cli.zoo import zoo_entry
from sb3_lottery.models import AUTO, NATURE, ModelSettings, Pretrained, algorithm, checked_shares, scope_words
from sb3_lottery.training import (
    EVALUATION,
    UNITS,
    Evaluation,
    RunSettings,
    Sb3,
    TrainingSpec,
    all_versions,
    parse_rewind,
    score_label,
)

_REQUIRED = ("algo", "env", "out", "epoch")


@dataclass(frozen=True)
class Request:
    """The experiment that a command line asks for.

    :param experiment: the experiment
    :param settings: settings of its runs, from which ``experiment.settings`` was made
    :param notes: lines for the user about the preset and the environment
    """

    experiment: Experiment
    settings: RunSettings
    notes: tuple[str, ...] = ()


def request_of(given: Mapping[str, Any]) -> Request:
    """Build the request from options: given values take precedence over the preset's, and these over the defaults.

    :param given: options that were given, by name
    :raises LotteryError: a value is invalid, or a required option is missing
    """
    values = _with_defaults(given)
    model = _model(values)
    file = values["from_model"]
    start = None if file is None else Pretrained.of(Path(values["out"]), file)
    settings = RunSettings(model, _training(values), _evaluation(values), values["threads"], start)
    ale = model.env_backend == GYMNASIUM and atari_game(model.env) is not None
    experiment = Experiment(
        out=values["out"],
        framework=Sb3.name,
        settings=settings.as_json(),
        rewind=settings.training.rewind_word,
        **{
            **experiment_settings(values, "rounds" in given),
            **transfer_settings(values),
            "scope": scope_words(values["scope"], model.algorithm),
            "scope_shares": checked_shares(values["scope_shares"], model.algorithm),
        },
        score_label=score_label(settings.training.score_episodes, settings.evaluation),
        versions=all_versions((model.algorithm.package, "ale" if ale else model.env_backend)),
    )
    return Request(experiment, settings, tuple(values["notes"]))


def probe_request(given: Mapping[str, Any]) -> Request:
    """Build the request of a stability probe from the options of ``sb3-lottery stability``.

    The score is the mean return of fresh episodes, along the lines as at their ends.

    :param given: options that were given, by name
    :raises LotteryError: a value is invalid, or a required option is missing
    """
    if given.get("score_by") not in (None, EVALUATION):
        raise ConfigError(f"--score-by {given['score_by']}: agents on a line are not trained, only evaluated")
    values = {**PROBE_DEFAULTS, **given}
    usual = {"eval_episodes": _preset(given)[0].get("eval_episodes") or EPISODES}
    request = request_of({**usual, **without_ticket_options(given), "score_by": EVALUATION})
    spec = request.settings.training

    def parse(word: str) -> str:
        return str(parse_point(word, UNITS, "--points", spec.epoch))

    points = parse_points(values["points"], spec.length.count, spec.length.unit, parse)
    for point in points:
        replace(spec, rewind=parse_point(point, UNITS, "--points"), after_rewind=REMAINING)  # raises if nothing remains
    settings = replace(request.settings, training=replace(spec, rewind=Point(spec.length.unit, 0)))
    return Request(probe_of(request.experiment, points, values), settings, request.notes)


def _with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    preset, notes = _preset(given)
    preset = _applicable(preset, given)
    values = {**DEFAULTS, **preset, **given, **_merged(given, preset), "notes": notes}
    values |= _scored_as_before(values, given)
    _check_rewind_options(given)
    missing = [f"--{name.replace('_', '-')}" for name in _REQUIRED if name not in values]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing (--preset gives all but --out)"
        )
    if values["fused"]:
        values |= _fused(values)
    values = choose_environment(values, given, preset)
    if not read_row(values["out"]):  # a folder that began with them goes on
        _check_effects(values, given)
    return values


def _check_effects(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    row = algorithm(values["algo"])
    if given.get("ortho_init") and not row.on_policy:
        raise ConfigError(f"--ortho-init is for algorithms with rollouts (PPO, A2C, ...); {row.title} has none")
    if (given.get("env_threads") or 1) > 1 and given.get("env_backend") == GYMNASIUM:
        raise ConfigError("--env-threads is for EnvPool and ALE; gymnasium steps in one thread (--subproc: processes)")
    sees_images = values["policy"] == "cnn" or (values["policy"] == AUTO and atari_game(values["env"]) is not None)
    if not sees_images:
        return
    nature, layers = values["cnn"] == NATURE, len(values["net_arch"] or ())
    if given.get("shared_trunk") and row.on_policy and nature and layers > 1:
        raise ConfigError(
            "--shared-trunk: with --cnn nature only the first layer of --net-arch is shared; give one layer, or --cnn "
            "pooling"
        )
    behind = nature and (layers > 1 or "net_arch" in values["policy_kwargs"])
    # A model of --from has the activation that it has, and the option only says so.
    if not behind and given.get("activation", "relu") != "relu" and not values["from_model"]:
        raise ConfigError(
            f"--activation {given['activation']} has no effect: the CNN has ReLU, and no layers of --net-arch follow it"
        )


def _scored_as_before(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    # A folder that a preset began before it had an evaluation goes on without one.
    before = read_row(values["out"]).get("settings", {}) if "out" in values else {}
    if not before or "evaluation" in before or {"eval_episodes", "score_by"} & given.keys():
        return {}
    return {name: DEFAULTS[name] for name in ("eval_episodes", "score_by")}


def _preset(given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    # The options of --preset or --zoo, and notes about them.
    if "preset" in given and "zoo" in given:
        raise ConfigError("--preset and --zoo both give the settings: leave one out")
    if "zoo" in given:
        missing = [f"--{name}" for name in ("algo", "env") if name not in given]
        if missing:
            raise ConfigError(f"--zoo needs {' and '.join(missing)}")
        entry = zoo_entry(given["algo"], given["env"], given["zoo"])
        return dict(entry.preset), entry.notes
    if "preset" not in given:
        return {}, ()
    if given["preset"] not in PRESETS:
        raise unknown_choice(given["preset"], "preset", PRESETS)
    return {name: value for name, value in PRESETS[given["preset"]].items() if name != SOURCE}, ()


def _applicable(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    # The preset without the options that belong to another algorithm, optimizer or network than the given one.
    options = dict(preset)
    if given.get("algo", options.get("algo")) != options.get("algo"):
        for name in ("hyperparams", "optimizer", "optimizer_kwargs"):
            options.pop(name, None)
    if given.get("optimizer", options.get("optimizer")) != options.get("optimizer"):
        options.pop("optimizer_kwargs", None)
    if "net_arch" in given or given.get("shared_trunk"):
        arguments = options.get("policy_kwargs", {})
        options["policy_kwargs"] = {name: value for name, value in arguments.items() if name != "net_arch"}
    return options


def _merged(given: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    # Options of the form name:value override the preset name by name.
    names = ["hyperparams", "optimizer_kwargs", "policy_kwargs"]
    if given.get("normalize") is not None:
        names.append("normalize")
    return {name: {**(preset.get(name) or {}), **given.get(name, {})} for name in names}


def _check_rewind_options(given: Mapping[str, Any]) -> None:
    if given.get("rewind") == LEARNING_RATE:
        raise ConfigError(
            "--rewind lr: use --rewind-what lr to keep the trained weights and restart the learning rate schedule"
        )
    if given.get("rewind_what") == LEARNING_RATE and "rewind" in given:
        raise ConfigError("--rewind-what lr keeps the trained weights, so there is no rewind point: leave --rewind out")


def _fused(values: Mapping[str, Any]) -> dict[str, Any]:
    # --fused as --optimizer and --optimizer-kwargs.
    own = "rmsprop" if values["algo"] == "a2c" and values["hyperparams"].get("use_rms_prop", True) else "adam"
    optimizer = values["optimizer"] or own
    if optimizer not in ("adam", "adamw"):
        raise ConfigError(f"--fused is for adam and adamw, not for {optimizer}")
    defaults: dict[str, Any] = {}
    if values["optimizer"] is None:
        defaults = dict(algorithm(values["algo"]).own_adam)
        batch = values["hyperparams"].get("batch_size", 32)
        if values["algo"] == "qrdqn" and isinstance(batch, int) and batch > 0:
            defaults["eps"] = 0.01 / batch  # sb3_contrib/qrdqn/qrdqn.py
    return {"optimizer": optimizer, "optimizer_kwargs": {**defaults, **values["optimizer_kwargs"], "fused": True}}


def _model(values: Mapping[str, Any]) -> ModelSettings:
    chosen = {entry.name: values[entry.name] for entry in fields(ModelSettings)}
    if chosen["net_arch"] is not None:
        chosen["net_arch"] = tuple(chosen["net_arch"])
    return ModelSettings(**chosen)


def _training(values: Mapping[str, Any]) -> TrainingSpec:
    epoch = parse_point(values["epoch"], UNITS, "--epoch")
    word = LEARNING_RATE if values["rewind_what"] == LEARNING_RATE else values["rewind"]
    rewind, rate_restarts = parse_rewind(word, epoch)
    return TrainingSpec(
        epoch, values["epochs"], rewind, values["score_episodes"], rate_restarts, values["after_rewind"]
    )


def _evaluation(values: Mapping[str, Any]) -> Evaluation | None:
    if values["eval_episodes"] is None:
        if values["deterministic"]:
            raise ConfigError("--deterministic is for evaluations: it needs --eval-episodes N")
        if values["score_by"] == EVALUATION:
            raise ConfigError("--score-by evaluation needs --eval-episodes N")
        return None
    return Evaluation(values["eval_episodes"], values["deterministic"], values["score_by"] == EVALUATION)
