"""The page of the log: its messages by date, the newest first, and those that are new as JSON."""

from __future__ import annotations

import json
import os
import re

import cherrypy

from pipelet.errors import StorageError
from pipelet.storage import MOST_JOBS, has_jobs, job_log, job_logs, open_job_log
from pipelet.storage.logfiles import LogFiles
from pipelet.web.handlers.base import BadQuery, Body, NotFound, Pages, Site, reads
from pipelet.web.queries.log import (
    LEVELS,
    LogPage,
    Place,
    Wanted,
    day_begins,
    newer_page,
    older_page,
    place_text,
    read_place,
    shown,
)
from pipelet.web.viewers import text
from pipelet.web.viewers.base import Source

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LONGEST_WORD = 200


class Log(Pages):
    """``log``, ``jobs`` and ``job/<name>``."""

    @reads
    def log(
        self, site: Site, level: str = "", segment: str = "", task: str = "", word: str = "", day: str = "",
        before: str = "", after: str = "",
    ) -> str | bytes:
        """Show messages: the newest, or those before or after a place, or those of a day and before."""
        wanted = _wanted(level, segment, task, word)
        with LogFiles(site.tree) as log:
            if after:
                page = newer_page(log, _place(after), wanted)
            elif before:
                page = older_page(log, _place(before), wanted)
            elif day:
                page = older_page(log, day_begins(log, _next_day(day)), wanted)
            else:
                page = older_page(log, None, wanted)
        page = page._replace(messages=[shown(message) for message in page.messages])
        if "application/json" in cherrypy.request.headers.get("Accept", ""):
            return _news(site, page)
        chosen = {"level": level, "segment": segment, "task": task, "word": word}
        segments = sorted({row.segment for row in site.reader.instances()} | ({segment} if segment else set()))
        return site.render(
            "log.html", page=page, messages=page.messages, chosen=chosen, day=day, levels=list(LEVELS),
            segments=segments, filtered=bool(wanted), forward=bool(after),
            older=page.older and site.url("log", before=place_text(page.older), **chosen),
            newer=None if page.at_end else site.url("log", after=place_text(page.newer), **chosen),
            newest=site.url("log", **chosen),
            follow=site.url("log", after=place_text(page.newer), **chosen) if page.at_end else None,
            placed=bool(before or after or day), jobs=has_jobs(site.tree),
        )

    @reads
    def jobs(self, site: Site) -> Body:
        """Show the jobs of batch systems."""
        return site.render("jobs.html", jobs=job_logs(site.tree), most=MOST_JOBS)

    @reads
    def job(self, site: Site, name: str, tail: str = "") -> Body:
        """Show what one job has printed."""
        found = job_log(site.tree, name)
        if found is None:
            raise NotFound(f"There is no job of a worker {name[:40]}. Its log may have been removed.")
        view = None
        if found.size is not None:
            try:
                with open_job_log(site.tree, name) as file:
                    view = text.view(Source(file, "log", os.fstat(file.fileno()).st_size), bool(tail))
            except StorageError as error:
                raise NotFound(f"The output of job {found.job} can't be read: {error}") from error
        return site.render("job.html", job=found, view=view, tail=bool(tail))


def _news(site: Site, page: LogPage) -> bytes:
    cherrypy.response.headers["Content-Type"] = "application/json"
    rows = site.render("_log_messages.html", messages=page.messages)
    news = {"rows": rows, "count": len(page.messages), "after": place_text(page.newer), "more": not page.at_end}
    return json.dumps(news).encode()


def _wanted(level: str, segment: str, task: str, word: str) -> Wanted:
    if level and level not in LEVELS:
        raise BadQuery(f"There is no level of that name. The levels are: {', '.join(LEVELS)}.")
    if task and not (task.isascii() and task.isdigit() and len(task) < 19):
        raise BadQuery("The number of a task has digits only.")
    return Wanted(LEVELS.get(level, 0), segment, int(task) if task else None, word[:_LONGEST_WORD].lower())


def _place(text: str) -> Place:
    place = read_place(text)
    if place is None:
        raise BadQuery("That is no place in the log. The link may have been cut.")
    return place


def _next_day(day: str) -> str:
    if not _DAY.fullmatch(day):
        raise BadQuery("A day is written as 2026-01-31.")
    # Sorts behind everything of that day, and before the next one.
    return day + "~"
