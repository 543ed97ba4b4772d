"""What differs inside two files of the same path: images, tables, arrays, texts."""

from __future__ import annotations

import io
import os
import textwrap
from itertools import zip_longest
from typing import Any, BinaryIO, NamedTuple

from pipelet.errors import StorageError, ViewError
from pipelet.storage import TaskFiles
from pipelet.web.formats import signed
from pipelet.web.queries.compare import as_number
from pipelet.web.queries.difftext import Diff, diff
from pipelet.web.queries.pairs import FilePair
from pipelet.web.viewers import limited, table
from pipelet.web.viewers.base import TEXT_BYTES, Source, is_text, read_part

#: Rows of a table that are shown of those that differ, and lines that stand around nothing else.
_ROWS = 60
#: Files of a pair that are looked into; a page of its own shows any of the others.
MOST_FILES = 6
#: Larger packed files are not compared.
_LARGEST = 512 << 20
_TEXTS = frozenset({"text", "code", "json", "jsonlines"})
_ARRAYS = {"array": "array", "archive": "archive"}
_LIMITS = limited.Limits(seconds=10.0)
_SIDES = {"small": 240, "large": 900}


class Cell(NamedTuple):
    """A cell of two tables."""

    old: str
    new: str
    delta: str | None  #: the difference, of numbers

    @property
    def differs(self) -> bool:
        """Whether the cells differ."""
        return self.old != self.new


class Table(NamedTuple):
    """Two tables, cell by cell."""

    head: list[str]
    rows: list[tuple[int, list[Cell]]]  #: those that differ, with their numbers
    sizes: tuple[str, str] | None  #: of each, if they differ
    differ: int  #: cells that differ
    cells: int
    largest: str | None  #: of the differences of numbers, with where it is
    more: int  #: rows that differ and are not shown
    notes: tuple[str, ...]


class Content(NamedTuple):
    """What differs in a file."""

    file: FilePair
    kind: str  #: ``words``, ``diff``, ``table`` or ``arrays``
    words: str | None = None
    diff: Diff | None = None
    table: Table | None = None
    arrays: list[dict[str, Any]] | None = None


def content(file: FilePair, old: TaskFiles, new: TaskFiles) -> Content:
    """Compare the content of two files.

    Parameters
    ----------
    file
        What `pipelet.web.queries.pairs.pair` said of them.
    old, new
        The files of both tasks.

    Returns
    -------
    Content
        Always: what can't be compared has words that say why.
    """
    try:
        with old.open(file.path) as one, new.open(file.path) as other:
            name = file.path.rsplit("/", 1)[-1]
            sources = [Source(handle, name, os.fstat(handle.fileno()).st_size) for handle in (one, other)]
            return _content(file, sources[0], sources[1])
    except (StorageError, ViewError) as error:
        return Content(file, "words", f"It can't be compared: {error}.")


def difference(old: BinaryIO, new: BinaryIO, size: str) -> bytes:
    """Draw how far two images are apart, or else in words why that can't be drawn.

    Parameters
    ----------
    old, new
        The images.
    size
        ``small`` or ``large``.

    Returns
    -------
    bytes
        PNG.
    """
    try:
        options = {"of": "image", "side": _SIDES[size]}
        return limited.ask("difference", old, options, limited.Limits(seconds=15.0), new)
    except ViewError as error:
        return in_words(str(error))


