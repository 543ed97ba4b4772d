"""What a run did, in the words that its user wants to read at the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

from pipelet.failurekinds import EXCEPTION, FRAME, is_users
from pipelet.tables import html_table

#: How many failures are told one by one; a run of 100,000 tasks may have as many.
SHOWN_FAILURES = 20
#: So many failures are kept, whatever they are; of each kind that comes later so many more, of so many kinds.
KEPT_FAILURES, KEPT_OF_A_KIND, KEPT_KINDS = 1000, 5, 500
#: What is longer in the text of a failure is cut: of the first ones of a kind, of the others, and of the last line.
_LONG_TEXT, _SHORT_TEXT, _LINE = 100_000, 4000, 2000
#: Once so much is kept, nothing is taken for long.
_KEPT_TEXT = 10_000_000
#: So much of a traceback is shown in a notebook.
_SHOWN_TEXT = 10_000


class Failure(NamedTuple):
    """One failure of a run."""

    segment: str  #: the segment that failed
    task: int | None  #: the task's id; None when the segment's inputs could not be made
    input: str  #: the input as text
    error: str  #: the last line of the traceback, or what was wrong
    traceback: str  #: the whole text, empty when there is none
    log: str | None  #: the path of the task's log, if it wrote one


class Kind(NamedTuple):
    """Failures of one kind are told together."""

    segment: str
    exception: str  #: its type, or what went wrong in words
    place: str  #: "melt.py, line 7"; empty when it is not known


def kind_of(failure: Failure) -> Kind:
    """Say what a failure has in common with others: segment, type of the exception, last line of the user's code.

    Parameters
    ----------
    failure
        Any failure, with or without a traceback.

    Returns
    -------
    Kind
    """
    if failure.task is None:
        return Kind(failure.segment, "its inputs could not be made", "")
    text = failure.traceback
    frames = list(FRAME.finditer(text))
    users = [frame for frame in frames if is_users(frame["file"])]
    place = ""
    if frames:
        frame = (users or frames)[-1]
        place = f"{os.path.basename(frame['file'])}, line {frame['line']}"
    after = text[frames[-1].end() :] if frames else ""
    # source lines and carets below a frame are indented: the first line that is not names the exception
    named = [line for line in after.splitlines()[1:] if line and not line[0].isspace()]
    found = EXCEPTION.match(named[0] if named else failure.error)
    return Kind(failure.segment, found["name"] if found else "an error", place)


class FailureBook:
    """The failures of a run while it goes on: all are counted by kind, and some of each kind are kept.

    Attributes
    ----------
    kept
        The failures one by one.
    kinds
        How many there were of each kind.
    """

    def __init__(self) -> None:
        self.kept: list[Failure] = []
        self.kinds: dict[Kind, int] = {}
        self._size = 0
        self._seen: dict[tuple[str, bool, str, str], Kind] = {}

    def append(self, failure: Failure) -> None:
        """Add one."""
        kind = self._kind(failure)
        number = self.kinds.get(kind, 0)
        if not number and len(self.kinds) >= KEPT_KINDS:
            return
        self.kinds[kind] = number + 1
        if len(self.kept) < KEPT_FAILURES or number < KEPT_OF_A_KIND:
            in_full = number < KEPT_OF_A_KIND and self._size < _KEPT_TEXT
            text = _cut(failure.traceback, _LONG_TEXT if in_full else _SHORT_TEXT)
            self._size += len(text)
            self.kept.append(failure._replace(error=_cut(failure.error, _LINE), traceback=text))

    def forget(self, task: int) -> None:
        """Take back the failure of a task that runs again, or is not wanted, if it was kept."""
        for place, failure in enumerate(self.kept):
            if failure.task == task:
                del self.kept[place]
                kind = self._kind(failure)
                self.kinds[kind] -= 1
                if not self.kinds[kind]:
                    del self.kinds[kind]
                return

    def _kind(self, failure: Failure) -> Kind:
        # The kind is in the text but for what the exception says, and thousands differ in nothing else.
        before, _, last = failure.traceback.rpartition("\n")
        key = (failure.segment, failure.task is None, before, (last or failure.error).partition(":")[0])
        kind = self._seen.get(key)
        if kind is None:
            if len(self._seen) >= KEPT_KINDS:
                self._seen.clear()
            kind = self._seen[key] = kind_of(failure)
        return kind


def _cut(text: str, length: int) -> str:
    """A text without its middle, if it is longer; the end is what tells most."""
    if len(text) <= length:
        return text
    start = length // 4
    return f"{text[:start]}\n[{len(text) - length} characters left out]\n{text[start - length :]}"


@dataclass(repr=False)
class Summary:
    """What `w.run()` returns: how a run ended.

    Attributes
    ----------
    done, reused, failed : int
        Numbers of tasks: run now, taken from disk, failed.
    waiting : list of str
        Segments whose tasks can't be known yet, because something before them failed.
    seconds : float
        How long the run took.
    failures : list of Failure
        The failures one by one. Of more than a thousand only some of each kind are kept; ``P.tasks(segment, "failed")``
        has them all.
    counts : dict
        For each segment its numbers, by status name.
    kinds : dict
        How many failures there were of each kind: segment, exception, and the user's line that raised it.
    aside : int
        How many of the failed tasks were not tried, since they are set aside.

    Its text (``print(summary)``) is made for people, and it shows itself as a table in a notebook.
    """

    done: int = 0
    reused: int = 0
    failed: int = 0
    waiting: list[str] = field(default_factory=list)
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    kinds: dict[Kind, int] = field(default_factory=dict)
    aside: int = 0

    @property
    def ok(self) -> bool:
        """True when nothing failed: no task, and no segment's inputs."""
        return not self.failed and not self.failures

    def __repr__(self) -> str:
        waiting = f", {len(self.waiting)} waiting" if self.waiting else ""
        numbers = f"{self.done} done, {self.reused} reused, {_failed(self.failed, self.aside)}{waiting}"
        return f"<Summary: {numbers}, {duration(self.seconds)}>"

    def __str__(self) -> str:
        # the totals come last: that is what is still on the screen
        return "\n".join([*self._failure_lines(), *self.headlines()])

    def headlines(self) -> list[str]:
        """Give the numbers, and which segments wait, a line each."""
        tasks = "task" if self.done == 1 else "tasks"
        numbers = f"{self.done} {tasks} done, {self.reused} taken from disk, {_failed(self.failed, self.aside)}"
        lines = [f"{numbers}, in {duration(self.seconds)}"]
        if self.waiting:
            lines.append(f"waiting for what failed before: {', '.join(self.waiting)}")
        return lines

    def _shown(self) -> tuple[list[_Shown], str]:
        """What is told of the failures: kind by kind, and of those that are left."""
        groups = grouped(self.failures)
        numbers = [max(self.kinds.get(kind, 0), len(group)) for kind, group in groups.items()]
        shares = _shares([len(group) for group in groups.values()], SHOWN_FAILURES)
        shown, kinds = [], 0
        for (kind, group), number, share in zip(groups.items(), numbers, shares, strict=True):
            if share:
                shown.append(_Shown(kind, number, group[:share]))
            else:
                kinds += 1
        rest = max(self.failed - self.aside, sum(numbers)) - sum(item.number for item in shown)
        if not rest or not groups:
            return shown, ""
        return shown, f"and {rest} more" + (f", of {kinds} other kinds" if kinds > 1 else "")

    def _failure_lines(self) -> list[str]:
        lines: list[str] = []
        shown, rest = self._shown()
        for item in shown:
            lines.append(_title(item.kind, item.number))
            told = ""
            for failure in item.examples:
                lines += _failure_text(failure, told)
                told = failure.error
            if item.more:
                lines.append(f"  and {item.more} more of this kind")
            lines.append("")
        return [*lines, rest, ""] if rest else lines

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{'<br>'.join(escape(line) for line in self.headlines())}</b></p>"]
        if self.counts:
            # Nothing is queued any more in most runs that are over.
            parts.append(counts_html(self.counts, self.waiting, everything=False))
        shown, rest = self._shown()
        for item in shown:
            if item.number > 1:
                parts.append(f"<p>{escape(_title(item.kind, item.number))}</p>")
            for failure in item.examples:
                number = "" if failure.task is None else f" {failure.task}"
                title = plain(f"{failure.segment}{number} ({failure.input}): {failure.error}", 300)
                log = f"<p>log: <code>{escape(failure.log)}</code></p>" if failure.log else ""
                shown_text = escape(_cut(failure.traceback or failure.error, _SHOWN_TEXT))
                text = f'<pre style="font-family:monospace">{shown_text}</pre>'
                parts.append(f"<details><summary>{escape(title)}</summary>{text}{log}</details>")
            if item.more:
                parts.append(f"<p>and {item.more} more of this kind</p>")
        if rest:
            parts.append(f"<p>{rest}</p>")
        return "<div>" + "\n".join(parts) + "</div>"


