"""The files of numpy: one array, mapped from the disk and never loaded as a whole."""

from __future__ import annotations

import ast
import mmap
import struct
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from pipelet.errors import ViewError
from pipelet.web.viewers.numbers import describe, shape_text

MAGIC = b"\x93NUMPY"
#: Longer heads are no heads.
_LONGEST = 1 << 20
_MOST_AXES = 32
_DEEPEST = 8


class Head(NamedTuple):
    """What stands before the numbers."""

    dtype: Any
    shape: tuple[int, ...]
    fortran: bool

    @property
    def total(self) -> int:
        """How many elements there should be."""
        found = 1
        for length in self.shape:
            found *= length
        return found


def prepare() -> None:
    """Nothing more to load."""


def answer(file: BinaryIO, options: dict[str, Any]) -> dict[str, Any]:
    """Describe the array."""
    head = read_head(file)
    if head.dtype.hasobject:
        return of_objects(head)
    array, note = mapped(file, head)
    return {**describe(array), "note": note}


def of_objects(head: Head) -> dict[str, Any]:
    """Describe an array of Python objects, which is a pickle, without looking at it."""
    return {
        "shape": shape_text(head.shape), "dtype": "Python objects", "count": head.total, "statistics": [],
        "sampled": None, "table": None, "plot": None, "image": False,
        "note": "It holds pickled Python objects, which are never loaded to be shown.",
    }


def read_head(file: BinaryIO) -> Head:
    """Read what stands before the numbers.

    Parameters
    ----------
    file
        At its beginning; after the head when this returns.

    Raises
    ------
    ViewError
        It is none of numpy's.
    """
    start = file.read(8)
    if start[:6] != MAGIC or len(start) < 8:
        raise ViewError("it is no file of numpy: it does not begin like one")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(_exactly(file, width), "little")
    if length > _LONGEST:
        raise ViewError("its head is too long to be one of numpy's")
    text = _exactly(file, length).decode("utf-8" if start[6] >= 3 else "latin-1", "replace")
    try:
        said = ast.literal_eval(text.strip())
        shape = said["shape"]
        if not isinstance(shape, tuple) or not all(type(item) is int and item >= 0 for item in shape):
            raise ValueError("no shape")
        if len(shape) > _MOST_AXES:
            raise ValueError("too many axes")
        return Head(_dtype(said["descr"]), shape, bool(said["fortran_order"]))
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError, OverflowError, struct.error):
        raise ViewError("its head is damaged") from None


def _dtype(descr: Any) -> Any:
    _check(descr, 0)
    return np.lib.format.descr_to_dtype(descr)


def _check(descr: Any, depth: int) -> None:
    """Refuse types that are nested without end, or take more than any memory."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(descr, list):
        for field in descr:
            for part in field[1:]:
                _check(part, depth + 1)
    elif isinstance(descr, tuple):
        for part in descr:
            if not isinstance(part, (int, str)):
                _check(part, depth + 1)


def mapped(file: BinaryIO, head: Head) -> tuple[Any, str | None]:
    """Map the numbers after the head; where the file ends early, as many rows as there are.

    Returns
    -------
    tuple
        The array, and a word that says what is missing.
    """
    start = file.tell()
    there = file.seek(0, 2) - start
    if head.dtype.itemsize == 0 or head.total == 0:
        # An empty array of the same axes; those that are not 0 may be of any length, and take no memory.
        return np.lib.stride_tricks.as_strided(np.zeros(1, head.dtype), head.shape, [0] * len(head.shape)), None
    note = None
    shape = head.shape
    if there < head.total * head.dtype.itemsize:
        whole = there // head.dtype.itemsize
        note = f"The file ends early: {whole:,} of {head.total:,} elements are there."
        shape = (whole,)
        if not whole:
            return np.zeros(0, head.dtype), note
    order: Literal["C", "F"] = "F" if head.fortran and len(shape) > 1 else "C"
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(shape, head.dtype, mapping, start, order=order), note


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ViewError("it ends in the middle of its head")
    return data
