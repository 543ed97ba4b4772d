"""Arrays in words, numbers and points: what a page says of one, looking at no more than a bounded part of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: Statistics look at so many elements, and so many bytes.
MOST = 4_000_000
MOST_BYTES = 64 << 20
#: Rows, columns and characters of the table of first values.
_ROWS, _COLUMNS, _CELL = 20, 12, 60
#: Points of a plot, and how many elements each stands for at most.
_POINTS, _EACH = 480, 4000
WIDTH, HEIGHT = 640, 220
_BLOCKS = 64
#: Between thousands.
_THIN = "\N{NARROW NO-BREAK SPACE}"
#: Fields of a record that are named, and characters.
_FIELDS, _LONGEST = 8, 200


def describe(array: Any) -> dict[str, Any]:
    """Say what is in an array.

    Parameters
    ----------
    array
        Of any dtype without Python objects; it may be mapped from a file.

    Returns
    -------
    dict
        For JSON: ``shape``, ``dtype``, ``count``, ``statistics`` (pairs), ``sampled`` (how many were looked at, if not
        all), ``table``, ``plot`` ``image`` (whether `pictures` can draw it) and
        ``caption`` (of that picture).
    """
    said: dict[str, Any] = {
        "shape": shape_text(array.shape),
        "dtype": str(array.dtype) if array.dtype.names is None else _record_text(array.dtype),
        "count": int(array.size),
        "statistics": [],
        "sampled": None,
        "table": first_values(array),
        "plot": None,
        "image": is_image(array),
        "caption": _caption(array),
    }
    if array.size and array.dtype.itemsize and array.dtype.names is None:
        part = sample(array)
        said["statistics"] = statistics(part)
        said["sampled"] = int(part.size) if part.size < array.size else None
        if array.ndim == 1 and array.size > 1 and array.dtype.kind in "biufc":
            said["plot"] = plot(array)
    return said


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape for people."""
    return " × ".join(f"{length:,}".replace(",", _THIN) for length in shape) if shape else "a single value"


def _record_text(dtype: Any) -> str:
    """Write the fields of records for people."""
    fields = [f"{name} {dtype[name]}" for name in dtype.names[:_FIELDS]]
    more = len(dtype.names) - len(fields)
    text = f"records of {', '.join(fields)}"
    return f"{text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}{f' and {more} more' if more else ''}"


def _caption(array: Any) -> str:
    if is_coloured(array):
        return "The last axis gives the colours"
    # The axes before the last two are at their beginning in the picture, and in the table of first values.
    plane = f"Plane [{', '.join(['0'] * (array.ndim - 2) + [':', ':'])}]: the" if array.ndim > 2 else "The"
    return f"{plane} middle 99 % of the values, from dark to light"


def is_coloured(array: Any) -> bool:
    """Whether an array is a picture with its colours along the last axis."""
    return bool(array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype.kind in "bu")


def flat(array: Any) -> Any:
    """See an array as one row, in the order in which it lies in memory: no copy is made of what is in one piece."""
    return array.reshape(-1, order="F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C")


