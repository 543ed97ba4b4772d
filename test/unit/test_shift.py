"""When a worker in a job takes no more tasks."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from pipelet.core.calls import Batch, SegmentContext, TaskCall
from pipelet.executors.cluster.shift import JobShift


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def batch(tasks: int, longest: float = 0.0) -> Batch:
    context = SegmentContext(
        "a", "a", (), "pushed", ("a.py", b""), MappingProxyType({}), "/i", "/c", "/l", "/s", True
    )
    calls = tuple(TaskCall(number, "", "/d", "", ()) for number in range(tasks))
    return Batch(context, calls, longest=longest)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_limits_all_is_taken(clock: Clock) -> None:
    shift = JobShift("job 1 on node3", "1", None, None, clock)
    for _ in range(3):
        assert shift.admit(batch(5, longest=1e6)) == 5
        clock.now += 1e6
        shift.look(True, 1e9)
    assert not shift.over.is_set()
    assert (shift.name, shift.job) == ("job 1 on node3", "1")


def test_a_task_that_does_not_fit_is_left_to_others_but_for_the_first(clock: Clock) -> None:
    shift = JobShift("", None, 50, None, clock)
    # What does not fit in a fresh job fits in none.
    assert shift.admit(batch(2, longest=90)) == 2
    clock.now += 20
    assert shift.admit(batch(2, longest=24)) == 2, "30 s are left, and 24 s may become 28.8"
    clock.now += 1
    assert shift.admit(batch(2, longest=25)) == 0
    assert shift.over.is_set()
    assert shift.why == "a task of 25 s does not fit before its walltime"
    assert shift.admit(batch(1)) == 0


def test_what_fits_in_no_job_is_taken_by_all_slots_of_a_new_one(clock: Clock) -> None:
    shift = JobShift("", None, 50, None, clock)
    for _ in range(8):
        assert shift.admit(batch(1, longest=45)) == 1
        clock.now += 0.25
    clock.now += 45
    shift.ended(1)
    assert shift.admit(batch(1, longest=45)) == 0


def test_one_task_as_long_as_a_job_does_not_end_all_after_their_first_batch(clock: Clock) -> None:
    shift = JobShift("", None, 3000, None, clock)
    for _ in range(100):
        assert shift.admit(batch(20, longest=2900)) == 20
        clock.now += 2
        shift.ended(20)
    clock.now += 101
    assert shift.admit(batch(20, longest=2900)) == 0


def test_near_the_walltime_it_is_over(clock: Clock) -> None:
    shift = JobShift("", None, 50, None, clock)
    clock.now += 49.9
    shift.look(True, 600)
    assert not shift.over.is_set()
    clock.now += 0.1
    shift.look(True, 600)
    assert shift.why == "its walltime is near"


def test_so_many_tasks_and_no_more(clock: Clock) -> None:
    shift = JobShift("", None, None, 7, clock)
    assert (shift.admit(batch(5)), shift.admit(batch(5))) == (5, 2)
    assert not shift.over.is_set(), "what was taken runs still"
    shift.ended(5)
    assert shift.admit(batch(1)) == 0
    assert shift.why == "it has run as many tasks as it should"


def test_with_nothing_to_do_it_is_over_but_not_while_something_runs(clock: Clock) -> None:
    shift = JobShift("", None, None, None, clock)
    shift.admit(batch(1))
    for _ in range(5):
        clock.now += 8
        shift.look(True, 10)
    clock.now += 10
    shift.look(False, 10)
    assert not shift.over.is_set()
    clock.now += 0.1
    shift.look(False, 10)
    assert shift.why == "there was nothing to do for 10 s"


def test_who_can_run_no_task_gives_up_and_the_first_reason_stands(clock: Clock) -> None:
    shift = JobShift("", None, 50, None, clock)
    shift.give_up("no loky")
    clock.now += 60
    shift.look(False, 10)
    assert (shift.broken, shift.why) == (True, "no loky")
