"""How a batch server ends."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from pipelet.errors import LauncherError
from pipelet.executors.cluster import server as module
from pipelet.executors.cluster.server import Server
from pipelet.executors.cluster.serverfile import Timings


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
