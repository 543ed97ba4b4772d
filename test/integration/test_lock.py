"""The lock of a prefix: one living holder at a time; the dead are taken over, with what they left."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ENVIRONMENT

import pipelet.storage.lock as module
import pipelet.storage.processes as processes
from pipelet.errors import PrefixLocked, StorageError
from pipelet.storage import PrefixLock, process_start

ROOT = Path(module.__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "prefix" / ".pipelet").mkdir(parents=True)
    return str(tmp_path / "prefix" / ".pipelet" / "lock")


@pytest.fixture
def children():
    """Start Python programs that are killed at the end, with their groups."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str, **options) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], cwd=ROOT, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options,
        )  # fmt: skip
        started.append(child)
        return child

    yield start
    for child in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def edit(path: str, silent: float | None = None, **changes) -> None:
    """Change the record, and the moment when the file was last touched."""
    touched = os.stat(path).st_mtime
    record = json.loads(Path(path).read_text())
    record.update(changes)
    Path(path).write_text(json.dumps(record))
    when = touched if silent is None else time.time() - silent
    os.utime(path, (when, when))


def left_behind(path: str) -> list[str]:
    return sorted(name for name in os.listdir(os.path.dirname(path)) if name != "lock")


def wait_until_gone(pid: int) -> None:
    while process_start(pid) is not None:
        time.sleep(0.005)


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


# -- one holder ----------------------------------------------------------------------------------------------------


def test_taken_and_given_up_it_leaves_nothing(path):
    lock = PrefixLock(path)
    assert not lock.held
    for _ in range(2):
        lock.acquire()
        lock.set_workers([(os.getpid(), 1.0)])
        assert lock.held
        assert os.path.exists(path)
        lock.release()
        lock.release()
        assert not lock.held
        assert os.listdir(os.path.dirname(path)) == []


def test_the_file_says_who_holds_it(path):
    with PrefixLock(path, "/tmp/pipelet-x"):
        record = json.loads(Path(path).read_text())
        assert record["host"] == os.uname().nodename
        assert record["pid"] == os.getpid()
        assert record["start"] == process_start(os.getpid())
        assert record["scratch"] == "/tmp/pipelet-x"
        assert abs(record["since"] - time.time()) < 3600
    assert not os.path.exists(path)


HOLDER = """
import sys
from pipelet.storage import PrefixLock
lock = PrefixLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
"""


def test_a_living_holder_is_named_and_left_alone(path, children):
    child = children(HOLDER, path)
    assert child.stdout.readline() == "held\n"
    before = Path(path).read_bytes()
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(json.loads(before)["since"]))
    lock = PrefixLock(path)
    prefix = os.path.dirname(os.path.dirname(path))
    words = f"the prefix {prefix} is held by host {os.uname().nodename}, pid {child.pid}, since {since}"
    with pytest.raises(PrefixLocked, match=words):
        lock.acquire()
    assert not lock.held
    assert Path(path).read_bytes() == before
    assert left_behind(path) == []
    print("", file=child.stdin, flush=True)
    assert child.stdout.readline() == "released\n"
    lock.acquire()
    lock.release()


def test_a_holder_on_this_machine_is_alive_however_long_it_is_silent(path, children):
    child = children(HOLDER, path)
    child.stdout.readline()
    edit(path, silent=100_000)
    with pytest.raises(PrefixLocked):
        PrefixLock(path).acquire()


def test_the_same_process_can_not_hold_it_twice(path):
    with PrefixLock(path) as lock:
        with pytest.raises(PrefixLocked, match="this very process"):
            PrefixLock(path).acquire()
        with pytest.raises(PrefixLocked, match="already"):
            lock.acquire()
        assert lock.held
        lock.heartbeat()


