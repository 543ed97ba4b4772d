"""Tables of text: values between commas, tabs or the like."""

from __future__ import annotations

import csv
import io
import itertools

from pipelet.web.viewers import text
from pipelet.web.viewers.base import TEXT_BYTES, Source, View, decode, read_part

ROWS, COLUMNS, _CELL = 1000, 100, 200
_DELIMITERS = ",\t;|"
#: So many lines tell what stands between the values.
_LOOKED_AT = 30


def view(source: Source) -> View:
    """Show the first rows and columns of a table; a file that is none is shown as a text.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    View
        With ``comments``, ``head`` (names of columns, or none), ``rows``, ``numeric`` (for each column).
    """
    data, note = read_part(source, 4 * TEXT_BYTES)
    words, encoding = decode(data, note is not None)
    lines = words.split("\n")
    if note and lines:
        # The last one is cut.
        lines.pop()
    comments = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    lines = lines[len(comments) :]
    delimiter = "\t" if source.name.lower().endswith(".tsv") else guess(lines)
    try:
        reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter)
        rows = [row for row in itertools.islice(reader, ROWS + 2) if row]
    except csv.Error as error:
        found = text.view(source)
        return found._replace(notes=(*found.notes, f"It is no table: {error}."))
    notes = [note] if note else []
    if len(rows) > ROWS + 1:
        notes.append(f"First {ROWS:,} rows.")
    width = max((len(row) for row in rows), default=0)
    if width > COLUMNS:
        notes.append(f"First {COLUMNS} of {width:,} columns.")
    cut = [[cell.strip()[:_CELL] for cell in row[:COLUMNS]] for row in rows]
    head = cut.pop(0) if _has_head(cut) else None
    cut = cut[:ROWS]
    width = min(width, COLUMNS)
    numeric = [_is_column_numeric(cut, column) for column in range(width)]
    said = {"comments": [line[:_CELL] for line in comments[:20]], "head": head, "rows": cut, "numeric": numeric,
            "width": width, "encoding": encoding}
    return View("table", "_view_table.html", said, tuple(notes))


def guess(lines: list[str]) -> str:
    """Guess what stands between the values: what stands as often in each of the first lines."""
    looked = [line[:10_000] for line in lines[:_LOOKED_AT] if line.strip()]
    best, most = ",", 0.0
    for sign in _DELIMITERS:
        counts = [line.count(sign) for line in looked]
        if not counts or not max(counts):
            continue
        usual = max(set(counts), key=counts.count)
        score = counts.count(usual) / len(counts) * (usual > 0) + usual / 1e6
        if score > most:
            best, most = sign, score
    return best


def _has_head(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: no number in it, and numbers below; or all of it differs from them."""
    if len(rows) < 2 or any(_is_number(cell) for cell in rows[0]):
        return False
    return any(_is_number(cell) for row in rows[1:20] for cell in row) or len(set(rows[0])) == len(rows[0])


def _is_column_numeric(rows: list[list[str]], column: int) -> bool:
    cells = [row[column] for row in rows[:50] if column < len(row) and row[column]]
    return bool(cells) and all(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
        return True
    except ValueError:
        return False
