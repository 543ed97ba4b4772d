"""Reads the built pages of the documentation: their links, their anchors, and the words of their prose."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

#: Attributes that lead somewhere, by element.
_LEADING = {
    "a": ("href",), "link": ("href",), "img": ("src",), "script": ("src",), "iframe": ("src",), "source": ("src",),
    "form": ("action",), "object": ("data",),
}
#: Elements that have no end.
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
#: Elements whose text is no prose.
_NO_PROSE = {"code", "pre", "script", "style", "svg", "kbd", "button", "title", "math"}
#: And classes: signatures, names of arguments and the marks beside headings.
_NO_PROSE_CLASSES = {"sig", "headerlink", "highlight", "literal", "toctree-wrapper", "property"}
_WORD = re.compile(r"(?<![\w./@-])[A-Za-z]+(?:['\u2019][a-z]+)?(?![\w@/]|\.\w)")


@dataclass
class WebPage:
    """What a page has in it."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    prose: str = ""

    def words(self) -> set[str]:
        """The words of the prose, without those that are names: inner capitals, capitals only."""
        found = {word.replace("\u2019", "'") for word in _WORD.findall(self.prose)}
        return {word for word in found if word[1:] == word[1:].lower()}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = WebPage()
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.page.anchors.update(value for name, value in attributes.items() if name in ("id", "name"))
        self.page.links += [attributes[name] for name in _LEADING.get(tag, ()) if name in attributes]
        if tag in _VOID:
            self.page.prose += " "
            return
        classes = set(attributes.get("class", "").split())
        # the names of arguments
        named = tag == "strong" and any(inside == "dl" for inside, _ in self._open)
        self._open.append((tag, tag in _NO_PROSE or named or bool(classes & _NO_PROSE_CLASSES)))

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        while self._open:
            closed, _ = self._open.pop()
            if closed == tag:
                break
        if tag in ("p", "li", "dt", "dd", "td", "th", "h1", "h2", "h3", "figcaption", "div", "code"):
            self.page.prose += " "

    def handle_data(self, data: str) -> None:
        inside = any(tag == "article" for tag, _ in self._open)
        if inside and not any(hidden for _, hidden in self._open):
            self.page.prose += data


def read(path: Path) -> WebPage:
    """Read one page."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.page


def read_all(root: Path) -> dict[Path, WebPage]:
    """Read all pages below a directory."""
    return {path: read(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.relative_to(root).parts}
