"""Runs batches in any pool with the interface of `concurrent.futures.Executor` (PEP 3148)."""

from __future__ import annotations

from concurrent.futures import CancelledError, Executor, Future
from functools import partial

from pipelet.errors import LauncherError
from pipelet.executors.far import FarExecutor
from pipelet.executors.post import Report, end_posts, run_at_post
from pipelet.limits import Limits


class PoolExecutor(FarExecutor):
    """Sends batches to somebody's pool, which is not shut down at the end.

    Parameters
    ----------
    pool
        The pool; its workers see the prefix and can import Pipelet.
    workers
        How many of them there are.
    engine_dir, limits
        As for `FarExecutor`.
    """

    def __init__(self, pool: Executor, workers: int, engine_dir: str, limits: Limits) -> None:
        super().__init__(engine_dir, limits)
        self._pool = pool
        self._count_of_workers = workers

    @property
    def _workers(self) -> int:
        return self._count_of_workers

    def _send(self, number: int, packed: bytes | str) -> None:
        try:
            future = self._pool.submit(run_at_post, self.terms_path, packed)
        except Exception as error:  # a pool may raise what it likes
            raise LauncherError(f"the pool takes no more tasks: {type(error).__name__}: {error}") from error
        future.add_done_callback(partial(self._done, number))

    def close(self, kill: bool = False) -> None:
        """Let go of batches under way, and end what the run has left in threads of this process."""
        end_posts(self.terms_path)
        super().close(kill)

    def _done(self, number: int, future: Future[Report]) -> None:
        try:
            report = future.result()
        except CancelledError:
            self._broken(number, LauncherError("the pool was shut down before the run was over"))
        except BaseException as error:  # whatever it is, the run must hear of it
            self._broken(number, LauncherError(f"the pool could not run a batch: {type(error).__name__}: {error}"))
        else:
            self._landed(number, report)
