"""Very many failed tasks: the log, the summary and the database stay usable."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import pytest
from support import Project

from pipelet import worker
from pipelet.executors import process
from pipelet.launchers import launch_process
from pipelet.runlog import ECHOED_FAILURES, LOGGED_FAILURES, RunLog
from pipelet.summary import KEPT_FAILURES, KEPT_KINDS, KEPT_OF_A_KIND, Failure, FailureBook, Kind, Summary

COUNT = 3000


def failure(number: int, line: int = 7, name: str = "ValueError", words: str = "no such colour") -> Failure:
    last = f"{name}: {words} {number}"
    trace = f'Traceback (most recent call last):\n  File "/x/melt.py", line {line}, in <module>\n    f()\n{last}'
    return Failure("melt", number, str(number), last, trace, None)


def test_thousands_of_failures(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    project.write(
        a="""
        def deep(number, more=5):
            if more:
                deep(number, more - 1)
            if number % 1000 == 999:
                raise KeyError(number)
            raise ValueError(f"no planet for {number}", "x" * 3000)
        deep(get_input())
        """,
        b="",
    )
    pipeline = project.pipeline("a -> b", {"a": range(COUNT)})
    summary = launch_process(pipeline, 2, log_level=logging.WARNING)[0].run()
    assert (summary.failed, summary.waiting) == (COUNT, ["b"])
    # the summary counts all, by kind, and shows some
    assert {(kind.exception, kind.place): number for kind, number in summary.kinds.items()} == {
        ("ValueError", "a.py, line 7"): COUNT - 3, ("KeyError", "a.py, line 6"): 3
    }
    text = str(summary)
    assert f"a: ValueError in a.py, line 7, {COUNT - 3} times" in text
    assert "a: KeyError in a.py, line 6, 3 times" in text
    assert text.count("\n  task ") <= 20
    assert len(text) < 20_000
    assert len(summary._repr_html_()) < 200_000
    assert len(pickle.dumps(summary)) < 6_000_000
    # the log
    folder = project.prefix / ".pipelet" / "log"
    lines = (folder / "pipelet.log").read_text().splitlines()
    assert sum("failed on input" in line for line in lines) == LOGGED_FAILURES
    assert sum(f"{COUNT} tasks have failed by now" in line for line in lines) == 1
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    # what was printed
    printed = capfd.readouterr().err.splitlines()
    assert sum("failed on input" in line for line in printed) == ECHOED_FAILURES
    assert len(printed) < 50
    # the records have them all
    failed = pipeline.tasks("a", "failed")
    assert len(failed) == COUNT
    assert all(task.error.startswith("Traceback") and str(task.input["aphantom"]) in task.error for task in failed)


def test_errors_that_are_long_are_cut_once_there_are_many(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_told", [0])
    monkeypatch.setattr(worker, "_ERRORS_IN_FULL", 25_000)
    texts = [worker.error_text(ValueError("x" * 10_000 + str(number))) for number in range(6)]
    assert [len(text) > 10_000 for text in texts] == [True] * 3 + [False] * 3
    assert all(len(text) < worker._SHORT_ERROR + 100 for text in texts[3:])
    assert all(text.endswith(f"{number}\n") for number, text in enumerate(texts))


# --- the log -----------------------------------------------------------------------------------------------------


def test_the_log_counts_failures_by_segment(tmp_path: Path) -> None:
    told: list[str] = []
    log = RunLog(str(tmp_path), lambda level, text: told.append(text))
    for number in range(LOGGED_FAILURES + 30):
        log.write(logging.ERROR, "failed", "a", number)
    log.write(logging.ERROR, "failed " + "x" * 100_000, "b", 1)
    log.write(logging.ERROR, "no inputs", "c")
    log.close()
    lines = (tmp_path / "pipelet.log").read_text().splitlines()
    assert [sum(f" {segment}  " in line and "failed" in line for line in lines) for segment in "ab"] == [
        LOGGED_FAILURES + 2, 1
    ]
    assert lines[-1].endswith(f"{LOGGED_FAILURES + 30} tasks have failed by now; they are not told one by one any "
                              "more, but each is on record")
    assert max(map(len, lines)) < 3000
    assert told[:2] == ["ERROR: a[0]: failed", "ERROR: a[1]: failed"]
    assert told[ECHOED_FAILURES] == (
        "ERROR: a: 32 tasks have failed by now; they are not told one by one any more, but each is on record"
    )
    assert told[-2].startswith("ERROR: b[1]: failed x")
    assert told[-1] == "ERROR: c: no inputs"


def test_what_tasks_say_themselves_is_not_counted_as_failures(tmp_path: Path) -> None:
    told: list[str] = []
    log = RunLog(str(tmp_path), lambda level, text: told.append(text))
    for number in range(50):
        log.write(logging.ERROR, "careful", "a", number, when=1e9)
        log.write(logging.WARNING, "careful", "a", number)
    log.close()
    assert len(told) == 100


# --- the summary -------------------------------------------------------------------------------------------------


def test_a_kind_that_comes_late_is_told() -> None:
    book = FailureBook()
    for number in range(5000):
        book.append(failure(number))
    for number in range(5000, 5100):
        book.append(failure(number, 8, "KeyError"))
    book.append(Failure("total", None, "", "unequal lengths", "", None))
    assert book.kinds == {
        Kind("melt", "ValueError", "melt.py, line 7"): 5000,
        Kind("melt", "KeyError", "melt.py, line 8"): 100,
        Kind("total", "its inputs could not be made", ""): 1,
    }
    assert len(book.kept) == KEPT_FAILURES + KEPT_OF_A_KIND + 1
    text = str(Summary(failed=5101, failures=book.kept, kinds=book.kinds))
    assert "melt: KeyError in melt.py, line 8, 100 times\n" in text
    assert "\n  and 99 more of this kind\n" in text
    assert "melt: ValueError in melt.py, line 7, 5000 times\n" in text
    assert "total: its inputs could not be made" in text
    assert "\nand " not in text


def test_the_kind_of_each_failure_is_its_own_though_it_is_remembered() -> None:
    given = [
        failure(1), failure(2), failure(3, 9), failure(4, 7, "KeyError"), failure(5)._replace(segment="total"),
        failure(6)._replace(traceback="", error="pipelet.errors.WorkerDied: gone"),
        failure(7)._replace(traceback="", error="pipelet.errors.TaskTimeout: too long"),
        failure(8, words="a\nb"), failure(9, words="a\nb"),
    ]
    book = FailureBook()
    for item in given:
        book.append(item)
    single = FailureBook()
    for item in given:
        fresh = FailureBook()
        fresh.append(item)
        (kind,) = fresh.kinds
        single.kinds[kind] = single.kinds.get(kind, 0) + 1
    assert book.kinds == single.kinds
    assert book.kinds[Kind("melt", "ValueError", "melt.py, line 7")] == 4


def test_no_number_of_kinds_and_no_length_is_too_much() -> None:
    book = FailureBook()
    for number in range(3 * KEPT_KINDS):
        book.append(failure(number, line=number, words="x" * 200_000))
    for number in range(2000):
        book.append(failure(number, line=1, words="y" * 200_000))
    assert len(book.kinds) == KEPT_KINDS
    assert len(book._seen) <= KEPT_KINDS
    assert sum(len(item.traceback) + len(item.error) for item in book.kept) < 25_000_000
    summary = Summary(failed=3 * KEPT_KINDS + 2000, failures=book.kept, kinds=book.kinds)
    assert len(str(summary)) < 20_000
    assert len(summary._repr_html_()) < 500_000
    # nothing is lost from the numbers: the first twenty kinds were told
    told = 20 + 2000
    assert f"and {3 * KEPT_KINDS + 2000 - told} more, of {KEPT_KINDS - 20} other kinds" in str(summary)


def test_the_executor_has_no_limits_unless_told(tmp_path: Path) -> None:
    executor = process.ProcessExecutor(1, str(tmp_path))
    assert executor._watch is None
    executor.close()
    assert not os.listdir(tmp_path)
