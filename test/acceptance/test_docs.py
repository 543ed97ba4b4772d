"""The documentation is complete, builds without a warning, and its examples give what they show."""

from __future__ import annotations

import argparse
import ast
import datetime
import inspect
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import pytest
from support import REPOSITORY, Project

import pipelet
from pipelet import errors, schema
from pipelet.cli import pipeletd, pipeutils, pipeweb
from pipelet.codebase import ENVIRONMENT_WORDS
from pipelet.core.plan import Reason
from pipelet.core.text import value_text
from pipelet.environment import Environment, EnvironmentBase
from pipelet.executors.cluster.serverfile import Timings
from pipelet.pipeline import Pipeline
from pipelet.statusdb.rows import TaskRow
from pipelet.statusdb.writer import _HANDLERS as JOURNAL_EVENTS

DOCS = REPOSITORY / "docs"
REFERENCE = DOCS / "reference"
STATIC = REPOSITORY / "pipelet" / "static"


def page(name: str) -> str:
    """The source of a page of the reference."""
    return (REFERENCE / f"{name}.rst").read_text()


def missing(names: Sequence[str], where: str, template: str = "``{}``") -> list[str]:
    """The names that do not stand in a text, each written as in the template."""
    return [name for name in names if template.format(name) not in where]


def section(text: str, title: str, underline: str = "-") -> str:
    """What stands below a title, up to the next one of its rank or of a higher one."""
    ranks = "=-~"[: "=-~".index(underline) + 1]
    heading = rf"^{re.escape(title)}\n{underline}{{3,}}\n"
    found = re.search(rf"{heading}(.*?)(?=^\S[^\n]*\n[{ranks}]{{3,}}\n|\Z)", text, re.M | re.S)
    assert found is not None, f"no section {title!r}"
    return found[1]


# --- the build -------------------------------------------------------------------------------------------------------


def test_the_documentation_builds_without_a_warning(html: Path) -> None:
    assert {path.stem for path in REFERENCE.glob("*.rst")} <= {path.stem for path in (html / "reference").iterdir()}


def test_every_page_has_one_title(html: Path) -> None:
    titles = {page.name: re.findall(r"<h1>(.*?)<", page.read_text()) for page in html.rglob("*.html")}
    assert {name: found for name, found in titles.items() if len(found) > 1} == {}
    # those that are taken from elsewhere
    assert [titles[f"{name}.html"] for name in ("changes", "contributing", "quickstart")] == [
        ["Changes"], ["Working on Pipelet"], ["Quickstart"]
    ]


def test_the_help_of_each_command_is_on_its_page_as_it_is(html: Path) -> None:
    text = (html / "reference" / "commands.html").read_text()
    verbs_of_pipeweb = (f"pipeweb {verb}" for verb in verbs(pipeweb.parser()))
    for typed in ["main.py", "pipeletd", "pipeutils", "pipeweb", *verbs_of_pipeweb]:
        assert f"$ {typed} --help\nusage: {typed} [-h]" in text