def in_words(text: str) -> bytes:
    """Draw words, for a place where only an image can be."""
    from PIL import Image, ImageDraw

    lines = textwrap.wrap(text.encode("ascii", "replace").decode().replace("?", "x"), 46)[:8]
    picture = Image.new("RGB", (320, 24 + 16 * len(lines)), "white")
    pencil = ImageDraw.Draw(picture)
    for place, line in enumerate(lines):
        pencil.text((12, 12 + 16 * place), line, fill=(90, 60, 0))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _content(file: FilePair, old: Source, new: Source) -> Content:
    kind = file.kind
    if kind in _ARRAYS:
        if max(old.size, new.size) > _LARGEST and kind == "archive":
            raise ViewError("it is too large")
        options = {"of": _ARRAYS[kind]}
        return Content(file, "arrays", arrays=limited.ask_json("difference", old.file, options, _LIMITS, new.file))
    starts = [read_part(source, 4096)[0] for source in (old, new)]
    if not all(map(is_text, starts)):
        return Content(file, "words", _bytes(old, new))
    if kind == "table":
        found = _table(old, new)
        if found is not None:
            return Content(file, "table", table=found)
    parts = [read_part(source, TEXT_BYTES) for source in (old, new)]
    notes = [note for _, note in parts if note]
    # The ends are cut where that many bytes are, which may be within a sign.
    texts = [data.decode("utf-8", "replace").encode() for data, _ in parts]
    found_diff = diff(texts[0], texts[1], file.path)
    words = f"Only the beginnings were compared. {notes[0]}" if notes else None
    if not found_diff:
        words = f"The beginnings are equal. {notes[0]}" if notes else "The texts are equal."
    return Content(file, "diff", words, found_diff)


def _bytes(old: Source, new: Source) -> str:
    """Where the bytes begin to differ."""
    at = 0
    for source in (old, new):
        source.file.seek(0)
    while at < _LARGEST >> 4:
        first, second = old.file.read(1 << 16), new.file.read(1 << 16)
        if first != second:
            pairs = enumerate(zip(first, second, strict=False))
            step = next((place for place, (one, two) in pairs if one != two), min(len(first), len(second)))
            return f"The bytes differ from byte {at + step:,} on."
        if not first:
            return "The files are equal."
        at += len(first)
    return f"The first {at:,} bytes are equal."


def _table(old: Source, new: Source) -> Table | None:
    views = [table.view(source) for source in (old, new)]
    if any(view.kind != "table" for view in views):
        return None
    heads = [view.data["head"] or [] for view in views]
    sides = [view.data["rows"] for view in views]
    head = [_either(one, other) for one, other in zip_longest(*heads, fillvalue="")]
    width = max(len(head), *(len(row) for rows in sides for row in rows), 0)
    sizes = [f"{len(rows):,} rows, {view.data['width']} columns" for rows, view in zip(sides, views, strict=True)]
    notes = tuple(dict.fromkeys(note for view in views for note in view.notes))
    found = _Count(head)
    for number, (one, other) in enumerate(zip_longest(*sides, fillvalue=[]), 1):
        found.add(number, [_cell(one, other, column) for column in range(width)])
    unequal = None if sizes[0] == sizes[1] else (sizes[0], sizes[1])
    return Table(head, found.rows, unequal, found.differ, found.cells, found.largest, found.more, notes)


class _Count:
    """The rows of two tables that differ, and by how much."""

    def __init__(self, head: list[str]) -> None:
        self._head = head
        self._apart = 0.0
        self.rows: list[tuple[int, list[Cell]]] = []
        self.differ = self.cells = self.more = 0
        self.largest: str | None = None

    def add(self, number: int, row: list[Cell]) -> None:
        """Look at a row."""
        self.cells += len(row)
        changed = [column for column, cell in enumerate(row) if cell.differs]
        self.differ += len(changed)
        for column in changed:
            apart = _apart(row[column])
            if apart is not None and abs(apart) > abs(self._apart):
                name = self._head[column] if column < len(self._head) else ""
                self._apart = apart
                self.largest = f"{signed(apart)} (row {number:,}, {name or f'column {column + 1}'})"
        if changed and len(self.rows) < _ROWS:
            self.rows.append((number, row))
        else:
            self.more += bool(changed)


def _either(one: str, other: str) -> str:
    return one if one == other or not other else f"{one} / {other}" if one else other


def _cell(one: list[str], other: list[str], column: int) -> Cell:
    old = one[column] if column < len(one) else ""
    new = other[column] if column < len(other) else ""
    cell = Cell(old, new, None)
    apart = _apart(cell) if cell.differs else None
    return cell if apart is None else cell._replace(delta=signed(apart))


def _apart(cell: Cell) -> float | None:
    old, new = as_number(cell.old), as_number(cell.new)
    if old is None or new is None:
        return None
    apart = new - old
    return apart if apart == apart else None
