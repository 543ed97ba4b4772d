"""Slots in a process that was given to us: in a batch job, a Dask worker, a worker of any pool of processes or threads.

No task runs in that process itself. Each slot is a worker as local runs have them, so what a task does to its worker is
no different there: it is watched, captured and buried by the same code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.util
import os
import pickle
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from pipelet.core.calls import Batch, BatchResult, SegmentContext, TaskResult
from pipelet.errors import LauncherError
from pipelet.executors.cluster.systems import current_job_id
from pipelet.executors.process import ProcessExecutor
from pipelet.executors.wire import framed, read_late, unframed, unpack_batch
from pipelet.limits import Limits

#: How long a file that the server has written may take to be seen.
LATE_SECONDS = 60.0
#: Contexts whose own copies are remembered.
_CONTEXTS = 8
#: Of what is known to have gone wrong in a process only the beginning travels.
_TROUBLE_LENGTH = 2000


class Terms(NamedTuple):
    """What a run asks of all posts."""

    run: str  #: a name that no other run has
    limits: Limits
    path: tuple[str, ...]  #: ``sys.path`` of the workers
    tell_seconds: float  #: what is done of a long batch is told so often
    idle_seconds: float  #: a slot that has nothing to do for so long is given up


class Report(NamedTuple):
    """What came of a batch, or of a part of it."""

    frames: bytes  #: results, as `packed_results` makes them
    left: tuple[int, ...] = ()  #: tasks that were not begun
    running: int | None = None  #: the task that runs now, or that ran when the worker had to end
    trouble: str = ""  #: why this process can't run tasks
    worker: str = ""  #: which one it was, for people
    job: str | None = None  #: the batch system's id of the job that it is in


class Shift:
    """How long a process may take batches. This one has no end.

    Attributes
    ----------
    name
        The process, for people.
    job
        The batch system's id of the job that the process is in, if it is in one.
    """

    def __init__(self, name: str = "", job: str | None = None) -> None:
        self.name = name
        self.job = job

    def admit(self, batch: Batch) -> int:
        """How many tasks of a batch may begin."""
        return len(batch.calls)

    def ended(self, tasks: int) -> None:
        """Note that tasks have ended."""

    def give_up(self, why: str) -> None:
        """Note that this process can't run tasks."""


class Post:
    """Slots of one run in this process: as many as threads call `run` at once.

    Parameters
    ----------
    terms
        What the run asks.
    shift
        How long batches are taken.
    scratch
        Where directories for temporary files are made; the system's place if not given.
    """

    def __init__(self, terms: Terms, shift: Shift, scratch: str | None = None) -> None:
        self._terms = terms
        self._shift = shift
        self._scratch_dir = tempfile.mkdtemp(prefix="pipelet-", dir=scratch)
        # Workers die with the thread that has started them, and the threads that call us come and go.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="pipelet-starter")
        self._lock = threading.Lock()
        #: Held while a batch is begun, for what has half begun can't be ended.
        self._beginning = threading.Lock()
        self._idle: list[tuple[float, ProcessExecutor]] = []
        self._busy: set[ProcessExecutor] = set()
        self._count = 0
        self._contexts: dict[str, SegmentContext] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._prune, daemon=True, name="pipelet-post").start()

    @property
    def busy(self) -> int:
        """How many batches are under way."""
        return len(self._busy)

    def _report(self, results: Iterable[TaskResult], left: Sequence[int] = (), **more: Any) -> Report:
        """What goes back, with where it was done."""
        shift = self._shift
        frames = packed_results(result._replace(job=shift.job) for result in results)
        return Report(frames, tuple(left), worker=shift.name, job=shift.job, **more)

    def run(self, packed: bytes | str, tell: Callable[[Report], None]) -> Report:
        """Run a batch.

        Parameters
        ----------
        packed
            The batch, as `BatchPacker` makes it, or the file where that is.
        tell
            Gets what is done of a long batch before it has ended; these results are in what is returned as well.
        """
        data = read_late(packed, LATE_SECONDS) if isinstance(packed, str) else packed
        batch = unpack_batch(data, LATE_SECONDS)
        number = 0 if self._closed.is_set() else self._shift.admit(batch)
        refused = tuple(call.id for call in batch.calls[number:])
        if not number:
            return self._report((), refused)
        batch = batch._replace(context=self._local(batch.context), calls=batch.calls[:number])
        executor = self._take()
        try:
            report = self._run(executor, batch, tell)
        except LauncherError as error:
            self._shift.give_up(str(error))
            report = self._report((), [call.id for call in batch.calls], trouble=str(error)[:_TROUBLE_LENGTH])
        finally:
            self._give_back(executor)
        self._shift.ended(len(batch.calls) - len(report.left))
        return report._replace(left=report.left + refused)

    def _run(self, executor: ProcessExecutor, batch: Batch, tell: Callable[[Report], None]) -> Report:
        with self._beginning:
            if self._closed.is_set():
                return self._report((), [call.id for call in batch.calls])
            future = self._starter.submit(_submit, executor, batch).result()
        results: list[TaskResult] = []
        running: int | None = None
        while not wait([future], self._terms.tell_seconds).done:
            news = executor.partial(future)
            results += news
            before, running = running, executor.running(future)
            if not news and running == before:
                continue
            tell(self._report(news, running=running))
        last = future.result()
        results += last.results
        cut = running if self._closed.is_set() and running in last.left else None
        if self._closed.is_set() and cut is None and last.left:
            # It was too short to be told of; the first that did not end is the one that ran.
            cut = last.left[0]
        return self._report(results, last.left, running=cut)

    def close(self) -> None:
        """End the workers, also those that run a task; what they have done is still returned by `run`."""
        self._closed.set()
        with self._beginning, self._lock:
            executors = [*self._busy, *(executor for _, executor in self._idle)]
            self._idle.clear()
        for executor in executors:
            executor.close(kill=True)
        self._starter.shutdown(wait=False)
        shutil.rmtree(self._scratch_dir, ignore_errors=True)

    def _take(self) -> ProcessExecutor:
        with self._lock:
            if self._idle:
                executor = self._idle.pop()[1]
            else:
                place = os.path.join(self._scratch_dir, str(self._count))
                self._count += 1
                os.makedirs(place)
                executor = ProcessExecutor(1, place, self._terms.limits, self._terms.path)
            self._busy.add(executor)
        return executor

    def _give_back(self, executor: ProcessExecutor) -> None:
        with self._lock:
            self._busy.discard(executor)
            if not self._closed.is_set():
                self._idle.append((time.monotonic(), executor))
                return
        executor.close(kill=True)

    def _prune(self) -> None:
        """End slots that were idle for long: in a pool of somebody else nobody tells us that the run is over."""
        pause = min(10.0, self._terms.idle_seconds / 4)
        while not self._closed.wait(pause):
            old = time.monotonic() - self._terms.idle_seconds
            with self._lock:
                given_up = [executor for since, executor in self._idle if since < old]
                self._idle = [item for item in self._idle if item[0] >= old]
            for executor in given_up:
                executor.close()

    def _local(self, context: SegmentContext) -> SegmentContext:
        """A segment's context with temporary files on this host."""
        with self._lock:
            known = self._contexts.get(context.name)
            if known is None:
                while len(self._contexts) >= _CONTEXTS:
                    del self._contexts[next(iter(self._contexts))]
                scratch = os.path.join(self._scratch_dir, "tmp")
                known = self._contexts[context.name] = dataclasses.replace(
                    context, scratch_dir=scratch, lateness=LATE_SECONDS
                )
            return known


