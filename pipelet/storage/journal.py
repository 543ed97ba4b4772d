"""The journal of an instance: an append-only file of checksummed frames.

After a header line, each frame is magic, length of the payload, checksum of the payload, checksum of the rest of its
head; the payload is a msgpack list of events. The checksum of the head covers the frame's own place in the file, so
that bytes inside a payload which look like a frame are never taken for one. With this a cut end (a process killed, a
full disk, a power failure) can be told from damage: behind a cut end no frame follows.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import msgpack

from pipelet.errors import JournalError, StorageError
from pipelet.storage.files import replacement, storage_errors, sync_directory

_HEADER = b"pipelet journal 1\n"
_HEADER_START = b"pipelet journal "
_MAGIC = b"\xb5PJ\x01"
_HEAD = struct.Struct("<4sQI")
_CHECK = struct.Struct("<I")
_FRAME = _HEAD.size + _CHECK.size

Events = Sequence[Sequence[object]]


class Journal:
    """One journal; it has one writer at a time (the holder of the prefix), and any number of readers.

    Parameters
    ----------
    path
        The file; it need not exist.
    sync
        Wait until the disk has what is written.
    scratch
        A directory for unfinished files (`pipelet.storage.files.replacement`).

    Attributes
    ----------
    torn
        After a whole `read`: whether bytes of a frame that was never finished follow the last good one.
    end
        After a whole `read`: the offset behind the last good frame.
    """

    def __init__(self, path: str, sync: bool = True, scratch: str | None = None) -> None:
        self.path = path
        self._sync = sync
        self._scratch = scratch
        self.torn = False
        self.end = 0
        #: Where the next frame goes, when a frame boundary is known to be there.
        self._tail: int | None = None

    def __repr__(self) -> str:
        return f"Journal({self.path!r})"

    def size(self) -> int:
        """Give the size of the file in bytes, 0 if there is none."""
        with storage_errors("read the journal", self.path):
            try:
                return os.stat(self.path).st_size
            except FileNotFoundError:
                return 0

    def append(self, events: Events, sync: bool = True) -> int:
        """Add one frame; a torn end is cut first.

        Parameters
        ----------
        events
            Lists of what msgpack can hold; tuples come back as lists.
        sync
            Wait until the disk has it, if this journal does so at all.

        Returns
        -------
        int
            The offset behind the frame.

        Raises
        ------
        StorageError
            It can't be written: the journal is as it was before.
        JournalError
            The journal is damaged.
        """
        payload = self._pack(events)
        sync = sync and self._sync
        with storage_errors("append to the journal", self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                start = self._start(descriptor)
                header = b"" if start else _HEADER
                self._tail = None
                try:
                    _write(descriptor, header + _head(start + len(header), payload), payload)
                    if sync:
                        os.fsync(descriptor)
                except BaseException:
                    # If even this fails, the rest is a torn end, which the next one cuts.
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor, start)
                    raise
            finally:
                os.close(descriptor)
            if sync and header:
                sync_directory(os.path.dirname(os.path.abspath(self.path)))
        self._tail = start + len(header) + _FRAME + len(payload)
        return self._tail

    def read(self, offset: int = 0) -> Iterator[tuple[list[list[object]], int]]:
        """Read the frames from an offset on; stops silently at a torn end, which `torn` tells afterwards.

        Parameters
        ----------
        offset
            0, or what `append` or an earlier `read` gave.

        Yields
        ------
        tuple
            The events of a frame, and the offset behind it.

        Raises
        ------
        JournalError
            The file is no journal, is damaged before its end, or has no frame boundary at the offset.
        StorageError
            It can't be read.
        """
        self.torn, self.end = False, 0
        with storage_errors("read the journal", self.path):
            try:
                file = open(self.path, "rb")  # noqa: SIM115 (the with statement below closes it)
            except FileNotFoundError:
                if offset:
                    raise self._too_short(0, offset) from None
                return
        with file:
            with storage_errors("read the journal", self.path):
                size = os.fstat(file.fileno()).st_size
                position = self._after_header(file, size)
            if offset > size:
                raise self._too_short(size, offset)
            if position:
                position = self.end = max(position, offset)
                while position < size:
                    with storage_errors("read the journal", self.path):
                        payload = _frame(file, position, size)
                    if payload is None:
                        self._judge(file, position, size, checked=position != offset)
                        break
                    position += _FRAME + len(payload)
                    self.end = position
                    yield self._unpack(payload, position), position
            self.torn = position < size
        self._tail = position

    def truncate(self, offset: int) -> None:
        """Cut the file behind a frame.

        Parameters
        ----------
        offset
            What `append` or `read` gave, or `end`.

        Raises
        ------
        JournalError
            No frame ends there.
        StorageError
            The file can't be written.
        """
        with storage_errors("cut the journal", self.path), open(self.path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if offset > size or (offset not in (0, len(_HEADER)) and offset not in self._boundaries(file, size)):
                raise JournalError(f"the journal {self.path} has no frame that ends at byte {offset}: it was not cut")
            self._tail = None
            os.ftruncate(file.fileno(), offset)
            if self._sync:
                os.fsync(file.fileno())
        self._tail = offset

    def rewrite(self, frames: Iterable[Events]) -> int:
        """Replace the whole journal; at any moment the file is the old or the new one.

        Parameters
        ----------
        frames
            The events of each frame.

        Returns
        -------
        int
            The offset behind the last.

        Raises
        ------
        StorageError
            It can't be written: the old journal stands.
        """
        path = os.path.abspath(self.path)
        with storage_errors("write the journal", self.path), replacement(path, self._sync, self._scratch) as file:
            file.write(_HEADER)
            end = len(_HEADER)
            for events in frames:
                payload = self._pack(events)
                file.write(_head(end, payload))
                file.write(payload)
                end += _FRAME + len(payload)
        self._tail = end
        return end

    # -- inside ------------------------------------------------------------------------------------------------------

    def _start(self, descriptor: int) -> int:
        """Give the offset for the next frame, having cut what is torn there."""
        size = os.fstat(descriptor).st_size
        if size == self._tail:
            return size
        with open(os.dup(descriptor), "rb") as file:
            after = self._after_header(file, size)
            ends = [after, *self._boundaries(file, size)] if after else [0]
            # Heads alone don't tell whether the last payloads reached the disk.
            while len(ends) > 1 and _frame(file, ends[-2], size) is None:
                ends.pop()
            if after and ends[-1] < size:
                self._judge(file, ends[-1], size, checked=True)
        if ends[-1] < size:
            os.ftruncate(descriptor, ends[-1])
        return ends[-1]

    def _after_header(self, file: BinaryIO, size: int) -> int:
        """Check the header; give the offset behind it, 0 if the file ends before it does."""
        file.seek(0)
        header = file.read(len(_HEADER))
        if header == _HEADER:
            return len(_HEADER)
        if _HEADER.startswith(header):
            return 0
        if header.startswith(_HEADER_START):
            raise JournalError(f"the journal {self.path} was made by a newer version of Pipelet: use that one")
        raise JournalError(f"{self.path} is no journal, or its first line is damaged: {self._cure()}")

    def _boundaries(self, file: BinaryIO, size: int) -> Iterator[int]:
        """Give the ends of the frames by their heads alone."""
        position = len(_HEADER)
        while position < size:
            length = _length(_at(file, position, _FRAME), position)
            if length is None or position + _FRAME + length > size:
                return
            position += _FRAME + length
            yield position

    def _judge(self, file: BinaryIO, position: int, size: int, checked: bool) -> None:
        """Raise if a bad frame is damage, and no torn end."""
        with storage_errors("read the journal", self.path):
            if not checked and position != len(_HEADER) and position not in self._boundaries(file, size):
                raise JournalError(
                    f"the journal {self.path} has no frame that begins at byte {position}: it is not the file that "
                    "the status database knows (make the database anew with pipeutils -r)"
                )
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as view:
                place = view.find(_MAGIC, position + 1)
                while place >= 0:
                    if _length(view[place : place + _FRAME], place) is not None:
                        raise JournalError(
                            f"the journal {self.path} is damaged at byte {position}, and good frames follow at byte "
                            f"{place}, so it was not just cut: {self._cure()}"
                        )
                    place = view.find(_MAGIC, place + 1)

    def _cure(self) -> str:
        return "put back a copy of the file, or delete the segment instance and run again"

    def _too_short(self, size: int, offset: int) -> JournalError:
        return JournalError(
            f"the journal {self.path} ends at byte {size}, and the status database knows it up to byte {offset}: "
            "put back the whole file, or make the database anew with pipeutils -r"
        )

    def _pack(self, events: Events) -> bytes:
        try:
            packed: bytes = msgpack.packb(list(events), use_bin_type=True, unicode_errors="surrogatepass")
        except (TypeError, ValueError, OverflowError) as error:
            raise StorageError(f"an event can't be written to the journal {self.path}: {error}") from error
        return packed

    def _unpack(self, payload: bytes, end: int) -> list[list[object]]:
        try:
            events = msgpack.unpackb(payload, raw=False, strict_map_key=False, unicode_errors="surrogatepass")
        except (ValueError, msgpack.UnpackException) as error:
            raise JournalError(f"the frame before byte {end} of {self.path} can't be read: {error}") from error
        if not isinstance(events, list):
            raise JournalError(f"the frame before byte {end} of {self.path} is no list of events: {self._cure()}")
        return events


def _head(position: int, payload: bytes) -> bytes:
    head = _HEAD.pack(_MAGIC, len(payload), zlib.crc32(payload))
    return head + _CHECK.pack(_head_check(head, position))


def _head_check(head: bytes, position: int) -> int:
    return zlib.crc32(head, zlib.crc32(position.to_bytes(8, "little")))


def _length(head: bytes, position: int) -> int | None:
    """Give the length of the payload of the frame at a position, ``None`` if its head is not sound."""
    if len(head) < _FRAME:
        return None
    magic, length, _ = _HEAD.unpack_from(head)
    (check,) = _CHECK.unpack_from(head, _HEAD.size)
    sound = magic == _MAGIC and check == _head_check(head[: _HEAD.size], position)
    return int(length) if sound else None


def _at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _frame(file: BinaryIO, position: int, size: int) -> bytes | None:
    """Give the payload of the frame at a position, ``None`` if it is not whole and sound."""
    head = _at(file, position, _FRAME)
    length = _length(head, position)
    if length is None or position + _FRAME + length > size:
        return None
    payload = file.read(length)
    return payload if zlib.crc32(payload) == _HEAD.unpack_from(head)[2] else None


def _write(descriptor: int, head: bytes, payload: bytes) -> None:
    """Write both in one call where the system takes them whole."""
    parts = [memoryview(head), memoryview(payload)]
    while parts:
        written = os.writev(descriptor, parts)
        while parts and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if parts:
            parts[0] = parts[0][written:]
