"""What ``--help``, ``--version`` and ``lottery doctor`` print, and what the shell completes."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lottery_core.cli import Parser, accept, listed
from lottery_core.cli import parsers as core_parsers
from lottery_core.cli.doctor import fits, requirements, why_not_importable
from lottery_core.cli.lottery import main
from lottery_core.pruning import KINDS
from sb3_lottery.cli import parsers as sb3_parsers


def every_parser() -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, with those of subcommands."""
    found: dict[str, argparse.ArgumentParser] = {**core_parsers(), **sb3_parsers()}
    for parser in list(found.values()):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                found |= {child.prog: child for child in action.choices.values()}
    return found


@pytest.mark.parametrize("prog", every_parser())
def test_help_fits_a_terminal_of_80_columns(prog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = every_parser()[prog].format_help().splitlines()
    assert [line for line in lines if len(line) > 80] == []
    silent = [action.dest for action in every_parser()[prog]._actions if not action.help and action.dest != "command"]
    assert silent == []


def test_the_options_of_an_experiment_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = sb3_parsers()["sb3-lottery"].format_help()
    heads = re.findall(r"^(\w[^:\n]*):$", text, re.MULTILINE)
    assert heads[1:] == [
        *("settings to start from", "experiment", "pruning and rewinding"),
        *("fewer and shorter trainings", "where runs train", "tickets of another experiment"),
        *("stability of rewind points, for --rewind auto", "training and score", "agent"),
    ]
    options = text[text.index("\noptions:") : text.index("\nsettings to start from:")]
    assert re.findall(r"^  (-\S+)", options, re.MULTILINE) == ["-h,", "--version"]


def test_each_word_of_a_list_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = sb3_parsers()["sb3-lottery"].format_help()
    for kind in KINDS:
        assert re.search(rf"^ +{kind}: ", text, re.MULTILINE), kind


def test_a_long_entry_of_a_list_is_indented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    parser = Parser(prog="p")
    parser.add_argument("--what", help=listed("what it is", {"one": "100% of " + "words " * 10, "two": "few"}))
    text = parser.format_help()
    lines = text[text.index("what it is") :].splitlines()
    column = len(lines[1]) - len(lines[1].lstrip()) - 2
    assert lines[1].strip().startswith("one: 100% of words")
    assert lines[2].startswith((column + 4) * " " + "words")
    assert lines[-1] == (column + 2) * " " + "two: few"


def test_version_names_what_matters_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert re.fullmatch(r"lottery \d+\.\d+\.\d+ \(torch \S+, python 3\.\d+\.\d+\)\n", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        sb3_parsers()["sb3-lottery"].parse_args(["--version"])
    assert "stable-baselines3 2." in capsys.readouterr().out


def test_doctor_names_versions_and_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    asked = {"": {"torch": ">=2.6", "numpy": ">=999"}, "none": {"no-such-package": ""}, "built": {"pinned": "==1"}}
    monkeypatch.setattr("lottery_core.cli.doctor.requirements", lambda: asked)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  torch +2\.\S+ \(", out, re.MULTILINE)
    assert "OMP_NUM_THREADS=1" in out
    assert re.search(r"^  numpy +\S+, but >=999 is needed\n  to install: pip install .* -e \.$", out, re.MULTILINE)
    assert re.search(r"^  no-such-package +missing\n  to install: pip install .* -e '\.\[none\]'$", out, re.MULTILINE)
    # What has one version alone is built from source, with the torch that is here.
    built = re.search(r"^  pinned +missing\n  to install: (.*)$", out, re.MULTILINE)
    assert built
    assert built[1].endswith(" setuptools && pip install -c constraints.txt --no-build-isolation -e '.[built]'")
    assert out.count("--no-build-isolation") == 1


def test_doctor_finds_a_package_that_does_not_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in (("broken", "raise OSError('no library')"), ("dying", "import os; os._exit(3)"), ("good", "")):
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    found = why_not_importable(["broken", "good", "dying"])
    assert found == {"broken": "OSError: no library", "dying": "the process ended with status 3"}
    monkeypatch.setattr("lottery_core.cli.doctor.requirements", lambda: {"": {"torch": ""}})
    monkeypatch.setattr("lottery_core.cli.doctor.why_not_importable", lambda names: {"torch": "OSError: no library"})
    assert main(["doctor"]) == 1
    assert "which does not work: OSError: no library" in capsys.readouterr().out


def test_what_the_package_needs_is_known_by_extra() -> None:
    found = requirements()
    assert "torch" in found[""]
    assert {"sb3", "fairseq", "slurm", "html"} <= set(found)
    assert "all" not in found
    assert fits("2.13.0+cpu", ">=2.6")
    assert not fits("1.0", ">=2.6")


def completed(line: str, tmp_path: Path, module: str) -> list[str]:
    """What the shell is offered at the end of a line."""
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    done = subprocess.run([sys.executable, "-m", module], env=environment, capture_output=True, text=True, check=False)
    assert answer.exists(), done.stderr
    return [word.strip() for word in answer.read_text().splitlines()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lottery p", ["prune"]),
        ("sb3-lottery --kinds winning one", ["one-shot"]),
        ("sb3-lottery fl", ["floor"]),
        ("sb3-lottery floor --ep", ["--episodes"]),
    ],
)
def test_the_shell_completes(line: str, words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("argcomplete", reason="needs the extra 'completion'")
    module = {"lottery": "lottery_core.cli", "sb3-lottery": "sb3_lottery.cli"}[line.split()[0]]
    assert [word for word in completed(line, tmp_path, module) if not word.startswith("-h")] == words


def test_nothing_is_imported_for_completion_when_a_command_runs() -> None:
    code = "import sys; from lottery_core.cli import main; main(['status', 'x']); print('argcomplete' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n"


def test_words_of_an_option_are_only_offered() -> None:
    parser = Parser(prog="p")
    accept(parser.add_argument("--kind"), ["winning"])
    assert parser.parse_args(["--kind", "other"]).kind == "other"
