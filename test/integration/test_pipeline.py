"""The `Pipeline` object: what it is made of, what is pushed to it, and its way to other processes."""

from __future__ import annotations

import importlib
import inspect
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ENVIRONMENT, Project, values

import pipelet
from pipelet import EnvironmentBase, Pipeline
from pipelet.errors import (
    CodeError,
    CycleError,
    EmptyGraphError,
    PipelineError,
    PipelineProblems,
    PushError,
    UnknownSegmentError,
)

KNIGHTS = "knights -> melt; quality -> melt;"


# --- what it is made of


def test_relative_paths_are_those_of_the_moment_it_is_made(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.write(a="set_output(get_data_fn('x'))")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    pipeline = Pipeline("a", code_dir="./", prefix="data/./here", sqlfile="status.sql")
    monkeypatch.chdir("elsewhere")
    project.run(pipeline)
    assert pipeline.code_dir == str(tmp_path)
    assert pipeline.prefix == str(tmp_path / "data" / "here")
    assert pipeline.sqlfile == str(tmp_path / "status.sql")
    (output,) = pipeline.outputs("a")
    assert output.startswith(str(tmp_path / "data" / "here" / "a_"))
    assert (tmp_path / "status.sql").stat().st_size > 0
    assert not (tmp_path / "data" / "here" / ".sqlstatus").exists()
    assert os.listdir() == []


def test_double_slashes_are_harmless(project: Project) -> None:
    project.write(a="set_output(get_data_fn('x'))", b="set_output(glob_parent(''))")
    doubled = project.pipeline("a -> b", code_dir=f"/{project.root}//", prefix=f"/{project.prefix}//deeper//")
    project.run(doubled)
    plain = project.pipeline("a -> b", prefix=project.prefix / "deeper")
    assert (doubled.prefix, doubled.code_dir, doubled.sqlfile) == (plain.prefix, plain.code_dir, plain.sqlfile)
    assert values(plain.tasks("b"), "status") == ["done"]
    (path,) = plain.outputs("b")
    assert "//" not in path
    assert project.run(plain).reused == 2


def test_the_database_is_in_the_prefix_unless_another_place_is_given(project: Project) -> None:
    assert project.pipeline("a").sqlfile == str(project.prefix / ".sqlstatus")


def test_a_prefix_is_made_by_the_run_not_by_the_object(project: Project) -> None:
    project.write(a="")
    pipeline = project.pipeline("a", prefix=project.prefix / "x" / "y")
    assert pipeline.status() == {"a": {}}
    assert not pipeline.explain().up_to_date
    assert not project.prefix.exists()
    project.run(pipeline)
    assert (project.prefix / "x" / "y" / ".sqlstatus").is_file()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_graph_can_stand_in_a_file(project: Project, kind: type) -> None:
    path = project.root / "my.dot"
    path.write_text("digraph my {\n  # a comment\n  knights -> melt; quality -> melt\n}\n")
    assert Pipeline(kind(path)).graph == Pipeline(KNIGHTS).graph


def test_a_path_needs_no_suffix_when_it_is_a_path(project: Project) -> None:
    path = project.root / "graph"
    path.write_text("a -> b")
    assert Pipeline(path).graph.segments == ("a", "b")


@pytest.mark.parametrize("name", ["nowhere.dot", ".", "latin.dot"])
def test_a_graph_file_that_can_not_be_read_is_named(name: str, project: Project) -> None:
    (project.root / "latin.dot").write_bytes(b"// \xe9t\xe9\na -> b")
    with pytest.raises(PipelineError, match=f"can't be read from '{project.root / name}'"):
        Pipeline(project.root / name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pipedot": None}, "None is no graph"),
        ({"pipedot": ["a -> b"]}, "is no graph"),
        ({"code_dir": None}, "code_dir=None is no path"),
        ({"prefix": b"/tmp"}, "prefix=b'/tmp' is no path"),
        ({"prefix": "a\0b"}, "is no path"),
        ({"sqlfile": 3}, "sqlfile=3 is no path"),
        ({"env": dict}, "no subclass of pipelet.environment.EnvironmentBase"),
        ({"env": "Environment"}, "no subclass"),
    ],
)
def test_a_wrong_argument_is_told_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        Pipeline(**{"pipedot": "a -> b", **options})


