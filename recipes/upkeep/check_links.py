"""Checks the links of a built site: every page, picture and anchor that a page refers to exists.

python recipes/upkeep/check_links.py build/site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of a page.

    :param path: its file
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's links and anchors."""
        given = {name: value for name, value in attrs if value}
        self.anchors.update(given[name] for name in ("id", "name") if name in given and tag != "meta")
        if tag != "link" or given.get("rel") in ("stylesheet", "icon"):
            self.links += [given[name] for name in ("href", "src") if name in given]


def broken_links(site: Path) -> list[str]:
    """Every link that leads nowhere, one line each; links to other hosts are not followed."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links start at the site's root
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                wrong.append(f"{path.relative_to(site)}: {link}")
    return wrong


def main(words: list[str]) -> int:
    """Check the site whose folder is the only argument."""
    site = Path(*words[:1] or ["build/site"]).resolve()
    if not (site / "index.html").is_file():
        print(f"check_links: error: {site} is no site: it has no index.html", file=sys.stderr)
        return 2
    wrong = broken_links(site)
    for line in wrong:
        print(line)
    print(f"{len(list(site.rglob('*.html')))} pages, {len(wrong)} broken links")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
