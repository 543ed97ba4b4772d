"""Fixtures of all tests."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
from support import Project

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell that begins something in the background makes it deaf to Ctrl-C, which tests send to what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    # And nohup, to the end of the terminal.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Some tests let processes crash, which would leave pictures of their memory behind.
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty code directory and a prefix that does not exist yet."""
    return Project(tmp_path)
