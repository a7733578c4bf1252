"""Hooks of ``mkdocs.yml``: the pages are written for a repository page, and read the same on the site.

- ``README.md``, ``CONTRIBUTING.md``, ``CHANGELOG.md`` and ``recipes`` (its page and its results) become pages.
- Links between files of the repository become links between pages; a link to a file that is not on the site loses its
  link and keeps its text.
- What stands between ``<!-- api: NAME -->`` and ``<!-- end -->`` becomes the signature and what mkdocstrings makes of
  NAME's docstring.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
_TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "recipes/README.md")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```|<svg.*?^</svg>)$", re.MULTILINE | re.DOTALL)
_API = re.compile(r"^<!-- api: ([\w.]+) -->\n`(.*?)`$.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):(?=<code>)")


def outside() -> list[str]:
    """The files outside ``docs`` that are on the site, as seen from the repository's root."""
    results = sorted((ROOT / "recipes/results").rglob("*"))
    return [*_TOP, *(path.relative_to(ROOT).as_posix() for path in results if path.is_file())]


def site_path(path: str) -> str:
    """Where a file of the repository is among the site's sources."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def repository_path(uri: str) -> str:
    """Where a source of the site is in the repository: the inverse of :func:`site_path`."""
    if uri == "index.md":
        return "README.md"
    return uri if uri in _TOP or uri.startswith("recipes/") else f"docs/{uri}"


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside ``docs``."""
    for path in outside():
        files.append(File.generated(config, site_path(path), abs_src_path=str(ROOT / path)))
    return files


def relink(text: str, uri: str, known: set[str]) -> str:
    """Rewrite the links of a page.

    :param text: a page, or a part of one without code
    :param uri: the page, among the site's sources
    :param known: every source of the site
    """
    here = posixpath.dirname(repository_path(uri))

    def change(link: re.Match[str]) -> str:
        picture, words, target = link.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in target or target.startswith("mailto:"):
            return link[0]
        there = site_path(posixpath.normpath(posixpath.join(here, path)))
        if there not in known:
            return words
        return f"{picture}[{words}]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{hash_}{anchor})"

    return _LINK.sub(change, text)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite the links, and let mkdocstrings show what the page names."""
    known = {file.src_uri for file in files}
    uri = page.file.src_uri
    parts = _FENCE.split(markdown)
    parts[::2] = [relink(part, uri, known) for part in parts[::2]]
    return _API.sub(r"```python\n\2\n```\n\n::: \1", "".join(parts))


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Leave out the roles of reStructuredText that docstrings have."""
    return _ROLE.sub("", html)
