"""What the browser tests share: a server as users start it, and visitors who notice whatever a page complains of."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect
from support import REPOSITORY

from pipelet.core.model import Status
from pipelet.statusdb import Reader
from pipelet.web import control
from pipelet.web.settings import Settings
from pipelet.web.tracked import Registry

# The tools are in no package that is installed.
sys.path.append(str(REPOSITORY))

from tools.demo_site import USERS, Demo

#: How long anything may take, in milliseconds: machines may be slow.
PATIENCE = 60_000
#: The pictures of what failed.
FAILURES = Path(__file__).parent / "failures"
#: What the browser itself brings, as its viewer of PDF.
_OF_THE_BROWSER = ("data:", "blob:", "chrome:", "chrome-extension:")
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

expect.set_options(timeout=PATIENCE)


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
        # Of answers that are errors we hear otherwise; and products may try what they are not allowed to.
        where = str(message.location.get("url"))
        ours = "Failed to load resource" not in message.text and "/raw/" not in where
        if message.type in ("error", "warning") and ours:
            self.complaints.append(f"{message.type}: {message.text} ({where})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.site, *_OF_THE_BROWSER)):
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

    def picture_of_failure(self) -> None:
        """Keep what can be seen now, under the name of the test."""
        name = os.environ.get("PYTEST_CURRENT_TEST", "failure").split(" ")[0].rpartition("::")[2]
        FAILURES.mkdir(exist_ok=True)
        self.page.screenshot(path=FAILURES / f"{name.replace('/', '_')[:100]}.png", full_page=True)

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
        if visitor.complaints:
            raise AssertionError("the page complained: " + "; ".join(visitor.complaints))
    except BaseException:
        visitor.picture_of_failure()
        raise
    finally:
        context.close()


class Places:
    """Addresses of the pages of a demonstration.

    Parameters
    ----------
    demo
        The demonstration, under the name ``cmb``.
    """

    def __init__(self, demo: Demo) -> None:
        self.demo = demo

    def key(self, segment: str, number: int = 0) -> str:
        """The key of a version as addresses have it, the newest first."""
        with Reader.open(self.demo.sqlfile) as reader:
            return reader.instances(segment)[number].key[:12]

    def task(self, segment: str, status: Status = Status.DONE) -> int:
        """The number of the first task of the newest version."""
        with Reader.open(self.demo.sqlfile) as reader:
            return next(task.id for task in reader.tasks(reader.instances(segment)[0].id) if task.status == status)

    def file(self, segment: str, name: str) -> str:
        """The page of a product."""
        return f"/p/cmb/file/{self.task(segment)}/{name}"


#: An address for each kind of page.
PAGES: dict[str, Callable[[Places], str]] = {
    "home": lambda to: "/",
    "index": lambda to: "/p/cmb/",
    "index-all": lambda to: "/p/cmb/?expand=all",
    "index-filtered": lambda to: "/p/cmb/?status=failed&since=2001-01-01",
    "code": lambda to: f"/p/cmb/code/{to.key('spectrum')}",
    "code-first": lambda to: f"/p/cmb/code/{to.key('instrument', -1)}",
    "products": lambda to: f"/p/cmb/products/{to.key('observe')}",
    "products-gallery": lambda to: f"/p/cmb/products/{to.key('observe')}?view=gallery",
    "products-failed": lambda to: f"/p/cmb/products/{to.key('spectrum')}?status=failed",
    "task": lambda to: f"/p/cmb/task/{to.task('average')}",
    "task-failed": lambda to: f"/p/cmb/task/{to.task('spectrum', Status.FAILED)}",
    "folder": lambda to: to.file("average", ""),
    "image": lambda to: to.file("observe", "map.png"),
    "array": lambda to: to.file("observe", "map.npy"),
    "curve": lambda to: to.file("spectrum", "spectrum.npy"),
    "arrays": lambda to: to.file("average", "average.npz"),
    "pickle": lambda to: to.file("average", "average.pkl"),
    "table": lambda to: to.file("spectrum", "spectrum.csv"),
    "table-tabs": lambda to: to.file("observe", "statistics.tsv"),
    "json": lambda to: to.file("instrument", "instrument.json"),
    "fits": lambda to: to.file("sky", "sky.fits"),
    "pdf": lambda to: to.file("poster", "poster.pdf"),
    "html": lambda to: to.file("poster", "report.html"),
    "text": lambda to: to.file("poster", "notes.txt"),
    "svg": lambda to: to.file("theory", "theory.svg"),
    "compare": lambda to: "/p/cmb/compare",
    "compare-code": lambda to: f"/p/cmb/compare?a={to.key('spectrum', -1)}&b={to.key('spectrum')}",
    "compare-images": lambda to: f"/p/cmb/compare?a={to.key('instrument', -1)}&b={to.key('instrument')}",
    "space": lambda to: "/p/cmb/space",
    "failures": lambda to: "/p/cmb/failures",
    "log": lambda to: "/p/cmb/log",
    "log-filtered": lambda to: "/p/cmb/log?level=error&word=mask",
    "time": lambda to: "/p/cmb/time?period=all",
    "time-of-the-last-run": lambda to: "/p/cmb/time",
}
