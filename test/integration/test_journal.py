"""The journal of an instance: what is appended comes back, a cut end is told from damage."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelet.storage.journal as module
from pipelet.errors import JournalError, StorageError
from pipelet.storage import Journal

ROOT = Path(module.__file__).parents[2]

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.binary()
values = st.recursive(
    scalars | st.text(st.characters(exclude_categories=())), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
events_lists = st.lists(st.lists(values, max_size=4), max_size=3)


def frames_of(journal: Journal, offset: int = 0) -> list[list[list[object]]]:
    return [events for events, _ in journal.read(offset)]


def journal_with(path: Path, *frames: list[list[object]]) -> tuple[Journal, list[int]]:
    journal = Journal(str(path))
    return journal, [journal.append(events, sync=False) for events in frames]


@settings(max_examples=25, deadline=None)
@given(st.lists(events_lists, min_size=1, max_size=4))
def test_a_file_cut_at_any_byte_holds_a_prefix_and_tells_whether_it_is_torn(frames):
    with tempfile.TemporaryDirectory() as folder:
        whole, ends = journal_with(Path(folder, "a.journal"), *frames)
        assert frames_of(whole) == frames
        assert not whole.torn
        data = Path(whole.path).read_bytes()
        assert ends[-1] == len(data) == whole.size()
        path = Path(folder, "cut.journal")
        starts = {0, data.index(b"\n") + 1, *ends}
        for length in range(len(data) + 1):
            path.write_bytes(data[:length])
            cut = Journal(str(path))
            expected = [frame for frame, end in zip(frames, ends, strict=True) if end <= length]
            assert frames_of(cut) == expected
            assert cut.torn == (length not in starts)
            assert cut.end == max(start for start in starts if start <= length)


@settings(max_examples=10, deadline=None)
@given(st.lists(events_lists, min_size=2, max_size=3), st.data())
def test_appending_to_a_file_cut_anywhere_goes_on_from_the_last_whole_frame(frames, data):
    with tempfile.TemporaryDirectory() as folder:
        whole, ends = journal_with(Path(folder, "a.journal"), *frames)
        content = Path(whole.path).read_bytes()
        length = data.draw(st.integers(0, len(content)))
        Path(whole.path).write_bytes(content[:length])
        cut = Journal(whole.path)
        assert cut.append([["more"]]) == os.path.getsize(whole.path)
        kept = [frame for frame, end in zip(frames, ends, strict=True) if end <= length]
        assert frames_of(cut) == [*kept, [["more"]]]
        assert not cut.torn


@settings(max_examples=15, deadline=None)
@given(st.lists(events_lists, min_size=2, max_size=3), st.integers(1, 255))
def test_a_changed_byte_is_damage_or_in_the_last_frame_a_torn_end(frames, mask):
    with tempfile.TemporaryDirectory() as folder:
        whole, ends = journal_with(Path(folder, "a.journal"), *frames)
        data = Path(whole.path).read_bytes()
        for place in range(len(data)):
            Path(whole.path).write_bytes(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
            journal = Journal(whole.path)
            if place < ends[-2]:
                with pytest.raises(JournalError, match=r"damaged|newer"):
                    frames_of(journal)
            else:
                assert frames_of(journal) == frames[:-1]
                assert journal.torn
                assert journal.end == ends[-2]


def test_damage_names_the_file_and_the_byte(tmp_path):
    journal, (first, *_) = journal_with(tmp_path / "a.journal", [["one"]], [["two"]], [["three"]])
    with open(journal.path, "r+b") as file:
        file.seek(first + 3)
        file.write(b"\0")
    with pytest.raises(JournalError, match=rf"a\.journal is damaged at byte {first}") as caught:
        frames_of(Journal(journal.path))
    assert "delete the segment instance" in str(caught.value)


def test_a_damaged_journal_is_not_appended_to(tmp_path):
    journal, (first, second) = journal_with(tmp_path / "a.journal", [["one"]], [["two"]])
    data = Path(journal.path).read_bytes()
    for place in (3, len(module._HEADER) + 5):
        Path(journal.path).write_bytes(data[:place] + b"\xff" + data[place + 1 :])
        with pytest.raises(JournalError, match="damaged"):
            Journal(journal.path).append([["three"]])
        assert journal.size() == second
    assert first < second


def test_a_last_payload_that_never_reached_the_disk_is_cut_by_the_next_append(tmp_path):
    journal, (first, second) = journal_with(tmp_path / "a.journal", [["one"]], [["two", b"x" * 100]])
    with open(journal.path, "r+b") as file:
        file.seek(second - 50)
        file.write(bytes(50))
    other = Journal(journal.path)
    other.append([["three"]])
    assert frames_of(other) == [[["one"]], [["three"]]]
    assert next(iter(Journal(journal.path).read(first)))[0] == [["three"]]


def test_zeros_behind_the_last_frame_are_a_torn_end(tmp_path):
    journal, (end,) = journal_with(tmp_path / "a.journal", [["one"]])
    with open(journal.path, "ab") as file:
        file.write(bytes(5000))
    assert frames_of(journal) == [[["one"]]]
    assert journal.torn
    journal.truncate(journal.end)
    assert journal.size() == end


def test_a_payload_that_holds_a_journal_is_no_frame(tmp_path):
    inner, _ = journal_with(tmp_path / "inner.journal", [["one"]], [["two"]])
    content = Path(inner.path).read_bytes()
    outer, (first, second) = journal_with(tmp_path / "outer.journal", [["one"]], [["blob", content]])
    with open(outer.path, "r+b") as file:
        file.truncate(second - 1)
    assert frames_of(outer) == [[["one"]]]
    assert outer.torn
    assert outer.end == first


def test_no_file_is_an_empty_journal(tmp_path):
    journal = Journal(str(tmp_path / "a.journal"))
    assert frames_of(journal) == []
    assert (journal.torn, journal.end, journal.size()) == (False, 0, 0)
    assert not (tmp_path / "a.journal").exists()


def test_reading_goes_on_from_any_end(tmp_path):
    journal, ends = journal_with(tmp_path / "a.journal", [["one"]], [["two"], ["three"]], [])
    assert frames_of(journal, ends[0]) == [[["two"], ["three"]], []]
    assert frames_of(journal, ends[2]) == []
    assert not journal.torn
    assert [end for _, end in journal.read()] == ends


def test_an_offset_between_frames_is_refused_and_nothing_is_taken_for_torn(tmp_path):
    journal, ends = journal_with(tmp_path / "a.journal", [["one"]], [["two"]])
    for offset in range(len(module._HEADER) + 1, ends[-1]):
        if offset != ends[0]:
            with pytest.raises(JournalError, match=r"no frame that begins at byte|damaged at byte"):
                frames_of(journal, offset)


@pytest.mark.parametrize("present", [False, True])
def test_a_journal_shorter_than_the_database_says_is_refused(tmp_path, present):
    journal = Journal(str(tmp_path / "a.journal"))
    end = journal.append([["one"]]) if present else 0
    with pytest.raises(JournalError, match=f"ends at byte {end}, and .* up to byte {end + 7}"):
        frames_of(journal, end + 7)


def test_truncating_goes_back_to_an_end_and_to_nothing_else(tmp_path):
    journal, (first, second) = journal_with(tmp_path / "a.journal", [["one"]], [["two"]])
    for offset in (first + 1, second + 10, 3):
        with pytest.raises(JournalError, match="not cut"):
            journal.truncate(offset)
    assert journal.size() == second
    journal.truncate(first)
    assert journal.append([["other"]]) == os.path.getsize(journal.path)
    assert frames_of(journal) == [[["one"]], [["other"]]]


def test_another_writer_in_between_is_noticed(tmp_path):
    journal, _ = journal_with(tmp_path / "a.journal", [["one"]])
    Journal(journal.path).append([["two"]])
    journal.append([["three"]])
    assert frames_of(Journal(journal.path)) == [[["one"]], [["two"]], [["three"]]]
    with open(journal.path, "ab") as file:
        file.write(b"a frame of a writer that was killed")
    journal.append([["four"]])
    assert frames_of(Journal(journal.path), journal.size()) == []
    assert frames_of(Journal(journal.path))[-2:] == [[["three"]], [["four"]]]


def test_rewriting_replaces_everything_and_can_be_appended_to(tmp_path):
    journal, _ = journal_with(tmp_path / "a.journal", [["one"]], [["two"]])
    end = journal.rewrite(iter([[["x", 1]], [["y", 2]]]))
    assert end == journal.size()
    journal.append([["z", 3]])
    assert frames_of(Journal(journal.path)) == [[["x", 1]], [["y", 2]], [["z", 3]]]
    assert os.listdir(tmp_path) == ["a.journal"]


def test_a_rewriting_that_fails_leaves_the_old_journal(tmp_path, monkeypatch):
    journal, _ = journal_with(tmp_path / "a.journal", [["one"]])

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StorageError, match="No space left"):
        journal.rewrite([[["x"]]])
    assert frames_of(journal) == [[["one"]]]
    assert os.listdir(tmp_path) == ["a.journal"]


def test_tuples_come_back_as_lists_and_lone_surrogates_survive(tmp_path):
    journal, _ = journal_with(tmp_path / "a.journal", [("task", (1, "\udc80é"), b"\0", None)])
    assert frames_of(journal) == [[["task", [1, "\udc80é"], b"\0", None]]]


@pytest.mark.parametrize("value", [object(), 2**70, {1: object()}])
def test_an_event_that_can_not_be_packed_is_refused_and_nothing_is_written(tmp_path, value):
    journal, (end,) = journal_with(tmp_path / "a.journal", [["one"]])
    with pytest.raises(StorageError, match=r"an event can't be written to the journal .*a\.journal"):
        journal.append([["task", value]])
    assert journal.size() == end


def test_an_event_of_a_hundred_megabytes(tmp_path):
    journal = Journal(str(tmp_path / "a.journal"))
    blob = os.urandom(1 << 20) * 100
    journal.append([["small"]])
    end = journal.append([["task", blob]], sync=False)
    journal.append([["after"]])
    (_, (middle, position), _) = journal.read()
    assert position == end
    assert zlib.crc32(middle[0][1]) == zlib.crc32(blob)
    assert frames_of(journal, end) == [[["after"]]]


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    journal = Journal(str(tmp_path / "a.journal"))
    real = os.writev

    def stingy(descriptor, parts):
        return real(descriptor, [bytes(parts[0])[:7]])

    monkeypatch.setattr(os, "writev", stingy)
    end = journal.append([["one", b"x" * 50]])
    assert end == journal.size()
    assert frames_of(journal) == [[["one", b"x" * 50]]]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_append_that_fails_half_way_leaves_the_journal_as_it_was(tmp_path, monkeypatch, error):
    journal, (end,) = journal_with(tmp_path / "a.journal", [["one"]])
    real, calls = os.writev, []

    def failing(descriptor, parts):
        calls.append(1)
        if len(calls) > 1:
            raise error
        return real(descriptor, [bytes(parts[0])[:9]])

    monkeypatch.setattr(os, "writev", failing)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StorageError):
        journal.append([["two"]])
    monkeypatch.setattr(os, "writev", real)
    assert journal.size() == end
    journal.append([["three"]])
    assert frames_of(journal) == [[["one"]], [["three"]]]


def test_a_failing_fsync_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    journal, (end,) = journal_with(tmp_path / "a.journal", [["one"]])

    def fail(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="Input/output error"):
            journal.append([["two"]])
    assert journal.size() == end
    journal.append([["three"]])
    assert frames_of(journal) == [[["one"]], [["three"]]]


LIMITED = """
import resource, sys
from pipelet.errors import StorageError
from pipelet.storage import Journal
journal = Journal(sys.argv[1])
end = journal.append([["one"]])
resource.setrlimit(resource.RLIMIT_FSIZE, (end + 1000, resource.RLIM_INFINITY))
try:
    journal.append([["two", b"x" * 5000]])
