"""What a task has to do with the loss of the worker that had it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelet.core.calls import Batch, BatchResult, SegmentContext, TaskCall
from pipelet.executors.far import STRIKES, FarExecutor
from pipelet.executors.post import Report
from pipelet.limits import Limits

CONTEXT = SegmentContext("a", "a", (), "pushed", ("a.py", b""), {}, "/i", "/c", "/l", "/s", True)


class Workers(FarExecutor):
    """Those that can tell that they have begun."""

    _workers = 2
    _announces = True

    def _send(self, number: int, packed: bytes | str) -> None:
        self.last = number


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return Workers(str(tmp_path), Limits())


def lose(workers: Workers, *tasks: int, begun: bool = False) -> BatchResult:
    """Lose a worker with a batch of these tasks."""
    future = workers.submit(Batch(CONTEXT, tuple(TaskCall(task, "", "/d", "", ()) for task in tasks)))
    if begun:
        workers._told(workers.last, Report(b"", worker="job 1 on node3"))
    workers._lost(workers.last, "job 1 on node3 was lost")
    return future.result(0)


def test_a_task_that_had_not_begun_is_not_to_blame(workers: Workers) -> None:
    assert lose(workers, 1, 2).left == (1, 2), "each of them may have been it"
    for _ in range(STRIKES - 2):
        assert lose(workers, 1, begun=True).left == (1,)
        assert lose(workers, 2).left == (2,)
    assert [result.id for result in lose(workers, 1, begun=True).results] == [1]
    assert lose(workers, 2).left == (2,)


def test_nothing_is_tried_for_ever_where_no_word_comes_through(workers: Workers) -> None:
    tries = 1
    while not lose(workers, 1).results:
        tries += 1
        assert tries < 10
    assert tries == 2 * STRIKES
