"""When a batch server has more work than workers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelet.executors.cluster.batchexecutor import BatchExecutor
from pipelet.executors.cluster.members import Members


@pytest.fixture
def members(tmp_path: Path) -> Members:
    found = Members(str(tmp_path / "workers"))
    found.add("tls://1", "melt-0", "node3", 1)
    return found


@pytest.fixture
def executor(members: Members) -> BatchExecutor:
    """One that has started nothing."""
    made = BatchExecutor.__new__(BatchExecutor)
    made._more = False
    made._server = SimpleNamespace(members=members)  # type: ignore[assignment]
    made._flying = {7: None}  # type: ignore[dict-item]
    return made


def test_a_batch_that_runs_asks_for_no_more_workers(executor: BatchExecutor) -> None:
    assert not executor._is_busy()


def test_a_batch_that_was_sent_when_the_last_worker_was_leaving_needs_another_one(
    executor: BatchExecutor, members: Members
) -> None:
    members.tell({"address": "tls://1", "what": "leaving", "why": "it is enough", "job": "77", "host": "node3"})
    assert executor._is_busy()
    members.remove("tls://1")
    assert executor._is_busy()


def test_nothing_to_do_needs_nobody(executor: BatchExecutor, members: Members) -> None:
    executor._flying = {}
    members.remove("tls://1")
    assert not executor._is_busy()
