"""How a batch server ends."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from support import Project, until

from pipelet.errors import LauncherError, StorageError
from pipelet.executors.cluster import server as module
from pipelet.executors.cluster.server import Server
from pipelet.executors.cluster.serverfile import Timings
from pipelet.launchers import launch_batch


def test_only_a_port_that_is_in_use_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert module._free_port("127.0.0.1", taken.getsockname()[1]) == 0

    class Refusing(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module.socket, "socket", Refusing)
    with pytest.raises(LauncherError, match=r"can't listen at 127\.0\.0\.1:80: Permission denied"):
        module._free_port("127.0.0.1", 80)


def test_a_server_that_can_not_reach_a_worker_leaves_word_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DISMISS_SECONDS", 0.2)
    messages: list[str] = []

    def server() -> Server:
        # The scheduler logs to a file from here on, which other tests must not find.
        monkeypatch.setattr(module, "_to_file", lambda name, path: None)
        return Server(str(tmp_path), ("127.0.0.1", 0), Timings(), lambda level, message: messages.append(message))

    first = server()
    assert first.fence.open(set())
    # It is cut off, and so it neither hears that it should end nor is missed yet.
    monkeypatch.setattr(first._cluster.scheduler, "close_worker", lambda address: None)
    first.members.add("tls://192.0.2.3:40000", "melt-1", "192.0.2.3", 2)
    first.close()
    assert messages == ["could not be told that the run is over: melt-1 on 192.0.2.3"]
    second = server()
    assert not second.fence.open(set()), "melt-1 may run still what it was given"
    assert second.fence.open({"melt-1"})
    second.close()
    assert os.listdir(tmp_path) == []


def test_a_server_and_its_workers_at_an_ipv6_address(project: Project) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    project.write(a="set_output(get_input() + 1)")
    pipeline = project.pipeline("a", {"a": [1, 2]})
    w, _ = launch_batch(pipeline, 1, "local", address=("::1", 0), log_level=0)
    assert w.run().done == 2
    (log,) = (project.prefix / ".pipelet" / "log" / "jobs").glob("*.out")
    assert "joined the server at tls://[::1]:" in log.read_text()


def test_a_server_that_can_not_write_its_file_listens_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_to_file", lambda name, path: None)
    (tmp_path / "server.json").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StorageError, match=r"can't write .*server\.json"):
        Server(str(tmp_path), ("127.0.0.1", port), Timings(), lambda level, message: None)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_job_outlives_a_server_s_file_that_can_not_be_read_for_a_while(project: Project) -> None:
    """It may be damaged for a moment, as some file systems have it: that is no word on the run."""
    file = project.root / "server.json"
    file.write_text("{")
    file.chmod(0o600)
    words = ["-m", "pipelet.executors.cluster.job", str(file), "--name", "melt-1", "--death-timeout"]
    process = project.start(*words, "60")
    try:
        until(lambda: "is damaged" in os.read(process.stdout.fileno(), 10_000).decode(), "its word on the file")
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=60)
    gone = project.ran(*words, "0.5")
    assert gone.returncode == 1
    assert gone.stdout.count("is damaged") >= 2
