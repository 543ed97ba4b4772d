"""How tasks run: where their output goes, what stays of them in the process, whose modules they see."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path

import pexpect
import pytest
from support import ENVIRONMENT, PATIENCE, REPOSITORY, Project

from pipelet.errors import PipelineError

# --- what workers capture --------------------------------------------------------------------------------------------

PRINTING = {
    "plain": """
        import sys
        print("printed by", get_input())
        print("to the error output", file=sys.stderr)
    """,
    "silent": "x = 1",
    "message": """
        logger.debug("a fine detail")
        logger.warning("take %s", "care")
        logger.info("%d", "a slip")
        for index in range(300):
            logger.info("message %d.", index)
    """,
    "child": """
        import os, subprocess, sys
        print("before")
        os.system("echo through the shell")
        subprocess.run([sys.executable, "-c", "import sys; print('wrong', file=sys.stderr)"])
        print("after")
    """,
    "foreign": """
        import ctypes
        ctypes.CDLL(None).printf(b"from C without a new line")
    """,
    "fork": """
        import multiprocessing
        def square(x):
            print("squared", x)
            return Number(x * x)
        class Number:
            def __init__(self, value):
                self.value = value
        with multiprocessing.get_context("fork").Pool(2) as pool:
            set_output([[number.value for number in pool.map(square, range(4))]])
    """,
    "loky": """
        import loky
        offset = 1
        def cube(x):
            return offset + x ** 3
        set_output([list(loky.get_reusable_executor(max_workers=2).map(cube, range(3)))])
        loky.get_reusable_executor().shutdown(wait=True)
    """,
    "thrown": r"""
        error = "a half \udc80 of a character"
        logger.error(error)
        save_param("error")
        raise ValueError(error)
    """,
    "long": "raise ValueError('x' * 1000000)",
    "standing": """
        import os, sys
        set_output([(sys.stdin.read(), os.getcwd())])
    """,
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """A pipeline that ran in one worker process, the scripts of each printing in its own way."""
    project = Project(tmp_path_factory.mktemp("printed"))
    project.write(**PRINTING)
    # The second task of each tells whether the first left the worker in order.
    pipeline = project.pipeline("; ".join(PRINTING), {name: [1, 2] for name in PRINTING})
    pipeline.summary = project.run(pipeline, processes=1)
    return pipeline


def logs(pipeline, segment):
    return [None if task.log is None else Path(task.log).read_text() for task in pipeline.tasks(segment)]


def test_all_ran_and_only_those_that_raise_failed(printed):
    assert {name for name, counts in printed.status().items() if counts != {"done": 2}} == {"thrown", "long"}
    assert (printed.summary.done, printed.summary.failed) == (2 * len(PRINTING) - 4, 4)


def test_what_is_printed_is_in_the_task_s_own_log(printed):
    assert logs(printed, "plain") == [f"printed by {n}\nto the error output\n" for n in (1, 2)]


def test_a_task_that_writes_nothing_has_no_log(printed):
    assert logs(printed, "silent") == [None, None]
    (instance,) = printed.instances("silent")
    assert not os.path.exists(os.path.join(instance.path, "log"))


def test_messages_are_in_the_task_s_log_and_in_the_run_s(printed):
    log = logs(printed, "message")[1]
    assert re.search(r"^[-\d]+ [\d:,]+ DEBUG a fine detail$", log, re.MULTILINE)
    assert re.search(r"WARNING take care$", log, re.MULTILINE)
    assert "message 299." in log
    run_log = Path(printed.prefix, ".pipelet", "log", "pipelet.log").read_text()
    second = printed.tasks("message")[1].id
    assert re.search(rf"WARNING +message +{second} take care$", run_log, re.MULTILINE)
    # A task that says too much does not drown the others.
    assert "message 299." not in run_log


def test_child_processes_write_in_their_order(printed):
    assert logs(printed, "child")[0] == "before\nthrough the shell\nwrong\nafter\n"


def test_what_libraries_in_c_print_is_there(printed):
    assert logs(printed, "foreign") == ["from C without a new line"] * 2


def test_odd_texts_and_streams_that_a_task_breaks_do_no_harm(project):
    project.write(
        odd=r"""
            import sys
            print("\udc80 and \u2192")
            sys.stdout.close()
            sys.stderr = None
        """,
        replaced="""
            import io, sys
            print("before it is replaced")
            sys.stdout = io.StringIO()
            print("lost")
        """,
    )
    pipeline = project.pipeline("odd; replaced;", {"odd": [1, 2], "replaced": [1, 2]})
    assert project.run(pipeline, processes=1).done == 4
    assert logs(pipeline, "odd") == ["\\udc80 and \u2192\n"] * 2
    assert logs(pipeline, "replaced") == ["before it is replaced\n"] * 2


def test_processes_of_a_task_know_its_functions(printed):
    assert printed.outputs("fork") == [[0, 1, 4, 9]] * 2
    assert sorted(logs(printed, "fork")[0].split("\n")) == ["", "squared 0", "squared 1", "squared 2", "squared 3"]
    assert printed.outputs("loky") == [[1, 2, 9]] * 2


def test_lines_are_written_whole_also_where_python_is_told_not_to_buffer(project, monkeypatch):
    """Else those of several processes of a task would be mixed up."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    project.write(
        a="""
        import os
        print("half", end=" ")
        before = os.fstat(1).st_size
        print("a line")
        set_output([(before, os.fstat(1).st_size)])
        """
    )
    pipeline = project.pipeline("a")
    assert project.run(pipeline, processes=1).done == 1
    assert pipeline.outputs("a") == [(0, len("half a line\n"))]


