"""The page of the space, and all that deletes: preview, confirmation, trash."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from pipelet import deletion
from pipelet.deletion import Preview
from pipelet.errors import PreviewChanged, TrashError, UnknownSegmentError
from pipelet.web import sizes
from pipelet.web.handlers.base import (
    KEY_SHOWN,
    BadQuery,
    Body,
    NotFound,
    Pages,
    Refused,
    Site,
    changes,
    notice,
    reads,
    redirect,
)
from pipelet.web.housekeeping import empty_beside
from pipelet.web.queries.space import SORTS, read_space, size_of

#: What is older, and not reached by the last run, is old.
OLD_DAYS = 90
_MOST_DAYS = 3650
#: So many directories and tasks are named one by one.
_NAMED = 500
_LARGEST_ID = (1 << 63) - 1

_T = TypeVar("_T")


class Space(Pages):
    """``space``, ``do/delete-preview``, ``do/purge-preview``, ``do/delete-task``, ``do/delete``, ``do/restore``, ..."""

    @reads
    def space(self, site: Site, sort: str = "size", days: str = "", **other: object) -> Body:
        """Show what takes the room, and the trash."""
        if sort not in SORTS:
            raise BadQuery("The versions can be sorted by size, age, segment or tasks.")
        known = sizes.of(site.tree, site.sqlfile)
        old = _days(days, OLD_DAYS)
        found = read_space(site.tree, site.reader, known, old, sort)
        return site.render(
            "space.html", space=found, sort=sort, sorts=SORTS, days=old, shown=KEY_SHOWN,
            trash=deletion.trash(site.tree),
        )

    @changes
    def do_delete_preview(self, site: Site, key: object = (), **other: object) -> Body:
        """Show what goes with some versions."""
        return _show(site, "instances", _texts(key))

    @changes
    def do_purge_preview(self, site: Site, key: object = (), **other: object) -> Body:
        """Show what goes when the data of some versions go, and their records stay."""
        return _show(site, "products", _texts(key))

    @changes
    def do_delete_task(self, site: Site, task: object = (), **other: object) -> Body:
        """Show what goes with some tasks."""
        return _show(site, "tasks", _texts(task))

    @changes
    def do_delete(
        self, site: Site, what: str = "", chosen: object = (), digest: str = "", days: str = "", **other: object
    ) -> Body:
        """Delete what was previewed and confirmed."""
        names = _texts(chosen)
        verb = _VERBS.get(what)
        if verb is None or not names or not digest:
            raise BadQuery("The form must say what to delete, as the preview has it.")
        kept = _days(days, deletion.DAYS)
        try:
            # Without days it is final at once; deleting the files may take longer than a page should.
            made = _tried(lambda: verb(site, names, kept or deletion.DAYS, digest))
        except PreviewChanged:
            changed = "Something has changed since you looked. This is what would be deleted now."
            return _show(site, what, names, changed)
        if not kept:
            _tried(lambda: deletion.condemn(site.tree, [made.id]))
            empty_beside(site.tree)
        fate = f"in the trash, for {kept:g} days" if kept else "deleted for good"
        notice(site.services, f"{_told(made)} {_is(made)} {fate}.")
        raise redirect(site.url("space"))

    @changes
    def do_restore(self, site: Site, id: str = "", **other: object) -> Body:
        """Bring back a deletion."""
        made = _tried(lambda: deletion.restore(site.tree, site.sqlfile, id))
        notice(site.services, f"{_told(made)} {_is(made)} back.")
        raise redirect(site.url("space"))

    @changes
    def do_empty(self, site: Site, id: object = (), sure: str = "", **other: object) -> Body:
        """Delete for good what is in the trash, after a question."""
        ids = _texts(id)
        found = [item for item in deletion.trash(site.tree) if item.id in ids]
        if not ids or len(found) != len(set(ids)):
            raise NotFound("That is not in the trash any more. Somebody may have restored it, or deleted it for good.")
        if not sure:
            return site.render("space_empty.html", found=found)
        _tried(lambda: deletion.condemn(site.tree, ids))
        empty_beside(site.tree)
        notice(site.services, "Deleting it for good has begun. It may take a while, and needs nobody to wait for it.")
        raise redirect(site.url("space"))


_VERBS: dict[str, Callable[[Site, Sequence[str], float, str], deletion.Trashed]] = {
    "instances": lambda site, names, days, digest: deletion.delete_instances(
        site.tree, site.sqlfile, names, days=days, by=site.user, expected=digest
    ),
    "products": lambda site, names, days, digest: deletion.purge_instances(
        site.tree, site.sqlfile, names, days=days, by=site.user, expected=digest
    ),
    "tasks": lambda site, names, days, digest: deletion.delete_tasks(
        site.tree, site.sqlfile, _numbers(names), days=days, by=site.user, expected=digest
    ),
}


def _show(site: Site, what: str, names: Sequence[str], changed: str = "") -> Body:
    if not names:
        raise BadQuery("Nothing was chosen: check a box first.")
    preview = _tried(lambda: _preview(site, what, names))
    size, whole = size_of(site.tree, preview, sizes.of(site.tree, site.sqlfile))
    return site.render(
        "space_preview.html", preview=preview, names=names, size=size, whole=whole, changed=changed, named=_NAMED,
        shown=KEY_SHOWN, days=deletion.DAYS,
    )


def _preview(site: Site, what: str, names: Sequence[str]) -> Preview:
    if what == "tasks":
        return deletion.preview_tasks(site.tree, site.reader, _numbers(names))
    if what == "products":
        return deletion.preview_purge(site.tree, site.reader, names)
    return deletion.preview_instances(site.tree, site.reader, names)


def _tried(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except UnknownSegmentError as error:
        raise NotFound(str(error)) from error
    except PreviewChanged:
        raise
    except TrashError as error:
        raise Refused(str(error)) from error


def _texts(value: object) -> list[str]:
    listed = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else []
    return list(dict.fromkeys(str(item) for item in listed if item))


def _numbers(texts: Sequence[str]) -> list[int]:
    if not all(text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST_ID for text in texts):
        raise BadQuery("That is no number of a task.")
    return [int(text) for text in texts]


def _days(text: str, default: float) -> float:
    if not text:
        return default
    try:
        days = float(text[:20])
    except ValueError:
        days = math.nan
    if not 0 <= days <= _MOST_DAYS:
        raise BadQuery(f"The number of days must be one from 0 to {_MOST_DAYS}.")
    return days


def _told(made: deletion.Trashed) -> str:
    number = len(made.instances)
    if made.kind == "tasks":
        return f"{made.tasks} task{'' if made.tasks == 1 else 's'}"
    versions = f"{number} version{'' if number == 1 else 's'}"
    return f"The data of {versions}" if made.kind == "products" else versions


def _is(made: deletion.Trashed) -> str:
    number = made.tasks if made.kind == "tasks" else len(made.instances)
    return "are" if made.kind == "products" or number != 1 else "is"
