"""The index of a pipeline: all versions of its segments as a tree, the graph, and how a run goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import parse_qs, urlencode

import cherrypy
from markupsafe import Markup

from pipelet.errors import UnknownSegmentError
from pipelet.storage.lastrun import last_run_began
from pipelet.tags import put_tag
from pipelet.web.formats import number
from pipelet.web.handlers.base import (
    BadQuery,
    Body,
    NotFound,
    Pages,
    Services,
    Site,
    changes,
    notice,
    reads,
    redirect,
)
from pipelet.web.queries import graph
from pipelet.web.queries.filters import STATUSES, Asked, Filter, read_filter
from pipelet.web.queries.live import Live, Watch, is_unsettled, stamp_of, words_left
from pipelet.web.queries.versions import (
    Item,
    ParamCache,
    Versions,
    matching,
    measured,
    read_versions,
    walk,
)

#: A longer tag is cut.
LONGEST_TAG = 100
#: How long another writer of the database is waited for: somebody waits for the page.
PATIENCE = 5.0
_KEY_SHOWN = 12
_KEPT_TREES = 32


class Index(Pages):
    """``/p/<pipeline>/`` and what belongs to it."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._watch = Watch()
        self._params = ParamCache()
        self._trees = _Kept()

    @reads
    def index(self, site: Site, **query: object) -> Body:
        """Show the versions."""
        asked = read_filter(query)
        if asked.problems:
            cherrypy.response.status = BadQuery.status
        expand = str(query.get("expand", ""))
        live = self._look(site)
        tree = self._tree(site, asked, expand if expand in ("all", "none") else "")
        return site.render(
            "index.html",
            live=live,
            began=last_run_began(site.tree),
            said=_said(live),
            tree=tree,
            asked=asked,
            statuses_asked=STATUSES,
            picture=_picture(live),
            back=_query_of(asked.filter),
            expand_all=site.url(**asked.filter.query, expand="all"),
            expand_none=site.url(**asked.filter.query, expand="none"),
            has_prefix=os.path.isdir(site.tree.prefix),
        )

    @reads
    def live(self, site: Site) -> Body:
        """Tell how a run goes on, as JSON."""
        body = json.dumps(_answer(site, self._look(site)), ensure_ascii=True).encode()
        response = cherrypy.response
        mark = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
        response.headers["ETag"] = mark
        response.headers["Content-Type"] = "application/json"
        if mark in cherrypy.request.headers.get("If-None-Match", ""):
            response.status = 304
            return b""
        return body

    @reads
    def pair(self, site: Site, key: object = (), **rest: object) -> Body:
        """Go from two checked boxes to the page that compares them."""
        keys = list(dict.fromkeys(_texts(key)))
        if len(keys) != 2:
            raise BadQuery(f"Two versions can be compared: check two boxes, not {len(keys)}, then press Compare.")
        older, newer = sorted((site.instance(one) for one in keys), key=lambda row: row.created)
        raise redirect(site.url("compare", a=older.key[:_KEY_SHOWN], b=newer.key[:_KEY_SHOWN]))

    @changes
    def do_tag(self, site: Site, key: object = (), tag: str = "", back: str = "", **rest: object) -> Body:
        """Give versions a tag."""
        word = " ".join(str(tag).split())[:LONGEST_TAG]
        if not word:
            raise BadQuery("Write a tag into the field beside the button: a word or a few.")
        count = self._put(site, key, word)
        notice(self.services, f"{_versions(count)} {'has' if count == 1 else 'have'} the tag “{word}”.")
        raise redirect(_way_back(site, back))

    @changes
    def do_untag(self, site: Site, key: object = (), back: str = "", **rest: object) -> Body:
        """Take the tag of versions away."""
        count = self._put(site, key, None)
        notice(self.services, f"{_versions(count)} {'has' if count == 1 else 'have'} no tag now.")
        raise redirect(_way_back(site, back))

    def _put(self, site: Site, key: object, word: str | None) -> int:
        keys = list(dict.fromkeys(_texts(key)))
        if not keys:
            raise BadQuery("Nothing is chosen: check the boxes of some versions first.")
        full = [site.instance(one).key for one in keys]
        site.close()
        try:
            return len(put_tag(site.tree, site.sqlfile, full, word, PATIENCE))
        except UnknownSegmentError as error:
            raise NotFound("One of these versions has been deleted meanwhile. Nothing more was changed.") from error

    def _look(self, site: Site) -> Live:
        return self._watch.look(site.sqlfile, site.tree, lambda: site.reader)

    def _tree(self, site: Site, asked: Asked, expand: str) -> Markup:
        """The tree as HTML, kept until the database changes: it is the largest part of the page by far."""
        given = Filter() if asked.problems else asked.filter
        slot = self._trees.slot((site.sqlfile, site.name, site.tree.prefix, given, expand))
        # Who asks while another makes it most often finds it made. A long search is no reason to stand in a row.
        with slot.lock if not given.param else contextlib.nullcontext():
            sizes = measured(site.tree, site.sqlfile)
            stamp = stamp_of(site.sqlfile, site.tree)
            mark = (stamp, hash(tuple(sorted(sizes.items()))))
            kept = slot.made
            if kept is not None and kept[0] == mark:
                return kept[1]
            keep = not is_unsettled(stamp, time.time())
            found = read_versions(site.reader, site.tree, self._params, sizes)
            made, whole = _tree_html(site, found, asked, expand, {} if given.param else slot.rows)
            slot.made = (mark, made) if keep and whole else None
            return made


