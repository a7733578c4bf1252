"""Check who wrote a folder before running code from it, and list that code."""

from __future__ import annotations

from pathlib import Path

from lottery_core.errors import ConfigError
from lottery_core.experiments import Run, paths
from lottery_core.files import printable, read_object, unsigned
from sb3_lottery.pickled import what_it_unpickles
from sb3_lottery.training import MODEL, NORMALIZE


def require_own_run(out: Path, run: Run) -> None:
    """Check that this user's own commands wrote the files that run code when the agent of a run is loaded.

    :param out: the experiment's folder
    :param run: the run
    :raises ConfigError: a file is not signed by this user, or belongs to another user; the message names the code that
        would run
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
    # Lists the code that loading would run, without running it.
    lines = [what_it_unpickles(folder / MODEL)]
    if (folder / NORMALIZE).exists():
        lines.append(f"{NORMALIZE} is a pickle")
    settings = read_object(out / paths.EXPERIMENT).get("settings")
    model = settings.get("model") if isinstance(settings, dict) else None
    env = model.get("env") if isinstance(model, dict) else None
    if isinstance(env, str) and ":" in env:
        lines.append(f"the environment {printable(env, 80)} imports the module {printable(env.partition(':')[0], 60)}")
    return lines
