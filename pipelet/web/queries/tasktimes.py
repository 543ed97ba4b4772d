"""When the tasks of each version ran, held in memory as columns: 26 bytes a task, and only what was asked for lately.

A picture of the time must come at once, also of a million tasks. So their times are read in pieces, for a fraction of a
second at each visit, and kept until the records change.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelet.statusdb import InstanceRow, Reader
from pipelet.statusdb.timing import Times, revisions, times

#: So long may reading take at one visit, in seconds.
READ_SECONDS = 0.6
#: So many tasks are held, of all pipelines; of a pipeline with more tasks a part is read.
MOST_TASKS = 4_000_000
MOST_OF_PIPELINE = 2_000_000
#: While a run goes on, what took a second to read is used for so many seconds.
PATIENCE = 20.0

Floats = npt.NDArray[np.float64]


class Columns(NamedTuple):
    """When tasks ran: one entry a task."""

    ids: npt.NDArray[np.int64]
    begun: Floats
    ended: Floats  #: not a number while it runs
    host: npt.NDArray[np.int32]  #: a number of `TaskTimes.hosts`


class Known(NamedTuple):
    """What is known of some versions."""

    columns: dict[int, Columns]  #: by the instance's id
    missing: int  #: of so many versions not all was read yet
    read: int  #: so many tasks were read
    total: int  #: of about so many
    as_of: float  #: the oldest moment at which any of it was read
    every: int  #: one task of so many was read
    state: tuple[tuple[int, float], ...]  #: the same as long as all the rest is


@dataclass
class _Held:
    key: str
    every: int
    begun_reading: float
    revision: int
    after: int = 0
    took: float = 0.0
    pieces: list[Columns] = field(default_factory=list)
    whole: Columns | None = None
    size: int = 0


class TaskTimes:
    """The times of tasks, of all pipelines that somebody looks at."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self._host_numbers: dict[str | None, int] = {}
        self._lock = threading.Lock()
        #: What was read to the end, and what is being read; the last one used is at the end.
        self._read: dict[tuple[str, int], _Held] = {}
        self._reading: dict[tuple[str, int], _Held] = {}

    def of(self, reader: Reader, rows: Sequence[InstanceRow]) -> Known:
        """Give the times of the tasks of some versions, as far as they can be read at once.

        Parameters
        ----------
        reader
            The database.
        rows
            The versions.
        """
        counts = reader.tally([row.id for row in rows])
        total = sum(sum(count.values()) for count in counts.values())
        every = max(1, -(-total // MOST_OF_PIPELINE))
        now = revisions(reader)
        if self._lock.acquire(timeout=READ_SECONDS):
            try:
                self._load(reader, rows, every, now)
                self._make_room({(reader.sqlfile, row.id) for row in rows})
            finally:
                self._lock.release()
        columns: dict[int, Columns] = {}
        state, missing, as_of = [], 0, time.time()
        for row in rows:
            held = self._read.get((reader.sqlfile, row.id))
            if held is None or held.key != row.key or held.whole is None:
                missing += 1
                continue
            columns[row.id] = held.whole
            state.append((row.id, held.begun_reading))
            if held.revision != now.get(row.id, 0):
                as_of = min(as_of, held.begun_reading)
        reading = [self._reading.get((reader.sqlfile, row.id)) for row in rows if row.id not in columns]
        done = sum(len(part.ids) for part in columns.values()) + sum(held.size for held in reading if held)
        return Known(columns, missing, done * every, total, as_of, every, tuple(state))

    def _load(self, reader: Reader, rows: Iterable[InstanceRow], every: int, now: dict[int, int]) -> None:
        until = time.monotonic() + READ_SECONDS
        for row in rows:
            place = (reader.sqlfile, row.id)
            held = self._read.pop(place, None)
            if held is not None:
                self._read[place] = held
                fresh = held.revision == now.get(row.id, 0) or time.time() - held.begun_reading < PATIENCE * held.took
                if held.key == row.key and held.every == every and fresh:
                    continue
            reading = self._reading.get(place)
            if reading is None or reading.key != row.key or reading.every != every:
                reading = _Held(row.key, every, time.time(), now.get(row.id, 0))
            begun = time.monotonic()
            done = self._go_on(reader, row.id, reading, until)
            reading.took += time.monotonic() - begun
            if done:
                self._reading.pop(place, None)
                self._read[place] = reading
            else:
                self._reading[place] = reading
                return

    def _go_on(self, reader: Reader, instance: int, reading: _Held, until: float) -> bool:
        """Read on until the end, or until the time is over; tell whether it is the end."""
        while True:
            piece = times(reader, instance, reading.after, reading.every)
            if piece is None:
                parts = reading.pieces or [self._columns([])]
                reading.whole = Columns._make(np.concatenate(column) for column in zip(*parts, strict=True))
                reading.pieces = []
                return True
            reading.after = piece[0]
            reading.pieces.append(self._columns(piece[1]))
            reading.size += len(piece[1])
            if time.monotonic() > until:
                return False

    def _columns(self, rows: list[Times]) -> Columns:
        ids, begun, ended, hosts = zip(*rows, strict=True) if rows else ((), (), (), ())
        for host in set(hosts) - self._host_numbers.keys():
            self._host_numbers[host] = len(self.hosts)
            self.hosts.append(host or "unknown")
        return Columns(
            np.array(ids, np.int64), np.array(begun, np.float64), np.array(ended, np.float64),
            np.array([self._host_numbers[host] for host in hosts], np.int32),
        )

    def _make_room(self, in_use: set[tuple[str, int]]) -> None:
        total = sum(held.size for held in (*self._read.values(), *self._reading.values()))
        for place in [*self._reading, *self._read]:
            if total <= MOST_TASKS:
                return
            if place not in in_use:
                for held in (self._reading.pop(place, None), self._read.pop(place, None)):
                    total -= held.size if held else 0
