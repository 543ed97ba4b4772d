"""The jobs of a batch server: each that is gone makes room for one other."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipelet.errors import LauncherError
from pipelet.executors.cluster import fleet as module
from pipelet.executors.cluster.fleet import Fleet
from pipelet.executors.cluster.members import Members
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.serverfile import Timings
from pipelet.executors.cluster.submitter import JobRecord
from pipelet.executors.cluster.submitter import Submitter as RealSubmitter
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
    def log(level: int, text: str) -> None:
        said.append(text)

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


def end(fleet: Fleet) -> None:
    """As a run does, with the end of the server in between."""
    fleet.stop()
    fleet.cancel()


@pytest.mark.parametrize("raised", [False, True])
def test_jobs_that_can_not_be_cancelled_in_the_end_are_told_and_stay_on_record(
    fleet: Fleet, submitter: Submitter, said: list[str], monkeypatch: pytest.MonkeyPatch, raised: bool
) -> None:
    def cancel(system: object, jobs: list[str]) -> dict[str, str]:
        if raised:
            raise LauncherError("qdel: is gone")
        return {job: "qdel: is gone" for job in jobs if job in "12"}

    monkeypatch.setattr(Local, "cancel", cancel)
    for name in ("x", "y", "z"):
        JobRecord(f"melt-{name}", "123"["xyz".index(name)], "", JobOptions("local"), "run", "", 0.0).write(
            submitter.jobs_dir
        )
    end(fleet)
    kept = ["0", "1", "2", "3"] if raised else ["1", "2"]
    assert said[-1] == (
        f"could not be cancelled, and will end when they find no server: jobs {', '.join(kept)} (qdel: is gone)"
    )
    names = {path.stem for path in Path(submitter.jobs_dir).glob("*.json")}
    assert names == ({"melt-x", "melt-y", "melt-z"} if raised else {"melt-x", "melt-y"})


def test_a_job_that_was_accepted_when_the_run_was_over_is_cancelled(
    submitter: Any, members: Members, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []

    def cancel(system: object, jobs: list[str]) -> dict[str, str]:
        cancelled.extend(jobs)
        return {}

    monkeypatch.setattr(Local, "cancel", cancel)
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.01)
    monkeypatch.setattr(module, "_STOP_SECONDS", 0.1)
    monkeypatch.setattr(module, "_FAREWELL_SECONDS", 0.0)
    begun, go = threading.Event(), threading.Event()
    submit = submitter.submit

    def slow(options: JobOptions, generation: int = 0) -> JobRecord:
        begun.set()
        assert go.wait(60)
        return submit(options, generation)

    fleet = Fleet(
        submitter, "run", members, Timings(), lambda level, text: said.append(text), lambda: True, lambda text: None
    )
    fleet.begin(1, JobOptions("local"))
    submitter.submit = slow
    members.add("tls://1", "melt-0", "node3", 1)
    members.remove("tls://1")
    assert begun.wait(60)
    fleet.stop()
    threading.Timer(0.3, go.set).start()
    fleet.cancel()
    assert cancelled == ["1"]
    assert len(submitter.submitted) == 2


def test_nothing_is_submitted_any_more_when_the_run_is_over(
    fleet: Fleet, submitter: Submitter, members: Members
) -> None:
    members.add("tls://1", "melt-0", "node3", 1)
    members.remove("tls://1")
    fleet._ended.set()
    fleet._tick()
    assert len(submitter.submitted) == 1


@pytest.mark.parametrize("leaving", [False, True])
def test_a_job_whose_record_shows_when_it_has_ended_is_replaced_as_any_other(
    fleet: Fleet, submitter: Submitter, members: Members, leaving: bool
) -> None:
    added = JobRecord("melt-x", "77", "/no/log", JobOptions("local"), "run", "elsewhere", time.time())
    members.add("tls://1", "melt-x", "node3", 1)
    if leaving:
        members.tell({"address": "tls://1", "what": "leaving", "why": "its time is over", "job": "77", "host": "node3"})
    members.remove("tls://1")
    fleet._tick()
    assert len(submitter.submitted) == 1
    added.write(submitter.jobs_dir)
    for _ in range(5):
        fleet._tick()
    assert [record.generation for record in submitter.submitted] == [0, 0 if leaving else 1]
    assert not (Path(submitter.jobs_dir) / "melt-x.json").exists()


def test_a_worker_that_was_cut_off_before_its_record_showed_is_not_replaced(
    fleet: Fleet, submitter: Submitter, members: Members, said: list[str]
) -> None:
    added = JobRecord("melt-x", "77", "/no/log", JobOptions("local"), "run", "elsewhere", time.time())
    members.add("tls://1", "melt-x", "node3", 1)
    members.remove("tls://1")
    fleet._tick()
    members.add("tls://2", "melt-x", "node3", 1)
    added.write(submitter.jobs_dir)
    for _ in range(3):
        fleet._tick()
    assert len(submitter.submitted) == 1
    assert (Path(submitter.jobs_dir) / "melt-x.json").exists()
    assert [text for text in said if "melt-x" in text] == ["melt-x on node3 was lost: it is gone without a word"]


def test_the_loss_of_a_worker_whose_record_shows_late_is_told_once(
    fleet: Fleet, submitter: Submitter, members: Members, said: list[str]
) -> None:
    added = JobRecord("melt-x", "77", "/no/log", JobOptions("local"), "run", "elsewhere", time.time())
    members.add("tls://1", "melt-x", "node3", 1)
    members.remove("tls://1")
    fleet._tick()
    added.write(submitter.jobs_dir)
    fleet._tick()
    assert [text for text in said if "was lost" in text] == ["melt-x on node3 was lost: it is gone without a word"]


@pytest.mark.parametrize("state", [State.PENDING, State.UNKNOWN])
def test_jobs_that_an_earlier_server_has_left_are_hoped_for_if_they_are_known_to_wait(
    fleet: Fleet, submitter: Submitter, said: list[str], monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    def status(system: object, jobs: list[str], stop: object) -> dict[str, State]:
        if state is State.UNKNOWN:
            raise LauncherError("squeue is not here")
        return dict.fromkeys(jobs, state)

    monkeypatch.setattr(Local, "status", status)
    fleet._timings = Timings(status=1e-9)
    old = JobRecord("melt-x", "77", "/no/log", JobOptions("local"), "before", "elsewhere", time.time())
    old.write(submitter.jobs_dir)
    fleet._forget(submitter.submitted[0])
    for _ in range(3):
        fleet._tick()
    assert bool(fleet.hopeless) == (state is State.UNKNOWN)
    assert said.count("the batch system does not answer: squeue is not here") == (state is State.UNKNOWN)


def test_what_becomes_of_a_job_is_its_own_matter_whatever_another_system_calls_its_job(
    fleet: Fleet, submitter: Submitter, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Local, "cancel", lambda system, jobs: dict.fromkeys(jobs, "no"))
    twin = JobRecord("melt-x", "0", "/no/log", JobOptions("slurm"), "run", "elsewhere", time.time())
    twin.write(submitter.jobs_dir)
    submitter.submitted[0].write(submitter.jobs_dir)
    members.add("tls://1", "melt-x", "node3", 1)
    fleet._tick()
    end(fleet)
    assert [path.stem for path in Path(submitter.jobs_dir).glob("*.json")] == ["melt-0"]


@pytest.mark.parametrize(("left", "fate"), [({}, "was cancelled"), ({"77": "no"}, "could not be cancelled")])
def test_a_job_that_can_not_be_put_on_record_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: dict[str, str], fate: str
) -> None:
    cancelled: list[str] = []

    def cancel(system: object, jobs: list[str]) -> dict[str, str]:
        cancelled.extend(jobs)
        return left

    monkeypatch.setattr(Local, "submit", lambda *arguments: ("77", "/no/log"))
    monkeypatch.setattr(Local, "cancel", cancel)
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "jobs").write_text("no directory")
    with pytest.raises(LauncherError, match=f"job 77 can't be put on record, and {fate}: "):
        RealSubmitter(str(tmp_path), "run").submit(JobOptions("local"))
    assert cancelled == ["77"]