except StorageError as error:
    assert isinstance(error.__cause__, OSError), error
    print(error)
assert journal.size() == end, journal.size()
journal.append([["three"]])
"""


def test_a_limit_on_the_size_of_files_leaves_a_good_journal(tmp_path):
    path = tmp_path / "a.journal"
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert "can't append to the journal" in child.stdout
    assert "File too large" in child.stdout
    journal = Journal(str(path))
    assert frames_of(journal) == [[["one"]], [["three"]]]
    assert not journal.torn


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("mounting takes rights that this user has not")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_a_good_journal(small_disk):
    journal = Journal(str(small_disk / "a.journal"))
    end = journal.append([["one"]])
    with pytest.raises(StorageError, match=r"No space left on device \(make room") as caught:
        journal.append([["two", b"x" * 200_000]])
    assert isinstance(caught.value.__cause__, OSError)
    assert journal.size() == end
    journal.append([["three"]])
    assert frames_of(Journal(journal.path)) == [[["one"]], [["three"]]]


def test_a_journal_of_a_newer_version_is_recognised(tmp_path):
    path = tmp_path / "a.journal"
    path.write_bytes(b"pipelet journal 2\nanything")
    with pytest.raises(JournalError, match="newer version"):
        frames_of(Journal(str(path)))


def test_a_payload_that_is_no_list_of_events_is_damage(tmp_path):
    path = tmp_path / "a.journal"
    for payload in (b"\xc1", b"\x05"):
        path.write_bytes(module._HEADER + module._head(len(module._HEADER), payload) + payload)
        with pytest.raises(JournalError, match=r"can't be read|no list of events"):
            frames_of(Journal(str(path)))


def test_a_directory_in_the_place_of_the_file_is_said_in_words(tmp_path):
    journal = Journal(str(tmp_path))
    for action in (lambda: frames_of(journal), lambda: journal.append([["one"]]), lambda: journal.rewrite([])):
        with pytest.raises(StorageError, match="the journal"):
            action()


def test_the_mode_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        journal, _ = journal_with(tmp_path / "a.journal", [["one"]])
        assert stat.S_IMODE(os.stat(journal.path).st_mode) == 0o640
        journal.rewrite([[["one"]]])
        assert stat.S_IMODE(os.stat(journal.path).st_mode) == 0o640
    finally:
        os.umask(old)


def test_a_reader_that_stops_early_leaves_no_open_file(tmp_path):
    journal, _ = journal_with(tmp_path / "a.journal", [["one"]], [["two"]])
    with contextlib.closing(journal.read()) as reader:
        assert next(reader)[0] == [["one"]]
    assert repr(journal) == f"Journal({journal.path!r})"
