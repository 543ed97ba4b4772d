"""The page that compares two versions, and what it shows of their products."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import cherrypy

from pipelet.errors import MissingProductError, RefusedProductError
from pipelet.statusdb import InstanceRow
from pipelet.statusdb.matching import MatchedTask
from pipelet.web.filenames import from_query, to_query
from pipelet.web.handlers.base import BadQuery, Body, NotFound, Pages, Site, reads
from pipelet.web.queries.compare import compare
from pipelet.web.queries.contents import MOST_FILES, Content, content, difference
from pipelet.web.queries.oneversion import Versions
from pipelet.web.queries.pairs import Matches, Pair, Reading, count, counterpart, matches, pair
from pipelet.web.queries.products import files_of

_VIEWS = ("side", "blink", "difference")
_LISTS = ("both", "old", "new")
#: With no more pairs than this, what is in the files stands on the page itself.
_FEW = 2

Rows = tuple[InstanceRow, InstanceRow]
Tasks = tuple[MatchedTask | None, MatchedTask | None]


class Compare(Pages):
    """``/p/<pipeline>/compare``"""

    @reads
    def compare(self, site: Site, a: str = "", b: str = "", **query: str) -> Body:
        """Compare two versions; without them, let them be chosen."""
        versions = Versions(site.tree, site.reader)
        if not a or not b:
            chosen = site.instance(a or b) if a or b else None
            return site.render("compare_form.html", **_choice(versions, chosen))
        # In whichever order they were given: the pages say "older" and "newer".
        first, second = sorted((site.instance(a), site.instance(b)), key=lambda row: (row.created, row.id))
        rows = first, second
        state = _State(rows, query)
        found = compare(versions, versions.version(rows[0]), versions.version(rows[1]))
        shared: dict[str, Any] = {"found": found, "state": state}
        if state.task is not None:
            return self._one_pair(site, rows, state, shared)
        old, new = found.old, found.new
        numbers = count(site.reader, first.id, second.id, old.tasks + new.tasks) if first.id != second.id else None
        page = _page(site, rows, state)
        pairs = _pairs(site, rows, page.pairs)
        few = len(pairs) <= _FEW
        shown = [(item, _contents(site, rows, item) if few else []) for item in pairs]
        return site.render("compare.html", page=page, pairs=shown, numbers=numbers, few=few, **shared)

    @reads
    def difference(self, site: Site, a: str, b: str, path: str, size: str = "large") -> Body:
        """Draw how far the images of two tasks are apart."""
        if size not in ("small", "large"):
            raise BadQuery("The size is small or large.")
        tasks = [site.reader.task(_number(number)) for number in (a, b)]
        opened = []
        try:
            for task in tasks:
                row = None if task is None else site.reader.instance_by_id(task.instance)
                if task is None or row is None:
                    raise NotFound("There is no such task, or no longer.")
                opened.append(files_of(site.tree, site.reader, row, task).open(from_query(path)))
            drawn = difference(opened[0], opened[1], size)
        except (MissingProductError, RefusedProductError) as error:
            raise NotFound(f"It can't be shown: {error}.") from error
        finally:
            for file in opened:
                file.close()
        # Not before: an error page is no image.
        cherrypy.response.headers["Content-Type"] = "image/png"
        return drawn

    def _one_pair(self, site: Site, rows: Rows, state: _State, shared: dict[str, Any]) -> Body:
        tasks = counterpart(site.reader, rows[0].id, rows[1].id, state.task or 0)
        if tasks == (None, None):
            raise NotFound(f"Neither of the two versions has the task {state.task}. It may have been deleted.")
        (found,) = _pairs(site, rows, [tasks])
        contents = _contents(site, rows, found, state.file)
        return site.render("compare_pair.html", pair=found, contents=contents, most=MOST_FILES, **shared)


class _State:
    """What the address says beside the two versions; the addresses of the page's links are made from it."""

    def __init__(self, rows: Rows, query: dict[str, str]) -> None:
        self._versions = {"a": rows[0].key[:12], "b": rows[1].key[:12]}
        self.view = _one_of("view", query.pop("view", ""), _VIEWS)
        self.list = _one_of("list", query.pop("list", ""), _LISTS)
        self.modules = query.pop("modules", "")
        self.after = _number(query.pop("after", "0"))
        self.near = _number(query.pop("near", "0"))
        self.thorough = query.pop("thorough", "") == "1"
        self.file = from_query(query.pop("file", "")) or None
        task = query.pop("task", "")
        self.task = _number(task) if task else None
        if query:
            raise BadQuery(f"The address has something that this page does not know: {next(iter(query))[:60]}")

    def query(self, **changes: object) -> dict[str, object]:
        """The query of a link to this page with some changes."""
        same: dict[str, object] = {
            "view": self.view if self.view != _VIEWS[0] else None,
            "list": self.list if self.list != _LISTS[0] else None,
            "modules": self.modules,
            "task": self.task,
            "file": self.file and to_query(self.file),
            "after": self.after or None,
            "near": self.near or None,
            "thorough": 1 if self.thorough else None,
        }
        return {**self._versions, **same, **changes}


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value and value not in known:
        raise BadQuery(f"In the address, {name} is one of: {', '.join(known)}.")
    return value or known[0]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadQuery(f"{text[:40]!r} is no number of a task.")
    return int(text)