def test_halves_of_characters_can_be_recorded(printed):
    for task in printed.tasks("thrown"):
        assert task.status == "failed"
        assert "ValueError: a half \\udc80 of a character" in task.error
        assert ascii(task.params["error"]) == r"'a half \udc80 of a character'"


def test_a_very_long_error_is_cut_in_the_middle(printed):
    error = printed.tasks("long")[0].error
    assert len(error) < 110_000
    assert error.startswith("Traceback")
    assert "characters left out" in error


def test_a_worker_has_no_input_to_wait_for_and_the_user_s_current_directory(printed):
    assert printed.outputs("standing") == [("", os.getcwd())] * 2


# --- the interactive mode --------------------------------------------------------------------------------------------


def test_the_interactive_mode_copies_what_is_printed_and_leaves_the_streams(project, capsys):
    project.write(
        a="""
            import sys
            print("for both", flush=True)
            print("also", file=sys.stderr)
            set_output([sys.stdout.isatty() == sys.__stdout__.isatty() or True])
        """,
        b="x = 1",
    )
    before = sys.stdout, sys.stderr
    pipeline = project.pipeline("a; b;")
    project.run(pipeline)
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("for both\n", "also\n")
    assert logs(pipeline, "a") == ["for both\nalso\n"]
    assert logs(pipeline, "b") == [None]


def test_a_stream_that_somebody_kept_may_be_written_to_after_the_run(project, capsys):
    project.write(a="""
        import logging, sys
        logging.getLogger("kept").addHandler(logging.StreamHandler(sys.stdout))
        logging.getLogger("kept").warning("while it runs")
    """)
    pipeline = project.pipeline("a;")
    project.run(pipeline)
    logger = logging.getLogger("kept")
    try:
        logger.warning("after it")
    finally:
        logger.handlers.clear()
    assert capsys.readouterr() == ("while it runs\nafter it\n", "")
    assert logs(pipeline, "a") == ["while it runs\n"]


