"""The jobs of a batch server: each that is gone makes room for one other."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipelet.executors.cluster import fleet as module
from pipelet.executors.cluster.fleet import Fleet, JobRecord
from pipelet.executors.cluster.members import Members
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.serverfile import Timings
from pipelet.executors.cluster.systems import State


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
def fleet(submitter: Any, members: Members, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(module, "_FAREWELL_SECONDS", 0.0)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    made = Fleet(submitter, "run", members, Timings(), lambda level, text: None, lambda: True, lambda text: None)
    made.begin(1, JobOptions("local"))
    return made


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