def test_a_forked_child_neither_holds_nor_releases(path):
    with PrefixLock(path) as lock:
        pid = os.fork()
        if pid == 0:
            lock.release()
            os._exit(0 if os.path.exists(path) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert lock.held


def test_what_is_not_held_can_not_be_touched(path):
    lock = PrefixLock(path)
    for action in (lock.heartbeat, lambda: lock.set_workers([])):
        with pytest.raises(StorageError, match="is not held by this process"):
            action()


# -- heartbeats ----------------------------------------------------------------------------------------------------


def test_a_heartbeat_touches_the_file(path):
    with PrefixLock(path) as lock:
        edit(path, silent=500)
        lock.heartbeat()
        assert os.stat(path).st_mtime > time.time() - 400


def test_a_heartbeat_makes_a_deleted_file_again(path):
    with PrefixLock(path) as lock:
        os.unlink(path)
        lock.heartbeat()
        with pytest.raises(PrefixLocked):
            PrefixLock(path).acquire()


def test_a_holder_that_was_taken_for_dead_is_told(path):
    lock = PrefixLock(path)
    lock.acquire()
    edit(path, silent=500, host="elsewhere")
    with PrefixLock(path) as other:
        with pytest.raises(PrefixLocked, match=r"this run has lost its lock: the prefix .* is held by"):
            lock.heartbeat()
        assert not lock.held
        lock.release()
        other.heartbeat()
        assert other.held


def test_a_holder_that_was_taken_for_dead_does_not_release_the_other_s_lock(path):
    lock = PrefixLock(path)
    lock.acquire()
    edit(path, silent=500, host="elsewhere")
    with PrefixLock(path) as other:
        lock.release()
        other.heartbeat()
        assert other.held
        assert json.loads(Path(path).read_text())["host"] == os.uname().nodename


# -- other machines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"boot": "another"}, {"namespace": "pid:[1]"}])
def test_a_holder_elsewhere_is_alive_as_long_as_it_is_heard_of(path, change):
    PrefixLock(path).acquire()
    edit(path, silent=20, pid=dead_pid(), **change)
    with pytest.raises(PrefixLocked, match=r"last heard of (19|2\d) s ago: wait .* taken over after 60 s"):
        PrefixLock(path).acquire()
    edit(path, silent=70)
    lock = PrefixLock(path)
    lock.acquire()
    assert json.loads(Path(path).read_text())["pid"] == os.getpid()
    assert left_behind(path) == []


def test_ages_are_told_by_the_file_system_and_not_by_our_clock(path, monkeypatch):
    PrefixLock(path).acquire()
    edit(path, silent=20, host="elsewhere")
    real = time.time
    for wrong in (-5000, 5000):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: real() + wrong)
        with pytest.raises(PrefixLocked, match=r"last heard of (19|2\d) s ago"):
            PrefixLock(path).acquire()


def test_workers_of_another_machine_are_not_looked_for_here(path, children):
    child = children("import sys; print('up', flush=True); sys.stdin.read()")
    child.stdout.readline()
    lock = PrefixLock(path)
    lock.acquire()
    lock.set_workers([(child.pid, process_start(child.pid))])
    edit(path, silent=500, host="elsewhere")
    with PrefixLock(path):
        assert child.poll() is None


# -- the dead ------------------------------------------------------------------------------------------------------


def test_a_holder_that_was_killed_is_taken_over(path, children):
    child = children(HOLDER, path)
    child.stdout.readline()
    child.kill()
    # Not waited for: it is a zombie now, which counts as dead.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with PrefixLock(path) as lock:
        assert lock.held
        assert left_behind(path) == []


def test_another_process_with_the_dead_holder_s_id_is_not_the_holder(path, children):
    child = children(HOLDER, path)
    child.stdout.readline()
    edit(path, start=json.loads(Path(path).read_text())["start"] - 1)
    with PrefixLock(path) as lock:
        assert lock.held
    assert child.poll() is None


RUN = """
import os, subprocess, sys
from pipelet.storage import PrefixLock, process_start

lock = PrefixLock(sys.argv[1], sys.argv[2])
lock.acquire()
sleeper = "import time; print('up', flush=True); time.sleep(600)"
worker = (
    "import subprocess, sys;"
    f"child = subprocess.Popen([sys.executable, '-c', {sleeper!r}], stdout=subprocess.PIPE);"
    "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
)
alone = subprocess.Popen([sys.executable, "-c", sleeper], stdout=subprocess.PIPE, text=True)
alone.stdout.readline()
workers, pids = [], []
for _ in range(2):
    command = [sys.executable, "-c", worker]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    pids += [process.pid, int(process.stdout.readline())]
    workers.append((process.pid, process_start(process.pid)))
bystander = subprocess.Popen([sys.executable, "-c", sleeper], stdout=subprocess.PIPE, text=True, start_new_session=True)
bystander.stdout.readline()
lock.set_workers([*workers, (alone.pid, process_start(alone.pid)), (bystander.pid, process_start(bystander.pid) - 5)])
print(*pids, alone.pid, bystander.pid, flush=True)
sys.stdin.read()
"""