def test_messages_of_an_interactive_task(project, capsys):
    project.write(a=r"logger.info('calm'); logger.warning('attention \udc80')")
    pipeline = project.pipeline("a;")
    project.run(pipeline, log_level=logging.WARNING)
    (log,) = logs(pipeline, "a")
    assert "INFO calm" in log
    run_log = (project.prefix / ".pipelet" / "log" / "pipelet.log").read_text()
    assert "calm" in run_log
    shown = "".join(capsys.readouterr())
    assert r"attention \udc80" in shown
    assert "calm" not in shown


#: The script that `pipeutils -c` hands out, with another pipeline in it.
MAIN = (
    (REPOSITORY / "pipelet" / "static" / "main.py").read_text()
    .replace("default1 -> default2;", "a -> b;")
    .replace("PREFIX = HERE", "PREFIX = os.path.join(HERE, 'prefix')")
    .replace("P.push(default1=[1, 2, 3])", "")
)


def test_the_debugger_stops_in_a_segment(project):
    project.write(
        main=MAIN,
        a="""
            first = 20
            breakpoint()
            second = first + 1
            third = 2 * second
            print("third is", third)
            set_output([third])
        """,
        b="set_output([get_input() + 1])",
    )
    with pexpect.spawn(
        sys.executable, ["main.py", "-d"], cwd=str(project.root), env={**ENVIRONMENT, "TERM": "dumb"}, encoding="utf-8",
        timeout=PATIENCE,
    ) as child:
        child.expect_exact("(Pdb) ")
        assert "a.py" in child.before
        child.sendline("n")
        # Newer versions stop at the call itself, older ones behind it.
        if child.expect_exact(["third = 2 * second", "second = first + 1"]):
            child.expect_exact("(Pdb) ")
            child.sendline("n")
            child.expect_exact("third = 2 * second")
        child.expect_exact("(Pdb) ")
        child.sendline("p first, second")
        child.expect_exact("(20, 21)")
        child.expect_exact("(Pdb) ")
        child.sendline("second = 50")
        child.expect_exact("(Pdb) ")
        child.sendline("c")
        child.expect_exact("third is 100")
        child.expect("2 (tasks )?done")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    pipeline = project.pipeline("a -> b;")
    assert pipeline.outputs("b") == [101]
    assert "third is 100" in logs(pipeline, "a")[0]


def test_the_debugger_can_be_left(project):
    project.write(main=MAIN, a="breakpoint()\nset_output([1])", b="set_output([1])")
    with pexpect.spawn(
        sys.executable, ["main.py", "-d"], cwd=str(project.root), env={**ENVIRONMENT, "TERM": "dumb"}, encoding="utf-8",
        timeout=PATIENCE,
    ) as child:
        child.expect_exact("(Pdb) ")
        child.sendline("q")
        child.expect("BdbQuit")
        child.expect(pexpect.EOF)
    assert [task.status for task in project.pipeline("a -> b;").tasks("a")] == ["failed"]


def test_post_mortem_finds_the_segment_s_frame(project):
    project.write(a="def f(x):\n    return 1 / x\nlocal = 3\nf(0)")
    with pytest.raises(ZeroDivisionError) as caught:
        project.run(project.pipeline("a;"))
    frames = caught.traceback
    assert str(frames[-1].path) == str(project.root / "a.py")
    assert frames[-1].frame.f_locals == {"x": 0}
    assert frames[-2].frame.f_globals["local"] == 3


# --- modules and paths -----------------------------------------------------------------------------------------------


def test_kept_copies_come_first_then_the_code_directory(project):
    project.write(a="#depend lib.py\nimport sys, lib\nset_output([(sys.path[:3], lib.__file__)])", lib="x = 1")
    pipeline = project.pipeline("a;")
    project.run(pipeline)
    ((path, file),) = pipeline.outputs("a")
    (instance,) = pipeline.instances("a")
    assert path[0] == instance.path
    assert str(project.root) in path
    assert file == os.path.join(instance.path, "lib.py")


