"""A post tells of a batch under way only what is new."""

from __future__ import annotations

from typing import Any

from support import Project

from pipelet.executors import far, post
from pipelet.launchers import launch_executor


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
