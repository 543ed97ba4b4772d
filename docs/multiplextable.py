"""``.. multiplex-table::`` shows which tasks a ``#multiplex`` directive makes: the engine is asked.

The content has a line ``parent = [elements]`` for each parent, or its bare name if it sets no output, and below them
the directive. Each element comes from a task of its own. ``:tasks: N`` says how many tasks of a parent there are that
set no output.
"""

from __future__ import annotations

import ast
import os
import re
import tempfile
from typing import ClassVar, NamedTuple

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from pipelet.errors import ExpansionError
from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline

CHILD = "reduce"
_HEAD = "get_input()"


class Example(NamedTuple):
    """A segment with its parents."""

    outputs: dict[str, list[object] | None]  #: what each parent puts out, ``None`` for no output
    directive: str


class Worked(NamedTuple):
    """What came of it."""

    head: list[str]
    rows: list[list[str]]
    error: str  #: why there are no tasks


def read(lines: list[str]) -> Example:
    """Read the content of a directive.

    Raises
    ------
    ValueError
        A line is not understood.
    """
    outputs: dict[str, list[object] | None] = {}
    directive = ""
    for line in lines:
        if line.startswith("#multiplex"):
            directive = line
        elif found := re.fullmatch(r"(\w+) = (\[.*\])", line):
            outputs[found[1]] = ast.literal_eval(found[2])
        elif re.fullmatch(r"\w+", line):
            outputs[line] = None
        else:
            raise ValueError(f"{line!r} is neither `parent = [...]` nor `parent` nor `#multiplex ...`")
    return Example(outputs, directive)


def work(example: Example, silent_tasks: int = 1) -> Worked:
    """Run a pipeline that is made like this, and tell its tasks."""
    parents = list(example.outputs)
    with tempfile.TemporaryDirectory(prefix="multiplex-") as directory:
        for name, elements in example.outputs.items():
            text = "" if elements is None else f"set_output([{elements!r}[get_input() - 1]])"
            _write(directory, name, text)
        told = "[get_input(), " + ", ".join(f"get_input({name!r})" for name in parents) + "]"
        _write(directory, CHILD, f"{example.directive}\nset_output([{told}])\n")
        graph = "; ".join(f"{name} -> {CHILD}" for name in parents)
        P = Pipeline(graph, code_dir=directory, prefix=os.path.join(directory, "prefix"), durability="process")
        sizes = {name: silent_tasks if found is None else len(found) for name, found in example.outputs.items()}
        P.push(**{name: list(range(1, size + 1)) for name, size in sizes.items()})
        error = _run(P)
        numbers = {task.id: (name, task.input[f"{name}phantom"]) for name in parents for task in P.tasks(name)}
        rows = []
        for task in P.tasks(CHILD):
            assert task.output is not None
            given = [numbers[parent] for parent in task.parents]
            rows.append([*map(repr, task.output[0]), _from(given)])
    return Worked([_HEAD, *(f'get_input("{name}")' for name in parents), "parent tasks"], rows, error)


def _run(P: Pipeline) -> str:
    """Run it without a word; why its tasks can't be made, if they can't."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        launch_interactive(P, log_level=0)[0].run()
    except ExpansionError as error:
        return str(error)
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
    return ""


def _from(tasks: list[tuple[str, int]]) -> str:
    """``observe 1, 2; calibrate 1``."""
    by_parent: dict[str, list[str]] = {}
    for name, number in tasks:
        by_parent.setdefault(name, []).append(str(number))
    return "; ".join(f"{name} {', '.join(found)}" for name, found in by_parent.items())


def _write(directory: str, name: str, text: str) -> None:
    with open(os.path.join(directory, f"{name}.py"), "w", encoding="utf-8") as file:
        file.write(text)


class MultiplexTable(SphinxDirective):
    """Outputs and directive as code, and below them the tasks."""

    has_content = True
    option_spec: ClassVar = {"tasks": int}

    def run(self) -> list[nodes.Node]:
        """Ask the engine."""
        try:
            example = read(self._lines())
        except ValueError as error:
            raise self.error(str(error)) from None
        worked = work(example, self.options.get("tasks", 1))
        self.env.note_reread()
        given = [line if " = " in line else f"# {line} sets no output" for line in self._lines() if line[:1] != "#"]
        code = "\n".join([*given, "", example.directive or "# no directive"])
        shown: list[nodes.Node] = [nodes.literal_block(code, code, language="python")]
        if worked.error:
            return [*shown, nodes.literal_block(worked.error, worked.error, language="none")]
        number = len(worked.rows)
        title = "No task." if not number else f"{number} task{'s' if number > 1 else ''}:"
        shown.append(nodes.paragraph(title, title))
        return [*shown, _table(worked)] if number else shown

    def _lines(self) -> list[str]:
        return [line.strip() for line in self.content if line.strip()]


def _table(worked: Worked) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in worked.head), cols=len(worked.head))
    head = nodes.row("", *(_cell(text, last=at == len(worked.head) - 1) for at, text in enumerate(worked.head)))
    rows = [nodes.row("", *(_cell(text, at == len(row) - 1) for at, text in enumerate(row))) for row in worked.rows]
    group += [nodes.thead("", head), nodes.tbody("", *rows)]
    return nodes.table("", group, classes=["worked"])


def _cell(text: str, last: bool) -> nodes.entry:
    words = nodes.Text(text) if last else nodes.literal(text, text)
    return nodes.entry("", nodes.paragraph("", "", words))
