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
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgpack

from pipelet.capture import Capture, TaskLogger
from pipelet.core.calls import Batch, SegmentContext, TaskCall, TaskResult
from pipelet.core.fingerprint import value_digest
from pipelet.core.model import Status
from pipelet.core.text import value_text, without_surrogates
from pipelet.environment import Environment, EnvironmentBase, binder, pickle_output, step_in, step_out
from pipelet.errors import FingerprintError, OutputError, TaskError
from pipelet.modules import loaded_from, module_facts
from pipelet.plotting import Screenless
from pipelet.processstate import ProcessState
from pipelet.tracebacks import without_engine

_HOST = socket.gethostname()
#: What is longer than that in an error's text is cut out of its middle.
_ERROR_LENGTH = 100_000
#: Once a process has told so many characters of errors, what is longer than the second number is cut.
_ERRORS_IN_FULL, _SHORT_ERROR = 20_000_000, 2000
_pack = msgpack.Packer().pack
_DONE, _FAILED = Status.DONE, Status.FAILED  # to look them up takes a while


#: An output as it is recorded: the pickled elements, their digests, their texts; for no particular one, nothing.
Packed = tuple[bytes | None, bytes | None, bytes | None]
_NO_OUTPUT: Packed = (None, None, None)


class Compiled(NamedTuple):
    """What a process keeps of a segment."""

    context: SegmentContext
    script: types.CodeType
    hooks: dict[str, types.CodeType]
    environment: type[EnvironmentBase]
    bind: Callable[[dict[str, Any], object], None]  #: puts the environment's functions into a namespace
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
        self._process = os.getpid()

    def run(self, context: SegmentContext, call: TaskCall) -> tuple[TaskResult, BaseException | None]:
        """Run one task.

        Returns
        -------
        result
            What is recorded.
        exception
            What the task raised, if it did.
        """
        compiled = self._active
        if compiled is None or compiled.context is not context:
            compiled = self._enter(context)
        begun = time.time()
        logger = TaskLogger(context.segment, self._capture)
        environment: EnvironmentBase | None = None
        packed = _NO_OUTPUT
        error: BaseException | None = None
        try:
            environment = compiled.environment(context, call, compiled.hooks, logger)
            self._execute(compiled.script, environment._fill(context.script[0], compiled.bind))
            packed = _pack_output(environment, logger)
        except SystemExit as raised:
            packed, error = _after_exit(raised, environment, logger)
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
        text = None if error is None else error_text(error)
        try:
            if self._capture.wrote():
                self._capture.save(os.path.join(context.log_dir, f"{call.id}.log"))
        except OSError as raised:
            error = error or raised
            text = text or f"the task's log can't be written: {raised}"
        place, asked, parameters = (None, None, ()) if environment is None else environment._traces()
        status = _DONE if error is None else _FAILED
        # What the class itself would do, without taking its arguments apart by name.
        result = tuple.__new__(TaskResult, (
            call.id, status, begun, time.time(), _HOST, self._process, place, *packed, text, asked, parameters,
            tuple(logger.records), self._new_modules(compiled), None,
        ))
        if environment is not None and not (self._interactive and error is not None):
            # Its variables refer to it, so without this they would stay until the garbage collector comes by.
            environment._forget()
        return result, error

    def _execute(self, code: types.CodeType, module: types.ModuleType) -> None:
        step_in(module)
        try:
            exec(code, module.__dict__)
        finally:
            step_out()
            if os.getpid() != self._process:
                _end_fork()

    @staticmethod
    def _new_modules(compiled: Compiled) -> tuple[Mapping[str, str | None], ...]:
        """Facts on the modules, if there are more than at the last look."""
        if compiled.reported[0] == len(sys.modules):
            return ()
        compiled.reported[0] = len(sys.modules)
        facts = module_facts(compiled.context.imports, compiled.context.code_dir)
        return tuple(dataclasses.asdict(fact) for fact in facts)

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
    bench: Bench, batch: Batch, report: Callable[[TaskResult | None, int | None], bool | None]
) -> tuple[int, ...]:
    """Run the tasks of a batch until its patience ends.

    Parameters
    ----------
    bench
        The process's own.
    batch
        The tasks.
    report
        Called before each task and after the last, with the result of the one before and the id of the next. If it
        gives true, nothing more begins.

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
        if report(result, call.id):
            return tuple(left.id for left in batch.calls[place:])
        begun = time.time()
        try:
            result, _ = bench.run(batch.context, call)
        except BaseException as error:
            # What goes wrong around a task is a failure of this task and of no other.
            text = error_text(error)
            result = TaskResult(call.id, _FAILED, begun, time.time(), _HOST, os.getpid(), error=text)
    report(result, None)
    return ()


def error_text(error: BaseException) -> str:
    """The traceback of an error as text, beginning with the user's own frames."""
    text = "".join(traceback.format_exception(type(error), error, user_frames(error)))
    half = (_ERROR_LENGTH if _told[0] < _ERRORS_IN_FULL else _SHORT_ERROR) // 2
    if len(text) > 2 * half:
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
    _told[0] += len(text)
    return without_surrogates(text)


#: Characters of errors that this process has told.
_told = [0]


def user_frames(error: BaseException) -> types.TracebackType | None:
    """The traceback of an error without the frames of the engine that called the script."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def script_frames(error: BaseException) -> types.TracebackType | None:
    """The traceback of what a script raised, from the script on and without the engine's frames.

    Returns
    -------
    traceback or None
        ``None`` for what did not come out of a script.
    """
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code is not Bench._execute.__code__:
        frames = frames.tb_next
    return None if frames is None else without_engine(frames)


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
    bind = binder(environment._functions)
    return Compiled(context, _compile_file(*context.script), hooks, environment, bind, ProcessState(), [0])


def _compile_file(filename: str, data: bytes) -> types.CodeType:
    source = importlib.util.decode_source(data)
    # Tracebacks and the debugger show the code that runs, also when the file is edited meanwhile.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return compile(data, filename, "exec", dont_inherit=True)


def _after_exit(
    raised: SystemExit, environment: EnvironmentBase | None, logger: logging.Logger
) -> tuple[Packed, BaseException | None]:
    """What comes of a script that called ``sys.exit``: with no status, or 0, it has simply ended."""
    if raised.code in (None, 0) and environment is not None:
        try:
            return _pack_output(environment, logger), None
        except OutputError as refused:
            return _NO_OUTPUT, refused
    # Its traceback ends where the script said so, as that of any other error does.
    return _NO_OUTPUT, TaskError(f"the segment called sys.exit({raised.code!r})").with_traceback(raised.__traceback__)


def _pack_output(environment: EnvironmentBase, logger: logging.Logger) -> Packed:
    output, warnings = environment._output()
    for warning in warnings:
        logger.warning(warning)
    if output is None:
        return _NO_OUTPUT
    if len(output) == 1:  # most of them, and quicker
        blob, digest, text = _pack_element(output[0], 0)
        return _pack((blob,)), digest, _pack((text,))
    blobs, digests, texts = [], [], []
    for position, value in enumerate(output):
        blob, digest, text = _pack_element(value, position)
        blobs.append(blob)
        digests.append(digest)
        texts.append(text)
    return _pack(blobs), b"".join(digests), _pack(texts)


def _pack_element(value: object, position: int) -> tuple[bytes, bytes, str]:
    blob = pickle_output(value, position)
    try:
        digest = value_digest(value)
    except FingerprintError as error:
        raise OutputError(f"element {position} of the output can't be told from others: {error}") from error
    return blob, digest, value_text(value)
