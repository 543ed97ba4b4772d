"""Runs one task: directory, environment, script, result. It knows nothing of who called it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import linecache
import logging
import os
import pickle
import shutil
import socket
import sys
import time
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgpack

from pipelet.capture import Capture
from pipelet.core.calls import Batch, LogRecord, SegmentContext, TaskCall, TaskResult
from pipelet.core.fingerprint import value_digest
from pipelet.core.model import Status
from pipelet.core.text import value_text, without_surrogates
from pipelet.environment import AsMain, Environment, EnvironmentBase, pickle_output
from pipelet.errors import FingerprintError, OutputError, TaskError
from pipelet.modules import loaded_from, module_facts
from pipelet.plotting import Screenless
from pipelet.processstate import ProcessState

_HOST = socket.gethostname()
_LINE = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
#: More messages of one task than this stay in its own log alone.
_MESSAGES = 200
#: What is longer than that in an error's text is cut out of its middle.
_ERROR_LENGTH = 100_000


class Compiled(NamedTuple):
    """What a process keeps of a segment."""

    context: SegmentContext
    script: types.CodeType
    hooks: dict[str, types.CodeType]
    environment: type[EnvironmentBase]
    state: ProcessState
    reported: list[int]  #: number of loaded modules when they were last reported


class Bench:
    """What a process needs to run tasks: compiled segments, and the modules that belong to each of them.

    Parameters
    ----------
    capture
        Where the output of the tasks goes.
    interactive
        Whether a `KeyboardInterrupt` comes from the person in front of it; elsewhere it is a failure like others.
    """

    def __init__(self, capture: Capture, interactive: bool = False) -> None:
        self._capture = capture
        self._interactive = interactive
        self._compiled: dict[str, Compiled] = {}
        self._modules: dict[str, dict[str, types.ModuleType]] = {}
        self._active: Compiled | None = None
        self._base_path = list(sys.path)
        self._outside: dict[str, types.ModuleType] = {}
        self._screenless = Screenless()

    def run(self, context: SegmentContext, call: TaskCall) -> tuple[TaskResult, BaseException | None]:
        """Run one task.

        Returns
        -------
        result
            What is recorded.
        exception
            What the task raised, if it did.
        """
        compiled = self._enter(context)
        begun = time.time()
        handler = _Messages(self._capture)
        logger = logging.Logger(context.segment, logging.DEBUG)
        logger.addHandler(handler)
        environment: EnvironmentBase | None = None
        fields: dict[str, Any] = {}
        error: BaseException | None = None
        try:
            environment = compiled.environment(context, call, compiled.hooks, logger)
            _execute(compiled.script, environment._fill(compiled.script.co_filename))
            fields = _pack_output(environment, logger)
        except SystemExit as raised:
            if raised.code in (None, 0) and environment is not None:
                fields, error = _output_after_exit(environment, logger)
            else:
                error = TaskError(f"the segment called sys.exit({raised.code!r})")
                error.__cause__ = raised
        except BaseException as raised:
            if self._interactive and isinstance(raised, KeyboardInterrupt):
                raise
            error = raised
        finally:
            if environment is not None and environment._temporary is not None:
                shutil.rmtree(environment._temporary, ignore_errors=True)
            if context.agg:
                self._screenless.close_figures()
            compiled.state.restore()
        if error is not None:
            fields = {"error": error_text(error)}
        if environment is not None:
            asked = environment._asked().to_text() if _looked(environment) else None
            fields.update(
                place=environment._place,
                asked=asked,
                parameters=tuple(getattr(environment, "_parameters", {}).values()),
            )
        error = self._save_log(context, call, error, fields)
        if compiled.reported != [len(sys.modules)]:
            compiled.reported[:] = [len(sys.modules)]
            facts = module_facts(context.imports, context.code_dir)
            fields["modules"] = tuple(dataclasses.asdict(fact) for fact in facts)
        status = Status.DONE if error is None else Status.FAILED
        messages = tuple(handler.records)
        result = TaskResult(
            call.id, status, begun, time.time(), _HOST, os.getpid(), messages=messages, **fields
        )
        if environment is not None and not (self._interactive and error is not None):
            # Its variables refer to it, so without this they would stay until the garbage collector comes by.
            environment._forget()
        return result, error

    def leave(self) -> None:
        """Give ``sys.path``, ``sys.modules`` and matplotlib back as they were before the first task."""
        self._leave_segment()
        self._screenless.restore()

    def _leave_segment(self) -> None:
        if self._active is None:
            return
        self._stash()
        sys.modules.update(self._outside)
        sys.path[:] = self._base_path
        self._active = None

    def _save_log(
        self, context: SegmentContext, call: TaskCall, error: BaseException | None, fields: dict[str, Any]
    ) -> BaseException | None:
        try:
            self._capture.save(os.path.join(context.log_dir, f"{call.id}.log"))
        except OSError as raised:
            error = error or raised
            fields["error"] = fields.get("error") or f"the task's log can't be written: {raised}"
        return error

    def _enter(self, context: SegmentContext) -> Compiled:
        """Make a segment the one whose modules and paths are in force."""
        active = self._active
        if active is not None and active.context.name == context.name:
            return active
        self._leave_segment()
        self._base_path = list(sys.path)
        self._outside = loaded_from((context.code_dir, context.instance_dir))
        for name in self._outside:
            sys.modules.pop(name, None)
        sys.path[:0] = [context.instance_dir, os.path.join(context.instance_dir, "depend"), context.code_dir]
        importlib.invalidate_caches()
        sys.modules.update(self._modules.get(context.name, {}))
        if context.agg:
            self._screenless.select()
        compiled = self._compiled.get(context.name)
        if compiled is None:
            try:
                compiled = self._compiled[context.name] = _compile(context)
            except BaseException:
                sys.path[:] = self._base_path
                sys.modules.update(self._outside)
                raise
        self._active = compiled
        return compiled

    def _stash(self) -> None:
        """Put the active segment's own modules aside, so that no other version sees them."""
        if self._active is None:
            return
        context = self._active.context
        own = loaded_from((context.code_dir, context.instance_dir))
        self._modules[context.name] = own
        for name in own:
            sys.modules.pop(name, None)


