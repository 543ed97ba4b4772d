"""How many tasks of a segment go to a worker at once."""

from __future__ import annotations

from typing import Any, cast

from pipelet.segmentrun import BATCH_TASKS, SegmentRun
from pipelet.statusdb import QueuedTask


def waiting(number: int, *seconds: float) -> SegmentRun:
    """A segment with so many tasks that wait, of which some took so long."""
    run = SegmentRun("a", 0, cast(Any, None))
    run.queue.extend([QueuedTask(task, b"", 1, "", None, "", task) for task in range(number)])
    if seconds:
        run.measure(seconds)
    return run


def test_a_segment_that_never_ran_sends_one_task() -> None:
    assert waiting(100).batch_size(2, 0.2) == 1


def test_a_batch_lasts_as_long_as_it_should() -> None:
    assert waiting(4000, 0.05).batch_size(2, 0.5) == 9
    assert waiting(4000, 10.0).batch_size(2, 0.5) == 1
    assert waiting(4000, 1e-6).batch_size(1, 0.5) == BATCH_TASKS


def test_few_tasks_are_shared_out_until_less_than_a_part_of_a_batch_is_left() -> None:
    # a fair share of what takes longer
    assert waiting(24, 0.05).batch_size(2, 0.5) == 6
    # forty of these are no work: the first slot has them all, where a fair share would be ten, then eight, and so on
    assert waiting(40, 1e-4).batch_size(2, 0.5) >= 40
    # of long tasks none waits behind another
    assert waiting(3, 0.3).batch_size(2, 0.5) == 1


def test_tasks_that_differ_much_go_one_by_one() -> None:
    run = waiting(4000, *[0.01] * 99, 3.0)
    assert run.batch_size(2, 0.2) == 1