def test_all_problems_of_a_graph_are_told_at_once() -> None:
    with pytest.raises(PipelineProblems) as raised:
        Pipeline("a -> b;\nb -> a;\nc -- d;\n2x -> e;\n")
    text = str(raised.value)
    assert any(isinstance(problem, CycleError) for problem in raised.value.problems)
    for words in ("a -> b -> a", "c -> d", "2x", "line 3", "line 4"):
        assert words in text
    with pytest.raises(EmptyGraphError):
        Pipeline("digraph nothing { }")


# --- pictures and words


def test_the_graph_can_be_written_without_any_script(project: Project, tmp_path: Path) -> None:
    target = tmp_path / "pipeline.dot"
    Pipeline(KNIGHTS, code_dir=tmp_path / "nowhere").to_dot(str(target))
    drawn = subprocess.run(["dot", "-Tpng", str(target)], capture_output=True, check=True)
    assert drawn.stdout.startswith(b"\x89PNG")
    assert drawn.stderr == b""
    assert Pipeline(target).graph.parents("melt") == ("knights", "quality")


def test_a_graph_that_can_not_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"/nowhere/x.dot: No such file or directory"):
        Pipeline(KNIGHTS).to_dot(tmp_path / "nowhere" / "x.dot")


def test_it_shows_itself_in_one_line(project: Project) -> None:
    text = repr(project.pipeline("a -> b; a -> c\n\n alone;"))
    assert "\n" not in text
    for words in ("a -> b", "a -> c", "alone", str(project.root), str(project.prefix)):
        assert words in text


# --- what is pushed


def test_pushing_twice_appends(project: Project) -> None:
    project.write(a="set_output([get_input()])", b="set_output(get_input())")
    pipeline = project.pipeline("a -> b", {"a": [3, 1]})
    pipeline.push(a=(number for number in (2, 3)))
    project.run(pipeline)
    assert pipeline.outputs("b") == [3, 1, 2]
    assert len(pipeline.tasks("a")) == 3


def test_an_empty_push_means_no_task_and_none_at_all_means_one(project: Project) -> None:
    same = "set_output([get_input()])"
    project.write(a="set_output([1])", b=same, c=same, d=same)
    pipeline = project.pipeline("a; b; c -> d", {"b": [], "c": []})
    assert project.run(pipeline).done == 1
    assert pipeline.tasks("b") == pipeline.tasks("d") == []
    pipeline.push(b=["now"])
    assert project.run(pipeline).done == 1
    assert (pipeline.outputs("a"), pipeline.outputs("b")) == ([1], ["now"])


def test_what_is_pushed_is_what_it_was_at_that_moment(project: Project) -> None:
    project.write(a="set_output([get_input()])")
    mutable = [1]
    pipeline = project.pipeline("a", {"a": [mutable]})
    mutable.append(2)
    project.run(pipeline)
    assert pipeline.outputs("a") == [[1]]


def test_a_misspelt_segment_is_told_with_the_nearest_name() -> None:
    pipeline = Pipeline(KNIGHTS)
    with pytest.raises(UnknownSegmentError, match=r"'knigths'; did you mean 'knights'\? .*knights, melt, quality"):
        pipeline.push(knigths=[1])
    with pytest.raises(UnknownSegmentError, match=r"no segment named 'zzzz'\. The segments are: "):
        pipeline.push(zzzz=[1])
    for read in (pipeline.tasks, pipeline.outputs, pipeline.instances):
        with pytest.raises(UnknownSegmentError, match="did you mean 'quality'"):
            read("qualty")


def test_a_segment_with_parents_takes_no_push() -> None:
    with pytest.raises(PushError, match=r"'melt' has parents \(knights, quality\).*: knights, quality"):
        Pipeline(KNIGHTS).push(melt=[1])


def broken() -> Iterator[int]:
    yield 1
    raise ValueError("half way")


@pytest.mark.parametrize("wrong", [3, None, "abc", b"abc", {"a": 1}, "long " * 100_000])
def test_what_is_no_list_of_inputs_is_refused(wrong: Any) -> None:
    with pytest.raises(PushError, match=r"takes a list of inputs, for example push\(a=\[") as raised:
        Pipeline("a").push(a=wrong)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("wrong", [threading.Lock(), lambda: 1, (1, [threading.Lock()])])
def test_an_input_that_can_not_be_pickled_is_told_by_its_place(wrong: Any) -> None:
    with pytest.raises(PushError, match=r"input 2 of push\(a=\.\.\.\) can't be"):
        Pipeline("a").push(a=[0, 1, wrong])


