#!/usr/bin/env python3
"""The web pages on large databases: time to the first byte of each, and what those who look on cost a run.

    python benchmarks/web.py                              1,000, 100,000 and 1,000,000 tasks; half an hour
    python benchmarks/web.py 1000 1000000 --keep DIR      made once, taken again the next time
    python benchmarks/web.py 1000 --pages 'index; products' --requests 50

For each size a server of its own shows a prefix as it is after a year of work (see ``webdata.py``). Each page is asked
for by one client, again and again, and by 20 clients, each of which asks twice a second; both with nothing else going
on, and while a run of short tasks writes to each of the databases. The sizes take turns, so that what else the machine
does counts for all of them; the style sheet shows how much that is. The clients are a process of their own. Then the
same run goes with and without 20 clients that follow it, side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from measuring import MeasuringError, Reading, checked, measure
from reporting import RESULTS, Goal, Table, goals_table, progress, save, say
from webdata import DOMINANT, VERSIONS, Made, make

from pipelet.accounts import add_user, users
from pipelet.statusdb import Reader

HERE = Path(__file__).resolve().parent
SIZES = (1_000, 100_000, 1_000_000)
CLIENTS = 20
#: Between two requests of one of many clients, in seconds.
PACE = 0.5
#: The sizes take turns so often.
ROUNDS = 4
#: Between two looks of a page that follows a run, in seconds; as ``live.js`` has it.
POLL = 2.0
NAME, PASSWORD = "bench", "a long word"
#: From the name of a page to its address below ``/p/bench/``; what stands in braces is filled in.
PAGES: Mapping[str, str] = {
    "style sheet": "../../static/style.css",
    "home": "../../",
    "index": "",
    "index, filtered": "?status=failed",
    "code": "code/{key}",
    "products": "products/{key}",
    "products, failed": "products/{key}?status=failed",
    "products, search": "products/{key}?search=det05",
    "task": "task/{shown}",
    "task, failed": "task/{failed}",
    "image": "file/{shown}/map.png",
    "table": "file/{shown}/spectrum.csv",
    "array": "file/{shown}/map.npy",
    "raw": "raw/{shown}/map.png",
    "thumbnail": "thumb/{shown}/map.png",
    "failures": "failures",
    "compare": "compare?a={key}&b={before}",
    "space": "space",
    "log": "log",
    "time": "time",
    "live": "live",
}
#: How a page was asked for.
WAYS = ("1", "20", "1, run", "20, run")
#: These two must be quick, whatever the size.
GOALS = ("index", "products")
LIMIT, RATIO, SLOWDOWN = 0.100, 1.5, 1.05


class Reached(NamedTuple):
    """How long the first byte of one page took, in one way of asking."""

    median: float
    p99: float
    cpu: float  #: of the server, for one request
    number: int
    bytes: int  #: the largest answer


class Server(NamedTuple):
    """A server that runs."""

    host: str
    port: int
    pid: int
    cookie: str = ""


class Pages(NamedTuple):
    """What was measured at one size."""

    tasks: int
    reached: dict[str, dict[str, Reached]]  #: page -> way -> reading
    missing: list[str]  #: pages that there are not


@contextlib.contextmanager
def serving(sqlfile: Path, scratch: Path) -> Iterator[Server]:
    """Start the server for one pipeline, log in, and end it."""
    environment = {
        **os.environ, "PIPELET_CONFIG_DIR": str(scratch / "config"), "PIPELET_STATE_DIR": str(scratch / "state")
    }
    command = [sys.executable, "-m", "pipelet.cli.pipeweb"]
    subprocess.run([*command, "track", "bench", str(sqlfile)], env=environment, check=True, capture_output=True)
    process = subprocess.Popen(
        [*command, "start", "--foreground", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        words = process.stdout.readline()
        address = next((word.strip(";,.") for word in words.split() if word.startswith("http")), None)
        if address is None:
            raise MeasuringError(f"the server did not start: {words.strip() or process.wait(10)}")
        found = urlsplit(address)
        yield _logged_in(Server(found.hostname or "", found.port or 80, process.pid))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        subprocess.run([*command, "untrack", "bench"], env=environment, check=False, capture_output=True)


def _logged_in(server: Server) -> Server:
    """Do as a browser does: the form has a token, which belongs to a cookie."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    connection.request("GET", "/login")
    form = connection.getresponse()
    token = re.search(r'name="token" value="([^"]*)"', form.read().decode())
    headers = {"Cookie": _cookies(form), "Content-Type": "application/x-www-form-urlencoded"}
    fields = {"name": NAME, "password": PASSWORD, "token": token[1] if token else ""}
    connection.request("POST", "/login", urlencode(fields), headers)
    answer = connection.getresponse()
    connection.close()
    if answer.status not in (302, 303):
        raise MeasuringError(f"the server did not take the log-in: status {answer.status}")
    return server._replace(cookie=_cookies(answer))


