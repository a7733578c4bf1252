"""Check who wrote a folder before running code from it, and list that code."""

from __future__ import annotations

from pathlib import Path

from lottery_core.experiments import Run, paths
from lottery_core.files import printable, read_object
from sb3_lottery.pickled import require_own, what_it_unpickles
from sb3_lottery.training import MODEL, NORMALIZE


def require_own_run(out: Path, run: Run) -> None:
    """Check that this user's own commands wrote the files that run code when the agent of a run is loaded.

    :param out: the experiment's folder
    :param run: the run
    :raises ConfigError: a file is not signed by this user, or belongs to another user; the message names the code that
        would run
    """
    folder = out / run.folder
    lines = [what_it_unpickles(folder / MODEL)]
    if (folder / NORMALIZE).exists():
        lines.append(f"{NORMALIZE} is a pickle")
    require_own(out, [out / paths.EXPERIMENT, folder / MODEL, folder / NORMALIZE], [*lines, *_imports(out)])


def require_own_experiment(out: Path) -> None:
    """Check that this user's own commands wrote the settings from which environments are made.

    :param out: the experiment's folder
    :raises ConfigError: the settings are not signed by this user, or belong to another user
    """
    require_own(out, [out / paths.EXPERIMENT], _imports(out) or ["its environments are made"])


def _imports(out: Path) -> list[str]:
    # The module that making the environment would import.
    settings = read_object(out / paths.EXPERIMENT).get("settings")
    model = settings.get("model") if isinstance(settings, dict) else None
    env = model.get("env") if isinstance(model, dict) else None
    if not isinstance(env, str) or ":" not in env:
        return []
    return [f"the environment {printable(env, 80)} imports the module {printable(env.partition(':')[0], 60)}"]