def test_a_push_that_fails_changes_nothing(project: Project) -> None:
    project.write(a="set_output([get_input()])", b="set_output([get_input()])")
    pipeline = project.pipeline("a; b", {"a": [1], "b": [1]})
    for wrong in ({"a": [2], "b": [2, threading.Lock()]}, {"a": [2], "c": [1]}, {"a": [2], "b": 3}):
        with pytest.raises(PipelineError):
            pipeline.push(**wrong)
    with pytest.raises(ValueError, match="half way"):
        pipeline.push(a=broken())
    project.run(pipeline)
    assert (pipeline.outputs("a"), pipeline.outputs("b")) == ([1], [1])


# --- to other processes


def test_it_can_be_pickled_after_a_push(project: Project) -> None:
    project.write(a="set_output([get_input()])", b="set_output([get_input('a')])")
    pipeline = project.pipeline("a -> b", {"a": [1, (2, "x")]}, partial=True, matplotlib=False)
    copy = pickle.loads(pickle.dumps(pipeline))
    assert repr(copy) == repr(pipeline)
    assert (copy.partial, copy.matplotlib, copy.matplotlib_interactive) == (True, False, True)
    copy.push(a=[3])
    project.run(copy)
    assert copy.outputs("b") == [1, (2, "x"), 3]
    # it is a copy: what is pushed there is not pushed here
    assert project.run(pipeline).reused == 4
    assert pipeline.outputs("b") == [1, (2, "x")]


RUN_PICKLED = """
import pickle, sys
from pipelet.launchers import launch_interactive, launch_process

with open("pipeline.pkl", "rb") as file:
    P = pickle.load(file)
w, t = launch_process(P, 1, log_level=0) if sys.argv[1:] else launch_interactive(P, log_level=0)
print(w.run())
"""

MAKE_PICKLED = """
import pickle, sys
from dataclasses import dataclass
from pipelet.environment import Environment
from pipelet.pipeline import Pipeline

UNIT = "m"

@dataclass(frozen=True)
class Length:
    number: int
    def text(self):
        return f"{self.number} {UNIT}"

class Mine(Environment):
    def twice(self, what):
        "Twice what there is."
        return 2 * what
    def length_of_text(self, what):
        return len(what.text())

P = Pipeline("a -> b", code_dir="./", prefix="./prefix", env=Mine)
P.push(a=[Length(1), Length(22)])
with open("pipeline.pkl", "wb") as file:
    pickle.dump(P, file)
"""


@pytest.mark.parametrize("words", [(), ("process",)])
def test_it_goes_to_another_process_with_the_classes_of_the_main_script(
    words: tuple[str, ...], project: Project
) -> None:
    project.write(
        make=MAKE_PICKLED,
        run=RUN_PICKLED,
        a="length = get_input()\nset_output([twice(length.text()), length_of_text(length), length])",
        b="x = get_input()\nset_output([x if isinstance(x, (str, int)) else x.text()])",
    )
    made = project.ran("make.py")
    assert (made.returncode, made.stderr) == (0, "")
    ran = project.ran("run.py", *words)
    assert (ran.returncode, ran.stderr) == (0, "")
    pipeline = project.pipeline("a -> b")
    pipeline = pickle.loads((project.root / "pipeline.pkl").read_bytes())
    assert pipeline.outputs("b") == ["1 m1 m", 3, "1 m", "22 m22 m", 4, "22 m"]
    assert pipeline.outputs("a")[2].text() == "1 m"
    # the same script makes the same pipeline: nothing runs again
    project.ran("make.py")
    assert "0 tasks done, 8 taken from disk" in project.ran("run.py", *words).stdout


def test_changing_the_class_of_the_main_script_runs_again(project: Project) -> None:
    project.write(make=MAKE_PICKLED, run=RUN_PICKLED, a="set_output([twice(get_input().number)])", b="set_output([1])")
    project.ran("make.py")
    assert "4 tasks done, 0 taken" in project.ran("run.py").stdout
    project.write(make=MAKE_PICKLED.replace("2 * what", "2.0 * what"))
    project.ran("make.py")
    assert "4 tasks done, 0 taken" in project.ran("run.py").stdout
    project.write(make=MAKE_PICKLED.replace("2 * what", "2 * what  # a comment"))
    project.ran("make.py")
    assert "0 tasks done, 4 taken" in project.ran("run.py").stdout


