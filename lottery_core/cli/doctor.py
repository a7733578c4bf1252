"""``lottery doctor``: what is installed on this machine, what works, and how to install what is missing."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata

import torch

from lottery_core.experiments.executors import cores
from lottery_core.files import printable
from lottery_core.version import VERSION

_PROJECT = "lottery-plugins"
_NEEDED = re.compile(r"\s*([\w.-]+)(?:\[[\w,.-]*\])?\s*([^;]*?)\s*(?:;.*?extra == ['\"]([\w-]+)['\"].*|;.*)?$")
_PUT_TOGETHER = ("all", "dev", "docs")  # extras for everything, and for work on the project itself
_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LOTTERY_CACHE")
_LONGEST = 300  # characters of an error of a package
_SECONDS = 300  # for the imports of all packages
# Imports each module, and prints a line of JSON before and after it: a crash is the fault of the last one begun.
_IMPORT = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
out, sys.stdout = sys.stdout, sys.stderr
for name in sys.argv[1:]:
    print(json.dumps([name, None]), file=out, flush=True)
    try:
        importlib.import_module(name)
        why = ""
    except BaseException as error:
        why = f"{type(error).__name__}: {error}"
    print(json.dumps([name, why]), file=out, flush=True)
"""


def doctor() -> int:
    """Print what is installed here, and what is missing with the command that installs it.

    Every package is imported once, in another process, since one that is installed may still not work.

    :returns: exit status: 0, or 1 if something that is installed does not work
    """
    print(f"lottery {VERSION}")
    for name, text in _machine().items():
        print(f"  {name:12}{text}")
    extras = requirements()
    if not extras:
        print(f"{_PROJECT} is not installed as a package (pip install -e .), so its extras are unknown")
        return 0
    installed = {name: _version(name) for names in extras.values() for name in names}
    modules = {name: _module(name) for name, version in installed.items() if version}
    print("packages: importing each once ...", file=sys.stderr)
    broken = why_not_importable(modules.values())
    status = 0
    for extra, names in extras.items():
        print(f"{extra or 'core'}")
        for name, asked in names.items():
            version = installed[name]
            why = broken.get(modules.get(name, ""), "")
            if version is None:
                print(f"  {name:26}missing")
            elif why:
                status = 1
                print(f"  {name:26}{version}, which does not work: {printable(why, _LONGEST)}")
            else:
                old = "" if fits(version, asked) else f", but {asked} is needed"
                print(f"  {name:26}{version}{old}")
        if any(installed[name] is None or not fits(installed[name] or "", asked) for name, asked in names.items()):
            print(f"  to install: {_pip_line(extra, any(asked.startswith('==') for asked in names.values()))}")
    return status


def _pip_line(extra: str, pinned: bool) -> str:
    # From the checkout, where the tested versions are.
    install = "pip install -c constraints.txt"
    command = f"{install} -e '.[{extra}]'" if extra else f"{install} -e ."
    if not pinned:
        return command
    # A package of one version alone is built from source with the torch that is here; isolated, pip fetches another.
    tools = f"{install} torch numpy cython ninja wheel setuptools"
    return f"{tools} && {command.replace(install, f'{install} --no-build-isolation')}"


def _machine() -> dict[str, str]:
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(index) for index in range(count)]
    slurm = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name)]
    settings = [f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ]
    return {
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.machine()}, {platform.platform()}",
        "torch": f"{torch.__version__} ({built})",
        "threads": f"{torch.get_num_threads()} of torch, {cores()} cores for this process",
        "GPUs": ", ".join(names) or "none",
        "Slurm": ", ".join(slurm) or "none",
        "settings": " ".join(printable(setting) for setting in settings) or "none",
    }


def requirements() -> dict[str, dict[str, str]]:
    """Return the packages that the project needs, by extra: package -> accepted versions. ``""`` is the core."""
    try:
        lines = metadata.requires(_PROJECT) or []
    except metadata.PackageNotFoundError:
        return {}
    extras: dict[str, dict[str, str]] = {}
    for line in lines:
        found = _NEEDED.match(line)
        if found and found[3] not in _PUT_TOGETHER:
            extras.setdefault(found[3] or "", {})[found[1]] = found[2]
    # What another extra has already is named there.
    seen: set[str] = set()
    for names in extras.values():
        for name in [name for name in names if name in seen]:
            del names[name]
        seen.update(names)
    return {extra: names for extra, names in extras.items() if names}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _module(package: str) -> str:
    # The module that a package brings: often another name than its own.
    files = metadata.files(package) or []
    tops = [file.parts[0] for file in files if len(file.parts) == 2 and file.name == "__init__.py"]
    name = package.replace("-", "_")
    return name if name in tops or not tops else tops[0]


def fits(version: str, asked: str) -> bool:
    """Whether a version is one of those asked for; ``True`` where the package ``packaging`` is not there to compare.

    :param version: an installed version
    :param asked: accepted versions, e.g. ``>=1.1``
    """
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(asked).contains(version, prereleases=True)


def why_not_importable(modules: Iterable[str]) -> Mapping[str, str]:
    """Import modules in another process, and return the error of each that cannot be imported.

    :param modules: names of modules
    """
    words = [sys.executable, "-c", _IMPORT, *modules]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
        said, ended = done.stdout, f"the process ended with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        ended = f"its import took more than {_SECONDS} seconds"
    found: dict[str, str] = {}
    for line in said.splitlines():
        name, why = json.loads(line)
        found[name] = ended if why is None else why
    return {name: why for name, why in found.items() if why}
