"""How batches travel to worker processes, and results back: as plain tuples, since objects take longer than tasks."""

from __future__ import annotations

import errno
import os
import pickle
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import repeat
from typing import Any

import msgpack

from pipelet.core.calls import Batch, LogRecord, Parameter, SegmentContext, TaskCall, TaskResult
from pipelet.core.model import Status

_LENGTH = struct.Struct("<Q")
#: So many contexts are remembered on either side.
_CONTEXTS = 8
_LATE_PAUSE = 0.05
_ODD = "surrogatepass"  # file names that are no UTF-8
_pack = msgpack.Packer(unicode_errors=_ODD).pack
_STATUSES = {int(status): status for status in Status}
#: With this a pickle begins, and no list in msgpack.
_PICKLED = 0x80
_unpack = partial(msgpack.unpackb, use_list=False, unicode_errors=_ODD)
#: As `TaskCall._make`, without a function of Python's between.
_call = partial(tuple.__new__, TaskCall)


class BatchPacker:
    """Makes bytes of batches. What the tasks of a segment share goes to a file, once, and not with each batch.

    Parameters
    ----------
    scratch_dir
        Where the files go; the workers can read them.
    """

    def __init__(self, scratch_dir: str) -> None:
        self._scratch_dir = scratch_dir
        self._files: dict[int, tuple[SegmentContext, str]] = {}
        self._count = 0

    def pack(self, batch: Batch) -> bytes:
        """The bytes of a batch, for `unpack_batch`."""
        shared: str | SegmentContext
        try:
            shared = self._file(batch.context)
        except OSError:  # no room for a file: then it travels along
            shared = batch.context
        columns = list(map(_shortened, zip(*batch.calls, strict=True)))
        return pickle.dumps((shared, len(batch.calls), columns, batch[2:]), pickle.HIGHEST_PROTOCOL)

    def _file(self, context: SegmentContext) -> str:
        known = self._files.get(id(context))
        # Files that nobody has touched for long may be cleared away.
        if known is not None and os.path.exists(known[1]):
            return known[1]
        path = os.path.join(self._scratch_dir, f"context-{self._count}")
        self._count += 1
        write_whole(path, pickle.dumps(context, pickle.HIGHEST_PROTOCOL))
        while len(self._files) >= _CONTEXTS:
            del self._files[next(iter(self._files))]
        self._files[id(context)] = context, path
        return path


def write_whole(path: str, data: bytes) -> None:
    """Make a file of the engine's that nobody sees before it is whole.

    Raises
    ------
    OSError
        It can't be written; nothing is left of it.
    """
    temporary = f"{path}.new"
    try:
        with open(temporary, "wb", opener=_private) as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


_CONTEXTS_READ: dict[str, SegmentContext] = {}


def unpack_batch(data: bytes, patience: float = 0.0) -> Batch:
    """The batch of which `BatchPacker` made these bytes.

    Parameters
    ----------
    data
        The bytes.
    patience
        How many seconds a file system between two hosts may take to show a file.

    Raises
    ------
    OSError
        What the tasks share can't be read.
    """
    shared, count, columns, rest = pickle.loads(data)
    context = _context(shared, patience) if isinstance(shared, str) else shared
    full = (column if len(column) == count else repeat(column[0], count) for column in columns)
    return Batch(context, tuple(map(_call, zip(*full, strict=True))), *rest)


def _shortened(column: tuple[Any, ...]) -> tuple[Any, ...]:
    """A column of a batch, or its one value where all are equal."""
    first = column[0]
    return (first,) if column[-1] is first and column.count(first) == len(column) else column


def read_late(path: str, patience: float) -> bytes:
    """The content of a file that was written whole on another host, and may be shown here a while later.

    Parameters
    ----------
    path
        The file.
    patience
        How many seconds to wait for it.

    Raises
    ------
    OSError
        It can't be read, even then, or belongs to somebody else.
    """
    end = time.monotonic() + patience
    while True:
        try:
            with open(path, "rb") as file:
                # What is in there may be run as code, and a directory above it may be one that others can write.
                if os.fstat(file.fileno()).st_uid not in (os.geteuid(), 0):
                    raise PermissionError(errno.EPERM, "it belongs to somebody else", path)
                data = file.read()
            # An empty one is there by name only, yet.
            if data or time.monotonic() > end:
                return data
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE) or time.monotonic() > end:
                raise
        time.sleep(_LATE_PAUSE)
        with suppress(OSError):
            # To open a directory makes NFS ask the server anew for what is in it.
            os.scandir(os.path.dirname(path)).close()


def _context(path: str, patience: float) -> SegmentContext:
    context = _CONTEXTS_READ.get(path)
    if context is None:
        context = pickle.loads(read_late(path, patience))
        while len(_CONTEXTS_READ) >= _CONTEXTS:
            del _CONTEXTS_READ[next(iter(_CONTEXTS_READ))]
        _CONTEXTS_READ[path] = context
    return context


def framed(result: TaskResult | None, *told: object) -> bytes:
    """One frame of a spool.

    Parameters
    ----------
    result
        Of the task that has ended.
    told
        Numbers to go with it.
    """
    data: bytes
    try:
        data = _pack((result, *told))
    except (TypeError, ValueError, OverflowError):  # there is no room in msgpack for all that a task may give
        data = pickle.dumps((result, *told), pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def unframed(data: bytes) -> Iterator[tuple[TaskResult | None, tuple[Any, ...], int]]:
    """The whole frames in a piece of a spool: result, what else was told, and where the frame ends."""
    start, whole = _LENGTH.size, len(data)
    while start <= whole:
        end = start + _LENGTH.unpack_from(data, start - _LENGTH.size)[0]
        if end > whole:
            return
        frame = data[start:end]
        if frame[0] == _PICKLED:
            told = pickle.loads(frame)
            result = told[0]
        else:
            told = _unpack(frame)
            result = None if told[0] is None else _result(told[0])
        yield result, told[1:], end
        start = end + _LENGTH.size


def _result(fields: Iterable[Any]) -> TaskResult:
    values = list(fields)
    values[1] = _STATUSES[values[1]]
    result = tuple.__new__(TaskResult, values)
    if result.parameters or result.messages:
        return result._replace(
            parameters=tuple(map(Parameter._make, result.parameters)),
            messages=tuple(map(LogRecord._make, result.messages)),
        )
    return result