def run_batch(
    bench: Bench, batch: Batch, report: Callable[[TaskResult | None, int | None], None]
) -> tuple[int, ...]:
    """Run the tasks of a batch until its patience ends.

    Parameters
    ----------
    bench
        The process's own.
    batch
        The tasks.
    report
        Called before each task and after the last, with the result of the one before and the id of the next.

    Returns
    -------
    tuple of int
        Ids of the tasks that were not begun.
    """
    end = time.monotonic() + batch.patience
    result: TaskResult | None = None
    for place, call in enumerate(batch.calls):
        if place and time.monotonic() > end:
            report(result, None)
            return tuple(left.id for left in batch.calls[place:])
        report(result, call.id)
        begun = time.time()
        try:
            result, _ = bench.run(batch.context, call)
        except BaseException as error:
            # What goes wrong around a task is a failure of this task and of no other.
            text = error_text(error)
            result = TaskResult(call.id, Status.FAILED, begun, time.time(), _HOST, os.getpid(), error=text)
    report(result, None)
    return ()


def error_text(error: BaseException) -> str:
    """The traceback of an error as text, beginning with the user's own frames."""
    text = "".join(traceback.format_exception(type(error), error, user_frames(error)))
    if len(text) > _ERROR_LENGTH:
        half = _ERROR_LENGTH // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
    return without_surrogates(text)


def user_frames(error: BaseException) -> types.TracebackType | None:
    """The traceback of an error without the frames of the engine that called the script."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def _execute(code: types.CodeType, module: types.ModuleType) -> None:
    process = os.getpid()
    try:
        with AsMain(module):
            exec(code, vars(module))
    finally:
        if os.getpid() != process:
            _end_fork()


def _end_fork() -> None:
    """End a process that the script forked and that came to the script's end: the task is its parent's."""
    error = sys.exc_info()[1]
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0 if error is None else 1)


def _compile(context: SegmentContext) -> Compiled:
    hooks = {name: _compile_file(*file) for name, file in context.hooks.items()}
    environment: type[EnvironmentBase] = Environment
    if context.environment is not None:
        environment = pickle.loads(context.environment)
    return Compiled(context, _compile_file(*context.script), hooks, environment, ProcessState(), [])


def _compile_file(filename: str, data: bytes) -> types.CodeType:
    source = importlib.util.decode_source(data)
    # Tracebacks and the debugger show the code that runs, also when the file is edited meanwhile.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return compile(data, filename, "exec", dont_inherit=True)


def _looked(environment: EnvironmentBase) -> bool:
    return bool(environment._asked_parents or environment._asked_ancestors or environment._asked_everything)


def _output_after_exit(
    environment: EnvironmentBase, logger: logging.Logger
) -> tuple[dict[str, Any], BaseException | None]:
    try:
        return _pack_output(environment, logger), None
    except OutputError as raised:
        return {}, raised


def _pack_output(environment: EnvironmentBase, logger: logging.Logger) -> dict[str, Any]:
    output, warnings = environment._output()
    for warning in warnings:
        logger.warning(warning)
    if output is None:
        return {}
    blobs, digests, texts = [], [], []
    for position, value in enumerate(output):
        blobs.append(pickle_output(value, position))
        try:
            digests.append(value_digest(value))
        except FingerprintError as error:
            raise OutputError(f"element {position} of the output can't be told from others: {error}") from error
        texts.append(value_text(value))
    return {"output": msgpack.packb(blobs), "digests": b"".join(digests), "texts": msgpack.packb(texts)}


class _Messages(logging.Handler):
    """Keeps the messages of a task for the run's log, and writes them to the task's own."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture
        self.records: list[LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _LINE.format(record) + "\n"
        except Exception:  # a slip in a message must not fail the task
            self.handleError(record)
            return
        if len(self.records) < _MESSAGES:
            message = without_surrogates(record.getMessage())
            self.records.append(LogRecord(record.created, record.levelno, message))
        self._capture.write(line)