def test_the_workers_of_a_dead_run_are_killed_with_all_that_they_started(path, children, tmp_path):
    scratch = tmp_path / "pipelet-scratch"
    scratch.mkdir()
    (scratch / "file").write_text("")
    child = children(RUN, path, str(scratch))
    *workers, bystander = map(int, child.stdout.readline().split())
    try:
        # The worker's own child lives on in the group.
        os.kill(workers[2], signal.SIGKILL)
        wait_until_gone(workers[2])
        child.kill()
        child.wait()
        assert [process_start(pid) is not None for pid in workers] == [True, True, False, True, True]
        with PrefixLock(path):
            assert [pid for pid in workers if process_start(pid) is not None] == []
            assert process_start(bystander) is not None
            assert not scratch.exists()
            assert left_behind(path) == []
    finally:
        for pid in [*workers, bystander]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_group_that_is_younger_than_the_run_is_somebody_else_s(path, children, monkeypatch):
    code = "import os; pid = os.fork(); pid and (print(pid, flush=True), os._exit(0)); os.read(0, 1)"
    leader = children(code)
    orphan = int(leader.stdout.readline())
    leader.wait()
    real = processes.processes
    monkeypatch.setattr(
        processes, "processes", lambda: [each for each in real() if each.group == leader.pid or each.pid == os.getpid()]
    )
    processes.end_groups([(leader.pid, 1.0)], silent=100_000)
    assert process_start(orphan) is not None
    processes.end_groups([(leader.pid, 1.0)], silent=0)
    assert process_start(orphan) is None


@pytest.mark.parametrize("name", ["precious", "pipelet-file", "pipelet-link"])
def test_only_a_scratch_directory_is_deleted_for_the_dead(path, tmp_path, name):
    (tmp_path / "precious").mkdir()
    (tmp_path / "pipelet-file").write_text("")
    (tmp_path / "pipelet-link").symlink_to(tmp_path / "precious")
    PrefixLock(path, str(tmp_path / name)).acquire()
    edit(path, pid=dead_pid())
    with PrefixLock(path):
        assert os.path.lexists(tmp_path / name)


def test_our_own_group_is_never_killed(path):
    PrefixLock(path).acquire()
    token = json.loads(Path(path).read_text())["token"]
    Path(f"{path}.{token}.workers").write_text(json.dumps([[os.getpid(), process_start(os.getpid())]]))
    edit(path, pid=dead_pid())
    with pytest.raises(StorageError, match="this process belongs to the run that died"):
        PrefixLock(path).acquire()
    # The claim was given back: once that is settled, the next one gets the lock.
    Path(f"{path}.{token}.workers").write_text("cut sho")
    with PrefixLock(path) as lock:
        assert lock.held


def test_processes_that_do_not_end_are_named(monkeypatch, children):
    child = children("import sys; print('up', flush=True); sys.stdin.read()")
    child.stdout.readline()
    start = process_start(child.pid)
    monkeypatch.setattr(processes, "_PATIENCE", 0.0)
    monkeypatch.setattr(processes, "_kill", lambda target: None)
    with pytest.raises(StorageError, match=f"don't end: {child.pid} "):
        processes.end_groups([(child.pid, start)], 0.0)


def test_processes_of_another_user_are_named(monkeypatch):
    def refuse(pid, number):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(StorageError, match="process 999999 of the run that died is another user's"):
        processes._kill(-999999)


def test_a_hidden_process_of_another_user_is_judged_by_its_heartbeat(path, monkeypatch):
    PrefixLock(path).acquire()
    edit(path, pid=dead_pid())

    def refuse(pid, number):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(PrefixLocked):
        PrefixLock(path).acquire()
    edit(path, silent=70)
    with PrefixLock(path) as lock:
        assert lock.held


