"""The short version of ``make torture``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ENVIRONMENT

SECONDS = int(os.environ.get("PIPELET_TORTURE_SECONDS", "30"))


@pytest.mark.timeout(SECONDS + 600)
def test_pipelines_survive_torture(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).parent), "--seed", "1", "--minutes", str(SECONDS / 60)]
    options = ["--longest", "3", "--directory", str(tmp_path / "rounds")]
    # The processes that are killed here could not tell what they have covered.
    ended = subprocess.run([*command, *options], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    print(ended.stdout)
    assert (ended.returncode, ended.stderr) == (0, "")
    counted = re.search(r"^(\d+) rounds, (\d+) faults, \d+ starts, 0 failures", ended.stdout, re.MULTILINE)
    assert counted
    assert int(counted[1]) > 0
    if os.geteuid() == 0 and os.environ.get("CI"):
        assert "no disk can be mounted" not in ended.stdout
