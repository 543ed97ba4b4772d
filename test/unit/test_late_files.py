"""What workers read of files of the run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pipelet.errors import LauncherError
from pipelet.executors.cluster.serverfile import read_server_file
from pipelet.executors.far import FarExecutor
from pipelet.executors.wire import read_late, write_whole
from pipelet.limits import Limits


class Pool(FarExecutor):
    _workers = 1

    def _send(self, number: int, packed: bytes | str) -> None:
        raise NotImplementedError


def test_what_somebody_else_has_written_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "terms")
    write_whole(path, b"some")
    assert read_late(path, 0) == b"some"
    # To any other user the file belongs to somebody else.
    os.chown(path, 4321, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        read_late(path, 60)
    with pytest.raises(LauncherError, match="belongs to somebody else"):
        read_server_file(path)


def test_none_but_the_owner_enters_what_workers_read(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        executor = Pool(str(tmp_path), Limits())
    finally:
        os.umask(before)
    directory = os.path.dirname(executor.terms_path)
    for place in (directory, os.path.dirname(directory)):
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
    executor.close()