# --- nothing is left out ---------------------------------------------------------------------------------------------


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options of a command, short and long."""
    for action in parser._actions:
        yield from action.option_strings


def verbs(parser: argparse.ArgumentParser) -> list[str]:
    """The verbs of a command."""
    choosing = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [verb for action in choosing for verb in action.choices]


def options_of_main() -> list[str]:
    """The options that the template of ``main.py`` reads, taken from its source."""
    calls = (node for node in ast.walk(ast.parse((STATIC / "main.py").read_text())) if isinstance(node, ast.Call))
    adding = (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument")
    return [ast.literal_eval(word) for call in adding for word in call.args]


def test_every_option_of_every_command_is_explained() -> None:
    text = page("commands")
    assert len(options_of_main()) >= 13
    for title, found in (
        ("main.py", options_of_main()),
        ("pipeletd", list(options(pipeletd.parser()))),
        ("pipeutils", list(options(pipeutils.parser()))),
        ("pipeweb", [*options(pipeweb.parser()), *verbs(pipeweb.parser())]),
    ):
        explained = " ".join(re.findall(r"``([^`]*)``", section(text, title))).split()
        assert [word for word in found if word not in explained] == [], title


def test_every_command_that_is_installed_has_a_section() -> None:
    table = re.search(r"^\[project\.scripts\]\n((?:\w.*\n)+)", (REPOSITORY / "pyproject.toml").read_text(), re.M)
    assert table is not None
    for name in re.findall(r"^(\w+) =", table[1], re.M):
        assert section(page("commands"), name)


def documented_functions() -> dict[str, str]:
    """The functions on the page on segments, with their arguments."""
    return dict(re.findall(r"^\.\. py:function:: (\w+)\((.*)\)$", page("segments"), re.M))


def test_every_function_of_a_segment_is_documented_with_its_arguments() -> None:
    methods = {name: getattr(Environment, name) for name in Environment._functions}
    arguments = {
        name: ", ".join(
            item.name if item.default is item.empty else f"{item.name}={item.default!r}"
            for item in list(inspect.signature(method).parameters.values())[1:]
        )
        for name, method in methods.items()
    }
    assert documented_functions() == arguments


def test_every_variable_of_a_segment_is_documented() -> None:
    variables = set(re.findall(r"^\.\. py:data:: (\w+)$", page("segments"), re.M))
    assert variables | set(documented_functions()) == ENVIRONMENT_WORDS
    base = section(page("segments"), "Other functions")
    assert missing(EnvironmentBase._functions, base) == []


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    assert missing(pipelet.__all__, page("api")) == []


def test_every_error_has_its_cause_or_kind_on_the_page_of_errors() -> None:
    public = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert set(re.findall(r"^\.\. autoexception:: (\w+)(?:\(\))?$", page("errors"), re.M)) == public
    assert missing(sorted(public), errors.__doc__ or "", "─ {} ") in ([], ["PipeletError"])


def test_every_reason_to_run_is_on_the_page_of_recomputation() -> None:
    assert missing([reason.value for reason in Reason], page("recomputation"), "*{}*") == []


def test_every_column_of_the_database_is_documented() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection, ":memory:")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    documented = re.split(r"^``(\w+)``: ", section(page("database"), "Tables"), flags=re.M)
    described = dict(zip(documented[1::2], documented[2::2], strict=True))
    assert set(described) == {name for name in tables if not name.startswith("sqlite_")}
    for table, text in described.items():
        columns = [(row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({table})")]
        assert re.findall(r"^``(\w+)`` +([A-Z]+) ", text, re.M) == columns, table
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    assert f"``user_version``, now {version}." in page("database")
    connection.close()


def test_every_entry_of_a_meta_file_is_documented(project: Project) -> None:
    project.write(a="")
    pipeline = project.pipeline("a")
    project.run(pipeline)
    (meta,) = project.prefix.glob("a_*/a.meta")
    assert missing(list(json.loads(meta.read_text())), section(page("tree"), "Facts about an instance")) == []


def test_every_event_of_a_journal_is_documented() -> None:
    text = page("database")
    assert set(re.findall(r'^``\["(\w+)",', text, re.M)) == set(JOURNAL_EVENTS)
    order = ", ".join([*(name for name in TaskRow._fields if name != "instance"), "parameters"])
    assert order in " ".join(text.split())


def cells(text: str, columns: int) -> list[list[str]]:
    """The rows of a list-table without its heading, each with its first columns."""
    rows = re.split(r"^   \* - ", text, flags=re.M)[2:]
    return [[cell.strip() for cell in re.split(r"^     - ", row, flags=re.M)][:columns] for row in rows]


def test_every_argument_of_a_pipeline_is_on_the_page_of_configuration_with_its_default() -> None:
    shown = {
        str(item.default): f"``{item.default!r}``" for item in inspect.signature(Pipeline).parameters.values()
    } | {str(inspect.Parameter.empty): "must be given", str(Environment): "``Environment``"}
    arguments = [
        [f"``{name}``", shown[str(item.default)]] for name, item in inspect.signature(Pipeline).parameters.items()
    ]
    assert cells(section(page("configuration"), "Arguments of Pipeline"), 2) == arguments


def test_every_environment_variable_is_on_the_page_of_configuration() -> None:
    reading = re.compile(r'environ(?:\.get|\.pop)?[(\[]\s*"(\w+)"|"((?:PIPELET|XDG|MPL)_?[A-Z_]+)"')
    found = {
        first or second
        for path in (REPOSITORY / "pipelet").rglob("*.py")
        for first, second in reading.findall(path.read_text())
        # what a web server calls its environment is another thing
        if not path.is_relative_to(REPOSITORY / "pipelet" / "web") or second
    }
    assert {"NO_COLOR", "PIPELET_CONFIG_DIR", "TQDM_DISABLE"} <= found
    assert missing(sorted(found), section(page("configuration"), "Environment variables")) == []


def test_every_timing_of_a_batch_server_is_on_the_page_of_configuration() -> None:
    table = section(page("configuration"), "Times").partition("These are fixed")[0]
    assert cells(table, 2) == [[f"``{name}``", f"{value:g}"] for name, value in asdict(Timings()).items()]


def test_every_module_has_its_floor_on_the_page_on_the_design() -> None:
    package = REPOSITORY / "pipelet"
    found = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    named = sorted(name for name in found if not name.startswith("_"))
    assert missing(named, section((DOCS / "design.rst").read_text(), "The floors")) == []


# --- examples --------------------------------------------------------------------------------------------------------


def multiplex_examples() -> list[tuple[str, dict[str, Any], list[list[Any]]]]:
    """Each ``#multiplex`` of the page on directives that has a table: the directive, the outputs, and the rows."""
    outputs: dict[str, dict[str, Any]] = {}
    found = []
    title = directive = ""
    blocks = re.findall(
        r"^(\w+)\n~{3,}$|^\.\. code-block:: python\n\n((?:   .*\n|\n)+)|^\.\. list-table::\n((?:   .*\n|\n)+)",
        section(page("directives"), "#multiplex"),
        re.M,
    )
    for heading, code, table in blocks:
        if heading:
            title = heading
        elif "#multiplex" in code:
            directive = code.strip()
        elif code:
            values = re.findall(r"^   (\w+) = (.*)$", code, re.M)
            outputs[title] = {**outputs.get("", {}), **{name: ast.literal_eval(text) for name, text in values}}
        else:
            cells = re.findall(r"^   [* ] - ``(.*)``$", table, re.M)
            rows = [[ast.literal_eval(cell) for cell in cells[at : at + 3]] for at in range(3, len(cells), 3)]
            found.append((directive, outputs.get(title, outputs[""]), rows))
    return found