class _Slot:
    """One tree, as it was made last, and its rows: most of them stay as they are while a run changes a few."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: tuple[object, Markup] | None = None
        self.rows: dict[int, tuple[Item, Markup]] = {}


class _Kept:
    """The last few trees that were made."""

    def __init__(self) -> None:
        self._slots: OrderedDict[object, _Slot] = OrderedDict()
        self._lock = threading.Lock()

    def slot(self, place: object) -> _Slot:
        with self._lock:
            slot = self._slots.setdefault(place, _Slot())
            self._slots.move_to_end(place)
            while len(self._slots) > _KEPT_TREES:
                self._slots.popitem(last=False)
            return slot


class _Rows:
    """Makes the rows of a tree, those anew that are not as they were."""

    def __init__(self, site: Site, kept: dict[int, tuple[Item, Markup]]) -> None:
        self._row = site.services.templates.get_template("_version_row.html").module.row  # type: ignore[attr-defined]
        self._base = site.url()
        self._before = kept
        self.made: dict[int, tuple[Item, Markup]] = {}

    def html(self, item: Item) -> Markup:
        """The row of a version."""
        assert item.version is not None
        kept = self._before.get(item.version.id)
        if kept is None or kept[0] != item:
            kept = (item, Markup(self._row(item, self._base)))
        self.made[item.version.id] = kept
        return kept[1]


def _tree_html(
    site: Site, found: Versions, asked: Asked, expand: str, kept: dict[int, tuple[Item, Markup]]
) -> tuple[Markup, bool]:
    whole, ids = True, None
    if asked.filter and not asked.problems:
        ids, whole = matching(site.reader, found, asked)
    segments = sorted({one.segment for one in found.every.values()}, key=str.casefold)
    rows = _Rows(site, kept)
    made = site.services.templates.get_template("_versions.html").render(
        site=site,
        rows=rows,
        items=walk(found, ids, expand),
        number=len(found.every),
        matches=None if ids is None else len(ids),
        segments=len(segments),
        whole=whole,
        base=site.url(),
        known=found.last_run,
    )
    # In place, and not of versions that are gone.
    for gone in kept.keys() - rows.made.keys():
        kept.pop(gone, None)
    kept.update(rows.made)
    return Markup(made), whole


def _picture(live: Live) -> dict[str, object]:
    segments = [
        graph.Segment(
            one.row.id, one.row.segment, one.row.key[:_KEY_SHOWN], one.row.parents, one.counts, one.row.waiting
        )
        for one in live.segments
    ]
    layout = graph.lay_out(segments) if segments else None
    return {"boxes": graph.boxes(segments), "layout": layout}


def _said(live: Live) -> str:
    """How far it is, in a line."""
    failed = live.count("failed")
    done = live.count("done")
    parts = [f"all {number(done)} done" if done == live.total else f"{number(done)} of {number(live.total)} done"]
    if failed:
        parts.append(f"{number(failed)} failed")
    left = words_left(live.left, live.more)
    return ", ".join([*parts, left] if left else parts)


def _answer(site: Site, live: Live) -> dict[str, object]:
    holder = live.holder
    return {
        "revision": live.revision,
        "on": live.is_on,
        "versions": live.versions,
        "said": _said(live),
        "done": live.count("done"),
        "ended": live.ended,
        "total": live.total,
        "failed": live.count("failed"),
        "left": words_left(live.left, live.more),
        "holder": None if holder is None else {
            "host": holder.host, "pid": holder.pid, "since": holder.since, "alive": holder.alive,
        },
        "segments": [
            {
                "id": one.row.id,
                "segment": one.row.segment,
                "counts": one.counts,
                "waiting": one.row.waiting,
                "status": graph.colour(one.counts, one.row.waiting),
                "numbers": graph.numbers(one.counts, one.row.waiting),
                "shares": graph.shares(one.counts),
            }
            for one in live.segments
        ],
        "tasks": [
            {
                "id": task.id,
                "segment": task.segment,
                "input": task.text,
                "since": task.since,
                "host": task.host,
                "url": site.url("task", task.id),
            }
            for task in live.tasks
        ],
        "running": live.count("running"),
    }


def _texts(value: object) -> Sequence[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in values if isinstance(one, str) and one]


def _versions(count: int) -> str:
    return "1 version" if count == 1 else f"{number(count)} versions"


def _query_of(given: Filter) -> str:
    return urlencode(given.query)


def _way_back(site: Site, query: str) -> str:
    """The index with the filter that was on; anything else that stands in the form is passed over."""
    given = {name: values[-1] for name, values in parse_qs(str(query), max_num_fields=50).items()}
    return site.url(**read_filter(given).filter.query)
