"""Archives of arrays (``.npz``): what each would take is looked at first, and only so much of it is unpacked."""

from __future__ import annotations

import io
import zipfile
from typing import Any, BinaryIO

import numpy as np

from pipelet.errors import ViewError
from pipelet.web.viewers.arrays import of_objects, read_head
from pipelet.web.viewers.numbers import describe, shape_text

#: Members that are shown, and bytes that are unpacked for all of them together.
_MEMBERS = 60
_BYTES, _EACH = 64 << 20, 16 << 20


def prepare() -> None:
    """Nothing more to load."""


def answer(file: BinaryIO, options: dict[str, Any]) -> dict[str, Any]:
    """Describe the arrays of an archive."""
    left = _BYTES
    arrays: list[dict[str, Any]] = []
    with opened(file) as archive:
        members = archive.infolist()
        for member in members[:_MEMBERS]:
            said, used = _member(archive, member, min(left, _EACH))
            left -= used
            arrays.append({"name": member.filename.removesuffix(".npy"), "packed": member.compress_size, **said})
    return {"arrays": arrays, "more": len(members) - len(arrays)}


def opened(file: BinaryIO) -> zipfile.ZipFile:
    """Open an archive; its list of members may be damaged."""
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ViewError(f"it is no archive: {error}") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int) -> tuple[dict[str, Any], int]:
    try:
        array, note, used = unpack(archive, member, left)
        if array is None:
            return {"note": note, "shape": None}, used
        if isinstance(array, dict):
            return array, used
        return {**describe(array), "note": note}, used
    except (ViewError, zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError, EOFError, ValueError) as error:
        return {"note": f"It can't be read: {error}", "shape": None}, 0


def unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> tuple[Any, str | None, int]:
    """Unpack as much of a member as is allowed.

    Returns
    -------
    tuple
        The array, with only its first elements where it is too large (or a description, or ``None``), a word that says
        so, and how many bytes were unpacked.
    """
    with archive.open(member) as stream:
        # It unpacks what is asked for, whatever the list says of its size.
        head = read_head(stream)  # type: ignore[arg-type]
        if head.dtype.hasobject:
            return of_objects(head), None, 0
        size = head.dtype.itemsize
        count = min(head.total, max(most, 0) // size) if size else 0
        data = stream.read(count * size) if count else b""
    count = len(data) // size if size else 0
    array = np.frombuffer(io.BytesIO(data).getbuffer(), head.dtype, count)
    if count == head.total:
        return array.reshape(head.shape, order="F" if head.fortran else "C"), None, len(data)
    what = f"{shape_text(head.shape)} {head.dtype}"
    if not count:
        return None, f"{what}: too large to be unpacked here.", 0
    note = f"{what}, of which the first {count:,} of {head.total:,} elements were unpacked."
    return array, note, len(data)
