"""The `Pipeline`: a graph of segments, the directory of their code, and the root of their data."""

from __future__ import annotations

import contextlib
import os
import pickle
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelet import drawing
from pipelet._version import __version__
from pipelet.classprint import EnvironmentFacts, environment_source, users_classes
from pipelet.codebase import environment_fingerprint, read_code, segment_keys, survey_code
from pipelet.core.fingerprint import value_digest
from pipelet.core.graph import Graph, build_graph
from pipelet.core.model import PHANTOM, Element
from pipelet.core.text import value_text
from pipelet.environment import Environment, EnvironmentBase
from pipelet.environment.byvalue import by_value, cloudpickled
from pipelet.errors import (
    CodeError,
    FingerprintError,
    PipeletError,
    PipelineError,
    PushError,
    UnknownSegmentError,
    raise_problems,
)
from pipelet.explain import Explanation, explain
from pipelet.limits import read_limits
from pipelet.planner import Snapshot
from pipelet.reading import read_instances, read_outputs, read_tasks
from pipelet.rebuild import reading, settled
from pipelet.records import InstanceList, StatusCounts, TaskList
from pipelet.statusdb import InstanceRow, Reader
from pipelet.storage import Tree
from pipelet.storage.durability import DEFAULT as DEFAULT_DURABILITY
from pipelet.storage.durability import read_durability