def sample(array: Any) -> Any:
    """Take all elements, or blocks from all over the array where they are many."""
    most = max(min(MOST, MOST_BYTES // array.dtype.itemsize), 1)
    row = flat(array) if array.flags.forc or array.size <= most else array[tuple([0] * (array.ndim - 1))].reshape(-1)
    if row.size <= most:
        return np.asarray(row)
    length = max(most // _BLOCKS, 1)
    starts = np.linspace(0, row.size - length, min(_BLOCKS, most)).astype(np.int64)
    return np.concatenate([np.asarray(row[start : start + length]) for start in starts])


def statistics(part: Any) -> list[tuple[str, str]]:
    """Name minimum, maximum and so on of some elements."""
    kind = part.dtype.kind
    if kind == "b":
        return [("true", f"{int(np.count_nonzero(part)):,}"), ("false", f"{int(part.size - np.count_nonzero(part)):,}")]
    if kind in "Mm":
        valid = part[~np.isnat(part)]
        found = [("not a time", f"{int(part.size - valid.size):,}")] if valid.size < part.size else []
        return [("earliest", str(valid.min())), ("latest", str(valid.max())), *found] if valid.size else found
    if kind == "c":
        pieces = (("real", part.real), ("imaginary", part.imag), ("modulus", np.abs(part)))
        return [(f"{name}, {word}", text) for name, values in pieces for word, text in _of_reals(values)]
    return _of_reals(part) if kind in "iuf" else []


def _of_reals(part: Any) -> list[tuple[str, str]]:
    finite = part[np.isfinite(part)] if part.dtype.kind == "f" else part
    found: list[tuple[str, str]] = []
    if finite.size:
        # In half precision a sum overflows soon.
        wide = finite.astype(np.float64)
        exact = part.dtype.kind in "iu"
        found += [
            ("minimum", f"{int(finite.min()):,}" if exact else f"{wide.min():.6g}"),
            ("maximum", f"{int(finite.max()):,}" if exact else f"{wide.max():.6g}"),
            ("mean", f"{wide.mean():.6g}"),
            ("standard deviation", f"{wide.std():.6g}"),
            ("zeros", f"{int(wide.size - np.count_nonzero(wide)):,}"),
        ]
    if finite.size < part.size:
        lost = int(np.isnan(part).sum())
        found += [("not a number", f"{lost:,}"), ("infinite", f"{int(part.size - finite.size - lost):,}")]
    return found


def first_values(array: Any) -> dict[str, Any]:
    """Show the corner of an array: ``head`` (or none), ``rows`` and ``more``."""
    if array.dtype.names:
        names = list(array.dtype.names)
        row = array.reshape(-1)[:_ROWS] if array.flags.forc else array[:_ROWS]
        rows = [[_cell(item[name]) for name in names[:_COLUMNS]] for item in row]
        cut = array.size > len(rows) or len(names) > _COLUMNS
        return {"head": names[:_COLUMNS], "rows": rows, "more": bool(cut)}
    while array.ndim > 2:
        array = array[0] if array.shape[0] else array.reshape(array.shape[0], -1)
    if array.ndim == 0:
        return {"head": None, "rows": [[_cell(array[()])]], "more": False}
    if array.ndim == 1:
        shown = array[: _ROWS * 4]
        rows = [[_cell(item) for item in shown]] if shown.size else []
        return {"head": None, "rows": rows, "more": array.size > shown.size}
    corner = array[:_ROWS, :_COLUMNS]
    rows = [[_cell(item) for item in row] for row in corner]
    return {"head": None, "rows": rows, "more": array.size > corner.size}


def _cell(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        text = bytes(value).decode("ascii", "backslashreplace")
    elif isinstance(value, np.ndarray):
        text = " ".join(_cell(item) for item in value.reshape(-1)[:4]) + (" …" if value.size > 4 else "")
    elif isinstance(value, (float, np.floating)):
        text = f"{float(value):.6g}"
    elif isinstance(value, (complex, np.complexfloating)):
        text = f"{complex(value):.4g}"
    else:
        text = str(value)
    return text if len(text) <= _CELL else text[:_CELL] + "…"


def is_image(array: Any) -> bool:
    """Whether it can be drawn as a picture: its last two axes, or a plane of colours."""
    if array.dtype.names is not None or array.dtype.kind not in "biufc" or array.ndim < 2:
        return False
    return all(length > 0 for length in array.shape) and min(array.shape[-2:]) > 1


def plot(row: Any) -> dict[str, Any]:
    """Make the lines of a plot: for each step the smallest and the largest value of what it stands for.

    Returns
    -------
    dict
        ``lines`` (points for SVG, in a box of `WIDTH` by `HEIGHT`), ``low``, ``high`` and ``modulus``.
    """
    count = min(_POINTS, row.size)
    edges = np.linspace(0, row.size, count + 1).astype(np.int64)
    lows, highs = np.full(count, np.nan), np.full(count, np.nan)
    for index in range(count):
        end = min(edges[index + 1], edges[index] + _EACH)
        piece = np.asarray(row[edges[index] : end])
        values = np.abs(piece) if piece.dtype.kind == "c" else piece.astype(np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            lows[index], highs[index] = values.min(), values.max()
    if np.isnan(lows).all():
        return {"lines": [], "low": "", "high": "", "modulus": False}
    low, high = float(np.nanmin(lows)), float(np.nanmax(highs))
    return {
        "lines": _lines(lows, highs, low, high),
        "low": f"{low:.6g}",
        "high": f"{high:.6g}",
        "modulus": row.dtype.kind == "c",
    }


def _lines(lows: Any, highs: Any, low: float, high: float) -> list[str]:
    # Halved, since the difference of two large numbers may be infinite.
    spread = (high / 2 - low / 2) or 1.0
    count = len(lows)
    lines: list[list[str]] = [[]]
    for index in range(count):
        if math.isnan(lows[index]):
            lines.append([])
            continue
        x = WIDTH * (index + 0.5) / count
        ends = (lows[index], highs[index]) if index % 2 else (highs[index], lows[index])
        for value in ends if ends[0] != ends[1] else ends[:1]:
            y = HEIGHT - 6 - (HEIGHT - 12) * ((value / 2 - low / 2) / spread if high > low else 0.5)
            lines[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(line) for line in lines if line]
