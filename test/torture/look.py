"""What is there in the end: views of a prefix that can be compared, and what should not be there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pipelet.pipeline import Pipeline
from pipelet.utils import rebuild_db_from_disk

#: A task: segment, and input as its segment sees it, in Python's words.
Task = tuple[str, str]
Row = tuple[object, ...]

_INSTANCE = re.compile(r"(.+)_[A-Z2-7]{6,}")
#: What differs between two runs of the same thing.
_DATES = {"number", "created", "created_seconds", "computed", "modules"}
_TABLES = """
SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ('user', 'settled')"""


def pipeline(root: Path, prefix: Path) -> Pipeline:
    """The pipeline of a directory with ``spec.json``, on any prefix."""
    spec = json.loads((root / "spec.json").read_text())
    made = Pipeline(spec["dot"], code_dir=root, prefix=prefix)
    made.push(**spec["push"])
    return made


def view(root: Path, prefix: Path) -> dict[str, Any]:
    """All that must be the same whatever happened on the way: by segment and input, without numbers and dates."""
    P = pipeline(root, prefix)
    tasks = {name: P.tasks(name) for name in P.graph.segments}
    names = {task.id: (name, repr(task.input)) for name, listed in tasks.items() for task in listed}
    found: dict[str, Any] = {}
    for name, listed in tasks.items():
        [instance] = [item for item in P.instances(name) if _is_current(P, item.key, name)]
        found[name, "outputs"] = repr(P.outputs(name))
        found[name, "files"] = _kept(Path(instance.path))
        folders = {os.path.basename(task.path) for task in listed if task.path and _own(task.path)}
        for task in listed:
            found[name, repr(task.input)] = {
                "status": task.status,
                "error": task.error,
                "output": repr(task.output),
                "parents": sorted(names.get(parent, ("no longer", "there")) for parent in task.parents),
                "params": {key: repr(value) for key, value in task.params.items()},
                "printed": Path(task.log).read_text() if task.log else None,
                "products": _products(Path(task.path), () if _own(task.path) else folders) if task.path else None,
            }
    return found


def differences(calm: Mapping[Any, Any], storm: Mapping[Any, Any]) -> list[str]:
    """What of an undisturbed run is not the same after the storm; what the storm has more was wanted once."""
    said = []
    for place, expected in calm.items():
        got = storm.get(place)
        if got != expected:
            if isinstance(expected, dict) and isinstance(got, dict):
                keys = [key for key in {**expected, **got} if expected.get(key) != got.get(key)]
                expected, got = {key: expected.get(key) for key in keys}, {key: got.get(key) for key in keys}
            said.append(f"{' '.join(map(str, place))}:\n    calm  {_short(expected)}\n    storm {_short(got)}")
    return said


def rebuilt_differently(prefix: Path, scratch: Path) -> list[str]:
    """Where the database that is made from the tree is not the one that the runs have left, row for row."""
    scratch.mkdir(exist_ok=True)
    rebuild_db_from_disk(prefix, scratch / "rebuilt")
    before, after = _rows(prefix / ".sqlstatus"), _rows(scratch / "rebuilt")
    said = []
    for table in sorted({*before, *after}):
        lost, new = (Counter(before.get(table, ())), Counter(after.get(table, ())))
        for word, rows in (("only before", lost - new), ("only rebuilt", new - lost)):
            said += [f"table {table}, {word}: {_short(row)}" for row in rows]
    return said


@contextmanager
def copied(prefix: Path, scratch: Path) -> Iterator[Path | None]:
    """A copy of a prefix whose database is made from the tree alone; ``None`` if there is nothing in the tree."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    copy = scratch / "prefix"
    try:
        if prefix.exists():
            shutil.copytree(prefix, copy, symlinks=True, ignore=_not_needed(prefix))
        if any(copy.glob("*/*.meta")):
            rebuild_db_from_disk(copy)
            yield copy
        else:
            yield None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def done(root: Path, copy: Path | None) -> Counter[Task]:
    """The tasks that a prefix, or a copy of one, says are done, for the code as it is now."""
    if copy is None:
        return Counter()
    P = pipeline(root, copy)
    return Counter((name, repr(task.input)) for name in P.graph.segments for task in P.tasks(name, "done"))


def executed(root: Path) -> Counter[Task]:
    """The executions that were begun."""
    file = root / "executed"
    lines = file.read_text().splitlines() if file.exists() else []
    return Counter((segment, said) for segment, said, _ in map(json.loads, lines))


