"""``lottery export`` for the zip of an SB3 model: write a smaller, ordinary zip, or ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from stable_baselines3.common.save_util import load_from_zip_file, recursive_getattr, save_to_zip_file

from lottery_core.errors import CheckpointError, ConfigError
from lottery_core.files import write_atomically
from lottery_core.inference import ONNX, SHRUNK
from sb3_lottery.inference.onnx import require_packages, write_onnx
from sb3_lottery.inference.shrink import make_policy, smaller
from sb3_lottery.pickled import require_own, what_it_unpickles

_POLICY, _OPTIMIZER = "policy", ".optimizer"


def export(path: Path, output: Path, form: str, trust: bool, *, shrunk: bool = False, **options: Any) -> str:
    """Write the model of a zip in another form, without its environment or the class of its algorithm.

    A zip contains pickled Python objects (classes, schedules), which are unpickled as SB3's own ``load`` does, so a zip
    that this user's own commands did not write is refused without ``trust``.

    :param path: zip that ``model.save`` wrote
    :param output: zip to write, without the state of the policy's optimizers; or the ONNX file
    :param form: one of :data:`lottery_core.inference.export.FORMS`
    :param trust: whether the zip may run code even if others wrote it
    :param shrunk: whether to remove dead units before the policy is written as ONNX
    :param options: options of ONNX, see :func:`sb3_lottery.inference.onnx.write_onnx`
    :returns: a line that says what was removed
    :raises CheckpointError: the form is unknown, the zip cannot be read, the model has no dead units, or the policy
        acts differently as ONNX
    :raises ConfigError: the zip would run code and ``trust`` is ``False``, the policy cannot be shrunk, see
        :func:`sb3_lottery.shrink_policy`, or cannot be written as ONNX
    :raises WriteError: the file cannot be written
    """
    if form not in (SHRUNK, ONNX):
        raise CheckpointError(f"an SB3 model cannot be exported in the form {form}")
    if form == ONNX:
        require_packages()
    if not trust:
        require_own(path, [path], [what_it_unpickles(path)])
    data, params, variables = _read(path)
    try:
        policy = make_policy(data, data["policy_kwargs"])
        policy.load_state_dict(params[_POLICY])
    except Exception as error:  # the classes may be a user's own
        raise CheckpointError(f"cannot make the policy of {path}: {_reason(error)}") from error
    if form == ONNX and not shrunk:
        return write_onnx(policy, path, output, trust, **options)
    try:
        policy, kwargs, report = smaller(policy, data["policy_kwargs"], lambda kwargs: make_policy(data, kwargs))
    except ConfigError as error:
        raise ConfigError(f"cannot shrink {path}: {error}") from error
    if not report:
        raise CheckpointError(f"{path}: {report.line}")
    if form == ONNX:
        return f"{write_onnx(policy, path, output, trust, shrunk=True, **options)}; {report.line}"
    data["policy_kwargs"] = kwargs
    params[_POLICY] = policy.state_dict()
    for name in params:
        if name.endswith(_OPTIMIZER):  # not SAC's ent_coef_optimizer, which is outside the policy
            params[name] = recursive_getattr(policy, name.removeprefix(f"{_POLICY}.")).state_dict()
    write_atomically(output, lambda file: save_to_zip_file(file, data, params, variables))  # type: ignore[arg-type]
    return report.line


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any], Any]:
    try:
        with warnings.catch_warnings(record=True) as lost:
            warnings.simplefilter("always")
            data, params, variables = load_from_zip_file(path, device="cpu")
    except Exception as error:  # a damaged file can raise anything
        raise CheckpointError(f"cannot read {path}: {_reason(error)}") from error
    for warning in lost:  # SB3 continues without the object, which would be missing in the new zip
        if "Could not deserialize" in str(warning.message):
            raise CheckpointError(f"cannot read {path}: {_reason(warning.message)}")
    needed = ("policy_class", "policy_kwargs", "observation_space", "action_space", "lr_schedule")
    missing = [name for name in needed if name not in (data or {})]
    if data is None or missing:
        raise CheckpointError(f"cannot read {path}: it has no {missing[0]}")
    return data, params, variables


def _reason(error: Exception | Warning | str) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
