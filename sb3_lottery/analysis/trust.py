"""Check who wrote a folder before code in it is run, and list that code."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from lottery_core.errors import ConfigError
from lottery_core.experiments import Run, paths
from lottery_core.files import parse_json, printable, read_object, unsigned, why_not_regular
from sb3_lottery.training import MODEL, NORMALIZE

_MOST_BYTES = 1 << 24  # read at most from the member that lists the objects; SB3 writes some kilobytes
_MOST_NAMES = 4


def require_own_run(out: Path, run: Run) -> None:
    """Check that this user's own commands wrote the files from which loading the agent of a run executes code.

    :param out: the experiment's folder
    :param run: the run
    :raises ConfigError: a file has no signature of this user, or belongs to another user; the message says what code
        would be run
    """
    folder = out / run.folder
    foreign = unsigned([out / paths.EXPERIMENT, folder / MODEL, folder / NORMALIZE])
    if foreign:
        names = ", ".join(str(path.relative_to(out)) for path in foreign)
        raise ConfigError(
            f"{printable(str(out))} can run code, and your own commands on this machine did not write {names}: "
            f"{'; '.join(_what_runs(out, folder))}. If you trust whoever made it, add --trust"
        )


def _what_runs(out: Path, folder: Path) -> list[str]:
    # Lists what loading would run, without running it.
    objects = _pickled(folder / MODEL)
    shown = ", ".join(objects[:_MOST_NAMES]) + (", ..." if len(objects) > _MOST_NAMES else "")
    listed = f" ({printable(shown, 120)})" if objects else ""
    lines = [f"{MODEL} has {len(objects)} pickled objects{listed}"]
    if (folder / NORMALIZE).exists():
        lines.append(f"{NORMALIZE} is a pickle")
    settings = read_object(out / paths.EXPERIMENT).get("settings")
    model = settings.get("model") if isinstance(settings, dict) else None
    env = model.get("env") if isinstance(model, dict) else None
    if isinstance(env, str) and ":" in env:
        lines.append(f"the environment {printable(env, 80)} imports the module {printable(env.partition(':')[0], 60)}")
    return lines


def _pickled(path: Path) -> list[str]:
    # The entries of a zip of SB3 that are pickled: save_util.py:data_to_json.
    if why_not_regular(path) is not None:
        return []
    try:
        with zipfile.ZipFile(path) as archive, archive.open("data") as member:
            data = parse_json(member.read(_MOST_BYTES).decode())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return []
    if not isinstance(data, dict):
        return []
    return [str(name) for name, value in data.items() if isinstance(value, dict) and ":serialized:" in value]