class Pipeline:
    """A directed acyclic graph of segments.

    Parameters
    ----------
    pipedot
        The graph in a subset of the dot language (``"a -> b -> d; c -> d;"``), or the path of a ``.dot`` file.
    code_dir
        Where the scripts of the segments are.
    prefix
        The root of the data; a run makes it.
    sqlfile
        The status database; ``<prefix>/.sqlstatus`` if not given.
    matplotlib
        Draw without a screen in worker processes.
    matplotlib_interactive
        Draw without a screen in the interactive mode.
    env
        A subclass of `pipelet.environment.EnvironmentBase`: its public methods are functions of the segments.
    partial
        Whether ``group_by`` and the like take what there is when some tasks of a parent failed, instead of waiting.
    timeout
        Seconds after which a task that has not ended is ended and fails; one number for all, or a mapping from segments
        to numbers.
    memory
        How much memory a worker process may keep, in bytes or as ``"2 GB"``: one that has grown beyond that is replaced
        after its task, and a task that alone takes more is ended and fails.
    order
        Which tasks come first where workers are short: ``"depth"``, those of the segments that are furthest down, so
        that chains of tasks end early; ``"breadth"``, segment after segment.
    durability
        What is done outlives a process that dies (``"process"``), also a power cut, after which at most the tasks with
        files of the last half minute run again (``"power"``), or that without exception (``"always"``).

    Raises
    ------
    PipelineError
        The graph can't be read: all that is wrong with it, with lines and columns. Or an argument is of a wrong kind.
    UnknownSegmentError
        ``timeout`` names a segment that does not exist.
    """

    def __init__(
        self,
        pipedot: str | os.PathLike[str],
        code_dir: str | os.PathLike[str] = "./",
        prefix: str | os.PathLike[str] = "./",
        sqlfile: str | os.PathLike[str] | None = None,
        matplotlib: bool = True,
        matplotlib_interactive: bool = True,
        env: type[EnvironmentBase] = Environment,
        partial: bool = False,
        timeout: float | Mapping[str, float] | None = None,
        memory: float | str | None = None,
        durability: str = DEFAULT_DURABILITY,
        order: str = "depth",
    ) -> None:
        self.pipedot = _dot_text(pipedot)
        self.graph: Graph = build_graph(self.pipedot)
        self.code_dir = _absolute(code_dir, "code_dir")
        self.prefix = _absolute(prefix, "prefix")
        self.sqlfile = Tree(self.prefix).default_sqlfile if sqlfile is None else _absolute(sqlfile, "sqlfile")
        self.matplotlib = matplotlib
        self.matplotlib_interactive = matplotlib_interactive
        self.partial = partial
        self.limits = read_limits(timeout, memory)
        self.durability = read_durability(durability)
        if order not in ("depth", "breadth"):
            raise PipelineError(f"order={order!r} is none of 'depth', 'breadth'; 'depth' is taken if nothing is given")
        self.order = order
        for name in self.limits.timeouts:
            self._known(name)
        if not (isinstance(env, type) and issubclass(env, EnvironmentBase)):
            raise PipelineError(f"env={env!r} is no subclass of pipelet.environment.EnvironmentBase")
        self.env = env
        # Now, since the source of a class of the main script can't be had in another process.
        self._environment = "EnvironmentBase" if env is EnvironmentBase else environment_fingerprint(env)
        self._facts = EnvironmentFacts(env.__qualname__, self._environment, environment_source(env))
        self._pushed: dict[str, list[Element]] = {}

    def __repr__(self) -> str:
        edges = "; ".join(f"{name} -> {child}" for name in self.graph.segments for child in self.graph.children(name))
        alone = [name for name in self.graph.segments if not self.graph.parents(name) and not self.graph.children(name)]
        graph = "; ".join(part for part in (edges, *alone) if part)
        return f"Pipeline({graph!r}, code_dir={self.code_dir!r}, prefix={self.prefix!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "env": _class_blob(self.env), "version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version = state.pop("version", "of another version")
        if version != __version__:
            raise PipelineError(
                f"this pipeline was pickled by Pipelet {version}, and this is {__version__}: pickle it again"
            )
        blob = state["env"]
        self.__dict__.update(state, env=Environment if blob is None else pickle.loads(blob))

    # --- what to run ---------------------------------------------------------------------------------------------

    def push(self, **inputs: Iterable[Any]) -> None:
        """Put inputs into segments without parents; a second push appends.

        Parameters
        ----------
        **inputs
            ``segment=[input, ...]``. An empty list means no task at all; a segment that nobody pushes to runs once.

        Raises
        ------
        UnknownSegmentError
            There is no such segment.
        PushError
            The segment has parents, the value is no list, or an input can't be pickled.
        """
        prepared = {name: self._elements(name, values) for name, values in inputs.items()}
        for name, elements in prepared.items():
            before = self._pushed.setdefault(name, [])
            start = len(before)
            before.extend(element._replace(position=start + element.position) for element in elements)

    def _elements(self, name: str, values: Iterable[Any]) -> list[Element]:
        self._known(name)
        parents = self.graph.parents(name)
        if parents:
            raise PushError(
                f"{name!r} has parents ({', '.join(parents)}), so its inputs come from them; "
                f"push to a segment without parents: {', '.join(self.graph.roots)}"
            )
        if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
            example = f"push({name}=[{reprlib.repr(values)}])"
            raise PushError(f"push({name}=...) takes a list of inputs, for example {example}")
        elements = []
        for position, value in enumerate(values):
            try:
                blob = by_value(value)
                elements.append(Element(PHANTOM, position, value_digest(value), value_text(value), blob))
            except FingerprintError as error:
                raise PushError(f"input {position} of push({name}=...) can't be told from others: {error}") from error
            except Exception as error:  # what a class raises from its own reduction can be anything
                raise PushError(f"input {position} of push({name}=...) can't be pickled: {error}") from error
        return elements

    def snapshot(self) -> Snapshot:
        """Read all the code, once: what is edited later is not seen by whoever uses this.

        Raises
        ------
        PipelineError
            A script is missing or is no Python, a directive can't be parsed, a ``#depend`` matches nothing: all the
            problems at once.
        """
        if not os.path.isdir(self.code_dir):
            raise CodeError(f"the code directory {self.code_dir} does not exist; give code_dir=... to Pipeline")
        codes = read_code(self.graph, self.code_dir)
        return Snapshot(
            graph=self.graph,
            code_dir=self.code_dir,
            prefix=self.prefix,
            sqlfile=self.sqlfile,
            pushed={name: tuple(elements) for name, elements in self._pushed.items()},
            codes=codes,
            keys=segment_keys(self.graph, codes, self._environment),
            partial=self.partial,
            agg=self.matplotlib,
            agg_interactive=self.matplotlib_interactive,
            environment=_class_blob(self.env),
            environment_facts=self._facts,
            limits=self.limits,
            durability=self.durability,
            order=self.order,
        )

    # --- pictures ------------------------------------------------------------------------------------------------

    def to_dot(self, filename: str | os.PathLike[str]) -> None:
        """Write the graph for ``dot -Tpng``.

        Parameters
        ----------
        filename
            The file to write.

        Raises
        ------
        PipelineError
            The file can't be written.
        """
        try:
            with open(filename, "w", encoding="utf-8") as file:
                file.write(drawing.to_dot(self.graph))
        except OSError as error:
            raise PipelineError(f"the graph can't be written to {os.fspath(filename)}: {error.strerror}") from error

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str | bytes], dict[str, dict[str, int]]]:
        counts = self._picture_counts()
        bundle: dict[str, str | bytes] = {"text/plain": drawing.to_text(self.graph, counts)}
        picture = drawing.to_svg(self.graph, counts)
        if picture is not None:
            bundle["image/svg+xml"] = picture
        # Notebooks that came from elsewhere, and some pages, show no SVG.
        pixels = None if picture is None else drawing.to_png(self.graph, counts)
        if pixels is None:
            return bundle, {}
        bundle["image/png"], width, height = pixels
        return bundle, {"image/png": {"width": width, "height": height}}

    def _picture_counts(self) -> dict[str, dict[str, int]] | None:
        try:
            return self._counts(waiting=True)
        except PipeletError:
            # A picture of the graph is of use without the code or the database, too.
            return None

    # --- reading -------------------------------------------------------------------------------------------------

    def tasks(self, segment: str, status: str | None = None) -> TaskList:
        """The task records of a segment's current instance.

        Parameters
        ----------
        segment
            Its name.
        status
            Only those that are ``queued``, ``running``, ``done`` or ``failed``.

        Returns
        -------
        TaskList
            In the order of the inputs of the last run; tasks that it did not want come last. Empty when the segment,
            as its code is now, has not run.

        Raises
        ------
        UnknownSegmentError
            There is no such segment.
        PipelineError
            Its code, or that of an ancestor, can't be read.
        """
        with self._reading(segment) as (reader, row):
            if row is None:
                return TaskList()
            with self._importing():
                return read_tasks(Tree(self.prefix), reader, row, self.graph.parents(segment), status)

    def outputs(self, segment: str) -> list[Any]:
        """The outputs of a segment's done tasks, concatenated in the order in which the last run wanted them.

        Parameters
        ----------
        segment
            Its name.

        Raises
        ------
        UnknownSegmentError
            There is no such segment.
        PipelineError
            Its code, or that of an ancestor, can't be read.
        """
        with self._reading(segment) as (reader, row):
            if row is None:
                return []
            with self._importing():
                return read_outputs(reader, row)

    def instances(self, segment: str) -> InstanceList:
        """Every version of a segment on disk, the newest first.

        Parameters
        ----------
        segment
            Its name.

        Raises
        ------
        UnknownSegmentError
            There is no such segment.
        """
        self._known(segment)
        tree = Tree(self.prefix)
        with reading(tree, self.sqlfile) as reader:
            return read_instances(tree, reader, segment)

    def status(self) -> StatusCounts:
        """Numbers of tasks by status, for each segment.

        Returns
        -------
        StatusCounts
            segment -> ``{"done": 4, "failed": 1}``; empty for a segment that, as its code is now, has not run, or whose
            code (or that of an ancestor) can't be read at the moment.
        """
        return StatusCounts(self._counts(waiting=False))

    def explain(self) -> Explanation:
        """What the next run would do with each segment, and why. Runs nothing.

        Returns
        -------
        Explanation
            By segment; print it.

        Raises
        ------
        PipelineError
            The code can't be read.
        """
        snapshot = self.snapshot()
        tree = Tree(self.prefix)
        with settled(tree, self.sqlfile, snapshot.keys.values()) as reader:
            return explain(snapshot, tree, reader)

    def current_keys(self) -> dict[str, str]:
        """The key of each segment as its code is now; one whose code (or an ancestor's) can't be read has none."""
        return self._keys()[0]

    def _counts(self, waiting: bool) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {name: {} for name in self.graph.segments}
        keys, _ = self._keys()
        with reading(Tree(self.prefix), self.sqlfile) as reader:
            rows = {name: reader.instance(key) for name, key in keys.items()}
            tally = reader.tally([row.id for row in rows.values() if row is not None])
            for name, row in rows.items():
                if row is None:
                    continue
                counts[name] = {str(status): number for status, number in tally.get(row.id, {}).items()}
                if waiting and row.waiting is not None:
                    counts[name]["waiting"] = 1
        return counts

    def _keys(self) -> tuple[dict[str, str], list[PipelineError]]:
        """The keys of the segments whose code can be read, and what is wrong with the others."""
        codes, problems = survey_code(self.graph, self.code_dir)
        return segment_keys(self.graph, codes, self._environment), problems

    @contextlib.contextmanager
    def _reading(self, segment: str) -> Iterator[tuple[Reader, InstanceRow | None]]:
        self._known(segment)
        keys, problems = self._keys()
        if segment not in keys:
            raise_problems(problems)
        with reading(Tree(self.prefix), self.sqlfile) as reader:
            yield reader, reader.instance(keys[segment])

    @contextlib.contextmanager
    def _importing(self) -> Iterator[None]:
        """Let records refer to modules of the code directory."""
        if self.code_dir in sys.path:
            yield
            return
        sys.path.append(self.code_dir)
        try:
            yield
        finally:
            sys.path.remove(self.code_dir)

    def _known(self, segment: str) -> None:
        if segment not in self.graph:
            near = self.graph.nearest(segment)
            hint = f"; did you mean {near!r}?" if near else "."
            known = ", ".join(self.graph.segments)
            raise UnknownSegmentError(f"there is no segment named {segment!r}{hint} The segments are: {known}")