def test_modules_of_the_code_directory_that_are_not_depended_on_are_found_there(project):
    project.write(a="import lib\nset_output([lib.__file__])", lib="x = 1")
    pipeline = project.pipeline("a;")
    project.run(pipeline)
    assert pipeline.outputs("a") == [str(project.root / "lib.py")]


def test_a_second_run_in_one_process_never_sees_old_code(project):
    project.write(a="#depend lib.py\nimport lib, pack.inner\nset_output([(lib.x, pack.inner.y)])", lib="x = 1")
    folder = project.root / "pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "inner.py").write_text("y = 1")
    project.write(a=(project.root / "a.py").read_text().replace("lib.py", "lib.py pack/*.py"))
    first = project.pipeline("a;")
    project.run(first)
    assert first.outputs("a") == [(1, 1)]
    # As quickly as this no clock of a file system tells the difference.
    project.write(lib="x = 2")
    (folder / "inner.py").write_text("y = 3")
    second = project.pipeline("a;")
    project.run(second)
    assert second.outputs("a") == [(2, 3)]
    assert not {"lib", "pack", "pack.inner"} & set(sys.modules)


def test_two_segments_that_depend_on_one_module_share_nothing(project):
    project.write(
        a="#depend lib.py\nimport lib\nlib.seen.append('a')\nset_output([list(lib.seen)])",
        b="#depend lib.py\nimport lib\nlib.seen.append('b')\nset_output([list(lib.seen)])",
        lib="seen = []",
    )
    pipeline = project.pipeline("a -> b;")
    project.run(pipeline)
    assert pipeline.outputs("b") == [["b"]]


def test_path_and_modules_are_given_back(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project.root))
    project.write(a="import sys, lib\nsys.path.insert(0, '/nowhere')\nset_output([lib.x])", lib="x = 1")
    import lib

    lib.x = "the user's own"
    path, modules = list(sys.path), set(sys.modules)
    try:
        pipeline = project.pipeline("a;")
        project.run(pipeline)
        assert pipeline.outputs("a") == [1]
        assert sys.path == path
        assert sys.modules["lib"] is lib
        assert set(sys.modules) >= modules
        project.write(a="import lib, broken\n", broken="raise RuntimeError('no')")
        with pytest.raises(RuntimeError):
            project.run(project.pipeline("a;"))
        assert sys.path == path
        assert sys.modules["lib"] is lib
        assert "broken" not in sys.modules
    finally:
        sys.modules.pop("lib", None)


def test_the_current_directory_of_a_task_is_not_the_next_one_s(project):
    project.write(a="import os\nset_output([os.getcwd()])\nos.chdir('/')")
    here = os.getcwd()
    pipeline = project.pipeline("a;", {"a": [1, 2]})
    project.run(pipeline)
    assert os.getcwd() == here
    assert pipeline.outputs("a") == [here, here]


# --- matplotlib ------------------------------------------------------------------------------------------------------

BACKEND = """
    import os, matplotlib, matplotlib.pyplot as plt
    plt.plot([1, 2, 3])
    plt.savefig(get_data_fn("figure.png"))
    set_output([(plt.get_backend().lower(), os.environ.get("MPLBACKEND"), plt.get_fignums(), len(plt.gca().lines))])
"""
DRAWING = """
    import os, sys
    from pipelet.launchers import launch_interactive, launch_process
    from pipelet.pipeline import Pipeline

    def state():
        matplotlib = sys.modules.get("matplotlib")
        if matplotlib is None:
            return os.environ.get("MPLBACKEND"), None
        return os.environ.get("MPLBACKEND"), dict.__getitem__(matplotlib.rcParams, "backend")

    prepare, launcher, options = sys.argv[1:]
    exec(prepare)
    P = Pipeline("a -> b;", code_dir=".", prefix=f"./prefix-{os.getpid()}", **eval(options))
    P.push(a=[1, 2])
    before = state()
    if launcher == "interactive":
        launch_interactive(P)[0].run()
    else:
        launch_process(P, 1)[0].run()
    print(repr((P.outputs("a"), before == state())))
    after = "after" in globals() and after()
"""
AGG = ("agg", "Agg", [1], 1)


