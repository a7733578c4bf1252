"""The README and the guides tell the truth: their code runs, their commands and options exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from lottery_core import KINDS, Ticket, schedule
from lottery_core.version import VERSION
from tests import preloaded
from tests.sb3_lottery.helpers import request_for

HERE = Path(__file__).parents[1]
README = (HERE / "README.md").read_text()
PAGES = {page: page.read_text() for page in (HERE / "README.md", *sorted((HERE / "docs").rglob("*.md")))}


def run(code: str, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", preloaded.PARENT: "sb3"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_example_of_the_core_trains_three_rounds(tmp_path: Path) -> None:
    guide = PAGES[HERE / "docs/guides/own_loop.md"]
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    lines = run(code, tmp_path).splitlines()
    assert len(lines) == 4
    assert "pool 769, pruned 672, surviving 97" in lines[-1]
    assert (tmp_path / "round-03.safetensors").exists()
    (command,) = re.findall(r"```bash\nlottery (.*?)\n```", guide)
    said = run(f"import sys\nfrom lottery_core.cli import main\nsys.exit(main({command.split()}))", tmp_path)
    assert "results: the answer of 1 seed (score; lower is better)" in said
    assert "the whole effect, winning against random" in said
    assert (tmp_path / "curve.png").exists()


def test_the_example_of_the_callback_runs_as_written(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGES[HERE / "docs/guides/sb3_script.md"], re.DOTALL)
    # The same lines, shorter trainings.
    changes = {
        "50_000": "512",
        "timesteps:5000": "timesteps:256",
        "rounds=8": "rounds=2",
        "round=5": "round=2",
        "seeds=(1, 2, 3)": "seeds=(1,)",
        "seed=seed,": "seed=seed, n_steps=256, n_epochs=2,",
    }
    for long, short in changes.items():
        assert long in code
        code = code.replace(long, short)
    assert "surviving" in run(code, tmp_path)
    assert (tmp_path / "sparse.zip").exists()
    assert (tmp_path / "curve.png").exists()


def test_the_preset_is_short_for_the_long_command() -> None:
    text = PAGES[HERE / "docs/guides/sb3_command.md"]
    commands = [line.replace("\\\n", " ") for line in re.findall(r"^    (sb3-lottery --(?:.*\\\n)*.*)$", text, re.M)]
    commands = [command for command in commands if "runs/cartpole" in command]
    short, long = (re.sub(r"#.*", "", command).split()[1:] for command in commands)
    experiments = [request_for(words).experiment for words in (short, long)]
    assert experiments[0].fixed() == experiments[1].fixed()
    assert experiments[0].plan() == experiments[1].plan()


def test_every_kind_is_explained() -> None:
    firsts = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", README, re.M)
    assert sorted(re.findall(r"[a-z-]+", " ".join(firsts))) == sorted(KINDS)


def test_the_tables_are_real_ones() -> None:
    assert not re.search(r"^[A-Z]+_[A-Z]+$", README, re.M)
    rows = re.findall(r"^ +(\d+) +([\d.]+)% +([\d.]+)%(?: +[\d.]+ ± [\d.]+){3}$", README, re.M)
    pool, rounds = 34_051, 4
    assert f"pool of {pool:,} parameters" in README
    left = schedule(pool, 0.5, rounds)
    expected = [(k, f"{100 * left[k] / pool:.1f}") for k in range(1, rounds + 1)]
    assert [(int(row[0]), row[2]) for row in rows] == expected


def test_the_two_commands_exist() -> None:
    for script in ("recipes/quickstart.sh", "recipes/test.sh"):
        assert f"bash {script}" in README
        assert (HERE / script).exists()


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as repository pages make them."""
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_between_pages_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if link.startswith(("http://", "https://")):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target.read_text()), f"{page.name}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set(), [HERE / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page not in PAGES:
            continue
        reached.add(page)
        todo += [(page.parent / link).resolve() for link in re.findall(r"\]\(([^)\s#]+)", PAGES[page])]
    assert reached == set(PAGES)


def test_the_guide_of_kinds_has_every_kind_and_its_example_runs(tmp_path: Path) -> None:
    guide = (HERE / "docs/guides/kinds.md").read_text()
    assert {line.split("`")[1] for line in guide.splitlines() if re.match(r"\| `[a-z-]+` \|", line)} == set(KINDS)
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert "n_steps=128" in code
    run(code.replace("n_steps=128", "n_steps=128, n_epochs=1"), tmp_path)  # the same lines, a shorter training
    ticket = Ticket.load(tmp_path / "ticket.safetensors")
    assert ticket.masks.surviving == round(0.1 * ticket.masks.pool)


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {VERSION}\n" in (HERE / "CITATION.cff").read_text()