def _failed(number: int, aside: int) -> str:
    return f"{number} failed, of which {aside} set aside" if aside else f"{number} failed"


class _Shown(NamedTuple):
    """What is told of the failures of one kind."""

    kind: Kind
    number: int  #: of all that there were
    examples: Sequence[Failure]

    @property
    def more(self) -> int:
        return self.number - len(self.examples)


def grouped(failures: Iterable[Failure]) -> dict[Kind, list[Failure]]:
    """Put failures of one kind together, in the order in which they were met."""
    groups: dict[Kind, list[Failure]] = {}
    for failure in failures:
        groups.setdefault(kind_of(failure), []).append(failure)
    return groups


def _shares(sizes: Sequence[int], places: int) -> list[int]:
    """How many of each group are shown: one of each as long as there are places, then the first groups in full."""
    shares = [1 if index < places else 0 for index in range(len(sizes))]
    left = places - sum(shares)
    for index, size in enumerate(sizes):
        more = min(left, size - 1) if shares[index] else 0
        shares[index] += more
        left -= more
    return shares


def _title(kind: Kind, number: int) -> str:
    tasks = "" if number == 1 else f", {number} times"
    place = f" in {kind.place}" if kind.place else ""
    return plain(f"{kind.segment}: {kind.exception}{place}{tasks}", 200)


