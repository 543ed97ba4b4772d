"""Tables for people: as text, and as HTML that looks the same where pages strip styles and scripts."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Sequence

from pipelet.core.dottext import columns

_CELL = "text-align:left;padding:0.15em 0.6em"
_IN_ONE_PIECE = 30
#: So many rows are shown at most.
ROWS = 50


def html_table(head: Sequence[str], rows: Sequence[Sequence[object]], shown: int = ROWS) -> str:
    """Draw a table for a notebook.

    Parameters
    ----------
    head
        The titles of the columns.
    rows
        Their cells; nothing in them is taken for HTML.
    shown
        How many rows are drawn.

    Returns
    -------
    str
        A ``<table>``; below it, if rows are left, how many.
    """
    lines = ["<table>", f"<thead><tr>{_cells('th', head)}</tr></thead>", "<tbody>"]
    lines += [f"<tr>{_cells('td', row)}</tr>" for row in rows[:shown]]
    lines += ["</tbody>", "</table>"]
    if len(rows) > shown:
        lines.append(f"<p>and {len(rows) - shown} more</p>")
    return "\n".join(lines)


def text_table(head: Sequence[str], rows: Sequence[Sequence[object]], shown: int = ROWS) -> str:
    """Draw a table in letters; numbers stand to the right.

    Parameters
    ----------
    head, rows, shown
        As for `html_table`.

    Returns
    -------
    str
        Lines without a new line at the end.
    """
    texts = [[_plain(str(cell)) for cell in row] for row in (head, *rows[:shown])]
    widths = [max(map(columns, column)) for column in zip(*texts, strict=True)]
    right = [bool(rows) and all(_is_number(cell) for cell in column) for column in zip(*texts[1:], strict=True)]
    right = right or [False] * len(widths)
    lines = []
    for row in texts:
        padded = (_pad(cell, width, side) for cell, width, side in zip(row, widths, right, strict=True))
        lines.append("  ".join(padded).rstrip())
    if len(rows) > shown:
        lines.append(f"and {len(rows) - shown} more")
    return "\n".join(lines)


def short_path(path: str | None) -> str:
    """A path as it is shown: what lies below the current directory is told from there."""
    if path is None:
        return ""
    try:
        here = os.path.join(os.getcwd(), "")
    except OSError:  # it was removed
        return path
    return path[len(here) :] if path.startswith(here) and here != "/" else path


def shortened(text: str, length: int) -> str:
    """A text on one line, without its middle if it is longer than that."""
    line = _plain(" ".join(text.split()))
    half = (length - 3) // 2
    return line if len(line) <= length else f"{line[: length - 3 - half]}...{line[-half:]}"


def _cells(tag: str, row: Iterable[object]) -> str:
    drawn = []
    for cell in row:
        text = html.escape(str(cell))
        # Long cells may go on in the next line, paths behind a slash; short ones are read in one piece.
        style = f"{_CELL};white-space:nowrap" if len(text) <= _IN_ONE_PIECE else _CELL
        drawn.append(f"<{tag} style='{style}'>{text.replace('/', '/<wbr/>')}</{tag}>")
    return "".join(drawn)


def _plain(text: str) -> str:
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _is_number(text: str) -> bool:
    return not text or text == "-" or text.replace(".", "", 1).replace("e-", "", 1).replace("e+", "", 1).isdigit()


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - columns(text))
    return blanks + text if right else text + blanks
