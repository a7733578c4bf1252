"""A page as a browser without scripts would read it: headings, tables, charts, markup."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

_VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """The elements of a page; fails where they are not closed in order.

    :param text: the page
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[int, str]] = []
        self.tables: dict[str, list[list[tuple[str, str]]]] = {}
        self.words = ""
        self._scripts: list[tuple[dict[str, str | None], str]] = []
        self._rows: list[list[tuple[str, str]]] = []
        self._caption = self._value = ""
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    @property
    def charts(self) -> dict[str, Any]:
        """What the script draws."""
        charts: dict[str, Any] = json.loads(self.charts_text)
        return charts

    @property
    def charts_text(self) -> str:
        """The same as it stands in the page."""
        (found,) = (text for attributes, text in self._scripts if attributes.get("id") == "charts")
        return found

    @property
    def scripts(self) -> list[str]:
        """The scripts that run."""
        return [text for attributes, text in self._scripts if "type" not in attributes]

    def chart(self, *words: str) -> dict[str, Any]:
        """The only chart whose figure has these words in its description."""
        (found,) = (
            self.charts[attributes["id"] or ""]
            for name, attributes in self.elements
            if name == "div"
            and all(word in (attributes.get("aria-label") or "") for word in words)
            and attributes.get("role") == "img"
        )
        chart: dict[str, Any] = found
        return chart

    def table(self, *words: str) -> list[list[tuple[str, str]]]:
        """The only table with these words in its caption: rows of (text, exact value)."""
        (caption,) = (caption for caption in self.tables if all(word in caption for word in words))
        return self.tables[caption]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag in _VOID:
            return
        self.open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), ""))
        elif tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append(("", ""))
        elif tag == "data":
            self._value = attributes["value"] or ""
        elif tag == "script":
            self._scripts.append((attributes, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag, tag
        if tag == "table":
            again = sum(caption.startswith(self._caption) for caption in self.tables)  # of another experiment
            self.tables[f"{self._caption}{f' ({again + 1})' if again else ''}"] = self._rows
        elif tag in ("td", "th"):
            text, _ = self._rows[-1][-1]
            self._rows[-1][-1] = (text, self._value or text)
            self._value = ""

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            attributes, text = self._scripts[-1]
            self._scripts[-1] = (attributes, text + data)
            return
        if "style" in self.open:
            return
        self.words += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)
        elif "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            text, value = self._rows[-1][-1]
            self._rows[-1][-1] = (text + data, value)
