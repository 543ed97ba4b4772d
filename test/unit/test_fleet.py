"""The jobs of a batch server: each that is gone makes room for one other."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipelet.errors import LauncherError
from pipelet.executors.cluster import fleet as module
from pipelet.executors.cluster.fleet import Fleet, JobRecord
from pipelet.executors.cluster.members import Members
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.serverfile import Timings
from pipelet.executors.cluster.systems import State
from pipelet.executors.cluster.systems.local import Local


class Submitter:
    """Takes all jobs."""

    def __init__(self, directory: Path) -> None:
        self.jobs_dir = str(directory)
        self.submitted: list[JobRecord] = []

    def submit(self, options: JobOptions, generation: int = 0) -> JobRecord:
        number = len(self.submitted)
        record = JobRecord(f"melt-{number}", str(number), "/no/log", options, "run", "here", time.time(), generation)
        self.submitted.append(record)
        return record


@pytest.fixture
def submitter(tmp_path: Path) -> Submitter:
    return Submitter(tmp_path)


@pytest.fixture
def members(tmp_path: Path) -> Members:
    return Members(str(tmp_path / "workers"))


@pytest.fixture
def fleet(submitter: Any, members: Members, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(module, "_FAREWELL_SECONDS", 0.0)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    log = lambda level, text: said.append(text)  # noqa: E731
    made = Fleet(submitter, "run", members, Timings(), log, lambda: True, lambda text: None)
    made.begin(1, JobOptions("local"))
    return made


@pytest.fixture
def said() -> list[str]:
    """What the fleet's log says."""
    return []


def test_a_job_that_was_lost_twice_at_once_is_replaced_once(
    fleet: Fleet, submitter: Submitter, members: Members
) -> None:
    # Its worker was cut off, joined again, and was lost for good, all between two looks.
    for address in ("tls://1", "tls://2"):
        members.add(address, "melt-0", "node3", 1)
        members.remove(address)
    for _ in range(5):
        fleet._tick()
    assert [(record.name, record.generation) for record in submitter.submitted] == [("melt-0", 0), ("melt-1", 1)]


def test_a_job_that_has_ended_as_its_system_says_and_its_worker_is_replaced_once(
    fleet: Fleet, submitter: Submitter, members: Members
) -> None:
    members.add("tls://1", "melt-0", "node3", 1)
    members.remove("tls://1")
    record = submitter.submitted[0]
    gone = members.take_gone()
    fleet._farewells.append((time.monotonic(), record, gone[0]))
    fleet._look_at(record, State.ENDED)
    for _ in range(5):
        fleet._tick()
    assert len(submitter.submitted) == 2


def test_a_worker_that_comes_and_goes_between_two_looks_has_joined(
    fleet: Fleet, members: Members, said: list[str]
) -> None:
    members.add("tls://1", "melt-0", "node3", 2)
    members.remove("tls://1")
    fleet._tick()
    # Under the batch system's name for it, though it has not told that itself.
    assert "job 0 on node3 has joined with 2 slots" in said


def test_the_record_of_a_job_that_is_not_whole_yet_is_read_later(
    fleet: Fleet, submitter: Submitter, said: list[str]
) -> None:
    added = JobRecord("melt-x", "77", "/no/log", JobOptions("local"), "run", "elsewhere", time.time())
    path = Path(submitter.jobs_dir) / "melt-x.json"
    path.write_text("")
    for _ in range(3):
        fleet._tick()
    assert said == ["submitted jobs: 0"]
    added.write(submitter.jobs_dir)
    fleet._tick()
    assert "job 77 was added from elsewhere" in said


def test_a_record_that_can_never_be_read_is_told_once(fleet: Fleet, submitter: Submitter, said: list[str]) -> None:
    (Path(submitter.jobs_dir) / "melt-x.json").write_text("{")
    for _ in range(100):
        fleet._tick()
    assert [text for text in said if "melt-x" in text] == [
        "the record of job melt-x can't be read: it is not watched over"
    ]


def test_jobs_that_can_not_be_cancelled_in_the_end_are_told(
    fleet: Fleet, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(system: object, jobs: object) -> None:
        raise LauncherError("qdel: no answer within 20 s")

    monkeypatch.setattr(Local, "cancel", cancel)
    fleet.close()
    assert said[-1] == (
        "jobs 0 could not be cancelled, they will find no server and end by themselves: qdel: no answer within 20 s"
    )