def _cookies(answer: http.client.HTTPResponse) -> str:
    given = [line.partition(";")[0] for line in answer.headers.get_all("Set-Cookie", [])]
    return "; ".join(one for one in given if one.partition("=")[2].strip('"'))


def ask(server: Server, path: str, clients: int, requests: int, every: float) -> dict[str, Any]:
    """Have clients ask for a page; gives what they have found."""
    with clients_at(server, path, clients, every, requests) as process:
        out, _ = process.communicate(timeout=600)
    answer: dict[str, Any] = json.loads(out)
    return answer


@contextlib.contextmanager
def clients_at(
    server: Server, path: str, clients: int, every: float, requests: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """Start clients; without a number of requests they go on until their input is closed."""
    order = {
        "host": server.host, "port": server.port, "cookie": server.cookie, "path": path, "clients": clients,
        "requests": requests, "every": every, "until_closed": not requests,
    }
    process = subprocess.Popen(
        [sys.executable, str(HERE / "webclient.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        yield process
    finally:
        if process.poll() is None:
            process.communicate(timeout=90)


def reached(servers: Sequence[Server], paths: Sequence[str], clients: int, requests: int) -> list[Reached | None]:
    """Measure one page in one way at each of the servers, in turns; None where there is no such page."""
    answers: list[list[dict[str, Any]]] = [[] for _ in servers]
    for server, path in zip(servers, paths, strict=True):
        ask(server, path, 1, 2, 0.0)  # the first one fills caches, and compiles templates
    for _ in range(ROUNDS):
        for server, path, got in zip(servers, paths, answers, strict=True):
            before = _cpu(server.pid)
            got.append(ask(server, path, clients, max(1, requests // ROUNDS), PACE if clients > 1 else 0.0))
            got[-1]["cpu"] = _cpu(server.pid) - before
    return [_summed(path, got) for path, got in zip(paths, answers, strict=True)]


def _summed(path: str, answers: Sequence[dict[str, Any]]) -> Reached | None:
    statuses = {status for got in answers for status in got["statuses"]}
    if statuses == {"404"}:
        return None
    if statuses != {"200"}:
        words = next((got["words"] for got in answers if got["words"]), "")
        raise MeasuringError(f"{path} was answered with {', '.join(sorted(statuses))}: {words}")
    times = sorted(seconds for got in answers for seconds in got["seconds"])
    cpu = sum(got["cpu"] for got in answers) / len(times)
    return Reached(statistics.median(times), _p99(times), cpu, len(times), max(got["bytes"] for got in answers))


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _p99(times: Sequence[float]) -> float:
    return times[min(len(times) - 1, round(0.99 * len(times)))]


# --- a run beside it -------------------------------------------------------------------------------------------------


def run_command(scratch: Path, prefix: Path, n: int, round: int, *options: str) -> list[str]:
    """The command for a run with new tasks in a prefix."""
    command = [sys.executable, str(HERE / "webrun.py"), str(scratch / "code"), str(prefix), str(n)]
    return [*command, "--round", str(round), *options]


@contextlib.contextmanager
def running(scratch: Path, prefix: Path) -> Iterator[None]:
    """Have a run of short tasks write to a prefix meanwhile."""
    # Not quicker: the records of a small database would be lost among those of this run.
    command = run_command(scratch, prefix, 2000, int(time.time()), "--again", "--milliseconds", "50")
    process = subprocess.Popen(command, start_new_session=True)
    try:
        _wait_for_tasks(prefix, process)
        yield
        if process.poll() is not None:
            raise MeasuringError("the run beside the pages ended before they were measured")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def _wait_for_tasks(prefix: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until tasks of the newest version of ``work`` are done."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with Reader.open(prefix / ".sqlstatus") as reader:
            versions = reader.instances("work")
            if versions and len(reader.tally([versions[0].id]).get(versions[0].id, {})) > 1:
                return
        time.sleep(0.2)
    raise MeasuringError("the run beside the pages did not begin")


def slowdown(server: Server, scratch: Path, prefix: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same run with and without clients that follow it, one after the other, several times."""
    found: dict[str, Any] = {}
    begun = int(time.time())
    rounds = iter(range(begun, begun + 1_000_000))
    for kind in ("waits", "computes"):
        readings: dict[str, list[Reading]] = {"alone": [], "followed": []}
        for at in range(options.repeats):
            # Who goes first takes turns, so that nothing that grows with time counts for one of them.
            for way in ("alone", "followed") if at % 2 == 0 else ("followed", "alone"):
                progress(f"a run that {kind}, {way} ...")
                busy = ["--busy"] if kind == "computes" else []
                command = run_command(scratch, prefix, options.run, next(rounds), *busy)
                with contextlib.ExitStack() as stack:
                    if way == "followed":
                        client = stack.enter_context(clients_at(server, "/p/bench/live", CLIENTS, POLL))
                    readings[way].append(checked(measure(command, 600), f"a run, {way}"))
                if way == "followed" and client.returncode:
                    raise MeasuringError(f"the clients ended with {client.returncode}")
        found[kind] = {
            way: {"wall": [one.wall for one in taken], "cpu": [one.cpu for one in taken]}
            for way, taken in readings.items()
        }
    return found


# --- tables ----------------------------------------------------------------------------------------------------------


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds."""
    return f"{1e3 * seconds:.0f}" if seconds >= 0.01 else f"{1e3 * seconds:.1f}"


def pages_table(found: Pages, smallest: Pages | None) -> Table:
    """All pages at one size, and how much longer they take than at the smallest."""
    rows = []
    for name, ways in found.reached.items():
        row = [name]
        for way in WAYS:
            reading = ways.get(way)
            words = (milliseconds(reading.median), milliseconds(reading.p99)) if reading else ("-",)
            row += [" / ".join(words), milliseconds(reading.cpu) if reading else "-"]
        for way in WAYS:
            other = smallest.reached.get(name, {}).get(way) if smallest else None
            if smallest:
                row.append(f"{ways[way].p99 / other.p99:.2f}" if other and way in ways else "-")
        rows.append([*row, f"{max(reading.bytes for reading in ways.values()) / 1e3:.0f}"])
    head = [word for way in WAYS for word in (f"{way}", "CPU")] + [f"ratio {way}" for way in WAYS if smallest]
    note = "ms to the first byte, median / 99th percentile, and of the server's CPU; ratios of the 99th percentile."
    if found.missing:
        note += f" Not there: {'; '.join(found.missing)}."
    return Table(f"{found.tasks:,} tasks", ("page", *head, "kB"), rows, note)


def slowdown_table(found: dict[str, Any]) -> Table:
    """Runs with and without clients."""
    rows = []
    for kind, ways in found.items():
        for way, cost in ways.items():
            row = [kind, way]
            for what in ("wall", "cpu"):
                median = statistics.median(cost[what])
                row += [f"{median:.2f}", f"{_ratio(ways, what) if way == 'followed' else 1:.3f}"]
            rows.append(row)
    title = f"A run, alone and followed by {CLIENTS} clients"
    return Table(title, ("tasks", "run", "wall s", "ratio", "CPU s", "ratio"), rows, "Medians.", left=2)


def _ratio(ways: Mapping[str, Mapping[str, Sequence[float]]], what: str) -> float:
    """The median ratio of the pairs that were measured side by side."""
    pairs = zip(ways["followed"][what], ways["alone"][what], strict=True)
    return statistics.median(followed / alone for followed, alone in pairs)


def goals_of(found: Sequence[Pages], runs: Mapping[str, Any]) -> list[Goal]:
    """What should be so."""
    first, last = found[0], found[-1]
    goals = []
    for name in GOALS:
        for way, reading in last.reached.get(name, {}).items():
            clients = f"{way.replace(', run', '')} client{'s' if way.startswith('20') else ''}"
            at = f"{last.tasks:,} tasks, {clients}{', a run' if 'run' in way else ''}"
            goals.append(Goal(f"{name}: first byte, 99 %", at, 1e3 * reading.p99, 1e3 * LIMIT, "ms"))
            if first is not last and way in first.reached.get(name, {}):
                ratio = reading.p99 / first.reached[name][way].p99
                goals.append(Goal(f"{name}: ratio to {first.tasks:,} tasks", at, ratio, RATIO))
    for kind, ways in runs.items():
        for what in ("wall", "cpu"):
            words = f"a run that {kind}, followed: {'wall' if what == 'wall' else 'CPU'}"
            goals.append(Goal(words, f"{last.tasks:,} tasks", _ratio(ways, what), SLOWDOWN))
    return goals


# --- the whole -------------------------------------------------------------------------------------------------------


def prepared(home: Path, tasks: int) -> Made:
    """A prefix with so many tasks: made now, or found there."""
    prefix, note = home / f"tasks-{tasks}", home / f"tasks-{tasks}.json"
    if note.exists():
        prefix_, sqlfile, *others = json.loads(note.read_text())
        return Made(Path(prefix_), Path(sqlfile), *others)
    progress(f"making {tasks:,} tasks ...")
    made = make(prefix, tasks)
    note.write_text(json.dumps(made, default=str))
    return made


def addresses(made: Made, names: Sequence[str]) -> dict[str, str]:
    """The address of each page."""
    with Reader.open(made.sqlfile) as reader:
        versions = {row.key: row for row in reader.instances(DOMINANT)}
    before = sorted(versions.values(), key=lambda row: row.created)[VERSIONS - 2].key
    words = {"key": made.dominant[:12], "before": before[:12], "shown": made.shown, "failed": made.failed}
    return {name: f"/p/bench/{PAGES[name].format(**words)}".replace("/p/bench/../../", "/") for name in names}


class Place(NamedTuple):
    """One size: its prefix and its server."""

    tasks: int
    made: Made
    server: Server
    scratch: Path


def look(places: Sequence[Place], options: argparse.Namespace) -> list[Pages]:
    """Ask for all pages at all sizes, with nothing else going on and then beside runs."""
    found = [Pages(place.tasks, {}, []) for place in places]
    servers = [place.server for place in places]
    listed = [addresses(place.made, options.pages) for place in places]
    for beside in ("", ", run") if not options.no_run else ("",):
        with contextlib.ExitStack() as runs:
            for place in places if beside else ():
                runs.enter_context(running(place.scratch, place.made.prefix))
            for name in options.pages:
                for clients in (1, CLIENTS):
                    if any(name in one.missing for one in found):
                        continue
                    progress(f"{name}, {clients} clients{beside} ...")
                    readings = reached(servers, [paths[name] for paths in listed], clients, options.requests)
                    for one, reading in zip(found, readings, strict=True):
                        if reading is None:
                            one.missing.append(name)
                        else:
                            one.reached.setdefault(name, {})[f"{clients}{beside}"] = reading
    return found


@contextlib.contextmanager
def prepared_places(options: argparse.Namespace, temporary: Path) -> Iterator[list[Place]]:
    """Make all prefixes, and start a server for each."""
    with contextlib.ExitStack() as servers:
        places = []
        for tasks in sorted(options.tasks):
            scratch = temporary / str(tasks)
            home = Path(options.keep) if options.keep else scratch
            for directory in (scratch, home):
                directory.mkdir(parents=True, exist_ok=True)
            made = prepared(home.resolve(), tasks)
            if NAME not in users(made.sqlfile):
                add_user(made.sqlfile, NAME, 2, PASSWORD)
            places.append(Place(tasks, made, servers.enter_context(serving(made.sqlfile, scratch)), scratch))
        yield places


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("tasks", type=int, nargs="*", default=list(SIZES), help="sizes (default: 1000 100000 1000000)")
    add("--requests", type=int, default=300, metavar="N", help="for each reading (default: %(default)s)")
    add("--pages", default="", metavar="NAMES", help=f"some of: {'; '.join(PAGES)}; separated by semicolons")
    add("--repeats", type=int, default=5, metavar="N", help="pairs of runs with and without clients; 0 leaves them out")
    add("--run", type=int, default=4000, metavar="N", help="tasks of such a run (default: %(default)s)")
    add("--no-run", action="store_true", help="measure the pages only with nothing else going on")
    add("--keep", metavar="DIR", help="make the databases here, and take what is there already")
    add("--results", default=str(RESULTS), metavar="DIR", help="where tables go (default: %(default)s)")
    options = parser.parse_args()
    options.pages = [name.strip() for name in options.pages.split(";")] if options.pages else list(PAGES)
    for name in options.pages:
        if name not in PAGES:
            parser.error(f"--pages: there is no {name!r}; there are {'; '.join(PAGES)}")
    return options


def main() -> int:
    """Measure; the status tells whether all ran, not whether the goals are met."""
    options = read_options()
    runs: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="web-bench-") as temporary,
        prepared_places(options, Path(temporary)) as places,
    ):
        found = look(places, options)
        for one in found:
            say(pages_table(one, found[0] if one is not found[0] else None).text() + "\n")
        if options.repeats:
            last = places[-1]
            runs = slowdown(last.server, last.scratch, last.made.prefix, options)
    tables = [pages_table(one, found[0] if one is not found[0] else None) for one in found]
    if runs:
        tables.append(slowdown_table(runs))
        say(tables[-1].text() + "\n")
    goals = goals_of(found, runs)
    tables.append(goals_table(goals))
    say(tables[-1].text())
    content = {
        "pages": [
            {"tasks": one.tasks, "reached": {
                name: {way: reading._asdict() for way, reading in ways.items()} for name, ways in one.reached.items()
            }, "missing": one.missing}
            for one in found
        ],
        "runs": runs,
    }
    say("written: " + ", ".join(map(str, save("web", tables, goals, content, options.results))))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MeasuringError as error:
        sys.exit(f"web.py: error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nweb.py: stopped")