def draws(project, prepare="", launcher="interactive", options="{}", **environ):
    project.write(main=DRAWING, a=BACKEND, b="set_output([1])")
    env = {name: value for name, value in ENVIRONMENT.items() if name not in ("MPLBACKEND", "DISPLAY")}
    ran = project.ran("main.py", prepare, launcher, options, env={**env, **environ})
    assert ran.returncode == 0, ran.stderr
    return eval(ran.stdout.splitlines()[0])


@pytest.mark.parametrize("launcher", ["interactive", "process"])
def test_figures_are_drawn_without_a_screen_and_do_not_run_into_each_other(project, launcher):
    assert draws(project, launcher=launcher, MPLBACKEND="svg")[0] == [AGG, AGG]


def test_where_matplotlib_is_loaded_with_another_backend_that_is_given_back(project):
    found, same = draws(project, "import matplotlib.pyplot as plt; plt.switch_backend('pdf')")
    assert found == [AGG, AGG]
    assert same


def test_where_matplotlib_has_not_chosen_yet_it_has_not_afterwards(project):
    found, same = draws(project, "import matplotlib.pyplot as plt")
    assert found == [AGG, AGG]
    assert same


def test_what_is_imported_meanwhile_is_as_the_user_would_have_it(project):
    prepare = """
def after():
    import matplotlib.pyplot as plt
    assert os.environ["MPLBACKEND"] == "svg"
    assert plt.get_backend() == "svg", plt.get_backend()
    plt.figure()
    assert type(plt.gcf().canvas).__name__ == "FigureCanvasSVG", plt.gcf().canvas
"""
    assert draws(project, prepare, MPLBACKEND="svg")[0] == [AGG, AGG]


def test_figures_that_were_open_stay_open(project):
    prepare = """
import matplotlib.pyplot as plt
plt.switch_backend("pdf")
mine = plt.figure(77)
def after():
    assert plt.get_fignums() == [77]
"""
    found, _ = draws(project, prepare)
    assert [item[0] for item in found] == ["agg", "agg"]


@pytest.mark.parametrize(
    ("launcher", "options"),
    [("interactive", "{'matplotlib_interactive': False}"), ("process", "{'matplotlib': False}")],
)
def test_each_mode_has_its_own_option(project, launcher, options):
    found, _ = draws(project, "", launcher, options, MPLBACKEND="svg")
    assert [item[0] for item in found] == ["svg", "svg"]


@pytest.mark.parametrize("processes", [0, 1])
def test_without_matplotlib_nothing_is_missing(project, processes):
    blocker = """
        import sys
        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "matplotlib":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Blocker())
    """
    project.write(a="set_output([1])", sitecustomize=blocker, main=f"""
        from pipelet.launchers import launch_interactive, launch_process
        from pipelet.pipeline import Pipeline
        import importlib.util
        try:
            import matplotlib
            raise SystemExit("it is not blocked")
        except ModuleNotFoundError:
            pass
        P = Pipeline("a;", code_dir=".", prefix="./prefix", matplotlib=True, matplotlib_interactive=True)
        w, t = launch_process(P, 1) if {processes} else launch_interactive(P)
        assert w.run().done == 1
    """)
    path = os.pathsep.join([str(project.root), ENVIRONMENT["PYTHONPATH"]])
    ran = project.ran("main.py", env={**ENVIRONMENT, "PYTHONPATH": path})
    assert (ran.returncode, ran.stderr) == (0, "")


# --- the user's own environment --------------------------------------------------------------------------------------

