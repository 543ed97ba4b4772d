"""What can go wrong, one function for each: it is called at some moment of a run and does its worst."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from look import task_directories
from storm import Disk, Ended, Run, write_protect

LOCKER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
try:
    database.execute("BEGIN EXCLUSIVE")
except sqlite3.OperationalError:
    sys.exit("missed")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("COMMIT")
"""


@dataclass
class Scene:
    """Where it happens.

    Attributes
    ----------
    root, prefix, disk, temporary
        The scripts, the data, the disk that has them, and what a run has for temporary files.
    rng
        Chance, the same for the same seed.
    longest
        Seconds that a lock on the database lasts at most.
    removed
        Whether directories of tasks were removed: they run again.
    """

    root: Path
    prefix: Path
    disk: Disk
    temporary: Path
    rng: random.Random
    longest: float
    removed: bool = False
    second: list[Ended] = field(default_factory=list)


#: During a run.
Fault = Callable[[Scene, Run], bool]
#: Before a run starts; gives what undoes it.
Before = Callable[[Scene], "Callable[[], None] | None"]


def _pause(scene: Scene, run: Run, most: float) -> None:
    run.wait(scene.rng.uniform(0.02, most))


# --- processes -------------------------------------------------------------------------------------------------------


def kill_worker(scene: Scene, run: Run) -> bool:
    """``kill -9`` of one worker."""
    workers = [pid for pid, kind in run.processes() if kind == "worker"]
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(scene.rng.choice(workers), signal.SIGKILL)
    return bool(workers)


def kill_scheduler(scene: Scene, run: Run) -> bool:
    """``kill -9`` of the background process."""
    return bool(run.signal(signal.SIGKILL, "scheduler"))


def kill_main(scene: Scene, run: Run) -> bool:
    """``kill -9`` of ``main.py``."""
    return bool(run.signal(signal.SIGKILL, "main"))


def kill_any(scene: Scene, run: Run) -> bool:
    """``kill -9`` of any process, what tasks have started included."""
    found = run.processes()
    if found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(scene.rng.choice(found).pid, signal.SIGKILL)
    return bool(found)


def kill_all(scene: Scene, run: Run) -> bool:
    """``kill -9`` of everything, in any order."""
    found = run.processes()
    scene.rng.shuffle(found)
    for pid, _ in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def interrupt(scene: Scene, run: Run) -> bool:
    """Ctrl-C, once or twice."""
    hit = run.signal(signal.SIGINT, "main")
    if scene.rng.random() < 0.3:
        _pause(scene, run, 0.3)
        run.signal(signal.SIGINT, "main")
    return bool(hit)


def terminate(scene: Scene, run: Run) -> bool:
    """SIGTERM to ``main.py`` or to the background process."""
    return bool(run.signal(signal.SIGTERM, scene.rng.choice(("main", "scheduler"))))


def _stop(scene: Scene, run: Run, kind: str) -> bool:
    hit = run.signal(signal.SIGSTOP, kind)
    _pause(scene, run, 3.0)
    for pid in hit:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return bool(hit)


def stop_worker(scene: Scene, run: Run) -> bool:
    """SIGSTOP of the workers for a while."""
    return _stop(scene, run, "worker")


def stop_scheduler(scene: Scene, run: Run) -> bool:
    """SIGSTOP of the background process for a while."""
    return _stop(scene, run, "scheduler")


def stop_main(scene: Scene, run: Run) -> bool:
    """SIGSTOP of ``main.py`` for a while."""
    return _stop(scene, run, "main")


def second_run(scene: Scene, run: Run) -> bool:
    """A second run on the prefix, while the first is suspended."""
    hit = run.signal(signal.SIGSTOP, "scheduler")
    if hit and (scene.prefix / ".pipelet" / "lock").exists():
        other = Run(scene.root, scene.temporary)
        other.wait(6)
        still = other.running
        for pid in hit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        ended = other.end()
        if still:
            ended = ended._replace(err=ended.err + "the second run was not refused within six seconds\n")
        scene.second.append(ended)
        return True
    for pid in hit:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return False


