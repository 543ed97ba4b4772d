"""What the browser tests share: a server as users start it, and visitors who notice whatever a page complains of."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

from pipelet.statusdb import Reader
from pipelet.web import control
from pipelet.web.settings import Settings
from pipelet.web.tracked import Registry
from tools.demo_site import USERS, Demo

#: How long anything may take, in milliseconds: machines may be slow.
PATIENCE = 60_000
#: The pictures of what failed.
FAILURES = Path(__file__).parent / "failures"
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextmanager
def serving(state: Path, pipelines: Mapping[str, Path]) -> Iterator[str]:
    """Run the server as ``pipeweb start`` does; give its address."""
    settings = Settings(port=0, config=str(state / "config"), state=str(state / "state"))
    registry = Registry(settings.config)
    for name, sqlfile in pipelines.items():
        registry.track(name, str(sqlfile))
    note = control.start(settings)
    try:
        yield note.url.rstrip("/")
    finally:
        control.stop(settings.state, lambda words: None)


def copied(demo: Demo, target: Path) -> Demo:
    """A demonstration of its own, for who changes it."""
    made = Demo(target / "code", target / "data", target / "data" / ".sqlstatus")
    shutil.copytree(demo.code, made.code)
    shutil.copytree(demo.prefix, made.prefix, symlinks=True)
    return made


class Visitor:
    """Somebody at a browser.

    Attributes
    ----------
    page
        The window.
    complaints
        What the console said, what failed, and what was asked of other hosts.
    """

    def __init__(self, context: BrowserContext, site: str) -> None:
        self.site = site
        self.context = context
        self.complaints: list[str] = []
        #: Answers that a test asks for on purpose.
        self.expected_statuses: set[int] = set()
        context.set_default_timeout(PATIENCE)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        context.on("request", self._asked)
        context.on("response", self._answered)
        self.page: Page = context.new_page()

    def _heard(self, message: ConsoleMessage) -> None:
        # Of answers that are errors we hear otherwise.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.site, "data:", "blob:")):
            self.complaints.append(f"asked elsewhere: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected_statuses:
            self.complaints.append(f"{response.status} for {response.url}")

    def go(self, address: str = "/") -> Page:
        """Open a page of the site."""
        self.page.goto(f"{self.site}{address}" if address.startswith("/") else address)
        return self.page

    def log_in(self, name: str = "ada") -> Visitor:
        """Go in by the front door."""
        self.go("/")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(USERS[name][1])
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("button", name="Log out").wait_for()
        return self

    @property
    def path(self) -> str:
        """Where the window is, without the site."""
        return urlsplit(self.page.url).path

    def sideways(self) -> list[str]:
        """What is wider than the window."""
        return list(
            self.page.evaluate(
                """() => document.documentElement.scrollWidth <= innerWidth ? [] :
                [...document.body.querySelectorAll("*")]
                .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
                .map(e => `${e.tagName}.${e.getAttribute("class")} ends at ${e.getBoundingClientRect().right}`)
                .slice(0, 8).concat(["the page scrolls sideways"])"""
            )
        )

    def violations(self) -> list[str]:
        """What axe finds on the page."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']} ({one['impact']}): {one['help']}: {node['html'][:200]} {node['failureSummary']}"
            for one in found
            for node in one["nodes"][:3]
        ]


@contextmanager
def visiting(browser: Browser, site: str, **options: object) -> Iterator[Visitor]:
    """A visitor with a browser profile of their own; what a page complained of fails the test."""
    context = browser.new_context(**{"viewport": DESK, "reduced_motion": "reduce", **options})
    visitor = Visitor(context, site)
    try:
        yield visitor
        assert visitor.complaints == []
    except BaseException:
        name = os.environ.get("PYTEST_CURRENT_TEST", "failure").split(" ")[0].rpartition("::")[2]
        FAILURES.mkdir(exist_ok=True)
        visitor.page.screenshot(path=FAILURES / f"{name.replace('/', '_')[:100]}.png", full_page=True)
        raise
    finally:
        context.close()


@dataclasses.dataclass(frozen=True)
class Places:
    """Addresses of the pages of a demonstration."""

    demo: Demo

    def key(self, segment: str, number: int = 0) -> str:
        """The key of a version as addresses have it, the newest first."""
        with Reader.open(self.demo.sqlfile) as reader:
            return reader.instances(segment)[number].key[:12]

    def task(self, segment: str, number: int = 0) -> int:
        """The number of a task of the newest version."""
        with Reader.open(self.demo.sqlfile) as reader:
            return [task.id for task in reader.tasks(reader.instances(segment)[0].id)][number]

    def pages(self) -> dict[str, str]:
        """One address for each kind of page."""
        return {
            "home": "/",
            "index": "/p/cmb/",
            "index-open": "/p/cmb/?open=all",
            "code": f"/p/cmb/code/{self.key('spectrum')}",
            "failures": "/p/cmb/failures",
            "log": "/p/cmb/log",
            "time": "/p/cmb/time?period=all",
            "time-of-the-last-run": "/p/cmb/time",
        }
