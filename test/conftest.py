"""Fixtures of all tests."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
import support
from support import MEASURE, Project

from pipelet import accounts

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell that begins something in the background makes it deaf to Ctrl-C, which tests send to what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    # And nohup, to the end of the terminal.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Some tests let processes crash, which would leave pictures of their memory behind.
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

#: The rings that count for the coverage, with the workers of their runs. The others would take twice as long; so would
#: tests that try very many cases, which are marked with `no_cover` where they stand.
MEASURED = {"unit", "integration", "migration", "security"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no ring that does not count."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] not in MEASURED:
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Have the processes that a test starts measured, or not, with those that its fixtures start."""
    # It is set when the measuring begins, which may be before this file is read or after.
    support.measuring = os.environ.pop(MEASURE, None) or support.measuring
    if support.measuring is not None and item.get_closest_marker("no_cover") is None:
        os.environ[MEASURE] = support.measuring
    end = os._exit
    try:
        return (yield)
    finally:
        # Each time that the measuring goes on again, it puts something more around this.
        os._exit = end


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty code directory and a prefix that does not exist yet."""
    return Project(tmp_path)


@pytest.fixture(autouse=True)
def _cheap_passwords(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have passwords cost next to nothing, but where it is tested what they cost."""
    if request.node.get_closest_marker("dear_passwords") is None:
        monkeypatch.setattr(accounts, "TIME_COST", 1)
        monkeypatch.setattr(accounts, "MEMORY_COST", 64)
        monkeypatch.setattr(accounts, "PARALLELISM", 1)
