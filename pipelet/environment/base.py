"""The least that a segment needs: its input, its output, files and hooks."""

from __future__ import annotations

import logging
import os
import tempfile
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pipelet.codefiles import find_hook
from pipelet.core.calls import Parameter, SegmentContext, TaskCall, TaskRef
from pipelet.core.parents import task_set_name
from pipelet.core.plan import Asked
from pipelet.environment.values import Binder, NotSet, loads, loads_all, public_methods
from pipelet.errors import InputNameError, SeveralTasksError, TaskError
from pipelet.storage import await_directory, glob_products, make_task_directory

Namespace = dict[str, Any]


class EnvironmentBase:
    """The input, the output, files and hooks.

    Parameters
    ----------
    context
        What all tasks of the segment share.
    call
        The task itself.
    hooks
        The compiled hook scripts.
    logger
        Where the task's messages go.
    """

    _functions: ClassVar[tuple[str, ...]] = ()

    # What few tasks leave behind is made when the first of it comes.
    _place: str | None = None
    _temporary: str | None = None
    _looks: _Looks | None = None
    _parameters: Mapping[str, Parameter] = types.MappingProxyType({})

    def __init__(
        self,
        context: SegmentContext,
        call: TaskCall,
        hooks: Mapping[str, types.CodeType],
        logger: logging.Logger,
    ) -> None:
        self._context = context
        self._call = call
        self._hooks = hooks
        self._logger = logger
        self._namespace: Namespace = {}
        self._seg_input = self._load_input()

    def __init_subclass__(cls) -> None:
        cls._functions = public_methods(cls)

    # --- the namespace -------------------------------------------------------------------------------------------

    def _fill(self, script: str, bind: Binder) -> types.ModuleType:
        """The main module in whose namespace the segment's script runs; ``bind`` is the `binder` of ``_functions``."""
        module = types.ModuleType("__main__")
        namespace = self._namespace = module.__dict__
        bind(namespace, self)
        namespace["__file__"] = script
        namespace["__builtins__"] = __builtins__
        namespace["seg_input"] = self._seg_input
        namespace["seg_output"] = NotSet()
        namespace["logger"] = self._logger
        return module

    def _output(self) -> tuple[list[Any] | None, Sequence[str]]:
        """The output that the script left behind (``None``: no particular one), and warnings about it."""
        warnings: tuple[str, ...] = ()
        own = self._namespace.get("set_output")
        if getattr(own, "__self__", None) is not self:
            warnings = ("set_output was assigned to, which sets no output: write set_output(...) with brackets",)
        output = self._namespace.get("seg_output")
        if output is None or (isinstance(output, NotSet) and not output):
            return None, warnings
        if not isinstance(output, list):
            kind = type(output).__name__
            warnings = (*warnings, f"seg_output is no list but one {kind}: taken as a list of this one element")
            output = [output]
        return list(output), warnings

    def _load_input(self) -> Any:
        call, context = self._call, self._context
        if context.kind == "alone":
            return {}
        if context.kind == "pushed":
            return {f"{context.segment}phantom": loads(call.blobs[0])}
        if context.kind == "group_by":
            return loads(call.blobs[0])
        if len(call.blobs) == 1 and call.blobs[0] is not None:
            return {context.parents[0]: loads(call.blobs[0])}
        pairs = zip(context.parents, call.blobs, strict=True)
        return {name: loads(blob) for name, blob in pairs if blob is not None}

    def _forget(self) -> None:
        """Let go of all that the script left in its namespace."""
        self._namespace.clear()
        self._seg_input = None

    # --- input and output ----------------------------------------------------------------------------------------

    def get_input(self, seg: str | None = None) -> Any:
        """The input of this task.

        Parameters
        ----------
        seg
            Name of a parent. Without it: the first parent's element, what was pushed, or the class of ``group_by``.

        Returns
        -------
        object
            That parent's element; under ``group_by`` the list of that parent's elements in the class; under
            ``union`` ``None`` when the input comes from another parent; ``None`` for a segment without any input.

        Raises
        ------
        InputNameError
            No parent has that name.
        """
        kind, value = self._context.kind, self._seg_input
        if seg is None:
            if kind == "group_by":
                return value
            for first in value.values():
                return first
            return None
        if kind == "pushed" and seg == f"{self._context.segment}phantom":
            return value[seg]
        if seg not in self._context.parents:
            raise InputNameError(self._unknown("parent", seg, self._context.parents))
        if kind == "group_by":
            members = self._call.members or ()
            return loads_all(members[self._context.parents.index(seg)])
        return value.get(seg)

    def set_output(self, o: Any) -> None:
        """Set the output of this task.

        Parameters
        ----------
        o
            A list is taken as it is, an iterator is consumed, anything else becomes a list of one element.
        """
        if isinstance(o, list):
            output = list(o) if isinstance(o, NotSet) else o
        elif hasattr(type(o), "__next__") and isinstance(o, Iterator):
            output = list(o)
        else:
            output = [o]
        self._namespace["seg_output"] = output

    # --- files ---------------------------------------------------------------------------------------------------

    def get_data_fn(self, basename: str, seg: str | None = None) -> str:
        """The absolute path of a file in the data directory of this task, which exists when this returns.

        Parameters
        ----------
        basename
            The file's name, also with sub-folders; ``"."`` gives the directory.
        seg
            Name of an ancestor segment: the path is then in the directory of the task from which this one descends.

        Raises
        ------
        InputNameError
            No ancestor has that name.
        SeveralTasksError
            This task descends from several tasks of that segment; `glob_parent` finds files in all of them.
        """
        if seg is None or seg == self._context.segment:
            directory = self._directory()
            if type(basename) is str and basename and basename[0] != "/":
                return f"{directory}/{basename}"  # the ordinary case, and quicker
            return os.path.join(directory, basename)
        tasks = self._line(seg)
        if len(tasks) != 1:
            raise SeveralTasksError(
                f"get_data_fn({basename!r}, {seg!r}): this task descends from {len(tasks)} tasks of {seg!r}; "
                f"use glob_parent({basename!r}, {seg!r}) to get the files of all of them"
            )
        self._await(tasks[0])
        return os.path.join(tasks[0].directory, basename)

    def glob_parent(self, regexp: str, segs: str | Sequence[str] | None = None) -> list[str]:
        """The files of the direct parent tasks whose names match.

        Parameters
        ----------
        regexp
            A shell pattern, relative to the data directory of each parent task (``"*.fits"``, ``"*/*.txt"``);
            ``""`` gives the directories themselves. For a parent that set no particular output it is relative to the
            ``data`` directory of that segment, where each task has a directory of its own.
        segs
            Name or names of the parents to look at; all of them if not given.

        Returns
        -------
        list of str
            Sorted absolute paths, each once; empty when nothing matches.

        Raises
        ------
        InputNameError
            A name is no parent.
        """
        names = self._context.parents if segs is None else (segs,) if isinstance(segs, str) else tuple(segs)
        found: set[str] = set()
        for name in names:
            if name not in self._context.parents:
                raise InputNameError(self._unknown("parent", name, self._context.parents))
            if name in self._call.absent:
                # The union took this input from another parent, so there is nothing here that could change.
                continue
            for task in self._line(name):
                found.update(self._glob(task, regexp, below_data=task.silent))
        return sorted(found)

    def glob_seg(self, seg: str, regexp: str) -> list[str]:
        """The files of *all* the tasks of an ancestor segment whose names match.

        Parameters
        ----------
        seg
            Name of an ancestor segment; all its tasks are looked at, and all have ended before this one begins.
        regexp
            A shell pattern, relative to the data directory of each task.

        Returns
        -------
        list of str
            Sorted absolute paths.

        Raises
        ------
        InputNameError
            No ancestor has that name.
        """
        if seg not in self._context.ancestors:
            raise InputNameError(self._unknown("ancestor", seg, self._context.ancestors))
        if seg not in self._context.everything:
            raise TaskError(
                f"glob_seg({seg!r}): the call was not found in the segment's code, so {seg!r} was not waited for; "
                "write glob_seg(...) plainly in the script or in a hook"
            )
        tasks = self._context.everything[seg]
        self._looked().everything[seg] = task_set_name(sorted(task.id for task in tasks))
        return sorted({path for task in tasks for path in self._glob(task, regexp, below_data=False)})

    def get_tmp_fn(self) -> str:
        """A file name that nobody else has, outside the tree; the file is gone when the task ends."""
        if self._temporary is None:
            os.makedirs(self._context.scratch_dir, exist_ok=True)
            self._temporary = tempfile.mkdtemp(prefix=f"{self._context.segment}-", dir=self._context.scratch_dir)
        handle, path = tempfile.mkstemp(dir=self._temporary)
        os.close(handle)
        return path

    # --- hooks ---------------------------------------------------------------------------------------------------

    def hook(self, hookname: str, glo: Namespace | None = None) -> None:
        """Run the script ``<segment>_<hookname>.py`` in the segment's namespace.

        Parameters
        ----------
        hookname
            The name after the underscore. If there is no such script, nothing happens, and the log says so.
        glo
            ``globals()`` of the caller.
        """
        code = self._hooks.get(hookname)
        if code is None:
            script = find_hook(self._context.segment, hookname, self._context.code_dir)
            if script is None:
                self._logger.info("no script for the hook %r", hookname)
            else:
                self._logger.warning(
                    "the hook %r does nothing: no call of it was found in the segment's code when the run began, so %s "
                    "was not read", hookname, os.path.basename(script),
                )
            return
        exec(code, self._namespace if glo is None else glo)

    # --- for the worker ------------------------------------------------------------------------------------------

    def _directory(self) -> str:
        if self._place is None:
            call = self._call
            make_task_directory(call.directory, self._siblings(call.directory) if call.place == "" else ())
            self._place = call.place
        return self._call.directory

    def _siblings(self, directory: str) -> Collection[str]:
        return self._context.siblings.get(directory, ())

    def _glob(self, task: TaskRef, pattern: str, below_data: bool) -> list[str]:
        self._await(task)
        siblings = self._siblings(task.directory) if task.whole else ()
        return glob_products(task.directory, pattern, siblings, task.name if below_data else None)

    def _await(self, task: TaskRef) -> None:
        """See to it that what another task has done, perhaps on another host, is seen here."""
        if self._context.lateness and task.made:
            await_directory(task.directory, self._context.lateness)

    def _line(self, seg: str) -> tuple[TaskRef, ...]:
        """The tasks of an ancestor from which this one descends; noted as looked at."""
        if seg not in self._context.ancestors:
            raise InputNameError(self._unknown("ancestor", seg, self._context.ancestors))
        if self._call.line is None:
            raise TaskError(
                "the parents of this task are not at hand, since the segment's code does not name the function that "
                "asks for them; call glob_parent, get_data_fn(.., seg) or load_param by its name"
            )
        tasks = self._call.line.get(seg, ())
        looks = self._looked()
        if seg in self._context.parents:
            looks.parents.add(seg)
        if seg not in self._context.parents or seg in self._call.absent:
            looks.ancestors[seg] = task_set_name(sorted(task.id for task in tasks))
        return tasks

    def _traces(self) -> tuple[str | None, str | None, tuple[Parameter, ...]]:
        """What the task leaves on record beside its output: its place, what it looked at, its parameters."""
        asked = None if self._looks is None else self._looks.to_text()
        return self._place, asked, tuple(self._parameters.values())

    def _looked(self) -> _Looks:
        looks: _Looks = vars(self).setdefault("_looks", _Looks())  # at once, as there may be threads
        return looks

    def _unknown(self, what: str, name: str, known: Sequence[str]) -> str:
        names = ", ".join(known) if known else "none"
        return f"segment {self._context.segment!r} has no {what} named {name!r}; known are: {names}"


class _Looks:
    """What a task looked at beside its input."""

    def __init__(self) -> None:
        self.parents: set[str] = set()
        self.ancestors: dict[str, str] = {}
        self.everything: dict[str, str] = {}

    def to_text(self) -> str | None:
        return Asked(
            tuple(sorted(self.parents)), tuple(sorted(self.ancestors.items())), tuple(sorted(self.everything.items()))
        ).to_text()


EnvironmentBase._functions = public_methods(EnvironmentBase)
