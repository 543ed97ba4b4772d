"""The jobs of a batch server: it submits them, watches over them, and replaces those that were lost.

Those that somebody has added from another host have a record in the prefix, too (see `submitter`), and are watched over
as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from pipelet.errors import LauncherError
from pipelet.executors.cluster.members import Member, Members
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.serverfile import Timings
from pipelet.executors.cluster.submitter import JobRecord, Submitter
from pipelet.executors.cluster.systems import COMMAND_SECONDS, State, System, system

#: A job that was lost is replaced, and what replaces it, up to so many times in a row.
REPLACEMENTS = 3
_TICK_SECONDS = 1.0
#: What a lost job has to say may be in its log some seconds later only.
_FAREWELL_SECONDS = 3.0
_TAIL_BYTES = 2000
#: So long the end of a run waits for a round of the watch; the server and its workers must end soon.
_STOP_SECONDS = 5.0
#: So many times a record is looked at that can't be read: a file system may show it late or only in part.
_ATTEMPTS = 30
_NO_WORD = "it is gone without a word"


class Fleet:
    """The jobs of a server.

    Parameters
    ----------
    submitter
        Submits them.
    run
        Of the server.
    members
        Who has joined it.
    timings
        The server's.
    log
        Takes messages.
    busy
        Tells whether there is more work than workers.
    tell
        Takes a line on the state of the fleet, once a second.
    """

    def __init__(
        self,
        submitter: Submitter,
        run: str,
        members: Members,
        timings: Timings,
        log: Callable[[int, str], None],
        busy: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> None:
        self._submitter = submitter
        self._run = run
        self._members = members
        self._timings = timings
        self._log = log
        self._busy = busy
        self._tell = tell
        self._records: dict[str, JobRecord] = {}
        #: How often records were looked at that could not be read.
        self._unreadable: Counter[str] = Counter()
        self._farewells: list[tuple[float, JobRecord | None, Member]] = []
        #: Those that have come without a record, and of them those that are gone: a file system may show it late.
        self._unrecorded: set[str] = set()
        self._unsettled: dict[str, Member] = {}
        #: What could be submitted when there is work for it: options, and how many were lost before.
        self._places: list[tuple[JobOptions, int]] = []
        self._asked = time.monotonic()
        self._refused = 0.0
        self._last_loss = ""
        #: What was said last of batch systems that do not answer.
        self._complaints: dict[str, str] = {}
        #: Why no worker will come any more; empty if one may. Judged after each round, since in the middle of one a job
        #: may be lost and its place not be filled yet.
        self.hopeless = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run_thread, daemon=True, name="pipelet-fleet")

    def begin(self, jobs: int, options: JobOptions | None) -> None:
        """Submit the first jobs, and watch from now on.

        Raises
        ------
        LauncherError
            The batch system took none of them.
        """
        for number in range(jobs if options is not None else 0):
            assert options is not None
            try:
                record = self._submitter.submit(options)
            except LauncherError as error:
                if not number:
                    raise
                self._log(logging.ERROR, f"only {number} of {jobs} jobs were accepted: {error}")
                break
            self._records[record.name] = record
        if self._records:
            names = ", ".join(record.job for record in self._records.values())
            self._log(logging.INFO, f"submitted jobs: {names}")
        self._thread.start()

    def stop(self) -> None:
        """Submit nothing more, and watch no more."""
        self._ended.set()
        began = self._thread.is_alive()
        if began:
            self._thread.join(_STOP_SECONDS)
        self._mark_joined(self._members.present())
        self._take_gone()
        for _, _, member in self._farewells:
            self._log(logging.INFO, f"{member.words} has ended: {member.why or _NO_WORD}")
        if began:
            self._tell(self._text())  # with what was done since the last round

    def cancel(self) -> None:
        """Cancel the jobs that have not begun, when the server has ended; the others end by themselves."""
        if self._thread.is_alive():
            self._log(logging.INFO, "waits for what the batch system says to a job, which is then cancelled")
            self._thread.join(COMMAND_SECONDS + _STOP_SECONDS)
        self._read_records()
        self._mark_joined([*self._members.take_gone(), *self._members.present()])
        everyone = list(self._records.values())
        kept: dict[str, list[JobRecord]] = {}
        for batch, records in _by_system(record for record in everyone if not record.joined):
            jobs = [record.job for record in records]
            try:
                left = batch.cancel(jobs)
            except (LauncherError, OSError) as error:
                left = dict.fromkeys(jobs, str(error))
            for record in records:
                if record.job in left:
                    kept.setdefault(left[record.job], []).append(record)
        for why, records in kept.items():
            jobs = [record.job for record in records]
            self._log(
                logging.WARNING, f"could not be cancelled, and will end when they find no server: jobs "
                f"{', '.join(jobs)} ({why})",
            )
        stay = {record.name for records in kept.values() for record in records}
        for record in everyone:
            if record.name not in stay:
                self._forget(record)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run_thread(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            try:
                self._tick()
            except Exception as error:  # the run goes on with the workers that it has
                self._log(logging.ERROR, f"watching over the jobs failed: {type(error).__name__}: {error}")

    def _tick(self) -> None:
        self._read_records()
        self._mark_joined(self._members.present())
        self._take_gone()
        self._say_farewell()
        self._ask()
        self._refill()
        jobs = any(record.run == self._run or record.is_known for record in self._records.values())
        left = jobs or self._places or self._farewells or self._members.present()
        self.hopeless = "" if left else self._last_loss or "all have ended"
        self._tell(self._text())

    def _read_records(self) -> None:
        with contextlib.suppress(OSError):
            for entry in sorted(os.listdir(self._submitter.jobs_dir)):
                name, end = os.path.splitext(entry)
                if end != ".json" or name in self._records or self._unreadable[name] >= _ATTEMPTS:
                    continue
                record = JobRecord.read(os.path.join(self._submitter.jobs_dir, entry))
                if record is None:
                    self._unreadable[name] += 1
                    if self._unreadable[name] == _ATTEMPTS:
                        self._log(logging.WARNING, f"the record of job {name} can't be read: it is not watched over")
                    continue
                self._records[name] = record
                record.joined = name in self._unrecorded
                if record.run == self._run:
                    self._log(logging.INFO, f"job {record.job} was added from {record.host}")
                lost = self._unsettled.pop(name, None)
                if lost is not None and not self._is_present(name):
                    self._settle(record, lost, told=True)

    def _mark_joined(self, members: Iterable[Member]) -> None:
        for member in members:
            record = self._records.get(member.name)
            if record is None:
                self._unrecorded.add(member.name)
            elif not record.joined:
                record.joined = True
                # Its own word on itself may still be on its way.
                words = f"job {member.job or record.job} on {member.host}"
                self._log(logging.INFO, f"{words} has joined with {member.threads} slots")

    def _take_gone(self) -> None:
        gone = self._members.take_gone()
        self._mark_joined(gone)  # some come and go between two rounds
        self._farewells += [(time.monotonic(), self._records.get(member.name), member) for member in gone]

    def _say_farewell(self) -> None:
        now = time.monotonic()
        due = [item for item in self._farewells if now - item[0] >= _FAREWELL_SECONDS]
        self._farewells = [item for item in self._farewells if now - item[0] < _FAREWELL_SECONDS]
        for _, record, member in due:
            if self._is_present(member.name):
                continue  # it was cut off, and has joined again
            if record is not None and record.name not in self._records:
                continue  # what became of its job is known already, and its place is to be filled once
            record = record or self._records.get(member.name)
            if record is not None:
                self._settle(record, member)
                continue
            self._unsettled[member.name] = member
            what, level = ("has ended", logging.INFO) if member.leaving else ("was lost", logging.WARNING)
            self._log(level, f"{member.words} {what}: {member.why or _NO_WORD}")

    def _is_present(self, name: str) -> bool:
        return any(member.name == name for member in self._members.present())

    def _settle(self, record: JobRecord, member: Member, told: bool = False) -> None:
        """A job has ended, in order or not: make room for another one."""
        if member.leaving:
            if not told:
                self._log(logging.INFO, f"{member.words} has ended: {member.why}")
            self._forget(record)
            self._places.append((record.options, 0))
        else:
            self._lose(record, f"{member.words} was lost: {member.why or _NO_WORD}", told)

    def _lose(self, record: JobRecord, words: str, told: bool = False) -> None:
        self._forget(record)
        text = f"{words}{_said(record.log)}"
        self._last_loss = text
        if record.run != self._run:
            return
        if record.generation < REPLACEMENTS:
            if not told:
                self._log(logging.WARNING, text)
            self._places.append((record.options, record.generation + 1))
        else:
            self._log(logging.ERROR, f"{text}; {REPLACEMENTS} jobs before it were lost as well: it is not replaced")

    def _ask(self) -> None:
        """Ask the batch systems for jobs that have not joined; seldom, and for all of a system at once."""
        now = time.monotonic()
        waiting = [record for record in self._records.values() if not record.joined]
        if now - self._asked < self._timings.status or not waiting:
            return
        self._asked = now
        for batch, records in _by_system(waiting):
            try:
                states = batch.status([record.job for record in records], self._ended)
            except (LauncherError, OSError) as error:
                words = f"the batch system does not answer: {error}"
                # Once: where an earlier server has left jobs of another system it may never do.
                if words != self._complaints.get(batch.name):
                    self._complaints[batch.name] = words
                    self._log(logging.WARNING, words)
                continue
            self._complaints.pop(batch.name, None)
            if self._ended.is_set():
                return
            self._mark_joined(self._members.present())
            self._take_gone()
            for record in records:
                if not record.joined:
                    self._look_at(record, states.get(record.job, State.UNKNOWN))

    def _look_at(self, record: JobRecord, state: State) -> None:
        age = time.time() - record.submitted
        record.is_known = state in (State.PENDING, State.HELD, State.RUNNING)
        if state is State.ENDED:
            self._lose(record, f"job {record.job} has ended before its worker had joined")
        elif state is State.HELD and not record.warned:
            record.warned = True
            self._log(logging.WARNING, f"job {record.job} is held by the batch system: ask it why, or release it")
        elif state is State.RUNNING and age > self._timings.start and not record.warned:
            record.warned = True
            self._log(logging.WARNING, f"job {record.job} runs, but its worker has not joined{_said(record.log)}")

    def _refill(self) -> None:
        """Submit again what was lost or has ended, if there is work for it."""
        now = time.monotonic()
        if self._ended.is_set() or not self._places or not self._busy():
            return
        if self._refused and now - self._refused < self._timings.status:
            return
        options, generation = self._places.pop(0)
        try:
            record = self._submitter.submit(options, generation)
        except LauncherError as error:
            self._refused = now
            self._last_loss = str(error)
            if generation < REPLACEMENTS:
                self._places.append((options, generation + 1))
            self._log(logging.WARNING, f"a job could not be replaced: {error}")
            return
        self._records[record.name] = record
        self._log(logging.INFO, f"submitted job {record.job} in place of one that has ended")

    def _forget(self, record: JobRecord) -> None:
        self._records.pop(record.name, None)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._submitter.jobs_dir, f"{record.name}.json"))

    def _text(self) -> str:
        present = [member for member in self._members.present() if not member.leaving]
        waiting = sum(not record.joined for record in self._records.values())
        slots, hosts = sum(member.threads for member in present), len({member.host for member in present})
        here = f"{len(present)} workers with {slots} slots on {hosts} hosts" if present else "no worker"
        return f"{here}, {waiting} jobs not begun" if waiting else here


def _by_system(records: Iterable[JobRecord]) -> Iterable[tuple[System, list[JobRecord]]]:
    groups: dict[str, list[JobRecord]] = {}
    for record in records:
        groups.setdefault(record.options.system, []).append(record)
    return [(system(name), group) for name, group in groups.items()]


def _said(log: str) -> str:
    """The end of a job's output, as the end of a sentence."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace").strip()
        if text:
            return f"; its log ({log}) ends with:\n{text}"
    return f" (it has left no log in {log})"
