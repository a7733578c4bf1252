"""``lottery report --html`` and ``lottery status --html``: one page."""

from __future__ import annotations

from pathlib import Path

import pytest

from lottery_core.cli.lottery import main
from lottery_core.experiments.runner import Runner
from tests.lottery_core.experiments.test_runner import quiet
from tests.lottery_core.reports.page.parsed import Page
from tests.lottery_core.toy import Here, Toy, experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of the toy."""
    out = tmp_path_factory.mktemp("toys") / "toy"
    Runner(experiment(out, rounds=2), Toy(), Here(out), quiet()).run()
    return out


def test_report_and_status_write_the_same_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"{run}", "--html", f"{tmp_path / 'one.html'}"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"page: {tmp_path / 'one.html'}"
    assert "round  pruned" in shown
    assert main(["status", f"{run}", "--html", f"{tmp_path / 'two.html'}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{run}: 5 done, of 5 runs",
        f"page: {tmp_path / 'two.html'}",
    ]
    text = (tmp_path / "one.html").read_text()
    assert text == (tmp_path / "two.html").read_text()
    page = Page(text)
    assert page.headings[0] == (1, "toy")
    assert "No run has a learning curve" in page.words


def test_a_page_of_what_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment(tmp_path / "toy").write()
    assert main(["status", f"{tmp_path / 'toy'}", "--html", f"{tmp_path / 'page.html'}"]) == 0
    assert "No run has finished yet." in (tmp_path / "page.html").read_text()
    assert main(["report", f"{tmp_path / 'toy'}", "--html", f"{tmp_path / 'other.html'}"]) == 2
    assert capsys.readouterr().err == f"lottery: error: {tmp_path / 'toy'} holds no finished run\n"


@pytest.mark.parametrize("command", ["report", "status"])
def test_bad_names_are_one_line_before_anything_is_written(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert main([command, f"{run}", "--html", f"{run / 'results.csv'}"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "ends in .html" in shown.err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    (tmp_path / "a-file").write_text("")
    assert main([command, f"{run}", "--html", f"{tmp_path / 'a-file' / 'page.html'}"]) == 2
    assert capsys.readouterr().err.startswith("lottery: error: cannot write ")
