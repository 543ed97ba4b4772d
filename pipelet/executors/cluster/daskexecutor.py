"""Runs batches on Dask workers: one Dask future is one batch.

What is done comes as events, also what is done in the end: events and the news that a future is done take the same way,
one after the other, so a result that a worker has told is ours whatever becomes of that worker then.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from pipelet.errors import LauncherError
from pipelet.executors.far import FarExecutor
from pipelet.executors.post import LATE_SECONDS, POSTS, Report, end_posts, run_at_post
from pipelet.executors.wire import read_late, write_whole
from pipelet.limits import Limits

#: Seconds of work in a batch, which costs server and worker some milliseconds here.
_BATCH_SECONDS = 0.5
#: More than that does not travel as an event, but lies in a file.
_LARGE = 1_000_000
#: How long workers of somebody's cluster may take to end what the run has left in them.
_END_SECONDS = 10.0


class DaskExecutor(FarExecutor):
    """Sends batches to the workers of a Dask cluster.

    Parameters
    ----------
    client
        A `distributed.Client`.
    workers
        Tells how many threads the workers have together.
    name_of
        Gives the name of a worker, for people, from what Dask knows of it.
    engine_dir, limits
        As for `FarExecutor`.
    """

    def __init__(
        self,
        client: Any,
        workers: Callable[[], int],
        name_of: Callable[[Any], str],
        engine_dir: str,
        limits: Limits,
    ) -> None:
        self._client = client
        self._threads = workers
        super().__init__(engine_dir, limits)
        self._name_of = name_of
        self._topic = f"pipelet-{self.terms.run}"
        self._futures: dict[int, Any] = {}
        self._futures_lock = threading.Lock()
        self._closed = False
        client.subscribe_topic(self._topic, self._hear)

    _announces = True

    @property
    def _workers(self) -> int:
        return self._threads()

    @property
    def batch_seconds(self) -> float:
        """The more workers there are, the longer a batch: the server can take only so many of them in a second."""
        return max(_BATCH_SECONDS, self._threads() / BATCHES_PER_SECOND)

    def _send(self, number: int, packed: bytes | str) -> None:
        future = self._client.submit(
            run_on_worker, self.terms_path, self._topic, number, packed, self._flying[number].announced,
            key=f"{self._topic}-{number}", pure=False, retries=0,
        )
        with self._futures_lock:
            self._futures[number] = future
        future.add_done_callback(partial(self._done, number))

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        frames = message["frames"]
        if isinstance(frames, str):
            path = frames
            frames = read_late(path, LATE_SECONDS)
            with contextlib.suppress(OSError):
                os.unlink(path)
        report = Report(**message["report"])
        report = report._replace(frames=frames, left=tuple(report.left))
        if message["last"]:
            self._let_go(message["number"])
            self._landed(message["number"], report)
        else:
            self._told(message["number"], report)

    def _let_go(self, number: int) -> None:
        """Tell Dask that nobody wants a batch any more: or it would run again, should its worker be lost right now."""
        with self._futures_lock:
            future = self._futures.pop(number, None)
        if future is not None:
            future.release()

    def _done(self, number: int, future: Any) -> None:
        with self._futures_lock:
            self._futures.pop(number, None)
            if self._closed or number not in self._flying:
                return
        if future.status == "finished":
            # Its last report has come before; without one nobody knows what it did.
            self._lost(number, "its report was lost")
        elif future.status == "error":
            self._erred(number, future.exception())
        else:
            self._broken(number, LauncherError("the Dask scheduler is gone, or has let go of the run's batches"))

    def _erred(self, number: int, error: BaseException) -> None:
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            self._lost(number, f"{self._name_of(error.last_worker)} was lost")
            return
        words = f"a Dask worker can't run Pipelet's batches: {type(error).__name__}: {error}"
        self._broken(number, LauncherError(f"{words} (are Pipelet and Python the same there?)"))

    def close(self, kill: bool = False) -> None:
        """Let go of batches under way, and end what the run has left in the workers."""
        self._closed = True
        with self._futures_lock:
            futures, self._futures = list(self._futures.values()), {}
        with contextlib.suppress(Exception):  # the scheduler may be gone
            if futures:
                self._client.cancel(futures)
            self._client.unsubscribe_topic(self._topic)
        self._end_posts()
        super().close(kill)

    def _end_posts(self) -> None:
        with contextlib.suppress(Exception):  # the same
            self._client.sync(self._client._run, end_posts, self.terms_path, callback_timeout=_END_SECONDS)


#: So many batches in a second leave the server time for its other work.
BATCHES_PER_SECOND = 50.0


def run_on_worker(terms_path: str, topic: str, number: int, packed: bytes | str, announced: bool) -> None:
    """Run a batch in a Dask worker; its results go out as events.

    Parameters
    ----------
    terms_path
        Where the run has put down its terms.
    topic
        Of the events.
    number
        Of the batch.
    packed
        The batch, or the file where it is.
    announced
        Whether to tell at once that it has begun.
    """
    from distributed import get_worker

    worker = get_worker()

    def tell(report: Report, last: bool = False) -> None:
        frames: bytes | str = report.frames
        if len(frames) > _LARGE:
            path = os.path.join(os.path.dirname(terms_path), f"results-{number}-{os.getpid()}")
            with contextlib.suppress(OSError):
                write_whole(path, report.frames)
                frames = path
        # On their own, for Dask puts names of its own among those of a message.
        fields = report._replace(frames=b"")._asdict()
        worker.log_event(topic, {"number": number, "last": last, "frames": frames, "report": fields})

    if announced:
        tell(Report(b"", worker=POSTS.shift.name or worker.address, job=POSTS.shift.job))
    tell(run_at_post(terms_path, packed, tell), True)