OWN = """
    import sys
    from pipelet.environment import Environment
    from pipelet.launchers import launch_interactive, launch_process
    from pipelet.pipeline import Pipeline

    UNIT = 10

    def scaled(x):
        return UNIT * x

    class Base(Environment):
        def region(self):
            '''The region that the task is about.'''
            return scaled(self.get_input())

    class MyEnvironment(Base):
        constant = 5

        def _hidden(self):
            return 1

        def get_data_fn(self, basename, seg=None):
            return super().get_data_fn("mine-" + basename, seg)

        def neighbours(self, pattern):
            return self.glob_parent(pattern)

        @staticmethod
        def double(x):
            return 2 * x

    if __name__ == "__main__":
        P = Pipeline("a -> b;", code_dir=".", prefix="./prefix", env=MyEnvironment)
        P.push(a=[1, 2])
        w, t = launch_process(P, 1) if sys.argv[1:] == ["process"] else launch_interactive(P)
        summary = w.run()
        print(repr((summary.done, P.outputs("b"))))
"""
OWN_SCRIPTS = {
    "a": """
        with open(get_data_fn("x"), "w") as file:
            file.write("x")
        set_output([region()])
    """,
    "b": """
        import os
        names = [os.path.basename(path) for path in neighbours("*")]
        set_output([(get_input(), double(4), names, "_hidden" in globals(), "constant" in globals())])
    """,
}
OWN_RESULT = [(10 * n, 8, ["mine-x"], False, False) for n in (1, 2)]


@pytest.mark.parametrize("mode", ["interactive", "process"])
def test_an_environment_from_the_main_script(project, mode):
    project.write(main=OWN, **OWN_SCRIPTS)
    ran = project.ran("main.py", mode)
    assert ran.stdout == f"{(4, OWN_RESULT)!r}\n", ran.stderr
    # And again, in the other mode: there is nothing to do.
    other = {"interactive": "process", "process": "interactive"}[mode]
    assert project.ran("main.py", other).stdout == f"{(0, OWN_RESULT)!r}\n"


def test_a_change_of_the_environment_recomputes(project):
    project.write(main=OWN, **OWN_SCRIPTS)
    assert project.ran("main.py").stdout.startswith("(4,")
    project.write(main=OWN.replace("return 2 * x", "return 2 * x + 0"))
    assert project.ran("main.py").stdout.startswith("(4,")
    project.write(main=OWN.replace("return 2 * x", "return 2 * x + 0  # as before"))
    assert project.ran("main.py").stdout.startswith("(0,")


def test_a_hook_that_was_not_seen_when_the_run_began_is_told(project):
    project.write(a="globals()['ho' + 'ok']('end', globals())\nset_output([1])", a_end="raise ValueError('it ran')")
    pipeline = project.pipeline("a;")
    project.run(pipeline)
    (log,) = logs(pipeline, "a")
    assert "WARNING the hook 'end' does nothing" in log
    assert "a_end.py was not read" in log


def test_an_environment_is_the_one_that_was_imported_whatever_became_of_its_file(project):
    project.write(
        own=OWN.split("if __name__")[0],
        main="""
            import sys
            from pathlib import Path
            from own import MyEnvironment, Pipeline, launch_interactive, launch_process
            P = Pipeline("a -> b;", code_dir=".", prefix="./prefix", env=MyEnvironment)
            P.push(a=[1, 2])
            Path("own.py").write_text(Path("own.py").read_text().replace("UNIT = 10", "UNIT = 990"))
            w, t = launch_process(P, 1) if sys.argv[1:] == ["process"] else launch_interactive(P)
            print(repr((w.run().done, P.outputs("a"))))
        """,
        **OWN_SCRIPTS,
    )
    assert project.ran("main.py").stdout == "(4, [10, 20])\n"


def test_an_environment_from_a_module_beside_the_main_script(project):
    project.write(
        own=OWN,
        main="""
            import sys
            from own import MyEnvironment, Pipeline, launch_interactive, launch_process
            P = Pipeline("a -> b;", code_dir=".", prefix="./prefix", env=MyEnvironment)
            P.push(a=[1, 2])
            w, t = launch_process(P, 1) if sys.argv[1:] == ["process"] else launch_interactive(P)
            print(repr((w.run().done, P.outputs("b"))))
        """,
        **OWN_SCRIPTS,
    )
    assert project.ran("main.py").stdout == f"{(4, OWN_RESULT)!r}\n"
    assert project.ran("main.py", "process").stdout == f"{(0, OWN_RESULT)!r}\n"


