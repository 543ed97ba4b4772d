"""Every error that Pipelet raises on purpose.

::

    PipeletError
    ├── PipelineError                the description of a pipeline is wrong
    │   ├── PipelineProblems         several at once; ``.problems`` lists them
    │   ├── DotSyntaxError           the graph string can't be read
    │   │   └── UndirectedEdgeError  ``a -- b``
    │   ├── SegmentNameError         a segment's name is no Python identifier
    │   ├── CycleError               ``a -> b -> a``
    │   ├── EmptyGraphError          no segment at all
    │   ├── UnknownSegmentError      a name that is not in the graph
    │   ├── PushError                an input that can't be pushed
    │   ├── CodeError                scripts: missing, unreadable, no Python
    │   ├── DependError              a ``#depend`` that matches nothing
    │   └── DirectiveError           a ``#multiplex`` that can't be parsed
    ├── ExpansionError               outputs could not be made into inputs
    ├── FingerprintError             an object has no canonical encoding
    ├── TaskError                    something inside a task
    │   ├── OutputError              an output can't be pickled
    │   ├── InputNameError           no parent or ancestor of that name
    │   ├── SeveralTasksError        one task was asked for, there are several
    │   ├── ParameterError           a parameter is missing or ambiguous
    │   ├── SubprocessFailed         an external program failed
    │   ├── TaskTimeout              the task took too much time
    │   ├── MemoryExceeded           the task took too much memory
    │   └── WorkerDied               the process that ran the task is gone
    ├── StorageError                 the tree on disk
    │   ├── PrefixError              the prefix can't be made or written
    │   ├── PrefixLocked             another run holds the prefix
    │   ├── MissingProductError      a task has no such file
    │   ├── RefusedProductError      a path or a link leads out, or is no file
    │   └── JournalError             a journal is damaged beyond its end
    ├── DatabaseError                the status database
    │   ├── MissingDatabaseError     there is no file, or an empty one
    │   ├── ForeignDatabaseError     no database, or not one of ours
    │   ├── DamagedDatabaseError     the file is damaged
    │   ├── LockedDatabaseError      another process holds it
    │   └── NewerDatabaseError       made by a newer version
    ├── TrashError                   something can't be deleted or restored
    │   ├── TaggedError              what is tagged is not deleted
    │   └── PreviewChanged           what would go is not what was confirmed
    ├── AccountError                 users and their levels
    ├── MarkError                    a task can't be set aside, or run again
    ├── ViewError                    a product can't be shown as what it claims to be
    │   └── BusyError                it can't be shown just now
    ├── ReplayError                  a task can't be run again as it ran
    ├── WebError                     the server of the web pages, or the list of what it shows
    └── LauncherError                a run can't be started
        └── MissingPackageError      an optional package is not installed

The text of each says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelet.tracebacks import without_engine


class PipeletError(Exception):
    """The root of all errors that Pipelet raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the text says what is wrong, so that nobody has to read lines of the engine."""
        trace = without_engine(self.__traceback__)
        renderer = sys.modules["IPython"].get_ipython().InteractiveTB
        lines: list[str] = renderer.structured_traceback(type(self), self, trace, tb_offset=1)
        return lines


class PipelineError(PipeletError):
    """The description of a pipeline is wrong."""


class PipelineProblems(PipelineError):
    """Several problems in one description.

    Attributes
    ----------
    problems
        The single errors, in the order in which they were found.
    """

    def __init__(self, problems: Sequence[PipelineError]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        head = f"{len(self.problems)} problems in the pipeline:"
        return "\n".join([head, *(f"- {problem}" for problem in self.problems)])


def raise_problems(problems: Sequence[PipelineError]) -> None:
    """Raise the one problem, or all of them as one `PipelineProblems`; nothing when there is none."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise PipelineProblems(problems)


class DotSyntaxError(PipelineError):
    """The graph string can't be read.

    Attributes
    ----------
    line, column
        Where, counted from 1.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class UndirectedEdgeError(DotSyntaxError):
    """``a -- b``: the edges of a pipeline have a direction."""


class SegmentNameError(PipelineError):
    """A segment's name is no Python identifier."""


class CycleError(PipelineError):
    """Segments that wait for each other."""


class EmptyGraphError(PipelineError):
    """A graph without any segment."""


class UnknownSegmentError(PipelineError):
    """A name that is not in the graph."""


class PushError(PipelineError):
    """An input that can't be pushed."""


class CodeError(PipelineError):
    """A script is missing, can't be read, or is no Python."""


class DependError(PipelineError):
    """A ``#depend`` that matches nothing or leaves the code directory."""


class DirectiveError(PipelineError):
    """A ``#multiplex`` that can't be parsed."""


class ExpansionError(PipeletError):
    """The outputs of the parents could not be made into inputs."""


class FingerprintError(PipeletError):
    """An object has no canonical encoding."""


class TaskError(PipeletError):
    """Something went wrong inside a task."""


class OutputError(TaskError):
    """An output can't be pickled."""


class InputNameError(TaskError, KeyError):
    """No parent or ancestor has that name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class SeveralTasksError(TaskError):
    """One ancestor task was asked for, and there are several."""


class ParameterError(TaskError):
    """A parameter is missing, or ancestors disagree on it."""


class SubprocessFailed(TaskError):
    """An external program ended with a non-zero exit status."""


class WorkerDied(TaskError):
    """The process that ran the task is gone."""


class TaskTimeout(TaskError):
    """The task took more time than the pipeline allows."""


class MemoryExceeded(TaskError):
    """The task took more memory than the pipeline allows."""


class StorageError(PipeletError):
    """The tree on disk could not be read or written."""


class PrefixError(StorageError):
    """The prefix can't be made or written."""


class PrefixLocked(StorageError):
    """Another run holds the prefix."""


class MissingProductError(StorageError):
    """A task has no such file."""


class RefusedProductError(StorageError):
    """A path or a link leads out of the prefix, or to something that is no file."""


class JournalError(StorageError):
    """A journal is damaged before its end."""


class DatabaseError(PipeletError):
    """The status database could not be used."""


class MissingDatabaseError(DatabaseError):
    """There is no database yet: no file, or an empty one."""


class ForeignDatabaseError(DatabaseError):
    """The file is no database, or one that Pipelet did not make."""


class DamagedDatabaseError(DatabaseError):
    """The database file is damaged."""


class LockedDatabaseError(DatabaseError):
    """Another process holds the database, and did not let go of it in time."""


class NewerDatabaseError(DatabaseError):
    """The database was made by a newer version of Pipelet."""


class TrashError(PipeletError):
    """Something can't be deleted, or restored from the trash."""


class TaggedError(TrashError):
    """Something that is tagged would be deleted."""


class PreviewChanged(TrashError):
    """What would be deleted now is not what was looked at and confirmed."""


class AccountError(PipeletError):
    """A user or a level that is not there or not allowed."""


class MarkError(PipeletError):
    """A task can't be set aside, released or run again."""


class ReplayError(PipeletError):
    """A task can't be run again as it ran."""


class WebError(PipeletError):
    """The server of the web pages can't be started or stopped, or the list of what it shows can't be used."""


class ViewError(PipeletError):
    """A product can't be shown as what it claims to be."""


class BusyError(ViewError):
    """A product can't be shown just now, since the server is busy with others."""


class LauncherError(PipeletError):
    """A run can't be started."""


class MissingPackageError(LauncherError):
    """An optional package is not installed."""
