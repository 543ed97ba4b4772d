"""Runs one task again, as it ran, in a directory of its own: nothing in the tree or the database changes."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import msgpack

from pipelet.capture import TeeCapture
from pipelet.core.calls import TaskResult
from pipelet.core.fingerprint import value_digest
from pipelet.core.model import Status
from pipelet.core.text import task_name
from pipelet.debugging import post_mortem, stepping, was_left
from pipelet.depends import is_inside
from pipelet.environment.values import loads, short
from pipelet.errors import FingerprintError, MissingDatabaseError, ReplayError
from pipelet.history import SUPERSEDED
from pipelet.modules import purge_modules
from pipelet.rebuild import settled
from pipelet.replayed import SHOWN, Product, Replayed, elements
from pipelet.retrace import Retraced, retrace
from pipelet.statusdb import Reader, TaskRow, has_database
from pipelet.storage import Tree, products
from pipelet.worker import Bench, error_text

_TEXT = 100


class Replay:
    """One task, ready to be run again.

    Parameters
    ----------
    sqlfile
        The database.
    task
        The task's number.
    directory
        Where to run it: a new or empty directory, outside of the tree. A new temporary one if not given.
    code_dir
        Where to find modules that were imported from the code directory without ``#depend``.
    prefix
        The root of the data; the directory of the database if not given.

    Attributes
    ----------
    directory
        Where it runs.
    notes
        What can't be as it was, in words.

    Raises
    ------
    ReplayError
        There is no such task, or something that it needs was not kept.
    MissingDatabaseError
        There is no such database.
    """

    def __init__(
        self,
        sqlfile: str,
        task: int,
        directory: str | None = None,
        code_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        sqlfile = os.path.abspath(sqlfile)
        if not has_database(sqlfile):
            raise MissingDatabaseError(f"there is no database {sqlfile}; a run makes it, usually as PREFIX/.sqlstatus")
        tree = Tree(os.path.dirname(sqlfile) if prefix is None else prefix)
        if code_dir is not None and not os.path.isdir(code_dir):
            raise ReplayError(f"the code directory {code_dir} does not exist")
        self.directory = _scratch(tree, task, directory)
        try:
            with settled(tree, sqlfile) as reader, _undisturbed():
                self._retraced = retrace(tree, reader, task, self.directory, code_dir)
                self._recorded = _recorded_products(tree, reader, self._retraced)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        row, path = self._retraced.row, self._retraced.instance.path
        # Where it stood when it ran, also if it has been superseded since.
        self._there = None if row.place is None else tree.task_dir(path, row.place, row.id, row.text, True)
        self.notes = self._retraced.notes

    @property
    def heading(self) -> str:
        """What is run, and where."""
        row, instance = self._retraced.row, self._retraced.instance
        when = "" if row.ended is None else time.strftime(" on %Y-%m-%d %H:%M:%S", time.localtime(row.ended))
        version = ", superseded since" if row.current == SUPERSEDED else ""
        lines = [
            f"task {row.id} of {instance.segment}{f', input {row.text}' if row.text else ''}: "
            f"{Status(row.status)}{when}{version}",
            f"runs again with the code kept in {instance.path}, in {self.directory}",
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def run(self, debug: bool = False) -> Replayed:
        """Run the task in this process.

        Parameters
        ----------
        debug
            Under the debugger: it stops at the first line, and where the task fails.
        """
        context, call = self._retraced.context, self._retraced.call
        tee = TeeCapture()
        begun = time.time()
        with contextlib.ExitStack() as stack:
            stack.callback(tee.close)
            stack.enter_context(_undisturbed())
            stack.enter_context(_modules_aside(context.instance_dir))
            stack.enter_context(_directory(context.instance_dir))
            bench = Bench(_Spoken(tee), interactive=True)
            stack.callback(bench.leave)
            os.makedirs(os.path.dirname(call.directory), exist_ok=True)
            result = TaskResult(call.id, Status.FAILED, begun, begun, "", 0)
            try:
                with stepping(context.script[0]) if debug else contextlib.nullcontext(), tee.streams():
                    result, error = bench.run(context, call)
            except Exception as raised:  # what goes wrong around a task is a failure of the task
                error = raised
            if error is not None and not was_left(error):
                print(error_text(error), file=sys.stderr, end="")
                if debug:
                    post_mortem(error)
            return self._compared(result._replace(begun=begun, ended=time.time()), error)

    def _compared(self, result: TaskResult, error: BaseException | None) -> Replayed:
        row, call = self._retraced.row, self._retraced.call
        output = None if result.output is None else [loads(blob) for blob in msgpack.unpackb(result.output)]
        differences = () if error is not None else tuple(self._differences(result, output))
        return Replayed(
            id=row.id,
            segment=self._retraced.instance.segment,
            text=row.text,
            status="done" if error is None else "left" if was_left(error) else "failed",
            recorded=_recorded_status(row),
            output=output,
            error=error,
            differences=differences,
            products=tuple(_products(call.directory, self._recorded)),
            directory=self.directory,
            data=call.directory,
            seconds=result.ended - result.begun,
            recorded_seconds=None if row.begun is None or row.ended is None else row.ended - row.begun,
            notes=self.notes,
            versions=tuple(_versions(self._retraced.meta, result)),
        )

    def _differences(self, result: TaskResult, output: list[Any] | None) -> Iterator[str]:
        row = self._retraced.row
        if row.status != Status.DONE:
            if row.status == Status.FAILED:
                yield "it failed then, and is done now"
            return
        recorded = None if row.output is None else msgpack.unpackb(row.output)
        if recorded is None or output is None:
            if (recorded is None) != (output is None):
                yield f"{_number(output)} now, {_number(recorded)} recorded"
            return
        if len(recorded) != len(output):
            yield f"{_number(output)} now, {_number(recorded)} recorded"
        differing = 0
        for place, (value, blob) in enumerate(zip(output, recorded, strict=False)):
            then = (row.digests or b"")[16 * place : 16 * place + 16]
            if (result.digests or b"")[16 * place : 16 * place + 16] == then or self._equal_but_place(value, then):
                continue
            differing += 1
            if differing <= SHOWN:
                yield f"element {place} differs: {_short(value)} now, {_short(loads(blob))} recorded"
        if differing > SHOWN:
            yield f"and {differing - SHOWN} more elements differ"

    def _equal_but_place(self, value: object, digest: bytes) -> bool:
        """Whether a value is the recorded one, but for the directory in which the task ran."""
        if self._there is None:
            return False
        with contextlib.suppress(FingerprintError):
            return value_digest(_moved(value, self._retraced.call.directory, self._there)) == digest
        return False


class _Spoken:
    """Shows the messages of the task's logger, and keeps all that it prints."""

    def __init__(self, tee: TeeCapture) -> None:
        self._tee = tee
        self._stream = sys.stderr
        self.save = tee.save
        self.wrote = tee.wrote

    def write(self, text: str) -> None:
        """Add a message."""
        self._stream.write(text)
        self._tee.write(text)


