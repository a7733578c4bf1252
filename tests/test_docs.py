"""The pages of docs tell the truth: what they show is run or parsed, and what follows from the code is up to date."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lottery_core.experiments import Row, paths
from tests import preloaded
from tests.sb3_lottery.helpers import request_for

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes" / "upkeep"))
from messages import Message, messages, pieces  # noqa: E402

PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "recipes").rglob("*.md")))
}
FACES = {"lottery": "lottery_core.cli", "sb3-lottery": "sb3_lottery.cli", "fairseq-lottery": "fairseq_lottery.launcher"}
_COMMAND = re.compile(rf"^(?:    )?((?:{'|'.join(FACES)}) (?:.*\\\n)*.*)$", re.MULTILINE)
_INLINE = re.compile(rf"`((?:{'|'.join(FACES)}) [^`]*)`")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[str]:
    """The commands of this project in a page, each on one line."""
    outside = re.sub(r"^```text\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for command in (*_COMMAND.findall(outside), *(" ".join(found.split()) for found in _INLINE.findall(outside))):
        yield re.sub(r"\s#.*", "", command.replace("\\\n", " "))


def options_of(words: list[str]) -> set[str]:
    """The options that a command has."""
    parsers: dict[str, argparse.ArgumentParser] = importlib.import_module(FACES[words[0]]).parsers()
    parser = parsers.get(" ".join(words[:2]), parsers[words[0]])
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and words[1] in action.choices:
            parser = action.choices[words[1]]
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("page", [page for page in PAGES if "/reference/" not in page])
def test_options_of_commands_exist(page: str) -> None:
    for command in commands(PAGES[page]):
        # Quoted words are values, of which some are options of other commands.
        words = re.sub(r"\"[^\"]*\"|'[^']*'|[][|]|\.\.\.", " ", command).split()
        own = words[: words.index("--")] if "--" in words else words
        known = options_of(own) if len(own) > 1 else set()
        strange = {re.split(r"[=,;.:)]", word)[0] for word in own if re.match(r"--?[a-z]", word)} - known
        assert not strange, f"{page}: {command}"


def whole_commands() -> list[tuple[str, str]]:
    """Commands that can be given as they stand."""
    found = [
        (page, command) for page in PAGES for command in _COMMAND.findall(PAGES[page]) if "/reference/" not in page
    ]
    return [(page, command) for page, command in found if not re.search(r"\.\.\.|[\[|<]|\$[A-Z]", command)]


@pytest.mark.parametrize(("page", "command"), whole_commands())
def test_whole_commands_are_accepted(page: str, command: str) -> None:
    words = shlex.split(re.sub(r"\s#.*", "", command.replace("\\\n", " ")))
    own = words[: words.index("--")] if "--" in words else words
    parsers: dict[str, argparse.ArgumentParser] = importlib.import_module(FACES[own[0]]).parsers()
    deep = 2 if " ".join(own[:2]) in parsers else 1
    parsers[" ".join(own[:deep])].parse_args(own[deep:])  # SystemExit, with the line of the error, where it is refused


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_remarks_stand_above_commands(page: str) -> None:
    """To zsh, as people type in it, a ``#`` behind a command is an argument."""
    text = PAGES.get(page) or (ROOT / page).read_text()
    starts = "|".join([*FACES, "bash", "pip", "python", "fairseq-train"])
    outside = re.sub(r"^```(?!bash).*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(rf"^(?:    )?(?:{starts}) (?:.*\\(?: +#.*)?\n)*.*$", outside, re.MULTILINE)
    assert [line for line in lines if re.search(r"\s#\s", line)] == []


def test_commands_that_share_a_folder_are_of_one_experiment() -> None:
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for page, command in whole_commands():
        words = shlex.split(re.sub(r"\s#.*", "", command.replace("\\\n", " ")))
        if words[0] == "sb3-lottery" and words[1].startswith("--") and "--out" in words and "/results/" not in page:
            found.setdefault(words[words.index("--out") + 1], []).append((page, words[1:]))
    shared = [commands for commands in found.values() if len(commands) > 1]
    assert len(shared) > 1
    for (_, first), *others in shared:
        for page, words in others:
            assert request_for(words).experiment.fixed() == request_for(first).experiment.fixed(), (page, words, first)


def test_scripts_that_a_page_names_exist() -> None:
    named = {
        (page, script)
        for page, text in PAGES.items()
        for script in re.findall(r"\b(?:bash|python) ((?:recipes|tests)/[\w/-]+\.(?:sh|py))", text)
    }
    assert len(named) > 20
    assert {(page, script) for page, script in named if not (ROOT / script).exists()} == set()


def test_a_wrong_option_is_seen() -> None:
    (command,) = commands("Try `lottery report RUN --htlm page.html`.")
    assert not {"--htlm"} <= options_of(command.split())
    assert {"--html"} <= options_of(command.split())


def run(script: str, folder: Path, language: str = "bash") -> str:
    """Run code of a page; assert that it ends well; its output."""
    tools = folder / "bin"
    parents = preloaded.scripts(tools, **{name: [sys.executable, "-m", module] for name, module in FACES.items()})
    where = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    python = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = ["bash", "-euo", "pipefail", "-c", script] if language == "bash" else [sys.executable, "-c", script]
    done = subprocess.run(
        words,
        cwd=folder,
        env={
            **os.environ,
            **parents,
            preloaded.PARENT: "sb3",
            "PATH": where,
            "PYTHONPATH": python,
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (script, done.stdout[-1500:], done.stderr[-3000:])
    return done.stdout


def shorter(text: str, pairs: dict[str, str]) -> str:
    """The same lines with shorter trainings."""
    for long, short in pairs.items():
        text = text.replace(long, short)
    return text


SB3 = {
    "--rounds 5": "--rounds 1 --net-arch 16 16",
    "timesteps:4096": "timesteps:64",
    "--epochs 8": "--epochs 2",
    "n_steps:128": "n_steps:8",
    "batch_size:256": "batch_size:16",
    "round-03": "round-01",
    "net_arch=[64, 64]": "net_arch=[16, 16]",
    "20_000": "100",
}


@pytest.mark.slow
def test_the_first_ticket_with_sb3(tmp_path: Path) -> None:
    page = "docs/first_ticket_sb3.md"
    said = "".join(run(shorter(block, SB3), tmp_path) for block in blocks(page, "bash"))
    for expected in ("the answer of 1 seed", "winning ticket, round 1", "scope shares separate"):
        assert expected in said
    assert (tmp_path / "runs/first/floor.json").exists()
    (code,) = blocks(page, "python")
    run(shorter(code, SB3), tmp_path, "python")
    assert (tmp_path / "mine.zip").exists()
    assert (tmp_path / "small.zip").exists()


FAIRSEQ = {
    "--rounds 4": "--rounds 1",
    "--kinds winning random": "--kinds winning",
    "update:50": "update:1",
    "--max-epoch 4": "--max-update 2",
    "--beam 1": "--beam 1 --max-len-b 5",
    "round-03": "round-01",
    "python recipes": f"python {ROOT}/recipes",
}


@pytest.mark.slow
def test_the_first_ticket_with_fairseq(tmp_path: Path) -> None:
    said = "".join(run(shorter(block, FAIRSEQ), tmp_path) for block in blocks("docs/first_ticket_fairseq.md", "bash"))
    assert "winning ticket, round 1" in said
    assert said.count("\nH-") >= 100


def test_the_code_about_controls(tmp_path: Path) -> None:
    (code,) = blocks("docs/guides/controls.md", "python")
    lines = dict(line.split() for line in run(code, tmp_path, "python").splitlines())
    assert len(set(lines.values())) == 1
    assert {"random", "reinit", "shuffled"} <= set(lines)


def test_the_worked_example_of_a_ticket_file(tmp_path: Path) -> None:
    page = "docs/ticket_file.md"
    (code,) = blocks(page, "python")
    run(code, tmp_path, "python")
    data = (tmp_path / "example.safetensors").read_bytes()
    assert f"The file has {len(data)} bytes" in PAGES[page]
    length = int.from_bytes(data[:8], "little")
    assert f"header, {length} (`{data[:8].hex(' ')}`)" in PAGES[page]
    header = json.loads(data[8 : 8 + length])
    (shown,) = blocks(page, "json")
    assert json.loads(header["__metadata__"]["lottery"]) == json.loads(shown)
    rows = re.findall(r"^ +(\d+)  (\S+) +((?:[0-9a-f]{2} )+) ", blocks(page, "text")[0], re.MULTILINE)
    expected = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            expected[name] = (start, data[start:end].hex(" "))
    assert {name: (int(offset), found.strip()) for offset, name, found in rows} == expected


def test_every_file_and_column_of_a_run_folder_is_explained() -> None:
    page = PAGES["docs/reference/run_folder.md"]
    files = {value for name, value in vars(paths).items() if name.isupper() and isinstance(value, str)}
    assert {name for name in files if f"`{name}`" not in page} == set()
    columns = {field.name for field in dataclasses.fields(Row)} - {"more"}
    assert {name for name in columns if f"`{name}`" not in page} == set()


def test_every_result_is_listed() -> None:
    folders = {path.name for path in (ROOT / "recipes/results").iterdir() if path.is_dir()}
    assert set(re.findall(r"results/([\w-]+)/README\.md", PAGES["docs/results.md"])) == folders


def heads() -> list[tuple[Path, str]]:
    """Scripts of the recipes and benchmarks, with the command lines at their heads."""
    sources = [path for folder in ("recipes", "tests/benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = []
    for path in sources:
        source = path.read_text()
        head = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")
        if "ArgumentParser(" in source and (lines := [part for part in head if part.startswith("    python ")]):
            found.append((path, " ".join(lines[0].split())))
    return found


@pytest.mark.parametrize(("path", "line"), [pytest.param(*head, id=head[0].stem) for head in heads()])
def test_a_script_starts_as_its_head_says_and_has_the_options(path: Path, line: str) -> None:
    source = path.read_text()
    loaded = "fairseq" if "fairseq" in source else "sb3" if "sb3" in source else "core"
    words = line.split()[1 : 3 if " -m " in line else 2]
    done = subprocess.run(
        [sys.executable, *words, "--help"],
        cwd=ROOT,
        env={**os.environ, preloaded.PARENT: loaded},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    options = set(re.findall(r"--[a-z-]+", line.partition("#")[0]))
    assert options <= set(re.findall(r"--[a-z-]+", done.stdout.partition(":\n")[2]))


def test_benchmarks_have_heads() -> None:
    have = {path for path, _ in heads()}
    benchmarks = [path for path in (ROOT / "tests/benchmarks").rglob("*.py") if "__main__" in path.read_text()]
    assert len(benchmarks) > 15
    assert set(benchmarks) <= have


def test_the_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "recipes/upkeep/reference.py", "--check"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def explained(message: Message, page: str) -> bool:
    """Whether a page has what is always the same in a message."""
    return pieces(message.text)[0] in " ".join(page.split())


def test_every_warning_is_explained() -> None:
    page = PAGES["docs/troubleshooting.md"]
    warnings = [message for message in messages() if message.is_warning]
    assert len(warnings) > 15
    assert [message.text for message in warnings if not explained(message, page)] == []


def test_every_error_is_on_a_page() -> None:
    page = PAGES["docs/reference/messages.md"] + PAGES["docs/troubleshooting.md"]
    errors = [message for message in messages() if not message.is_warning]
    assert len(errors) > 300
    assert [message.text for message in errors if not explained(message, page)] == []
    assert not explained(Message("none", "the moon PHASE is not full enough to prune"), page)
