"""Fixtures of the browser tests: Debian's Chromium, and a site with a small past."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Places, Visitor, copied, serving, visiting
from playwright.sync_api import Browser, sync_playwright
from support import PATIENCE

from tools.demo_site import Demo, make_demo

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_FOR_PICTURES = Path(tempfile.gettempdir()) / "cmb"
_FAILED = pytest.StashKey[bool]()


# For the package and not for the session: while Playwright is there, other tests can't start an event loop.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.fail("there is no Chromium: install it with `sudo apt-get install chromium`", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, worker_id: str, pictures: Path | None) -> Demo:
    """The demonstration, made once for all workers of pytest; nobody changes it."""
    if pictures is not None:
        # Its name is in the pictures.
        shutil.rmtree(_FOR_PICTURES, ignore_errors=True)
        return make_demo(_FOR_PICTURES)
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "demo"
    done = home / "done"
    try:
        home.mkdir()
    except FileExistsError:
        end = time.monotonic() + PATIENCE
        while not done.exists():
            assert time.monotonic() < end, "the demonstration was not made"
            time.sleep(0.1)
    else:
        make_demo(home / "demo")
        done.touch()
    return Demo(home / "demo" / "code", home / "demo" / "data", home / "demo" / "data" / ".sqlstatus")


@pytest.fixture(scope="session")
def demo(pristine: Demo, tmp_path_factory: pytest.TempPathFactory, pictures: Path | None) -> Demo:
    """The demonstration, for tests that only look."""
    if pictures is not None:
        return pristine
    return copied(pristine, tmp_path_factory.mktemp("looked-at"))


@pytest.fixture(scope="session")
def places(demo: Demo) -> Places:
    """The addresses of its pages."""
    return Places(demo)


@pytest.fixture(scope="session")
def site(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server that shows it."""
    with serving(tmp_path_factory.mktemp("server"), {"cmb": demo.sqlfile}) as address:
        yield address


@pytest.fixture(scope="session")
def sessions() -> dict[str, dict[str, object]]:
    """The cookies of those who are logged in."""
    return {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Let fixtures know how their test ended."""
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture
def ada(
    chromium: Browser, site: str, sessions: dict[str, dict[str, object]], request: pytest.FixtureRequest
) -> Iterator[Visitor]:
    """A visitor who is logged in and may change things."""
    with visiting(chromium, site, **({"storage_state": sessions["ada"]} if "ada" in sessions else {})) as visitor:
        if "ada" not in sessions:
            sessions["ada"] = visitor.log_in().context.storage_state()
        yield visitor
        if request.node.stash.get(_FAILED, False):
            visitor.picture_of_failure()


@pytest.fixture
def own_demo(pristine: Demo, tmp_path: Path) -> Demo:
    """A demonstration that a test may change."""
    return copied(pristine, tmp_path / "own")


@pytest.fixture
def own_site(own_demo: Demo, tmp_path: Path) -> Iterator[str]:
    """A server that shows it."""
    with serving(tmp_path / "server", {"cmb": own_demo.sqlfile}) as address:
        yield address


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """The directory of the pictures in the documentation, if they are wanted (``PIPELET_SCREENSHOTS``)."""
    wanted = os.environ.get("PIPELET_SCREENSHOTS")
    return Path(wanted).resolve() if wanted else None
