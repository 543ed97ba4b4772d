"""When a worker in a job stops to take tasks: near its walltime, after so many tasks, or with nothing to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pipelet.core.calls import Batch
from pipelet.executors.post import Shift

#: A task may take so many times what the longest one took.
_CAUTION = 1.2
#: A shift with this part of it left is as good as a new one: what does not fit in it fits in none.
_AS_NEW = 0.9


class JobShift(Shift):
    """The shift of a worker in a job.

    Parameters
    ----------
    name
        The process, for people.
    job
        The batch system's id of the job; ``None`` where there is none.
    seconds
        How long tasks may begin; ``None``: as long as there are some.
    tasks
        How many tasks may run; ``None``: as many as there are.
    clock
        Gives seconds.

    Attributes
    ----------
    over
        Set when nothing more begins.
    why
        Then: what the reason is.
    """

    def __init__(
        self,
        name: str,
        job: str | None,
        seconds: float | None,
        tasks: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, job)
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds
        self._as_new = _AS_NEW * (seconds or 0.0)
        self._left = tasks
        self._lock = threading.Lock()
        self._fresh = True
        self._last = clock()
        self.over = threading.Event()
        self.why = ""
        self.broken = False

    def admit(self, batch: Batch) -> int:
        """How many tasks of a batch may begin: none from the moment on when the shift is over."""
        with self._lock:
            self._last = self._clock()
            if self.over.is_set():
                return 0
            left = None if self._end is None else self._end - self._last
            # A worker that has run nothing takes what comes. In one that is as good as new all slots do, and one task
            # that was as long as a job does not make each job end after its first batch.
            if left is not None and not self._fresh and min(batch.longest * _CAUTION, self._as_new) > left:
                self._finish(f"a task of {batch.longest:.0f} s does not fit before its walltime")
                return 0
            number = len(batch.calls)
            if self._left is not None:
                number = min(number, self._left)
                self._left -= number
                if not number:
                    self._finish("it has run as many tasks as it should")
                    return 0
            self._fresh = False
            return number

    def ended(self, tasks: int) -> None:
        """Note that tasks have ended."""
        with self._lock:
            self._last = self._clock()
            if self._left == 0:
                self._finish("it has run as many tasks as it should")

    def give_up(self, why: str) -> None:
        """Note that this job can't run tasks."""
        with self._lock:
            self.broken = True
            self._finish(why)

    def look(self, busy: bool, idle_seconds: float) -> None:
        """End the shift when its time is over, or when nothing came for long."""
        with self._lock:
            now = self._clock()
            if busy:
                self._last = now
            if self._end is not None and now >= self._end:
                self._finish("its walltime is near")
            elif now - self._last > idle_seconds:
                self._finish(f"there was nothing to do for {idle_seconds:.0f} s")

    def _finish(self, why: str) -> None:
        if not self.over.is_set():
            self.why = why
            self.over.set()
