#!/usr/bin/env python3
"""A prefix as it is after a year of work: 300 versions of ten segments, and as many tasks as one likes.

    python benchmarks/webdata.py DIRECTORY 100000

The same seed gives the same records. Half of all tasks are in one version. Some hundred tasks have a directory with
files, those that the pages show first among them; the others have lost theirs. There are no journals, so nothing can be
rebuilt from such a tree.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import itertools
import json
import os
import pickle
import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np

from pipelet.core.model import Status
from pipelet.core.text import join_texts, task_name, value_text
from pipelet.meta import clock_text, parameters_text
from pipelet.runlog import RunLog
from pipelet.statusdb import TaskRow, Writer, pack_ids
from pipelet.storage import Tree
from pipelet.storage.lastrun import write_last_run

DOT = """
theory -> sky -> observe -> clean -> spectrum -> average -> likelihood -> figures;
instrument -> observe;
mask -> clean;
"""
PARENTS: Mapping[str, tuple[str, ...]] = {
    "theory": (),
    "instrument": (),
    "mask": (),
    "sky": ("theory",),
    "observe": ("sky", "instrument"),
    "clean": ("observe", "mask"),
    "spectrum": ("clean",),
    "average": ("spectrum",),
    "likelihood": ("average",),
    "figures": ("likelihood",),
}
VERSIONS = 30
#: The segment of which the last version has half of all tasks.
DOMINANT = "observe"
#: These have so few tasks in each version, or one in a small database.
FEW = {"theory": 1, "instrument": 9, "mask": 4, "average": 9, "figures": 1}
_SMALL = 10_000
#: Of the dominant version so many tasks have a directory at each end, of each other version so many at the beginning.
_ENDS, _SOME = 100, 1
#: The moment of the last run: the records are the same at any time.
LAST = 1_790_000_000.0
_YEAR = 365.25 * 86400
_FREQUENCIES = (30, 44, 70, 100, 143, 217, 353, 545, 857)
_LOG_LINES = 20_000

_ERRORS = (
    ("line 31, in <module>", "    power = flatsky.binned_spectrum(sky, edges)",
     "ValueError: {n} pixels of the map are not finite: mask them before the transform"),
    ("line 12, in <module>", "    with open(path) as file:",
     "FileNotFoundError: [Errno 2] No such file or directory: '/scratch/ring_{n}.dat'"),
    ("line 44, in <module>", "    fit = minimise(chi2, start)", "RuntimeError: no minimum after {n} steps"),
    ("line 27, in <module>", "    beam = table[frequency]", "KeyError: {n}"),
    ("line 58, in <module>", "    inverse = np.linalg.inv(covariance)", "numpy.linalg.LinAlgError: Singular matrix"),
    ("line 9, in <module>", "    cube = np.zeros((n, n, n))", "MemoryError: Unable to allocate {n} GiB for an array"),
)


class Made(NamedTuple):
    """What was made."""

    prefix: Path
    sqlfile: Path
    dominant: str  #: key of the version with half of all tasks
    shown: int  #: a task with files
    failed: int  #: a failed task


class _Version(NamedTuple):
    id: int
    segment: str
    number: int
    key: str
    path: str
    created: float


def make(directory: str | os.PathLike[str], tasks: int, seed: int = 4711) -> Made:
    """Make a prefix with its database.

    Parameters
    ----------
    directory
        The prefix; empty or missing.
    tasks
        How many there are, 600 or more.
    seed
        Decides everything.
    """
    if tasks < 600:
        raise ValueError(f"{tasks} tasks are too few for {VERSIONS * len(PARENTS)} versions; take 600 or more")
    return _Maker(Path(directory).resolve(), tasks, seed).make()


class _Maker:
    def __init__(self, prefix: Path, tasks: int, seed: int) -> None:
        self.tasks = tasks
        self.seed = seed
        self.random = random.Random(seed)
        self.tree = Tree(str(prefix), "process")
        self.prefix = prefix
        self.next_id = 1
        self.pack = msgpack.Packer().pack
        self.files = _files(seed)
        self.shown = self.failed = 0

    def make(self) -> Made:
        self.tree.create()
        sqlfile = self.prefix / ".sqlstatus"
        log = RunLog(self.tree.log_dir)
        with Writer.open(sqlfile) as writer, closing(log):
            self.writer, self.log = writer, log
            counts = self._counts()
            for number in range(VERSIONS):
                versions: dict[str, _Version] = {}
                ids: dict[str, range] = {}
                for segment in PARENTS:
                    versions[segment] = self._version(segment, number, versions)
                    ids[segment] = self._fill(versions[segment], counts[segment, number], ids)
                self._tell(number, versions, ids)
                if number % 5 == 4:
                    self._tag(versions["figures"], f"release {number // 5 + 1}")
                if number % 7 == 3:
                    self._tag(versions["spectrum"], "looks odd, ask Ada")
        write_last_run(self.tree, {name: version.key for name, version in versions.items()})
        return Made(self.prefix, sqlfile, versions[DOMINANT].key, self.shown, self.failed)

    def _counts(self) -> dict[tuple[str, int], int]:
        """How many tasks each version has; all of them together exactly as many as wanted."""
        few = {name: 1 if self.tasks < _SMALL else number for name, number in FEW.items()}
        counts = {(name, number): few.get(name, 1) for name in PARENTS for number in range(VERSIONS)}
        dominant = (DOMINANT, VERSIONS - 1)
        counts[dominant] = self.tasks // 2
        others = [at for at in counts if at[0] not in FEW and at != dominant]
        left = self.tasks - sum(counts.values())
        weights = [self.random.uniform(0.3, 1.7) for _ in others]
        whole = sum(weights)
        for at, weight in zip(others, weights, strict=True):
            counts[at] += max(0, int(left * weight / whole))
        counts[others[0]] += self.tasks - sum(counts.values())
        return counts

    # --- versions ------------------------------------------------------------------------------------------------

    def _version(self, segment: str, number: int, made: Mapping[str, _Version]) -> _Version:
        name = f"{self.seed} {segment} {number}".encode()
        key = base64.b32encode(blake2b(name, digest_size=32).digest()).decode().rstrip("=")
        parents = [made[parent] for parent in PARENTS[segment]]
        path = self.tree.instance_path(parents[0].path if parents else "", segment, key)
        created = LAST - _YEAR * (1 - number / (VERSIONS - 1)) + 60 * len(made)
        meta = self._meta(segment, number, key, created, parents)
        self.tree.create_instance(path, _code(segment, number), meta)
        os.makedirs(self.tree.data_dir(path), exist_ok=True)
        shared = {"tilt": "0.965", "nside": str(64 << number % 5)}
        self.tree.write_args(path, parameters_text({"1": shared}))
        row = self.writer.add_instance(segment, key, path, [parent.id for parent in parents], created)
        return _Version(row, segment, number, key, path, created)

    def _meta(
        self, segment: str, number: int, key: str, created: float, parents: list[_Version]
    ) -> dict[str, object]:
        modules = [("csv", "3.11.7"), ("matplotlib", "3.10.1"), ("numpy", f"2.{number // 6}.1"), ("scipy", "1.16.0")]
        return {
            "segment": segment,
            "key": key,
            "created": clock_text(created),
            "created_seconds": created,
            "computed": clock_text(created + 3600),
            "parents": {parent.segment: parent.key for parent in parents},
            "script": f"{segment}.py",
            "hooks": {"figure": f"{segment}_figure.py"},
            "depends": ["flatsky.py"],
            "directives": ["#multiplex cross_prod", "#depend flatsky.py"],
            "ingredients": {f"code {segment}.py": key[:32].lower()},
            "revision": f"git {key[:10].lower()}",
            "python": "3.11.7",
            "modules": [
                {"name": name, "version": version, "file": None, "digest": None, "revision": None}
                for name, version in modules
            ],
            "number": number + 1,
            "environment": None,
        }

    def _tag(self, version: _Version, tag: str) -> None:
        self.writer.set_tag(version.id, tag)
        self.tree.write_tag(version.path, tag)

    # --- tasks ---------------------------------------------------------------------------------------------------

    def _fill(self, version: _Version, number: int, ids: Mapping[str, range]) -> range:
        """Write the tasks of a version and their parameters; gives their ids."""
        mine = range(self.next_id, self.next_id + number)
        self.next_id += number
        rows = self._rows(version, mine, [ids[parent] for parent in PARENTS[version.segment]])
        # A transaction of its own for each piece, as a run makes them.
        while piece := list(itertools.islice(rows, 20_000)):
            with self.writer.transaction():
                self.writer.add_queued(piece)
                self.writer.add_params([param for row in piece for param in self._params(version, row)])
        self.writer.apply(version.id, [["wanted", pack_ids(list(mine))]])
        return mine

    def _rows(self, version: _Version, ids: range, parents: list[range]) -> Iterator[TaskRow]:
        draw = self.random.random
        clock = version.created + 5
        step = min(20.0, 6 * 3600 / len(ids))
        shown = set(ids[:_ENDS]) | set(ids[-_ENDS:]) if len(ids) == self.tasks // 2 else set(ids[:_SOME])
        for at, task in enumerate(ids):
            of = [parent[at % len(parent)] for parent in parents]
            blobs, text = self._input(version.segment, at)
            clock += step * 2 * draw()
            status, current = self._fate(version, draw())
            kind = int(6 * draw() ** 2) if status == Status.FAILED else -1
            element = pickle.dumps((at, version.number), 4)
            done, ran = status == Status.DONE, status != Status.QUEUED
            row = TaskRow(
                id=task, instance=version.id,
                digest=blake2b(b"%d" % version.id + blobs, digest_size=16).digest(),
                status=int(status), current=current,
                place=task_name(task, text) if done and len(ids) > 1 else "" if done else None,
                text=text, input=blobs, output=self.pack([element]) if done else None,
                digests=blake2b(element, digest_size=16).digest() if done else None,
                texts=self.pack([f"{at}_{version.number}"]) if done else None,
                parents=json.dumps([[one] for one in of], separators=(",", ":")),
                asked=json.dumps({"parents": PARENTS[version.segment][:1]}) if parents and ran else None,
                begun=clock if ran else None, ended=clock + 0.3 + 30 * draw() ** 4 if ran else None,
                host=f"node{1 + task // 7 % 16:02d}" if ran else None, pid=1000 + task % 9000 if ran else None,
                error=self._error(version, kind, task) if kind >= 0 else None,
                aside=int(kind == 5),
            )
            if task in shown and done:
                self._products(version, row)
            self.failed = self.failed or (task if kind >= 0 else 0)
            yield row

    def _input(self, segment: str, at: int) -> tuple[bytes, str]:
        """An input as it is recorded, and as text."""
        seed, frequency = divmod(at, len(_FREQUENCIES))
        detector = (_FREQUENCIES[frequency], f"det{seed % 12:02d}{'ab'[seed % 2]}")
        value: tuple[Any, ...]
        if segment == "theory":
            value = ()
        elif segment in ("observe", "clean"):
            value = (seed + 1, detector)
        else:
            value = ((_FREQUENCIES[frequency], seed + 1),)
        texts = [value_text(one) for one in value]
        return self.pack([pickle.dumps(one, 4) for one in value]), join_texts(texts) if texts else ""

    def _fate(self, version: _Version, draw: float) -> tuple[Status, int]:
        if version.segment in FEW:
            return Status.DONE, 1
        if version.number == VERSIONS - 1 and version.segment == "likelihood" and draw < 0.2:
            return Status.QUEUED, 1
        if draw < 0.03:
            return Status.FAILED, 1
        return Status.DONE, 0 if draw > 0.98 else 2 if draw > 0.96 else 1

    def _error(self, version: _Version, kind: int, task: int) -> str:
        where, line, what = _ERRORS[kind]
        script = f'  File "/home/ada/cmb/{version.segment}.py", {where}\n{line}\n'
        return f"Traceback (most recent call last):\n{script}{what.format(n=task % 97 + 2)}\n"

    def _params(self, version: _Version, row: TaskRow) -> Iterator[tuple[int, str, bytes, str, int]]:
        if row.status == Status.QUEUED:
            return
        values = {"fwhm": (round(33 - version.number + row.id % 9 / 10, 1), 1), "seed": (row.id % 1000, 0)}
        if version.segment in ("observe", "spectrum"):
            values["nside"] = (64 << version.number % 5, 1)
        for name, (value, exposed) in values.items():
            yield row.id, name, pickle.dumps(value, 4), repr(value), exposed

    def _products(self, version: _Version, row: TaskRow) -> None:
        place = row.place or ""
        folder = Path(self.tree.task_dir(version.path, place, row.id, row.text, row.current != 0))
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        log = Path(self.tree.log_path(version.path, row.id))
        log.parent.mkdir(exist_ok=True)
        log.write_text(f"task {row.id} on {row.host}: {row.text}\nall is well\n")
        if version.segment == DOMINANT:
            self.shown = row.id

    # --- what is told --------------------------------------------------------------------------------------------

    def _tell(self, number: int, versions: Mapping[str, _Version], ids: Mapping[str, range]) -> None:
        """Write what the run that made these versions has said."""
        for segment, version in versions.items():
            self.log.write(
                20, f"{len(ids[segment])} of {len(ids[segment])} to run, 0 taken from disk", segment,
                when=version.created,
            )
            for task in ids[segment][: _LOG_LINES // (VERSIONS * len(PARENTS))]:
                level, text = (30, "the noise is high: 31.2") if task % 29 == 0 else (20, f"chi2 is {task % 700 / 100}")
                self.log.write(level, text, segment, task, when=version.created + 10)
        total = sum(map(len, ids.values()))
        self.log.write(20, f"{total} tasks done, 0 taken from disk, 0 failed, in 21600 s",
                       when=versions["figures"].created + 6 * 3600)


def _code(segment: str, number: int) -> dict[str, bytes]:
    """Script, hook and dependency of a version: a bit of each changes now and then."""
    lines = [f"# {segment}, as it was in its version {number + 1}", "#multiplex cross_prod", "#depend flatsky.py"]
    lines += ["import flatsky", "import numpy as np", "", f"nside = {64 << number % 5}", f"tilt = 0.9{number:02d}"]
    lines += [f"step_{at} = np.arange({at + number // 3}) * nside  # part {at} of the work" for at in range(40)]
    lines += ['hook("figure", globals())', "set_output(tilt)", ""]
    hook = f"# draws what {segment} has found\nimport matplotlib.pyplot as plt\nplt.plot(step_{number % 40})\n"
    library = "".join(f"\n\ndef part_{at}(x):\n    return x + {at}\n" for at in range(30)).lstrip()
    texts = {f"{segment}.py": "\n".join(lines), f"{segment}_figure.py": hook, "flatsky.py": library}
    return {name: text.encode() for name, text in texts.items()}


def _files(seed: int) -> dict[str, bytes]:
    """What a task leaves, by name."""
    draw = np.random.default_rng(seed)
    ell = np.arange(2.0, 500.0)
    power = 1000 / ell * draw.uniform(0.9, 1.1, ell.size)
    table = io.StringIO()
    csv.writer(table).writerows([("ell", "power"), *zip(ell, power, strict=True)])
    return {
        "map.npy": _saved(np.save, draw.standard_normal((128, 128))),
        "spectrum.npz": _saved(lambda file, array: np.savez(file, ell=ell, power=array), power),
        "spectrum.csv": table.getvalue().encode(),
        "numbers.json": json.dumps({"chi2": 1.03, "bins": list(range(30)), "beam": {"fwhm": 5.0}}).encode(),
        "notes.txt": b"All is well.\n" * 20,
        **_pictures(draw.standard_normal((128, 128))),
    }


def _saved(save: Any, array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, array)
    return buffer.getvalue()


def _pictures(values: np.ndarray[Any, Any]) -> dict[str, bytes]:
    from matplotlib import image

    buffer = io.BytesIO()
    image.imsave(buffer, np.kron(values, np.ones((4, 4))), cmap="RdYlBu_r", format="png")
    found = {"map.png": buffer.getvalue()}
    try:
        from astropy.io import fits
    except ImportError:
        return found
    buffer = io.BytesIO()
    fits.PrimaryHDU(values.astype("float32")).writeto(buffer)
    return {**found, "map.fits": buffer.getvalue()}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="the prefix; empty or missing")
    parser.add_argument("tasks", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=4711, help="decides everything (default: %(default)s)")
    options = parser.parse_args()
    begun = time.monotonic()
    made = make(options.directory, options.tasks, options.seed)
    size = made.sqlfile.stat().st_size / 1e6
    print(f"{made.sqlfile}: {options.tasks:,} tasks, {size:,.0f} MB, in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
