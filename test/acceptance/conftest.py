"""Fixtures of the tests that a user could have typed."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ENVIRONMENT, REPOSITORY


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as web pages; built once, also where several processes run the tests."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    target, said = base / "html", base / "html.said"
    with (base / "html.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(base / "doctrees"), "-b", "html"]
            built = subprocess.run(
                [sys.executable, *words, str(REPOSITORY / "docs"), str(target)], cwd=REPOSITORY, capture_output=True,
                text=True, check=False, env=ENVIRONMENT,
            )
            said.write_text("" if built.returncode == 0 else built.stderr or f"status {built.returncode}")
    assert said.read_text() == ""
    return target