# --- the disk and the database ---------------------------------------------------------------------------------------


def disk_full(scene: Scene, run: Run) -> bool:
    """No room on the disk, for a while or until the run has ended."""
    if not scene.disk.own:
        return False
    scene.disk.fill()
    run.wait(scene.rng.choice((scene.rng.uniform(0.1, 2.0), 20.0)))
    scene.disk.empty()
    return True


def lock_database(scene: Scene, run: Run) -> bool:
    """Another program locks the database."""
    sqlfile = scene.prefix / ".sqlstatus"
    if not sqlfile.exists() or not sqlfile.stat().st_size:
        return False
    seconds = scene.rng.uniform(0.3 * scene.longest, scene.longest)
    command = [sys.executable, "-c", LOCKER, str(sqlfile), str(seconds)]
    locker = subprocess.run(command, capture_output=True, text=True, check=False)
    return "locked" in locker.stdout


def read_only(scene: Scene, run: Run) -> bool:
    """Nobody may write in the directories of the prefix, for a while."""
    if not scene.prefix.exists():
        return False
    write_protect(scene.prefix, True)
    try:
        _pause(scene, run, 3.0)
    finally:
        write_protect(scene.prefix, False)
    return True


def clock_back(scene: Scene, run: Run) -> bool:
    """The clock of the machine is set, back as a rule."""
    seconds = scene.rng.choice((-5, -3600, -86400, -40_000_000, 3600, 86400 * 365))
    (scene.root / "clock").write_text(str(seconds))
    return True


def remove_task(scene: Scene, run: Run) -> bool:
    """A task's directory goes, while the run lasts."""
    return _remove(scene)


def _remove(scene: Scene) -> bool:
    found = task_directories(scene.prefix)
    if found:
        shutil.rmtree(scene.rng.choice(found), ignore_errors=True)
        scene.removed = True
    return bool(found)


# --- before a run ----------------------------------------------------------------------------------------------------


def removed_before(scene: Scene) -> Callable[[], None] | None:
    """Task directories go while nothing runs."""
    removed = [_remove(scene) for _ in range(scene.rng.randint(1, 3))]
    return (lambda: None) if any(removed) else None


def read_only_before(scene: Scene) -> Callable[[], None] | None:
    """The whole disk is mounted read-only, or the directories are protected."""
    if not scene.prefix.exists():
        return None
    if scene.rng.random() < 0.5 and scene.disk.read_only(True):
        return lambda: None if scene.disk.read_only(False) else sys.exit("the disk can't be made writable again")
    write_protect(scene.prefix, True)
    return lambda: write_protect(scene.prefix, False)


def full_before(scene: Scene) -> Callable[[], None] | None:
    """The disk is full when the run begins."""
    if not scene.disk.own:
        return None
    scene.disk.fill()
    return scene.disk.empty


def no_database(scene: Scene) -> Callable[[], None] | None:
    """The database is gone, with what stood beside it."""
    if not (scene.prefix / ".sqlstatus").exists():
        return None
    for suffix in ("", "-wal", "-shm", "-journal"):
        (scene.prefix / f".sqlstatus{suffix}").unlink(missing_ok=True)
    return lambda: None


def locked_before(scene: Scene) -> Callable[[], None] | None:
    """Another program has the database locked when the run begins."""
    sqlfile = scene.prefix / ".sqlstatus"
    if not sqlfile.exists() or not sqlfile.stat().st_size:
        return None
    seconds = scene.rng.uniform(0.1 * scene.longest, scene.longest)
    locker = subprocess.Popen([sys.executable, "-c", LOCKER, str(sqlfile), str(seconds)], stdout=subprocess.DEVNULL)
    time.sleep(0.2)

    def undo() -> None:
        locker.wait()

    return undo


DURING: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_worker, kill_scheduler, kill_main, kill_any, kill_all, interrupt, terminate, stop_worker, stop_scheduler,
        stop_main, second_run, disk_full, lock_database, read_only, clock_back, remove_task,
    )
}
BEFORE: dict[str, Before] = {
    fault.__name__: fault for fault in (removed_before, read_only_before, full_before, no_database, locked_before)
}