# -- damaged files, odd file systems -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"token": 1}', '{"token": "../../x", "pid": 1}'])
def test_a_file_that_says_nothing_is_in_use_until_it_is_old(path, content):
    Path(path).write_text(content)
    with pytest.raises(PrefixLocked, match="being made by another run: try again in a minute"):
        PrefixLock(path).acquire()
    old = time.time() - 70
    os.utime(path, (old, old))
    with PrefixLock(path) as lock:
        assert lock.held
        assert left_behind(path) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_hard_links(path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with PrefixLock(path):
        with pytest.raises(PrefixLocked, match="this very process"):
            PrefixLock(path).acquire()
        edit(path, pid=dead_pid())
        with PrefixLock(path) as lock:
            assert lock.held
    assert os.listdir(os.path.dirname(path)) == []


@pytest.mark.parametrize("link", [True, False])
def test_a_full_disk_leaves_no_lock(path, monkeypatch, link):
    class Full(io.FileIO):
        """What `open` gives on a disk without room."""

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not link:
        monkeypatch.setattr(os, "link", refuse)
    suffix = ".new" if link else "lock"
    probes = []

    def opened(path, mode="r", **options):
        if mode == "xb" and path.endswith(suffix):
            # The first temporary file is only looked at for its time.
            probes.append(path)
            if len(probes) > link:
                return Full(path, mode)
        return open(path, mode, **options)

    monkeypatch.setattr(module, "open", opened, raising=False)
    with pytest.raises(StorageError, match=r"No space left on device \(make room"):
        PrefixLock(path).acquire()
    assert os.listdir(os.path.dirname(path)) == []


@pytest.mark.parametrize("claimed", [False, True])
def test_a_disk_that_is_full_by_then_does_not_keep_the_lock(path, monkeypatch, claimed):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    lock = PrefixLock(path)
    lock.acquire()
    if claimed:
        Path(f"{path}.{json.loads(Path(path).read_text())['token']}.claim").write_text("another's")
    monkeypatch.setattr(PrefixLock, "_put", full)
    lock.release()
    assert os.path.exists(path) == claimed
    assert not lock.held


def test_a_link_that_fails_for_another_reason_is_said_in_words(path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(StorageError, match=r"can't take the lock .*Input/output error") as caught:
        PrefixLock(path).acquire()
    assert isinstance(caught.value.__cause__, OSError)


def test_a_lock_that_changes_all_the_time_is_given_up(path, monkeypatch):
    lock = PrefixLock(path)
    monkeypatch.setattr(lock, "_put", lambda target, record: False)
    with pytest.raises(StorageError, match="changes all the time"):
        lock.acquire()


def test_a_system_that_tells_no_boot_and_no_namespace(path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOENT, "No such file")

    with monkeypatch.context() as patch:
        patch.setattr(os, "readlink", refuse)
        assert module._namespace() == ""
        patch.setattr(processes, "open", refuse, raising=False)
        assert processes.boot() == ""


def test_a_link_whose_answer_was_lost_counts(path, monkeypatch):
    real = os.link

    def forgetful(source, target):
        real(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", forgetful)
    with PrefixLock(path) as lock:
        assert lock.held


def test_a_directory_that_can_not_be_written_is_said_in_words(tmp_path):
    with pytest.raises(StorageError, match=r"can't take the lock .*nowhere/lock: No such file"):
        PrefixLock(str(tmp_path / "nowhere" / "lock")).acquire()


def test_an_interrupt_while_taking_it_leaves_no_lock(path, monkeypatch):
    lock = PrefixLock(path)
    with monkeypatch.context() as patch:
        real = lock._put

        def put_and_stop(target, record):
            real(target, record)
            patch.undo()
            raise KeyboardInterrupt

        patch.setattr(lock, "_put", put_and_stop)
        with pytest.raises(KeyboardInterrupt):
            lock.acquire()
    assert os.listdir(os.path.dirname(path)) == []


# -- contenders ----------------------------------------------------------------------------------------------------

RACER = """
import sys
from pipelet.errors import PrefixLocked
from pipelet.storage import PrefixLock
held = []
for line in sys.stdin:
    lock = PrefixLock(line.strip())
    try:
        lock.acquire()
        held.append(lock)
        print("won", flush=True)
    except PrefixLocked:
        print("lost", flush=True)
"""


@pytest.mark.parametrize("state", ["stale", "stale claim", "free", "damaged"])
def test_of_many_contenders_exactly_one_gets_it(tmp_path, children, state):
    racers = [children(RACER) for _ in range(8)]
    gone = dead_pid()
    for number in range(15):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = str(folder / "lock")
        if state == "damaged":
            Path(path).write_text("")
            os.utime(path, (1, 1))
        elif state != "free":
            PrefixLock(path).acquire()
            edit(path, pid=gone)
        if state == "stale claim":
            token = json.loads(Path(path).read_text())["token"]
            claim = PrefixLock(str(folder / "other"))
            claim.acquire()
            edit(str(folder / "other"), pid=gone)
            os.rename(folder / "other", f"{path}.{token}.claim")
        for racer in racers:
            racer.stdin.write(path + "\n")
        for racer in racers:
            racer.stdin.flush()
        assert sorted(racer.stdout.readline() for racer in racers) == ["lost\n"] * 7 + ["won\n"]


def test_a_contender_that_read_the_old_lock_can_not_break_the_new_one(path, monkeypatch):
    """Between the look at the dead holder and the claim, another one takes over completely."""
    PrefixLock(path).acquire()
    edit(path, pid=dead_pid())
    late, quick = PrefixLock(path), PrefixLock(path)
    real = late._take_over

    def after_the_other(chain, record):
        monkeypatch.undo()
        quick.acquire()
        return real(chain, record)

    monkeypatch.setattr(late, "_take_over", after_the_other)
    with pytest.raises(PrefixLocked):
        late.acquire()
    assert quick.held
    quick.heartbeat()
    assert left_behind(path) == []


def test_a_claim_shuts_out_the_others_until_its_owner_is_dead(path, monkeypatch):
    PrefixLock(path).acquire()
    edit(path, pid=dead_pid())
    first, second = PrefixLock(path), PrefixLock(path)

    def meanwhile(tenure):
        with pytest.raises(PrefixLocked):
            second.acquire()

    monkeypatch.setattr(first, "_end", meanwhile)
    first.acquire()
    assert first.held
    first.heartbeat()


def test_a_claimant_that_died_is_taken_over_with_all_before_it(path, children, monkeypatch):
    worker = children("import sys; print('up', flush=True); sys.stdin.read()")
    worker.stdout.readline()
    holder = PrefixLock(path)
    holder.acquire()
    holder.set_workers([(worker.pid, process_start(worker.pid))])
    edit(path, pid=dead_pid())

    class Killed(BaseException):
        pass

    claimant = PrefixLock(path)

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(claimant, "_end", killed)
        patch.setattr(claimant, "release", lambda: None)
        patch.setattr(module, "_unlink", lambda path: None)
        with pytest.raises(Killed):
            claimant.acquire()
    (claim,) = [name for name in left_behind(path) if name.endswith(".claim")]
    edit(os.path.join(os.path.dirname(path), claim), pid=dead_pid())
    with PrefixLock(path) as lock:
        assert lock.held
        assert process_start(worker.pid) is None
        assert [name for name in left_behind(path) if not name.endswith(".new")] == []


def test_a_slow_take_over_gives_way_to_the_one_that_thought_it_dead(path, monkeypatch):
    PrefixLock(path).acquire()
    edit(path, pid=dead_pid())
    slow, quick = PrefixLock(path), PrefixLock(path)

    def long(tenure):
        monkeypatch.undo()
        (claim,) = [name for name in left_behind(path) if name.endswith(".claim")]
        edit(os.path.join(os.path.dirname(path), claim), silent=100, host="elsewhere")
        quick.acquire()

    monkeypatch.setattr(slow, "_end", long)
    with pytest.raises(PrefixLocked):
        slow.acquire()
    quick.heartbeat()
    assert quick.held


def test_what_contenders_left_long_ago_is_swept_away(path):
    folder = Path(path).parent
    for name in ("lock.abc.claim", "lock.abc.workers", "lock.old.new", "lock.young.new", "other"):
        (folder / name).write_text("")
    os.utime(folder / "lock.old.new", (1, 1))
    with PrefixLock(path):
        assert left_behind(path) == ["lock.young.new", "other"]


# -- processes -----------------------------------------------------------------------------------------------------


def test_a_start_time_tells_a_process_from_others(children):
    first = process_start(os.getpid())
    assert first == process_start(os.getpid())
    assert 0 < first <= processes.clock()
    assert process_start(dead_pid()) is None
    child = children("import sys; sys.stdin.read()")
    assert process_start(child.pid) >= first


def test_a_program_s_name_may_hold_brackets(tmp_path):
    program = tmp_path / "a) Z (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "600"])
    try:
        found = processes._from_proc(child.pid)
        assert found.group == os.getpgid(child.pid)
    finally:
        child.kill()
        child.wait()


def test_a_system_without_proc_asks_ps(monkeypatch, children):
    here = processes.processes()
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc") and real(path))
    there = processes.processes()
    assert {each.pid: each.group for each in here}[os.getpid()] == {each.pid: each.group for each in there}[os.getpid()]
    start = process_start(os.getpid())
    assert start == process_start(os.getpid())
    assert abs(start - time.time()) < 86400
    assert process_start(dead_pid()) is None
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StorageError, match="can't list the processes of this machine"):
        process_start(os.getpid())


def test_a_process_is_as_old_as_the_shell_that_it_was_before() -> None:
    code = "from pipelet.storage import process_age; print(process_age())"
    told = subprocess.run(
        ["bash", "-c", f"sleep 1.5; exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}"],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    ).stdout
    assert 1.5 <= float(told) < 100
