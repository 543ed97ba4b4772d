"""How batches and results travel between the scheduler's process and the workers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipelet.core.calls import Batch, LogRecord, Parameter, SegmentContext, TaskCall, TaskRef, TaskResult
from pipelet.core.model import Status
from pipelet.executors import wire
from pipelet.executors.wire import BatchPacker, framed, unframed, unpack_batch

CONTEXT = SegmentContext(
    name="a KEY", segment="a", parents=("p",), kind="cross_prod", script=("a.py", b"x = 1"), hooks={},
    instance_dir="/i", code_dir="/c", log_dir="/l", scratch_dir="/s", agg=True,
)
PARENT = TaskRef(1, "1_x", "/p/1_x", False, False, (Parameter("x", b"blob", "text", True),))
CALLS = (
    TaskCall(7, "x", "/data/7_x", "7_x", (b"\x80", None), None, {"p": (PARENT,)}, frozenset({"q"})),
    TaskCall(8, "", "/data", "", (b"class",), ((b"1", b"2"), ())),
)
BATCH = Batch(CONTEXT, CALLS, 0.25)
SIMPLE = TaskResult(7, Status.DONE, 1.1, 2.2, "host", 99, "7_x", b"out", b"d" * 16, b"texts")
FULL = TaskResult(
    8, Status.FAILED, 1.0, 2.0, "host", 99, None, None, None, None, "a \udc80 b", '{"parents":["p"]}',
    (Parameter("x", b"\x00", "1", False),), (LogRecord(1.5, 30, "care"),), ({"name": "lib\udc80", "version": None},),
)


@pytest.fixture(autouse=True)
def nothing_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_CONTEXTS_READ", {})


def test_a_batch_arrives_as_it_was(tmp_path: Path) -> None:
    arrived = unpack_batch(BatchPacker(str(tmp_path)).pack(BATCH))
    assert arrived == BATCH
    assert [type(call) for call in arrived.calls] == [TaskCall, TaskCall]
    assert arrived.calls[0].line is not None
    assert type(arrived.calls[0].line["p"][0]) is TaskRef


@pytest.mark.parametrize("odd", [None, 0, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_one_that_differs_from_the_others_does_so_on_arrival(tmp_path: Path, count: int, odd: int | None) -> None:
    calls = [TaskCall(number, str(number), f"/d/{number}", str(number), (b"x",)) for number in range(count)]
    if odd is not None and odd < count:
        calls[odd] = calls[odd]._replace(members=((b"1",),), line={"p": (PARENT,)}, absent=frozenset({"q"}))
    batch = Batch(CONTEXT, tuple(calls))
    assert unpack_batch(BatchPacker(str(tmp_path)).pack(batch)) == batch


def test_what_the_tasks_share_travels_once(tmp_path: Path) -> None:
    packer = BatchPacker(str(tmp_path))
    large = SegmentContext(**{**vars(CONTEXT), "script": ("a.py", os.urandom(100_000))})
    packed = [packer.pack(Batch(large, CALLS)) for _ in range(3)]
    assert max(map(len, packed)) < 1000
    assert len(os.listdir(tmp_path)) == 1
    first, second, _ = map(unpack_batch, packed)
    assert first.context == large
    assert second.context is first.context


def test_segments_that_take_turns_are_not_mixed_up(tmp_path: Path) -> None:
    packer = BatchPacker(str(tmp_path))
    contexts = [SegmentContext(**{**vars(CONTEXT), "segment": f"s{n}"}) for n in range(12)]
    for _ in range(3):
        for context in contexts:
            assert unpack_batch(packer.pack(Batch(context, CALLS))).context.segment == context.segment


def test_a_file_that_somebody_cleared_away_is_written_again(tmp_path: Path) -> None:
    packer = BatchPacker(str(tmp_path))
    packer.pack(BATCH)
    for name in os.listdir(tmp_path):
        os.unlink(tmp_path / name)
    assert unpack_batch(packer.pack(BATCH)) == BATCH


def test_where_no_file_can_be_written_all_travels_together(tmp_path: Path) -> None:
    packer = BatchPacker(str(tmp_path / "gone"))
    shutil.rmtree(tmp_path)
    assert unpack_batch(packer.pack(BATCH)) == BATCH


@pytest.mark.parametrize("result", [None, SIMPLE, FULL], ids=["none", "simple", "full"])
def test_a_result_arrives_as_it_was(result: TaskResult | None) -> None:
    ((arrived, told, _),) = unframed(framed(result, 12, 0.5, 1 << 40))
    assert arrived == result
    assert told == (12, 0.5, 1 << 40)
    if arrived is not None:
        assert type(arrived) is TaskResult
        assert type(arrived.status) is Status
        assert all(type(item) is Parameter for item in arrived.parameters)
        assert all(type(item) is LogRecord for item in arrived.messages)


def test_what_msgpack_has_no_room_for_arrives_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> bytes:
        raise ValueError("bytes object is too large")

    monkeypatch.setattr(wire, "_pack", refuse)
    frame = framed(FULL, None)
    assert [(result, told) for result, told, _ in unframed(frame)] == [(FULL, (None,))]


def test_a_torn_end_waits_for_its_rest() -> None:
    one, two = framed(SIMPLE, 8), framed(FULL, None)
    for length in range(len(two)):
        assert [(result, end) for result, _, end in unframed(one + two[:length])] == [(SIMPLE, len(one))]
    assert [end for *_, end in unframed(one + two)] == [len(one), len(one) + len(two)]
