"""Who has joined a batch server, and what a server does that takes the place of a killed one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelet.executors.cluster import members as module
from pipelet.executors.cluster.members import Fence, Members, still_named


@pytest.fixture
def members(tmp_path: Path) -> Members:
    return Members(str(tmp_path / "workers.json"))


def joined(members: Members, address: str, name: str, job: str) -> None:
    members.add(address, name, "10.0.0.3", 2)
    members.tell({"what": "joined", "why": "", "address": address, "job": job, "host": "node3"})


def test_members_are_known_by_job_and_host(members: Members, tmp_path: Path) -> None:
    members.add("tls://1", "melt-1", "10.0.0.3", 2)
    assert members.words("melt-1", "10.0.0.3") == "melt-1 on 10.0.0.3"
    joined(members, "tls://1", "melt-1", "81276")
    joined(members, "tls://2", "melt-2~3", "81277")
    assert members.words("melt-1", "?") == "job 81276 on node3"
    assert members.words("melt-2~3", "?") == "job 81277 on node3"
    assert members.threads == 4
    assert json.loads((tmp_path / "workers.json").read_text()) == ["melt-1", "melt-2"]


def test_who_leaves_counts_no_more_and_whose_end_was_told_had_a_reason(members: Members) -> None:
    joined(members, "tls://1", "melt-1", "81276")
    joined(members, "tls://2", "melt-2", "81277")
    members.tell({"what": "leaving", "why": "its walltime is near", "address": "tls://1", "job": "81276", "host": "n"})
    members.tell({"what": "cut", "why": "the system ended the job", "address": "tls://2", "job": "1", "host": "n"})
    assert members.threads == 2
    members.remove("tls://1")
    members.remove("tls://2")
    assert [(member.leaving, member.why) for member in members.take_gone()] == [
        (True, "its walltime is near"), (False, "the system ended the job")
    ]
    assert members.take_gone() == []
    # A word that comes too late is no word of anybody.
    members.tell({"what": "leaving", "why": "", "address": "tls://1", "job": "81276", "host": "n"})


def test_names_outlive_a_server_that_was_killed(members: Members, tmp_path: Path) -> None:
    joined(members, "tls://1", "melt-1", "81276")
    assert still_named(str(tmp_path / "workers.json")) == {"melt-1"}
    members.close()
    members.remove("tls://1")
    assert still_named(str(tmp_path / "workers.json")) == {"melt-1"}, "nobody writes behind the end of a server"
    (tmp_path / "workers.json").write_text("{")
    assert still_named(str(tmp_path / "workers.json")) == set()
    assert still_named(str(tmp_path / "none")) == set()


def test_a_fence_opens_when_all_old_workers_have_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    fence = Fence({"a", "b"}, 90)
    assert not fence.open({"a", "new"})
    assert fence.open({"b"}), "a has ended what it ran, whether it is still there or not"
    assert fence.open(set())


def test_a_fence_opens_when_the_lease_of_the_others_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    fence = Fence({"a"}, 90)
    now[0] = 89.9
    assert not fence.open(set())
    now[0] = 90
    assert fence.open(set())
    assert Fence(set(), 0).open(set())