def _failure_text(failure: Failure, told: str) -> list[str]:
    given = f", input {plain(failure.input, 80)}" if failure.input else ""
    lines = [] if failure.task is None else [f"  task {failure.task}{given}"]
    if failure.error != told:
        lines.append(f"    {plain(failure.error, 300)}")
    if failure.log:
        lines.append(f"    log: {plain(failure.log, 1000)}")
    return lines


def plain(text: str, limit: int) -> str:
    """Make text fit for one line of a terminal.

    Parameters
    ----------
    text
        Anything, perhaps from a user's data: control characters are shown as their escapes.
    limit
        The longest result; the middle is cut.

    Returns
    -------
    str
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    if len(text) <= limit:
        return text
    kept = limit - 5
    return f"{text[: kept - kept // 2]} ... {text[len(text) - kept // 2 :]}"


def duration(seconds: float) -> str:
    """Say a length of time as people do: "0.3 s", "42 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


#: The columns of tables of counts: the name of a number, and what people read above it.
COLUMNS = (
    ("queued", "queued"),
    ("running", "running"),
    ("done", "done"),
    ("reused", "from disk"),
    ("failed", "failed"),
)


def counts_text(counts: Mapping[str, Mapping[str, int]], waiting: Iterable[str] = ()) -> str:
    """Draw the counts of each segment as a plain table, one line for each."""
    behind = frozenset(waiting)
    rows = [("segment", *(title for _, title in COLUMNS))]
    rows += [(segment, *(str(numbers.get(name) or "-") for name, _ in COLUMNS)) for segment, numbers in counts.items()]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells) + ("  waiting" if row[0] in behind else ""))
    return "\n".join(lines)


def counts_html(
    counts: Mapping[str, Mapping[str, int]], waiting: Iterable[str] = (), everything: bool = True
) -> str:
    """Draw the counts of each segment as an HTML table; only on request with columns that are empty."""
    behind = frozenset(waiting)
    columns = [each for each in COLUMNS if everything or any(numbers.get(each[0]) for numbers in counts.values())]
    head = ("segment", *(title for _, title in columns), *([""] if behind else []))
    rows = []
    for segment, numbers in counts.items():
        cells = [numbers.get(name) or "-" for name, _ in columns]
        note = ["waiting" if segment in behind else ""] if behind else []
        rows.append((segment, *cells, *note))
    return html_table(head, rows, len(rows))