def _choice(versions: Versions, chosen: InstanceRow | None) -> dict[str, Any]:
    """What the form offers, and what it begins with: the newest two versions of the segment that changed last."""
    segments: dict[str, list[InstanceRow]] = {}
    for row in versions.rows:
        segments.setdefault(row.segment, []).append(row)
    several = [rows for rows in segments.values() if len(rows) > 1]
    first, second = None, chosen
    if chosen is not None:
        first = next((row for row in segments[chosen.segment] if row.id != chosen.id), None)
    elif several:
        second, first = several[0][:2]
    return {
        "segments": {
            name: [(row.key[:12], _label(versions, row)) for row in rows] for name, rows in sorted(segments.items())
        },
        "suggested": [(rows[0].segment, rows[1], rows[0]) for rows in several],
        "tags": versions.tags,
        "first": first,
        "second": second,
    }


def _label(versions: Versions, row: InstanceRow) -> str:
    tag = versions.tags.get(row.id)
    made = datetime.fromtimestamp(row.created).strftime("%Y-%m-%d %H:%M")
    return f"{row.segment} {row.path.rsplit('_', 1)[-1]} · {made}" + (f" · {tag[:40]}" if tag else "")


def _page(site: Site, rows: Rows, state: _State) -> Matches:
    if rows[0].id == rows[1].id:
        return Matches([], None, 0, True)
    return matches(site.reader, rows[0].id, rows[1].id, state.list, state.after, state.near, state.thorough)


def _pairs(site: Site, rows: Rows, tasks: list[Tasks]) -> list[Pair]:
    params = site.reader.params([task.id for both in tasks for task in both if task is not None])
    reading = Reading()
    return [pair(site.tree, site.reader, rows, both, params, reading) for both in tasks]


def _contents(site: Site, rows: Rows, found: Pair, only: str | None = None) -> list[Content]:
    """Look into the files of a pair that differ, or into one of them."""
    if found.old is None or found.new is None:
        return []
    sides = [
        files_of(site.tree, site.reader, row, task) for row, task in zip(rows, (found.old, found.new), strict=True)
    ]
    return list(_looked_into(found, sides[0], sides[1], only))


def _looked_into(found: Pair, old: Any, new: Any, only: str | None) -> Iterator[Content]:
    left = MOST_FILES
    for file in found.others:
        if file.state not in ("changed", "unknown") or only not in (None, file.path):
            continue
        if left <= 0:
            return
        left -= 1
        yield content(file, old, new)

