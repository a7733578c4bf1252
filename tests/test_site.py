"""The documentation builds into a site without a warning, and every link of what was built leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def script(name: str) -> ModuleType:
    """A script of the recipes as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"recipes/upkeep/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site_builds_without_a_warning_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra 'docs'")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    assert script("check_links").broken_links(tmp_path / "site") == []
    assert (tmp_path / "site/index.html").exists()
    assert (tmp_path / "site/recipes/results/cartpole/curve.png").exists()


@pytest.mark.parametrize(
    ("link", "broken"),
    [
        ("../", False),
        ("../#here", False),
        ("#there", True),
        ("../#there", True),
        ("../page", False),
        ("../other/", True),
        ("picture.png", True),
        ("https://example.org/nowhere", False),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, link: str, broken: bool) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="here">Home</h1>')
    (tmp_path / "page/index.html").write_text(f'<a href="{link}">words</a>')
    assert script("check_links").broken_links(tmp_path) == ([f"page/index.html: {link}"] if broken else [])


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "[guide](docs/guides/own_loop.md)", "[guide](guides/own_loop.md)"),
        ("guides/own_loop.md", "[home](../../README.md#two-commands)", "[home](../index.md#two-commands)"),
        ("guides/own_loop.md", "[results](../../recipes/README.md)", "[results](../recipes/README.md)"),
        ("recipes/README.md", "[gpus](../docs/gpus.md)", "[gpus](../gpus.md)"),
        ("recipes/README.md", "![curve](curve.png)", "![curve](curve.png)"),
        ("gpus.md", "[code](../setup.py)", "code"),
        ("gpus.md", "[there](https://example.org)", "[there](https://example.org)"),
        ("gpus.md", "[below](#slurm)", "[below](#slurm)"),
    ],
)
def test_a_link_of_a_repository_page_becomes_a_link_of_the_site(page: str, link: str, expected: str) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra 'docs'")
    known = {"index.md", "gpus.md", "guides/own_loop.md", "recipes/README.md", "recipes/curve.png"}
    assert script("site_hooks").relink(f"See {link}.", page, known) == f"See {expected}."