def litter(prefix: Path) -> list[str]:
    """Files and directories that nobody needs, or that belong to no task."""
    said = []
    engine = prefix / ".pipelet"
    for entry in sorted(os.listdir(engine)) if engine.is_dir() else ():
        inside = os.listdir(engine / entry) if entry == "discard" else ()
        if entry not in ("log", "discard") or inside:
            said.append(f".pipelet/{entry} {' '.join(inside)}".strip())
    for side in ("-wal", "-shm", "-journal", ".new"):
        if (prefix / f".sqlstatus{side}").exists():
            said.append(f".sqlstatus{side}")
    said += [str(path.relative_to(prefix)) for path in sorted(prefix.rglob(".*.tmp"))]
    with closing(sqlite3.connect(prefix / ".sqlstatus")) as database:
        instances = database.execute("SELECT id, path FROM instance").fetchall()
        for number, path in instances:
            rows = database.execute("SELECT id, place FROM task WHERE instance = ?", (number,)).fetchall()
            said += _strangers(prefix / path, {row[1] for row in rows}, {row[0] for row in rows})
    paths = {path for _, path in instances}
    said += [f"{path} is on no record" for path in _instances(prefix) if path not in paths]
    return said


def task_directories(prefix: Path) -> list[Path]:
    """Directories of tasks, and ``data/`` where it is one task's."""
    found = []
    for path in _instances(prefix):
        data = prefix / path / "data"
        inside = [data / name for name in sorted(os.listdir(data)) if (data / name).is_dir()] if data.is_dir() else []
        own = [folder for folder in inside if re.match(r"\d+(_|$)", folder.name)]
        found += own or ([data] if data.is_dir() else [])
    return found


def _strangers(instance: Path, places: set[str | None], numbers: set[int]) -> Iterator[str]:
    data, aside, log = instance / "data", instance / "superseded", instance / "log"
    for entry in sorted(os.listdir(data)) if data.is_dir() and "" not in places else ():
        # An instance that is not wanted any more may keep what a task had begun there, on record as queued.
        if entry not in places and not (re.match(r"\d+(_|$)", entry) and int(entry.partition("_")[0]) in numbers):
            yield f"{instance.name}/data/{entry} belongs to no task"
    for entry in sorted(os.listdir(aside)) if aside.is_dir() else ():
        if entry.endswith((".moving", ".displaced")) or int(entry.partition("_")[0]) not in numbers:
            yield f"{instance.name}/superseded/{entry}"
    for entry in sorted(os.listdir(log)) if log.is_dir() else ():
        if int(entry.partition(".")[0]) not in numbers:
            yield f"{instance.name}/log/{entry} belongs to no task"


def _is_current(P: Pipeline, key: str, segment: str) -> bool:
    return P.snapshot().keys[segment] == key


def _own(path: str) -> bool:
    """Whether a task has a directory of its own, and not ``data/`` itself."""
    return os.path.basename(path) != "data"


def _products(directory: Path, siblings: Iterable[str]) -> dict[str, str] | None:
    if not directory.is_dir():
        return None
    hidden = set(siblings)
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if name.parts[0] not in hidden:
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
    return found


def _kept(instance: Path) -> dict[str, object]:
    """The files of an instance itself."""
    found: dict[str, object] = {}
    for path in sorted(instance.iterdir()):
        if path.is_dir() or path.suffix == ".journal":
            continue
        text = path.read_text()
        if path.suffix == ".meta":
            found[path.name] = {key: value for key, value in json.loads(text).items() if key not in _DATES}
        elif path.suffix == ".args":
            found[path.name] = sorted(re.sub(r"\d+_", "N_", line) for line in text.splitlines())
        else:
            found[path.name] = text
    return found


def _instances(prefix: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(prefix):
        folders[:] = [name for name in folders if _INSTANCE.fullmatch(name)]
        if any(name.endswith(".meta") for name in files):
            yield os.path.relpath(folder, prefix)


def _rows(sqlfile: Path) -> dict[str, list[Row]]:
    with closing(sqlite3.connect(f"file:{sqlfile}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute(_TABLES)]
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


def _not_needed(prefix: Path) -> Callable[[str, list[str]], set[str]]:
    def ignore(folder: str, names: list[str]) -> set[str]:
        own = {".pipelet"} if folder == str(prefix) else set()
        return {name for name in names if name.startswith(".sqlstatus") or name in own}

    return ignore


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 600 else f"{text[:400]} ... {text[-180:]}"