def _submit(executor: ProcessExecutor, batch: Batch) -> Future[BatchResult]:
    """Begin a batch, also where Python would let no process be started."""
    # Pools mark their processes as daemons, which must have no children since these could outlive them. Ours can't.
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    daemon = config.get("daemon")
    config["daemon"] = False
    try:
        return executor.submit(batch)
    finally:
        config["daemon"] = daemon


class Posts:
    """The posts of this process, one for each run.

    Attributes
    ----------
    shift
        How long batches are taken.
    scratch
        Where temporary files go.
    """

    def __init__(self) -> None:
        self.shift = Shift(job=current_job_id())
        self.scratch: str | None = None
        self._lock = threading.Lock()
        self._posts: dict[str, Post] = {}
        self._open = True

    def at(self, terms_path: str) -> Post | None:
        """The post of the run that has put down its terms in a file; ``None`` once all were ended.

        Raises
        ------
        OSError
            The file can't be read: the run is over, or its prefix is not seen here.
        """
        with self._lock:
            post = self._posts.get(terms_path)
            if post is not None or not self._open:
                return post
        # Without the lock, since that may take a minute, in which others want to know what is busy, or end all.
        terms = pickle.loads(read_late(terms_path, LATE_SECONDS))
        with self._lock:
            post = self._posts.get(terms_path)
            if post is None and self._open:
                if not self._posts:
                    # A pool's process waits for its threads when it ends, and ours for their workers.
                    multiprocessing.util.Finalize(self, self.close, exitpriority=100)
                post = self._posts[terms_path] = Post(terms, self.shift, self.scratch)
            return post

    def open(self) -> None:
        """Take batches again after `close`."""
        with self._lock:
            self._open = True

    def close(self, terms_path: str | None = None) -> None:
        """End the post of a run; or all of them, and take no batch from then on."""
        with self._lock:
            self._open = self._open and terms_path is not None
            paths = list(self._posts) if terms_path is None else [terms_path]
            posts = [self._posts.pop(path) for path in paths if path in self._posts]
        for post in posts:
            post.close()

    @property
    def busy(self) -> int:
        """How many batches are under way."""
        with self._lock:
            return sum(post.busy for post in self._posts.values())


#: A process has one set of them; functions that somebody's pool calls have nothing else to hold on to.
POSTS = Posts()


def run_at_post(terms_path: str, packed: bytes | str, tell: Callable[[Report], None] | None = None) -> Report:
    """Run a batch in the process that calls this. The function that goes to pools.

    Parameters
    ----------
    terms_path
        Where the run has put down its terms.
    packed
        The batch, or the file where it is.
    tell
        As for `Post.run`.
    """
    try:
        post = POSTS.at(terms_path)
        return Report(b"") if post is None else post.run(packed, tell or _nobody)
    except OSError as error:
        why = f"the run's files can't be read in a worker, or its own not be written: {error}"
        # It would hand back one batch after the other, and faster than others do any work.
        POSTS.shift.give_up(why)
        return Report(b"", trouble=why, worker=POSTS.shift.name, job=POSTS.shift.job)


def _nobody(report: Report) -> None:
    """Nobody wants to know before the end."""


def packed_results(results: Iterable[TaskResult]) -> bytes:
    """Bytes of results, for `unpacked_results`."""
    return b"".join(framed(result) for result in results)


def unpacked_results(data: bytes) -> Sequence[TaskResult]:
    """The results of which `packed_results` made these bytes."""
    return [result for result, _, _ in unframed(data) if result is not None]


def end_posts(terms_path: str) -> None:
    """End what a run has left in the process that calls this."""
    with contextlib.suppress(OSError):
        POSTS.close(terms_path)
