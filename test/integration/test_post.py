"""A post tells of a batch under way only what is new, and begins none when it was ended."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support import Project

from pipelet.core.calls import Batch, SegmentContext, TaskCall
from pipelet.executors import far, post
from pipelet.executors.cluster.shift import JobShift
from pipelet.executors.wire import BatchPacker, write_whole
from pipelet.launchers import launch_executor
from pipelet.limits import Limits

TERMS = post.Terms("run", Limits(), tuple(map(os.path.abspath, sys.path)), 0.1, 60.0)


def packed_batch(directory: Path) -> bytes:
    context = SegmentContext("a", "a", (), "pushed", ("a.py", b""), {}, "/i", "/c", "/l", "/s", True)
    return BatchPacker(str(directory)).pack(Batch(context, tuple(TaskCall(n, "", "/d", "", ()) for n in range(3))))


def test_a_long_task_is_told_of_once(project: Project, monkeypatch: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    told: list[post.Report] = []
    monkeypatch.setattr(far, "TELL_SECONDS", 0.02)
    monkeypatch.setattr(post, "_nobody", told.append)
    project.write(a="import time\ntime.sleep(0.7)\nset_output(get_input())\n")
    with ThreadPoolExecutor(1) as pool:
        run, _ = launch_executor(project.pipeline("a", {"a": [1]}), pool, 1, log_level=0)
        assert run.run().done == 1
    # before the task has begun there may be one more, without it
    running = [report.running for report in told if report.running is not None]
    assert len(running) == 1
    assert len(told) <= 2


def test_a_post_that_is_ended_just_now_begins_nothing_and_is_no_error(tmp_path: Path) -> None:
    class Last(post.Shift):
        def admit(self, batch: Batch) -> int:
            here.close()
            return len(batch.calls)

    here = post.Post(TERMS, Last("job 1 on node3"), str(tmp_path))
    report = here.run(packed_batch(tmp_path), lambda report: None)
    # No task has run, and none may be taken for the one that did.
    assert (report.frames, report.left, report.running, report.trouble) == (b"", (0, 1, 2), None, "")


def test_once_all_posts_are_ended_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = post.Posts()
    monkeypatch.setattr(post, "POSTS", posts)
    path = str(tmp_path / "terms")
    write_whole(path, pickle.dumps(TERMS))
    posts.close()
    assert post.run_at_post(path, packed_batch(tmp_path)) == post.Report(b"")
    assert posts.at(path) is None
    posts.open()
    assert posts.at(path) is posts.at(path) is not None
    posts.close()


def test_whoever_waits_for_a_late_file_holds_up_nobody(tmp_path: Path) -> None:
    posts, path = post.Posts(), str(tmp_path / "terms")
    found: list[post.Post | None] = []
    waiting = threading.Thread(target=lambda: found.append(posts.at(path)))
    waiting.start()
    assert posts.busy == 0
    posts.close()
    write_whole(path, pickle.dumps(TERMS))
    waiting.join(30)
    assert found == [None]


def test_a_worker_that_can_not_read_what_it_needs_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = post.Posts()
    posts.shift = shift = JobShift("job 1 on node3", "1", None, None)
    monkeypatch.setattr(post, "POSTS", posts)
    monkeypatch.setattr(post, "LATE_SECONDS", 0.1)
    report = post.run_at_post(str(tmp_path / "terms"), packed_batch(tmp_path))
    assert "No such file" in report.trouble
    assert (report.worker, report.job, shift.broken, shift.why) == ("job 1 on node3", "1", True, report.trouble)
