"""How much room the instances take: measured in the background, gently, and kept for the next start of the server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from pipelet.errors import PipeletError
from pipelet.statusdb import InstanceRow, Reader
from pipelet.statusdb.deleting import revisions
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.files import encode, write_atomic
from pipelet.storage.names import segment_of
from pipelet.storage.sizes import measure

#: Somebody who looks at a page makes it measured again after so many seconds at the earliest.
AGAIN = 20.0
#: The file is written after so many seconds of measuring at the latest.
_KEEP = 10.0
_PAUSE = 0.002
_NICE = 10


class Size(NamedTuple):
    """What an instance takes on the disk, without those that live below it."""

    bytes: int
    files: int
    measured_at: float


class _Known(NamedTuple):
    size: Size
    key: str
    state: str  #: another one when something has changed since


class _Place:
    """The sizes of one prefix."""

    def __init__(self, tree: Tree, sqlfile: str) -> None:
        self.tree = tree
        self.sqlfile = sqlfile
        self.known = _read(tree)
        self.looked = float("-inf")


class Measurer:
    """Measures one prefix after the other, in a thread of its own that is started when somebody asks."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], _Place] = {}
        self._todo: list[_Place] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def of(self, tree: Tree, sqlfile: str) -> dict[int, Size]:
        """Give what is known, at once; what is old is measured again in the background.

        Parameters
        ----------
        tree, sqlfile
            The prefix and its database.

        Returns
        -------
        dict
            From the id of each instance that was measured.
        """
        with self._lock:
            place = self._places.get((tree.prefix, sqlfile))
            if place is None:
                place = self._places[tree.prefix, sqlfile] = _Place(tree, sqlfile)
            if time.monotonic() - place.looked > AGAIN and place not in self._todo:
                self._todo.append(place)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, daemon=True, name="pipelet-sizes")
                    self._thread.start()
            return {number: item.size for number, item in place.known.items()}

    def wait(self, seconds: float) -> bool:
        """Wait until there is nothing to measure; tell whether that is so."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return self._thread is None

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            # On Linux this is the thread's alone.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._lock:
                if not self._todo:
                    self._thread = None
                    return
                place = self._todo[0]
            # A prefix that can't be read now is looked at again when somebody asks.
            with contextlib.suppress(PipeletError, OSError):
                _look(place)
            with self._lock:
                place.looked = time.monotonic()
                self._todo.remove(place)


def _look(place: _Place) -> None:
    with Reader.open(place.sqlfile) as reader:
        rows = reader.instances()
        changes = revisions(reader)
    keys = {row.id: row.key for row in rows}
    known = {number: item for number, item in place.known.items() if keys.get(number) == item.key}
    if known != place.known:
        place.known = known
    running = _is_running(place.tree)
    written = time.monotonic()
    changed = False
    for row in rows:
        old = place.known.get(row.id)
        state = _state(place.tree, row, changes.get(row.id, 0))
        if old is not None and (old.state == state or running):
            continue
        size = measure([place.tree.absolute(row.path)], _pause, _is_instance)
        item = _Known(Size(size.bytes, size.files, time.time()), row.key, state)
        place.known = {**place.known, row.id: item}
        changed = True
        if time.monotonic() - written > _KEEP:
            _write(place)
            written, changed = time.monotonic(), False
    if changed:
        _write(place)


def _pause() -> None:
    time.sleep(_PAUSE)


def _is_instance(name: str) -> bool:
    return segment_of(name) is not None


def _is_running(tree: Tree) -> bool:
    holder = PrefixLock(tree.lock_path).holder()
    return holder is not None and holder.alive


def _state(tree: Tree, row: InstanceRow, revision: int) -> str:
    """What is another one when tasks have changed, or when somebody has deleted data."""
    directory = tree.absolute(row.path)
    moments = []
    for name in (f"{row.segment}.meta", "data", "superseded"):
        try:
            moments.append(os.stat(os.path.join(directory, name)).st_mtime_ns)
        except OSError:
            moments.append(0)
    return f"{revision} {row.journal_end} {' '.join(map(str, moments))}"


def _file(tree: Tree) -> str:
    cache = os.environ.get("XDG_CACHE_HOME", "")
    folder = cache if os.path.isabs(cache) else os.path.join(os.path.expanduser("~"), ".cache")
    name = hashlib.sha256(os.fsencode(tree.prefix)).hexdigest()[:24]
    return os.path.join(folder, "pipelet", f"sizes-{name}.json")


def _read(tree: Tree) -> dict[int, _Known]:
    # What is lost is measured again.
    try:
        with open(_file(tree), encoding="utf-8") as file:
            table = json.load(file)
        return {
            int(number): _Known(Size(int(size[0]), int(size[1]), float(size[2])), str(key), str(state))
            for number, (size, key, state) in table["instances"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return {}


def _write(place: _Place) -> None:
    table = {"prefix": place.tree.prefix, "instances": {str(number): item for number, item in place.known.items()}}
    file = _file(place.tree)
    with contextlib.suppress(OSError, PipeletError):
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        write_atomic(file, encode(json.dumps(table)), False)


MEASURER = Measurer()


def of(tree: Tree, sqlfile: str) -> dict[int, Size]:
    """Give the sizes of the instances that were measured, without waiting; see `Measurer.of`."""
    return MEASURER.of(tree, sqlfile)


def total(sizes: Iterable[Size]) -> Size | None:
    """Add up sizes; the moment is that of the oldest."""
    listed = list(sizes)
    if not listed:
        return None
    return Size(
        sum(size.bytes for size in listed), sum(size.files for size in listed), min(size.measured_at for size in listed)
    )