# --- where it runs ---------------------------------------------------------------------------------------------------


def _scratch(tree: Tree, task: int, directory: str | None) -> str:
    if directory is None:
        return tempfile.mkdtemp(prefix=f"pipelet-replay-{task}-")
    path = os.path.abspath(directory)
    if is_inside(os.path.realpath(path), os.path.realpath(tree.prefix)):
        raise ReplayError(f"{path} lies in the tree below {tree.prefix}, where nothing is to change; give another")
    try:
        os.makedirs(path, exist_ok=True)
        if os.listdir(path):
            raise ReplayError(f"{path} is not empty; give a new directory")
    except OSError as error:
        raise ReplayError(f"{path} can't be made: {error.strerror}") from error
    return path


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave no compiled Python beside anything that is imported."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


@contextlib.contextmanager
def _directory(path: str) -> Iterator[None]:
    """What a script opens by a relative name are kept files, and what it writes so stays out of the tree."""
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _modules_aside(copy: str) -> Iterator[None]:
    """Put aside the modules that this process has from other copies of the kept files."""
    aside: dict[str, ModuleType] = {}
    for folder, _, names in os.walk(copy):
        for name in names:
            file = os.path.relpath(os.path.join(folder, name), copy)
            module = file.removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
            while file.endswith(".py") and module:
                found = sys.modules.get(module)
                place = getattr(found, "__file__", None)
                if found is not None and (place is None or str(place).endswith(f"{os.sep}{file}")):
                    aside[module] = sys.modules.pop(module)
                # A package without __init__.py would still lead to the other copy.
                module = module.rpartition(".")[0]
    try:
        yield
    finally:
        purge_modules([copy])
        sys.modules.update(aside)


# --- what is on record -----------------------------------------------------------------------------------------------


def _recorded_status(row: TaskRow) -> str:
    status = str(Status(row.status))
    lines = (row.error or "").strip().splitlines()
    return f"{status}: {lines[-1]}" if status == "failed" and lines else status


def _recorded_products(tree: Tree, reader: Reader, retraced: Retraced) -> dict[str, int]:
    row, instance = retraced.row, retraced.instance
    if row.place is None:
        return {}
    here = row.current != SUPERSEDED
    directory = tree.task_dir(instance.path, row.place, row.id, row.text, here)
    siblings: set[str] = set()
    if here and row.place == "":
        siblings = {task_name(item.id, item.text) for item in reader.plan_rows(instance.id)}
    return _sizes(directory, siblings)


def _sizes(directory: str, siblings: set[str]) -> dict[str, int]:
    if not os.path.isdir(directory):
        return {}
    return {os.path.relpath(path, directory): os.path.getsize(path) for path in products(directory, siblings)}


def _products(directory: str, recorded: Mapping[str, int]) -> Iterator[Product]:
    now = _sizes(directory, set())
    for name in sorted({*now, *recorded}):
        yield Product(name, now.get(name), recorded.get(name))


def _versions(meta: Mapping[str, object], result: TaskResult) -> Iterator[str]:
    """The versions that are others than when the instance was computed."""
    python = str(meta.get("python"))
    if python != platform.python_version():
        yield f"Python {platform.python_version()}, then {python}"
    facts = meta.get("modules")
    then: dict[str, set[str]] = {}
    for fact in facts if isinstance(facts, list) else ():
        if isinstance(fact, dict) and fact.get("version") and not fact.get("file"):
            then.setdefault(str(fact.get("name")), set()).add(str(fact.get("version")))
    for fact in result.modules:
        name, version = str(fact.get("name")), fact.get("version")
        if version and name not in sys.stdlib_module_names and name in then and version not in then[name]:
            yield f"{name} {version}, then {' and '.join(sorted(then[name]))}"


# --- words -----------------------------------------------------------------------------------------------------------


def _moved(value: Any, here: str, there: str) -> Any:
    """A value with the paths in one directory turned into those in another."""
    kind = type(value)
    if kind is str:
        return there + value[len(here) :] if is_inside(value, here) else value
    if kind in (list, tuple, set, frozenset):
        return kind(_moved(item, here, there) for item in value)
    if kind is dict:
        return {_moved(name, here, there): _moved(item, here, there) for name, item in value.items()}
    return value


def _short(value: object) -> str:
    text = " ".join((repr(value) if isinstance(value, str) else short(value)).split())
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."


def _number(output: Sequence[object] | None) -> str:
    return "no particular output" if output is None else elements(len(output))
