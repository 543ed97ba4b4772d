"""The failed tasks of a pipeline by kind, and what can be done about tasks: set aside, release, run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import cherrypy
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonTracebackLexer

from pipelet import marks
from pipelet.errors import MarkError, UnknownSegmentError
from pipelet.marks import Marked
from pipelet.overview import current_versions
from pipelet.statusdb import InstanceRow
from pipelet.storage import Tree
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
from pipelet.web.queries.failures import OTHERS, Example, FailureCache, example, with_messages

#: Groups, and tasks of a group, on one page; of the first groups the examples are there in full.
GROUPS, TASKS, EXAMPLES = 50, 100, 5
_LARGEST_ID = (1 << 63) - 1
_HIGHLIGHTED = 30_000


class Shown(NamedTuple):
    """An example as the templates take it."""

    example: Example
    traceback: Markup


class Failures(Pages):
    """``failures``, ``do/set-aside``, ``do/release`` and ``do/rerun``."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._cache = FailureCache()

    @reads
    def failures(
        self, site: Site, kind: str = "", versions: str = "", start: str = "", after: str = "", **other: object
    ) -> Body:
        """Show all kinds, or the tasks of one."""
        rows, last_run = _chosen(site, versions)
        found = self._cache.look(site.reader, rows)
        shared = {
            "found": found, "versions": versions, "last_run": last_run, "others": OTHERS,
            "here_again": _address(site, kind=kind or None, versions=versions or None),
        }
        if kind:
            group = next((group for group in found.groups if group.kind.id == kind), None)
            if group is None:
                words = "No task fails in this way now. It may have been run again, or set right."
                if found.unread:
                    words = "The errors are still being read: load the page again."
                raise NotFound(words)
            page = self._cache.tasks(site.reader, rows, kind, _number(after), TASKS)
            (group,) = with_messages(site.reader, [group])
            shown = _shown(site, [group.example])
            return site.render(
                "failure_kind.html", group=group, page=page, shown=shown.get(group.example), after=after,
                segments={row.id: row.segment for row in rows}, **shared,
            )
        first = _number(start)
        groups = with_messages(site.reader, found.groups[first : first + GROUPS])
        examples = _shown(site, [group.example for group in groups[:EXAMPLES]])
        return site.render(
            "failures.html", groups=groups, examples=examples, start=first, size=GROUPS, total=len(found.groups),
            **shared,
        )

    @changes
    def do_set_aside(
        self, site: Site, task: str = "", kind: str = "", versions: str = "", next: str = "", **other: object
    ) -> Body:
        """Set aside a task, or all tasks of a kind."""
        done = _marked(site, marks.set_aside, task, kind, versions)
        text = f"{_tasks(done.tasks)} set aside. No run tries {'it' if done.tasks == 1 else 'them'} until released."
        if not done.tasks:
            text = "Nothing was set aside: it has been already, or it does not fail any more."
        raise _back(site, next, text, bool(done.tasks))

    @changes
    def do_release(
        self, site: Site, task: str = "", kind: str = "", versions: str = "", next: str = "", **other: object
    ) -> Body:
        """Take back what was said of a task, or of all tasks of a kind."""
        done = _marked(site, marks.release, task, kind, versions)
        text = f"{_tasks(done.tasks)} released." if done.tasks else "Nothing was released: nothing was set aside."
        raise _back(site, next, text, bool(done.tasks))

    @changes
    def do_rerun(self, site: Site, task: str = "", key: str = "", next: str = "", **other: object) -> Body:
        """Let the next run run a task again, or all done tasks of a version."""
        if bool(task) == bool(key):
            raise BadQuery("The form must name one task, or one version of a segment.")
        chosen = _task(task) if task else site.instance(key).key
        done = _tried(lambda: marks.run_again(site.tree, site.sqlfile, [chosen]))
        text = f"{_tasks(done.tasks)} will run again in the next run that wants {'it' if done.tasks == 1 else 'them'}."
        if not done.tasks:
            text = "Nothing was changed: what has not ended will run anyway, and what is superseded does not."
        raise _back(site, next, text, bool(done.tasks))


def _chosen(site: Site, versions: str) -> tuple[list[InstanceRow], bool]:
    rows = site.reader.instances()
    return (rows, True) if versions == "all" else current_versions(site.tree, rows)


def _shown(site: Site, tasks: Sequence[int]) -> dict[int, Shown]:
    found = {task: example(site.tree, site.reader, task) for task in tasks}
    return {task: Shown(item, highlighted(item.error)) for task, item in found.items() if item is not None}


def highlighted(error: str) -> Markup:
    """A traceback in colours, by classes; Pygments escapes it."""
    text = error if len(error) <= _HIGHLIGHTED else error[-_HIGHLIGHTED:]
    return Markup(highlight(text, PythonTracebackLexer(), HtmlFormatter(nowrap=True)))


def _marked(site: Site, verb: _Verb, task: str, kind: str, versions: str) -> Marked:
    if bool(task) == bool(kind):
        raise BadQuery("The form must name one task, or one kind of failure.")
    if task:
        return _tried(lambda: verb(site.tree, site.sqlfile, [_task(task)], None))
    keys = [row.key for row in _chosen(site, versions)[0]]
    return _tried(lambda: verb(site.tree, site.sqlfile, keys, kind))


class _Verb(Protocol):
    def __call__(self, tree: Tree, sqlfile: str, tasks: marks.Chosen | None, kind: str | None) -> Marked: ...


def _tried(work: Callable[[], Marked]) -> Marked:
    try:
        return work()
    except (MarkError, UnknownSegmentError) as error:
        raise NotFound(str(error)) from error


def _task(text: str) -> int:
    number = _number(text)
    if not number:
        raise BadQuery("That is no number of a task.")
    return number


def _number(text: str) -> int:
    """A number from an address; 0 where there is none."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > _LARGEST_ID:
        raise BadQuery("There is a number in the address that can't be read.")
    return int(text[:20])


def _tasks(number: int) -> str:
    return "One task" if number == 1 else f"{number} tasks"


def _address(site: Site, **query: object) -> str:
    return site.url("failures", **query)


def _back(site: Site, next: str, text: str, done: bool) -> cherrypy.HTTPRedirect:
    """To the page that the form was on, if that is one of this pipeline's."""
    notice(site.services, text, "done" if done else "warning")
    ours = next.startswith(site.url()) and next.isprintable() and "\\" not in next
    ours = ours and not {"", ".", ".."}.intersection(next.split("?")[0].split("/")[1:-1])
    return redirect(next if ours else site.url("failures"))
