"""The tasks of an instance, one task, and its files in an archive."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cherrypy

from pipelet.core.model import Mark, Status
from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow, TaskRow
from pipelet.statusdb.browsing import SORTS, VERSIONS, BriefTask, Choice, Details, details
from pipelet.storage import TaskFiles, job_named
from pipelet.web.handlers.base import KEY_SHOWN, BadQuery, Body, NotFound, Pages, Site, reads
from pipelet.web.packing import measure, pack
from pipelet.web.queries import products as queries
from pipelet.web.queries import task as taskquery
from pipelet.web.viewers import text
from pipelet.web.viewers.base import Source

#: Files of a task on its page, and tasks in an archive.
FILES, MOST_PACKED = 300, 200
_LONGEST_SEARCH = 200
#: The end of its log that stands on a task's page.
_LOG_LINES = 60


class Asked(NamedTuple):
    """What the address of a page of tasks says."""

    choice: Choice
    gallery: bool

    def query(self, **other: object) -> dict[str, object]:
        """The same as the query of an address, with changes; what is usual is left out."""
        choice = self.choice
        said: dict[str, object] = {
            "status": None if choice.status is None else str(choice.status),
            "search": choice.search or None,
            "sort": ("-" if choice.down else "") + choice.sort,
            "version": choice.version,
            "view": "gallery" if self.gallery else None,
            **other,
        }
        usual = (("sort", "id"), ("version", "current"))
        return {name: value for name, value in said.items() if (name, value) not in usual}


def find_task(site: Site, number: str) -> tuple[Details, InstanceRow]:
    """Find a task by what stands in an address.

    Raises
    ------
    NotFound
        There is none.
    """
    found = details(site.reader, int(number)) if number.isascii() and number.isdigit() and len(number) < 19 else None
    instance = None if found is None else site.reader.instance_by_id(found.row.instance)
    if found is None or instance is None:
        raise NotFound(f"There is no task {number[:40]}. It may have been deleted.")
    return found, instance


class Products(Pages):
    """``products/<key>``, ``task/<id>`` and ``zip``."""

    @reads
    def products(
        self, site: Site, key: str, status: str = "", search: str = "", sort: str = "id", version: str = "current",
        view: str = "", after: str = "", before: str = "",
    ) -> Body:
        """Show the tasks of an instance."""
        instance = site.instance(key)
        asked = _asked(status, search, sort, version, view)
        try:
            filled = queries.products(
                site.tree, site.reader, instance, asked.choice, after, before, asked.gallery
            )
        except ValueError:
            raise BadQuery("The place in the list is none that a page of ours gave.") from None
        short = instance.key[:KEY_SHOWN]

        def here(**other: object) -> str:
            return site.url("products", short, **asked.query(**other))

        return site.render(
            "products.html", instance=instance, key=short, asked=asked, choice=asked.choice, filled=filled,
            page=filled.page, here_url=here, versions=VERSIONS, marks=Mark, tag=site.reader.tags().get(instance.id),
        )

    @reads
    def task(self, site: Site, number: str, children: str = "", tail: str = "1") -> Body:
        """Show one task."""
        found, instance = find_task(site, number)
        row = found.row
        files = queries.files_of(site.tree, site.reader, instance, row)
        listing, trouble = _listing(files)
        status = str(Status(row.status))
        data: dict[str, Any] = {
            "parents": taskquery.parents(site.reader, row),
            "before": taskquery.before(site.reader, row) if row.status == Status.FAILED else [],
            "children": taskquery.children_of(site.reader, instance, row.id, bool(children)),
            "input": taskquery.input_values(site.tree, site.reader, instance, row),
            "output": taskquery.values(row.output),
            "params": taskquery.parameters(site.reader.params([row.id]).get(row.id, [])),
            "error_lines": taskquery.error_lines(row.error),
            "log": _log(files),
            "job": None if row.job is None else job_named(site.tree, row.job),
            "gone": row.status == Status.DONE and queries.is_gone(files),
        }
        return site.render(
            "task.html", task=row, found=found, seconds=_seconds(row), status=status, instance=instance,
            key=instance.key[:KEY_SHOWN], files=files, listing=listing, trouble=trouble, marks=Mark, **data,
        )

    @reads
    def log_of(self, site: Site, number: str, tail: str = "") -> Body:
        """Show the log of one task."""
        found, instance = find_task(site, number)
        files = queries.files_of(site.tree, site.reader, instance, found.row)
        entry = files.log()
        if entry is None:
            raise NotFound(f"Task {number} wrote no log.")
        with files.open_log() as file:
            view = text.view(Source(file, "log", _size(file)), bool(tail))
        return site.render("tasklog.html", task=found.row, instance=instance, view=view, tail=bool(tail), entry=entry)

    @reads
    def zip(self, site: Site, task: object = (), page: str = "", go: str = "") -> Body:
        """Show what an archive would hold, and then send it."""
        chosen = [str(number) for number in task] if isinstance(task, (list, tuple)) else [str(task)]
        numbers = list(dict.fromkeys([*chosen, *page.split(",")] if page else chosen))
        numbers = [number for number in numbers if number]
        if not numbers:
            raise BadQuery("No task was checked: check some, or take all of the page.")
        if len(numbers) > MOST_PACKED:
            raise BadQuery(f"An archive holds the files of at most {MOST_PACKED} tasks.")
        tasks = [_packed(site, number) for number in numbers]
        if not go:
            address = site.url("zip", task=numbers, go="1")
            return site.render("zip.html", packed=measure(tasks), tasks=tasks, address=address)
        response = cherrypy.response
        response.headers["Content-Type"] = "application/zip"
        response.headers["Content-Disposition"] = f'attachment; filename="{_archive_name(site, tasks)}"'
        response.stream = True
        return iter((b"",)) if cherrypy.request.method == "HEAD" else _sent(pack(tasks))


def _sent(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if piece:
            yield piece


def _packed(site: Site, number: str) -> tuple[str, TaskFiles]:
    found, instance = find_task(site, number)
    files = queries.files_of(site.tree, site.reader, instance, found.row)
    return f"{instance.segment}_{instance.key[:6]}/{files.name}", files


def _archive_name(site: Site, tasks: Sequence[tuple[str, TaskFiles]]) -> str:
    name = tasks[0][0].split("/", 1)[0] if tasks else "products"
    return f"{re.sub('[^A-Za-z0-9_-]', '_', f'{site.name}_{name}')[:100]}.zip"


def _asked(status: str, search: str, sort: str, version: str, view: str) -> Asked:
    statuses = {str(item): item for item in Status}
    name = sort.removeprefix("-")
    if status and status not in statuses:
        raise BadQuery(f"There is no status {status[:40]}; it is one of: {', '.join(statuses)}.")
    if name not in SORTS or version not in VERSIONS or view not in ("", "gallery"):
        raise BadQuery("The list can't be ordered or chosen like that.")
    choice = Choice(statuses.get(status), search[:_LONGEST_SEARCH], name, sort.startswith("-"), version)
    return Asked(choice, view == "gallery")


def _listing(files: TaskFiles) -> tuple[tuple[list[Any], list[Any], bool], str | None]:
    try:
        return queries.all_files(files, FILES), None
    except StorageError as error:
        return ([], [], False), str(error)


def _log(files: TaskFiles) -> Any:
    try:
        entry = files.log()
        if entry is None:
            return None
        with files.open_log() as file:
            view = text.view(Source(file, "log", _size(file)), True)
        lines = view.data["lines"]
        return {"entry": entry, "lines": lines[-_LOG_LINES:], "all": len(lines) <= _LOG_LINES and not view.notes}
    except StorageError as error:
        return {"entry": None, "lines": [], "trouble": str(error)}


def _size(file: Any) -> int:
    size = int(file.seek(0, 2))
    file.seek(0)
    return size


def _seconds(row: TaskRow | BriefTask) -> float | None:
    return None if row.begun is None or row.ended is None else row.ended - row.begun