def _absolute(path: str | os.PathLike[str], argument: str) -> str:
    """An absolute path with single slashes; the library keeps two at the beginning."""
    text = path if isinstance(path, str) else os.fspath(path) if isinstance(path, os.PathLike) else None
    if not isinstance(text, str) or "\0" in text:
        raise PipelineError(f"{argument}={path!r} is no path; give a string such as './'")
    return "/" + os.path.abspath(text).lstrip("/")


def _dot_text(pipedot: str | os.PathLike[str]) -> str:
    if not isinstance(pipedot, (str, os.PathLike)):
        raise PipelineError(f"{pipedot!r} is no graph; give a string such as 'a -> b;' or the path of a .dot file")
    text = os.fspath(pipedot)
    if not isinstance(pipedot, str) or (text.endswith(".dot") and "\n" not in text and "->" not in text):
        try:
            with open(text, encoding="utf-8") as file:
                return file.read()
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            raise PipelineError(f"the graph can't be read from {text!r}: {problem}") from error
    return text


def _class_blob(env: type[EnvironmentBase]) -> bytes | None:
    """The user's environment class by value: its file may be edited before a worker would import it."""
    if env is Environment:
        return None
    # Here, since it takes long to load and few pipelines need it.
    import cloudpickle

    modules = {base.__module__ for base in users_classes(env)} - {"__main__"}
    with contextlib.ExitStack() as registered:
        for module in (sys.modules[name] for name in sorted(modules) if name in sys.modules):
            cloudpickle.register_pickle_by_value(module)
            registered.callback(cloudpickle.unregister_pickle_by_value, module)
        with contextlib.suppress(Exception):  # something that can't be pickled stands beside the class
            return cloudpickled(env)
    return cloudpickled(env)
