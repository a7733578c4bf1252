"""The page in a real browser: no errors, lines that can be hidden, numbers, dark colours, a phone's width, print."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from lottery_core.experiments import paths
from lottery_core.reports.page import subject_of, write_page
from tests.lottery_core.reports.page.chromium import Chromium, find
from tests.lottery_core.reports.page.made import write_experiment
from tests.lottery_core.reports.page.test_markup import hostile
from tests.lottery_core.reports.page.test_page import no_job

PROGRAM = find()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium (on Debian: apt-get install chromium)")

LINES = "Array.from(document.querySelectorAll('#{chart} .scatterlayer .trace'), trace => trace.__data__[0].trace.meta)"
VALUES = "document.getElementById('{chart}').data.find(trace => trace.meta === '{key}').y"
NUMBERS = """Array.from(document.querySelectorAll('table.runs tbody tr'), row => Array.from(row.cells).slice(1).map(
    cell => cell.querySelector('data') ? cell.querySelector('data').value : cell.textContent))"""
PAPER = "getComputedStyle(document.documentElement).backgroundColor"
INK = "getComputedStyle(document.querySelector('#c1-1 .xtick text')).fill"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of three seeds."""
    out = tmp_path_factory.mktemp("browser") / "mine"
    write_experiment(out, rounds=2)
    write_page(out / "page.html", [subject_of(out, no_job)])
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for all tests."""
    assert PROGRAM is not None
    found = Chromium(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def test_the_page_works(folder: Path, browser: Chromium) -> None:
    browser.open(folder / "page.html")
    charts = browser.run("document.querySelectorAll('.plot').length")
    assert charts > 4
    assert browser.run("document.querySelectorAll('.plot .main-svg').length") >= charts
    # A click on an entry of the legend hides its line and its dots; a second one, by keyboard, shows them.
    button = "figure[data-chart='c1-1'] button[data-switch='0-random']"
    lines = LINES.format(chart="c1-1")
    assert browser.run(lines).count("0-random") == 2
    browser.click(button)
    assert set(browser.run(lines)) == {"0-dense", "0-winning"}
    assert browser.run(f'document.querySelector("{button}").ariaPressed') == "false"
    browser.run(f'document.querySelector("{button}").focus()')
    browser.key("Enter", 13, "\r")
    assert browser.run(lines).count("0-random") == 2
    # The control changes what the line shows.
    values = VALUES.format(chart="c1-1", key="0-winning")
    means = browser.run(values)
    browser.click("figure[data-chart='c1-1'] input[value='1']")
    medians = browser.run(values)
    scores = [[] for _ in means]
    with open(folder / paths.RESULTS, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["kind"] == "winning":
            scores[int(row["round"]) - 1].append(float(row["score"]))
    assert means == pytest.approx([sum(some) / 3 for some in scores])
    assert medians == [sorted(some)[1] for some in scores]
    # Numbers to the last digit.
    names = ("pruned", "surviving", "score", "score_se", "steps", "wall_seconds", "cpu_seconds")
    assert browser.run(NUMBERS) == [[row[name] for name in names] for row in rows]
    # Each seed's score stands in the hint.
    hint = browser.run("document.getElementById('c1-1').data.find(trace => trace.meta === '0-winning').hovertext[0]")
    assert all(f"seed {seed}: " in hint for seed in (1, 2, 3))
    assert browser.problems() == []


def test_dark_narrow_and_printed(folder: Path, browser: Chromium) -> None:
    browser.open(folder / "page.html", width=400, dark=True)
    assert browser.run("document.documentElement.scrollWidth") == 400
    assert browser.run(PAPER) == "rgb(20, 24, 29)"
    labels = browser.run("Array.from(document.querySelectorAll('#c1-1 .xtick text'), text => text.textContent)")
    assert labels == ["100%", "59.9%", "35.9%"]  # the last level has its label, too, and room for it
    assert (
        browser.run("Array.from(document.querySelectorAll('.xtick text')).at(-1).getBoundingClientRect().right") < 400
    )
    dark = browser.run(INK)
    browser.media(dark=True, kind="print")
    assert browser.run(PAPER) == "rgb(255, 255, 255)"
    browser.wait_for(f"{INK} !== '{dark}'")
    # On paper everything is unfolded, and charts are as wide as a sheet.
    widths = "Array.from(document.querySelectorAll('.plot'), plot => plot.layout.width)"
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert set(browser.run(widths)) == {680}
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert max(browser.run(widths)) <= 400
    assert browser.run("document.querySelectorAll('details[open]').length") == 0
    assert browser.problems() == []


def test_hostile_texts_stay_texts(folder: Path, browser: Chromium) -> None:
    out = hostile(folder.parent)
    page = folder.parent / "hostile.html"
    write_page(page, [subject_of(out, no_job)])
    browser.open(page)
    assert browser.run("typeof hacked") == "undefined"
    assert browser.run("document.querySelectorAll('main img, main a, svg a, main script').length") == 0
    # Plotly takes a little HTML in its texts, bold letters and links among them.
    assert browser.run("document.querySelector('#c1-1 .ytitle').textContent").startswith("<b>x</b></script <!-->")
    assert browser.problems() == []