def test_the_smallest_environment_has_input_output_files_and_hooks(project: Project) -> None:
    project.write(
        a="""
        hook("more", globals())
        assert "save_param" not in globals() and "logged_subprocess" not in globals(), sorted(globals())
        set_output([get_input(), more, get_data_fn("x"), get_tmp_fn(), glob_parent("*")])
        """,
        a_more="more = 'hooked'",
    )
    pipeline = project.pipeline("a", {"a": [1]}, env=EnvironmentBase)
    project.run(pipeline, processes=1)
    assert pipeline.outputs("a")[:2] == [1, "hooked"]


def test_the_code_is_read_at_the_start_of_each_run_and_not_before(project: Project) -> None:
    pipeline = project.pipeline("a", {"a": [1]})
    with pytest.raises(CodeError, match=r"a\.py"):
        project.run(pipeline)
    project.write(a="set_output(['first'])")
    project.run(pipeline)
    assert pipeline.outputs("a") == ["first"]
    project.write(a="set_output(['second'])")
    assert pipeline.outputs("a") == []
    project.run(pipeline)
    assert pipeline.outputs("a") == ["second"]


# --- the package


SHOW_LOADED = "import sys; before = set(sys.modules); {}; print('\\n'.join(sorted(set(sys.modules) - before)))"


def loaded(statement: str) -> set[str]:
    """The modules that a statement loads in a new interpreter."""
    result = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; " + SHOW_LOADED.format(statement)],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_but_itself() -> None:
    assert {name for name in loaded("import pipelet") if not name.startswith("pipelet")} <= {
        "importlib", "importlib._bootstrap", "importlib._bootstrap_external", "_warnings", "warnings", "__future__",
    }


HEAVY = (
    "numpy", "matplotlib", "loky", "tqdm", "graphviz", "argon2", "cherrypy", "jinja2", "pygments", "IPython",
    "distributed", "dask", "cloudpickle", "asyncio", "multiprocessing", "importlib.metadata",
)


def test_a_main_script_loads_no_heavy_module_before_it_needs_it() -> None:
    found = loaded(
        "from pipelet.launchers import launch_interactive, launch_pbs, launch_process; "
        "from pipelet.pipeline import Pipeline; P = Pipeline('a -> b'); P.push(a=[1, 2.0, 'x'])"
    )
    assert "pipelet.pipeline" in found
    assert [name for name in HEAVY if name in found] == []


def public_things() -> Iterator[tuple[str, Any]]:
    """Every public name of the package and every public method of its classes, with what it stands for."""
    homes = ["pipelet.errors", "pipelet.launchers", "pipelet.pipeline", "pipelet.bars", "pipelet.progress",
             "pipelet.records", "pipelet.runner", "pipelet.background", "pipelet.explain", "pipelet.summary",
             "pipelet.utils"]
    things = {f"pipelet.{name}": getattr(pipelet, name) for name in pipelet.__all__ if not name.startswith("__")}
    for home in homes:
        module = importlib.import_module(home)
        things |= {f"{home}.{name}": value for name, value in vars(module).items() if not name.startswith("_")}
    for name, thing in things.items():
        if not str(getattr(thing, "__module__", "")).startswith("pipelet.") or not callable(thing):
            continue
        yield name, thing
        if isinstance(thing, type):
            yield from ((f"{name}.{key}", value) for key, value in vars(thing).items() if not key.startswith("_")
                        and (inspect.isfunction(value) or isinstance(value, property)))


def test_everything_public_has_a_docstring() -> None:
    found = dict(public_things())
    assert len(found) > 100
    assert [name for name, thing in found.items() if not (thing.__doc__ or "").strip()] == []


@pytest.mark.parametrize(
    "name", ["Pipeline", "Environment", "launch_interactive", "launch_process", "rebuild_db_from_disk"]
)
def test_what_a_user_calls_tells_all_its_arguments(name: str) -> None:
    calls = {key: thing for key, thing in public_things() if name in key.split(".") and inspect.isfunction(thing)}
    assert calls
    missing = [
        f"{key}({argument})"
        for key, thing in calls.items()
        for argument in inspect.signature(thing).parameters
        if argument != "self" and not re.search(rf"\b{argument}\b", thing.__doc__)
    ]
    assert missing == []
