"""Files and names of Stable-Baselines3 and sb3-contrib (``stable_baselines3/common/save_util.py:save_to_zip_file``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lottery_core.dialects.dialect import Dialect
from lottery_core.dialects.units import Shapes, UnitFinder, UnitGroup

# The layers of actor and critic: in policies with two networks, and in policies with one, after the features extractor.
# If SAC's critic shares the actor's features extractor, the extractor's parameters have the actor's name.
TWO_NETWORKS = {"actor": r"^actor\.", "critic": r"^critic\."}
ONE_POLICY = {
    "actor": r"^(mlp_extractor\.policy_net|action_net|lstm_actor)\.",
    "critic": r"^(mlp_extractor\.value_net|value_net|lstm_critic|critic)\.",
}


def _scope_words(names: Collection[str]) -> Mapping[str, str]:
    parts = {name.partition(".")[0] for name in names}
    return TWO_NETWORKS if {"actor", "critic"} <= parts else ONE_POLICY if "action_net" in parts else {}


# Layers of a features extractor, in the order in which data passes them.
_EXTRACTOR = (r"(.*\.)?cnn\.", "")


def _extractor(prefix: str) -> list[str]:
    return [rf"^{prefix}features_extractor\.{part}" for part in _EXTRACTOR]


def _networks(names: Collection[str]) -> Mapping[str, Sequence[str]]:
    parts = {name.partition(".")[0] for name in names}
    if {"actor", "critic"} <= parts:
        apart = any(name.startswith("critic.features_extractor.") for name in names)
        extractor = _extractor(r"actor\.")
        return {
            "actor": [*extractor, r"^actor\.latent_pi\.", r"^actor\."],
            "critic": [*(_extractor(r"critic\.") if apart else extractor), r"^critic\."],
        }
    if "action_net" in parts:
        trunk = [*_extractor(""), *_extractor("pi_")]
        own = _extractor("vf_") if "vf_features_extractor" in parts else trunk
        recurrent = r"^(lstm_critic|critic)\." if parts & {"lstm_critic", "critic"} else r"^lstm_actor\."
        middle = r"^mlp_extractor\.shared_net\."
        return {
            "actor": [*trunk, r"^lstm_actor\.", middle, r"^mlp_extractor\.policy_net\.", r"^action_net\."],
            "critic": [*own, recurrent, middle, r"^mlp_extractor\.value_net\.", r"^value_net\."],
        }
    for network in ("q_net", "quantile_net"):
        if network in parts:
            return {network: [*_extractor(rf"{network}\."), rf"^{network}\."]}
    return {}


# The stacks of the features extractors that are known, in the order in which data passes them.
_EXTRACTORS = (("cnn", "linear"), ("trunk",))


def _units(shapes: Shapes, heads: Mapping[str, int]) -> list[UnitGroup]:
    find, parts = UnitFinder(shapes), {name.partition(".")[0] for name in shapes}
    if "action_net" in parts:
        _units_of_one_policy(find, parts)
    elif "critic" in parts:
        _units_of_two_networks(find)
    for network in ("q_net", "quantile_net"):
        if network in parts:
            find.stack(f"{network}.{network}", _extracted(find, f"{network}."))
    return find.groups()


def _extracted(find: UnitFinder, prefix: str) -> str | None:
    # The units that a features extractor ends with; None where it is unknown, or passes observations on as they are.
    start = f"{prefix}features_extractor."
    found = {name.removeprefix(start).partition(".")[0] for name in find.shapes if name.startswith(start)}
    signal = None
    for stack in next((stacks for stacks in _EXTRACTORS if set(stacks) == found), ()):
        signal = find.stack(start + stack, signal)
    return signal


def _units_of_one_policy(find: UnitFinder, parts: Collection[str]) -> None:
    features = _extracted(find, "")
    own = _extracted(find, "vf_") if "vf_features_extractor" in parts else features
    actor, critic = features, own
    if "lstm_actor" in parts:
        actor = critic = find.lstm("lstm_actor", features)
        if "lstm_critic" in parts:
            critic = find.lstm("lstm_critic", own)
        elif "critic" in parts:
            critic = find.layer("critic", own)
    shared = "mlp_extractor.shared_net"  # of versions before 1.8
    if any(name.startswith(shared) for name in find.shapes):
        actor = critic = find.stack(shared, actor)
    actor = find.stack("mlp_extractor.policy_net", actor)
    if len(find.shapes.get("log_std", ())) > 1:  # gSDE: the noise of exploration reads the units as well
        find.keep(actor)
    find.layer("action_net", actor)
    find.layer("value_net", find.stack("mlp_extractor.value_net", critic))


def _units_of_two_networks(find: UnitFinder) -> None:
    features = actor = _extracted(find, "actor.")
    if any(name.startswith("actor.log_std") for name in find.shapes):
        actor = find.stack("actor.latent_pi", actor)
        if "actor.log_std" in find.shapes:  # gSDE
            find.keep(actor)
        else:
            find.layer("actor.log_std", actor)
        single = "actor.mu.weight" in find.shapes
        _ = find.layer("actor.mu", actor) if single else find.stack("actor.mu", actor)
    else:
        find.stack("actor.mu", actor)
    if any(name.startswith("critic.features_extractor.") for name in find.shapes):
        features = _extracted(find, "critic.")
    critics = {match[0] for match in (re.match(r"critic\.qf\d+", name) for name in find.shapes) if match is not None}
    for critic in sorted(critics):
        find.stack(critic, features)


def _recognises(names: Collection[str]) -> bool:
    # Only its policies have these networks twice, online and target.
    parts = {name.partition(".")[0] for name in names}
    return any({network, f"{network}_target"} <= parts for network in ("q_net", "quantile_net", "actor", "critic"))


def _collapse_hint(name: str) -> str | None:
    if not name.startswith(("action_net", "value_net")):
        return None
    return (
        "Stable-Baselines3's ortho_init=True starts output layers with weights so small that pruning takes them "
        "first (use policy_kwargs=dict(ortho_init=False)); where it is off, prune less"
    )


def _steps_trained(facts: Mapping[str, Any]) -> Mapping[str, int]:
    count = facts.get("num_timesteps")
    return {"timesteps": count} if type(count) is int else {}


def _origin(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    seed = facts.get("seed")
    return {"seed": seed} if type(seed) is int else {}


def _returns_asked(settings: Mapping[str, Any]) -> int:
    evaluation = settings.get("evaluation") or {}
    return int(evaluation["episodes"] if evaluation.get("is_score") else settings.get("score_episodes", 1))


def _evaluation_label(settings: Mapping[str, Any], episodes: int) -> str:
    how = ", deterministic actions" if settings.get("evaluation", {}).get("deterministic") else ""
    return f"mean return of {episodes} fresh episodes{how}"


SB3 = Dialect(
    name="sb3",
    title="Stable-Baselines3",
    file="the zip of an SB3 model",
    archive_member="policy.pth",
    archive_facts="data",
    steps_trained=_steps_trained,
    origin=_origin,
    optimizer_members=re.compile(r"^(policy|actor|critic)\.optimizer\.pth$"),
    recognises=_recognises,
    self_contained=True,
    buffers=frozenset({"ra_mean", "ra_var"}),  # batch renormalisation (sb3-contrib's CrossQ)
    never_pruned=frozenset({"log_std"}),  # the spread of a Gaussian policy is a parameter, but not a layer's weight
    # Heads of on-policy policies, and of stochastic actors.
    outside_layers=re.compile(r"^(action_net|value_net)\.|^actor\.(mu|log_std)\.(weight|bias)$"),
    # Q networks, deterministic actors and critics end in an output layer.
    stacks=re.compile(r"^((?:q_net\.q_net|quantile_net\.quantile_net|actor\.mu|critic\.qf\d+)\.)(\d+)\."),
    running_mean=re.compile(r"ra_mean$"),
    target_network=re.compile(r"^[^.]*_target\."),
    scope_words=_scope_words,
    networks=_networks,
    collapse_hint=_collapse_hint,
    units=_units,
    steps="environment steps",
    returns_asked=_returns_asked,
    score_label=lambda scoring, name: f"mean return of the last {name} episodes",
    evaluation_label=_evaluation_label,
    higher_is_better=lambda label: label.startswith("mean return of "),
    floor_command="sb3-lottery floor",
    packages=frozenset({"stable-baselines3"}),
    label_of_returns=lambda returns: f"mean return of the last {returns} training episodes",
    inputs="sb3_lottery.analysis:ticket_inputs",
    export="sb3_lottery.inference:export",
)
