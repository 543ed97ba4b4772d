"""Rows of the index are made anew where something has changed, and are the same as if all were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from markupsafe import Markup

from pipelet.statusdb import Reader, Writer
from pipelet.storage import Tree
from pipelet.web import app, formats
from pipelet.web.handlers import index
from pipelet.web.queries.filters import read_filter
from pipelet.web.queries.versions import Item, ParamCache, read_versions

Rows = dict[int, tuple[Item, Markup]]


@contextlib.contextmanager
def site_of(prefix: Path) -> Iterator[Any]:
    services = SimpleNamespace(templates=formats.environment(app._STATIC, ""))
    with Reader.open(prefix / ".sqlstatus") as reader:
        yield SimpleNamespace(
            services=services, reader=reader, tree=Tree(str(prefix)), name="cmb", url=lambda *parts, **query: "/p/cmb/"
        )


def tree_html(prefix: Path, kept: Rows) -> str:
    with site_of(prefix) as site:
        found = read_versions(site.reader, site.tree, ParamCache(), {})
        return str(index._tree_html(site, found, read_filter({}), "all", kept)[0])


def test_only_what_has_changed_is_made_anew(tmp_path: Path) -> None:
    Tree(str(tmp_path)).create()
    with Writer.open(tmp_path / ".sqlstatus") as writer:
        for number in range(1, 4):
            writer.add_instance("abc"[number - 1], f"KEY{number}" * 4, f"x_KEY{number}", [], float(number))
    kept: Rows = {}
    first = tree_html(tmp_path, kept)
    rows = {number: row for number, (_, row) in kept.items()}
    assert sorted(rows) == [1, 2, 3]
    assert tree_html(tmp_path, kept) == first
    assert all(kept[number][1] is row for number, row in rows.items())

    with Writer.open(tmp_path / ".sqlstatus") as writer:
        writer.set_tag(2, "<b>good</b>")
        writer.delete_instance(3)
    changed = tree_html(tmp_path, kept)
    assert changed == tree_html(tmp_path, {})
    assert "&lt;b&gt;good" in changed
    assert kept[1][1] is rows[1]
    assert kept[2][1] is not rows[2]
    assert sorted(kept) == [1, 2]