def test_the_least_environment_has_input_output_files_and_hooks(project):
    from pipelet.environment import EnvironmentBase

    project.write(a="set_output([sorted(name for name in globals() if not name.startswith('__'))])")
    pipeline = project.pipeline("a;", env=EnvironmentBase)
    project.run(pipeline)
    assert pipeline.outputs("a") == [[
        "get_data_fn", "get_input", "get_tmp_fn", "glob_parent", "glob_seg", "hook", "logger", "seg_input",
        "seg_output", "set_output",
    ]]


@pytest.mark.parametrize("env", [object, 3, "Environment", None])
def test_what_is_no_environment_is_refused(project, env):
    with pytest.raises(PipelineError, match="EnvironmentBase"):
        project.pipeline("a;", env=env)


def test_a_pipeline_can_be_pickled_with_what_was_pushed_and_its_environment(project):
    project.write(
        main=OWN.split("if __name__")[0] + """
    import pickle
    P = Pipeline("a -> b;", code_dir=".", prefix="./prefix", env=MyEnvironment)
    P.push(a=[1, 2])
    with open("pickled", "wb") as file:
        pickle.dump(P, file)
    print(P)
""",
        other="""
            import pickle
            from pipelet.launchers import launch_interactive
            with open("pickled", "rb") as file:
                P = pickle.load(file)
            launch_interactive(P)[0].run()
            print(repr(P.outputs("b")))
            print(P)
        """,
        **OWN_SCRIPTS,
    )
    ran = project.ran("main.py")
    assert ran.returncode == 0, ran.stderr
    again = project.ran("other.py")
    assert again.stdout == f"{OWN_RESULT!r}\n{ran.stdout}", again.stderr


# --- the logger ------------------------------------------------------------------------------------------------------


def test_a_logger_is_one_like_others(project):
    project.write(a=r"""
        import logging, threading
        assert isinstance(logger, logging.Logger)
        if get_input() == 1:
            logger.setLevel(logging.WARNING)
            logger.filters = []
        if get_input() == 2:
            logger.handlers = []
        logger.info("calm")
        logger.warning("attention")
        set_output((logger.name, logging.getLevelName(logger.level), len(logger.handlers), logger.propagate,
                    hasattr(logger, "nonsense"), logger.getChild("x").name))
    """)
    pipeline = project.pipeline("a;", {"a": [1, 2, 3]})
    assert project.run(pipeline, processes=1).done == 3
    rest = (True, False, "a.x")
    # What a task has made of its logger is no concern of the next one.
    assert pipeline.outputs("a") == [("a", "WARNING", 1, *rest), ("a", "DEBUG", 0, *rest), ("a", "DEBUG", 1, *rest)]
    found = logs(pipeline, "a")
    assert [re.sub(r"^\S+ \S+ ", "", line) for line in found[0].splitlines()] == ["WARNING attention"]
    assert [re.sub(r"^\S+ \S+ ", "", line) for line in found[2].splitlines()] == ["INFO calm", "WARNING attention"]


def test_threads_may_begin_to_log_at_the_same_moment(project):
    project.write(a="""
        import sys, threading
        sys.setswitchinterval(1e-6)
        start = threading.Barrier(8)
        def work(number):
            start.wait()
            logger.info("from %d.", number)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(0.005)
    """)
    pipeline = project.pipeline("a;", {"a": list(range(20))})
    assert project.run(pipeline, processes=1).done == 20
    for log in logs(pipeline, "a"):
        assert sorted(re.findall(r"from (\d)\.", log)) == list("01234567")
