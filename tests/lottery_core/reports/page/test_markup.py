"""The markup of the page: nothing from a file becomes part of it; keyboards and screen readers find their way."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lottery_core.experiments import paths
from lottery_core.files import write_json
from tests.lottery_core.reports.page.made import write_experiment
from tests.lottery_core.reports.page.parsed import Page
from tests.lottery_core.reports.page.test_page import HOSTILE, page_of


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a finished experiment."""
    out = tmp_path_factory.mktemp("markup") / "mine"
    write_experiment(out, seeds=(1, 2), rounds=2)
    return page_of(out)


def hostile(folder: Path) -> Path:
    """An experiment all of whose texts are markup."""
    out = folder / HOSTILE.replace("/", "%")
    write_experiment(out, seeds=(1, 2), rounds=1, score_label=HOSTILE, settings={HOSTILE: HOSTILE, "lr": 0.1},
                     versions={HOSTILE: HOSTILE}, command=HOSTILE)  # fmt: skip
    for path in out.glob("seed-*/**/curve.csv"):
        path.write_text(f'epoch,steps,score,measure\n1,1,1.0,"{HOSTILE.replace(chr(34), chr(34) * 2)}"\n')
    for path in out.glob("seed-1/**/result.json"):
        marker = json.loads(path.read_text())
        path.write_text(json.dumps({**marker, "collapsed": [HOSTILE], "versions": HOSTILE}))
    last = out / "seed-2/random/round-01"
    (last / paths.MARKER).unlink()
    write_json(last / paths.FAILED, {"reason": HOSTILE})
    return out


def test_nothing_from_a_file_becomes_markup(tmp_path: Path) -> None:
    out = hostile(tmp_path)
    page = page_of(out)
    clean = tmp_path / "clean"
    write_experiment(clean, seeds=(1, 2), rounds=1, done=5)
    expected = {name for name, _ in page_of(clean).elements}
    assert {name for name, _ in page.elements} <= expected | {"ul", "li"}
    assert len(page.scripts) == 2
    assert not set(page.charts_text) & set("<>&")  # a browser would see the end of the script in less than a whole tag
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.words.count(HOSTILE) > 8
    assert "49" not in page.headings[0][1]


def test_the_page_needs_no_network_and_runs_its_own_scripts_only(page: Page) -> None:
    for name, attributes in page.elements:
        for key in ("src", "href", "action", "srcset"):
            assert re.match(r"#|data:,$", attributes.get(key) or "#"), (name, attributes)
    (policy,) = (some["content"] or "" for name, some in page.elements if some.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.count("sha256-") == len(page.scripts)
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split(";")[1]


def test_markup_for_keyboards_and_screen_readers(page: Page) -> None:
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    named: dict[str, list[dict[str, Any]]] = {}
    for name, attributes in page.elements:
        named.setdefault(name, []).append(attributes)
    assert all(cell.get("scope") in ("col", "row") for cell in named["th"])
    assert len(named["caption"]) == len(named["table"]) == len(page.tables)
    plots = [some for some in named["div"] if some.get("class") == "plot"]
    assert len(plots) == len(page.charts)
    assert all(len(some["aria-label"] or "") > 40 for some in plots)
    assert all(some.get("aria-pressed") for some in named["button"])
    assert all(some.get("tabindex") == "0" for some in named["div"] if some.get("class") == "scroll")
    ids = [some["id"] for _, some in page.elements if "id" in some]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in named["a"]} <= {f"#{name}" for name in ids}
    assert named["html"] == [{"lang": "en"}]