EXAMPLES = [pytest.param(*example, id=example[0]) for example in multiplex_examples()]


@pytest.mark.parametrize(("directive", "outputs", "rows"), EXAMPLES)
def test_a_worked_example_of_multiplex_gives_its_table(
    project: Project, directive: str, outputs: dict[str, Any], rows: list[list[Any]]
) -> None:
    for name, elements in outputs.items():
        project.write(**{name: f"set_output({elements!r})"})
    project.write(reduce=f"{directive}\nset_output([[seg_input, get_input('observe'), get_input('calibrate')]])")
    pipeline = project.pipeline("observe -> reduce; calibrate -> reduce")
    assert project.run(pipeline).ok
    assert pipeline.outputs("reduce") == rows


def test_there_is_a_worked_example_of_every_kind() -> None:
    shown = [directive for directive, _, _ in multiplex_examples()]
    for word in ("cross_prod", "union", "zip", "where", "group_by"):
        assert any(word in directive for directive in shown), word


def test_the_table_of_what_a_segment_sees(project: Project) -> None:
    told = "set_output([[seg_input, get_input(), *map(get_input, {names})]])"
    project.write(
        a="set_output('x')",
        b="set_output('y')",
        quiet="",
        both=told.format(names=["a", "b"]),
        united="#multiplex union\n" + told.format(names=["a", "b"]),
        grouped="#multiplex group_by 'v'\n" + told.format(names=["a", "b"]),
        silent=told.format(names=["quiet"]),
        pushed=told.format(names=["pushedphantom"]),
        alone=told.format(names=[]),
    )
    edges = "{a b} -> {both united grouped}; quiet -> silent; pushed; alone"
    pipeline = project.pipeline(edges, {"pushed": ["x"]})
    assert project.run(pipeline).ok
    assert pipeline.outputs("both") == [[{"a": "x", "b": "y"}, "x", "x", "y"]]
    assert pipeline.outputs("united") == [[{"a": "x"}, "x", "x", None], [{"b": "y"}, "y", None, "y"]]
    assert pipeline.outputs("grouped") == [["v", "v", ["x"], ["y"]]]
    assert pipeline.outputs("silent") == [[{"quiet": None}, None, None]]
    assert pipeline.outputs("pushed") == [[{"pushedphantom": "x"}, "x", "x"]]
    assert pipeline.outputs("alone") == [[{}, None]]


def test_the_queries_on_the_database_work(project: Project) -> None:
    project.write(a="x = get_input()\nexpose('x')\nset_output(x)", b="1 / (get_input() - 2)")
    pipeline = project.pipeline("a -> b", {"a": [1, 2]})
    project.run(pipeline, processes=1)
    (block,) = re.findall(r"^\.\. code-block:: sql\n\n((?:   .*\n|\n)+)", page("database"), re.M)
    connection = sqlite3.connect(f"file:{pipeline.sqlfile}?mode=ro", uri=True)
    counts, longest, exposed = (connection.execute(query).fetchall() for query in block.split(";")[:3])
    connection.close()
    assert [(row[0], *row[2:]) for row in counts] == [("a", 2, 2), ("b", 2, 1), ("b", 3, 1)]
    assert sorted(row[0] for row in longest) == ["a", "a", "b"]
    assert exposed == [("a", "1", "x", "1"), ("a", "2", "x", "2")]


def test_the_texts_of_inputs_are_those_of_the_table() -> None:
    rows = re.findall(r"^``(\S.*?)``  +``(\S+)``$", section(page("tree"), "Directories of tasks"), re.M)
    assert len(rows) >= 7
    for value, text in rows:
        assert value_text(eval(value, {"datetime": datetime, "numpy": numpy})) == text
