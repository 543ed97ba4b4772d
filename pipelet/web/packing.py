"""Products of tasks as one zip archive, made while it is sent."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelet.errors import StorageError
from pipelet.storage import Entry, Kind, TaskFiles, printable
from pipelet.web.formats import counted
from pipelet.web.formats import size as size_text

#: An archive holds at most so many files.
MOST_FILES = 20_000
_PIECE = 1 << 18
_EARLIEST = (1980, 1, 1, 0, 0, 0)


class Packed(NamedTuple):
    """What an archive would hold."""

    files: int
    size: int
    left_out: int
    cut: bool  #: there are more than an archive holds


class _Stream(io.RawIOBase):
    """What is written can be taken away; there is no way back."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def measure(tasks: Sequence[tuple[str, TaskFiles]]) -> Packed:
    """Say what an archive of some tasks would hold; no file is opened."""
    files = size = left_out = 0
    for _, task in tasks:
        for _, entry in task.walk(MOST_FILES + 1 - files):
            if entry.kind is not Kind.FILE:
                left_out += 1
                continue
            if files == MOST_FILES:
                return Packed(files, size, left_out, True)
            files += 1
            size += entry.size
    return Packed(files, size, left_out, False)


def pack(tasks: Sequence[tuple[str, TaskFiles]]) -> Iterator[bytes]:
    """Make an archive.

    Links are left out, never followed, and so is what is no file; ``MANIFEST.txt`` at the end says what, and why.

    Parameters
    ----------
    tasks
        For each the name of its folder, and its files.

    Yields
    ------
    bytes
        The archive, piece by piece.
    """
    stream = _Stream()
    notes: list[str] = []
    names = {"MANIFEST.txt"}
    count = 0
    # Without compression: most products are packed already, and a click must not keep the machine busy.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for folder, task in tasks:
            for path, entry in task.walk(MOST_FILES + 1 - count):
                if entry.kind is not Kind.FILE:
                    notes.append(f"left out: {folder}/{printable(path)}: {_reason(entry)}")
                    continue
                if count == MOST_FILES:
                    notes.append(f"left out: all after the first {MOST_FILES:,} files")
                    break
                count += 1
                yield from _add(archive, stream, task, folder, path, entry, names, notes)
        archive.writestr(_info("MANIFEST.txt", time.time()), _manifest(tasks, count, notes))
        yield stream.take()
    yield stream.take()


def _add(
    archive: zipfile.ZipFile, stream: _Stream, task: TaskFiles, folder: str, path: str, entry: Entry, names: set[str],
    notes: list[str],
) -> Iterator[bytes]:
    name = safe_name(f"{folder}/{path}", names)
    if name != f"{folder}/{path}":
        notes.append(f"named otherwise: {folder}/{printable(path)} is {name}")
    try:
        file = task.open(path)
    except StorageError as error:
        notes.append(f"left out: {folder}/{printable(path)}: {error}")
        return
    with file, archive.open(_info(name, entry.modified), "w", force_zip64=True) as member:
        try:
            while piece := file.read(_PIECE):
                member.write(piece)
                yield stream.take()
        except OSError as error:
            notes.append(f"cut: {folder}/{printable(path)}: {error.strerror}")
    yield stream.take()


def safe_name(path: str, names: set[str]) -> str:
    """Give the name of a file in an archive that no program that unpacks it can mistake for another place.

    Parameters
    ----------
    path
        The file's path in the archive.
    names
        Those that are taken; the new one is added.
    """
    parts = ["".join("_" if sign in '\\:*?"<>|' else sign for sign in printable(part)) for part in path.split("/")]
    name = "/".join("_" if part.strip(" .") == "" else part for part in parts)
    # Some systems take no more, and make no difference between small letters and others.
    stem, dot, end = name.rpartition(".")
    if not dot or "/" in end:
        stem, dot, end = name, "", ""
    trial, number = name, 1
    while trial in names:
        number += 1
        trial = f"{stem}_{number}{dot}{end}"
    names.add(trial)
    return trial


def _info(name: str, modified: float) -> zipfile.ZipInfo:
    when = max(time.localtime(modified)[:6], _EARLIEST) if 0 < modified < 4e9 else _EARLIEST
    info = zipfile.ZipInfo(name, when)
    info.external_attr = 0o644 << 16
    return info


def _reason(entry: Entry) -> str:
    if entry.kind is Kind.LINK:
        return f"a link to {printable(entry.target)}" if entry.target is not None else str(entry.refusal)
    return f"a {entry.kind}"


def _manifest(tasks: Sequence[tuple[str, TaskFiles]], count: int, notes: list[str]) -> str:
    head = [f"{counted(count, 'file')} of {counted(len(tasks), 'task')}:", *(f"  {folder}" for folder, _ in tasks), ""]
    return "\n".join([*head, *(notes or ["nothing was left out"]), ""])


def describe(packed: Packed) -> str:
    """Say what an archive holds."""
    return f"{counted(packed.files, 'file')}, {size_text(packed.size)}"
