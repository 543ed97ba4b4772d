"""What a program writes below a directory, as ``strace`` tells it: each write, name and synchronisation, in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,fcntl,write,writev,pwrite64,pwritev,lseek,ftruncate,truncate,fallocate,"
    "mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,fsync,fdatasync,"
    "syncfs,sync,chdir,clone,clone3,fork,vfork,sendfile,copy_file_range"
)
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class Op(NamedTuple):
    """Something that happened on the disk.

    ``kind`` is ``make`` (a name for a new directory, file or link), ``link``, ``remove``, ``rename``, ``write``,
    ``cut``, ``sync`` (of one file or directory) or ``sync all``.
    """

    kind: str
    node: int
    folder: int = -1
    name: str = ""
    new_folder: int = -1
    new_name: str = ""
    offset: int = 0
    data: bytes = b""
    what: str = ""  #: of ``make``: file, directory, or the target of a symbolic link behind a ``>``


@dataclass
class _Open:
    node: int
    position: int = 0
    append: bool = False


@dataclass
class _Process:
    files: dict[int, _Open | None]
    cwd: str


@dataclass
class Recording:
    """The operations below a directory.

    Attributes
    ----------
    ops
        In order. Node 0 is the directory itself.
    paths
        The last name of each node.
    """

    root: str
    ops: list[Op] = field(default_factory=list)
    paths: dict[int, str] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names[self.root], self.paths[0] = 0, self.root

    def node(self, path: str) -> int | None:
        """The node of a path now."""
        return self._names.get(path)

    def make(self, path: str, what: str) -> int:
        """A new file or directory."""
        node = len(self.paths)
        folder, name = os.path.split(path)
        self._names[path] = node
        self.paths[node] = path
        self._sizes[node] = 0
        self.ops.append(Op("make", node, self._names[folder], name, what=what))
        return node

    def link(self, old: str, path: str) -> None:
        """One more name."""
        folder, name = os.path.split(path)
        node = self._names[path] = self._names[old]
        self.ops.append(Op("link", node, self._names[folder], name))

    def remove(self, path: str) -> None:
        """A name goes."""
        folder, name = os.path.split(path)
        node = self._names.pop(path)
        self.ops.append(Op("remove", node, self._names[folder], name))

    def rename(self, old: str, new: str) -> None:
        """A name changes, with all below it."""
        (folder, name), (new_folder, new_name) = os.path.split(old), os.path.split(new)
        node = self._names[old]
        self.ops.append(Op("rename", node, self._names[folder], name, self._names[new_folder], new_name))
        moved = [path for path in self._names if path == old or path.startswith(old + "/")]
        for path in [path for path in self._names if path == new or path.startswith(new + "/")]:
            del self._names[path]
        for path in moved:
            there = new + path[len(old) :]
            self._names[there] = found = self._names.pop(path)
            self.paths[found] = there

    def write(self, file: _Open, data: bytes, offset: int | None) -> None:
        """Bytes at the file's position, or at an offset."""
        size = self._sizes[file.node]
        start = offset if offset is not None else size if file.append else file.position
        self.ops.append(Op("write", file.node, offset=start, data=data))
        self._sizes[file.node] = max(size, start + len(data))
        if offset is None:
            file.position = start + len(data)

    def cut(self, node: int, size: int) -> None:
        """A file gets another size."""
        if self._sizes[node] != size:
            self._sizes[node] = size
            self.ops.append(Op("cut", node, offset=size))

    def size(self, node: int) -> int:
        """Of a file, now."""
        return self._sizes[node]


def can_record() -> bool:
    """Whether ``strace`` is there and may watch."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def record(command: Sequence[str], root: Path, trace: Path, cwd: Path, environment: dict[str, str]) -> Recording:
    """Run a program, and give what it and its children wrote below a directory.

    Parameters
    ----------
    command
        The program.
    root
        The directory; it exists, and is empty.
    trace
        A file for what ``strace`` tells.
    cwd, environment
        For the program.
    """
    watch = ["strace", "-f", "-q", "-s", "100000000", "-xx", "-e", f"trace={_CALLS}", "-e", "signal=none"]
    run = subprocess.run(
        [*watch, "-o", str(trace), *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise RuntimeError(f"the traced program failed: {run.stdout}{run.stderr}")
    recording = Recording(str(root))
    with open(trace, encoding="ascii") as lines:
        _Reader(recording, str(cwd), _whole(lines)).read()
    return recording


def _whole(lines: Iterator[str]) -> list[tuple[int, str, str, int, str]]:
    """Calls with their results (process, name, arguments, result, rest), in the order in which they ended."""
    begun: dict[str, str] = {}
    calls = []
    for line in lines:
        line = line.rstrip("\n")
        if line.endswith("<unfinished ...>"):
            begun[line.split(None, 1)[0]] = line.removesuffix("<unfinished ...>").rstrip()
            continue
        resumed = _RESUMED.match(line)
        if resumed:
            line = begun.pop(resumed[1]) + resumed[3]
        found = _LINE.match(line)
        if found and found[4] != "?":
            calls.append((int(found[1]), found[2], found[3], int(found[4]), found[5]))
    return calls


class _Reader:
    """Follows processes, their files and their directories through the calls."""

    def __init__(self, recording: Recording, cwd: str, calls: list[tuple[int, str, str, int, str]]) -> None:
        self._to = recording
        self._calls = calls
        self._creators = {
            result: (pid, "CLONE_FILES" in arguments)
            for pid, name, arguments, result, _ in calls
            if name in ("clone", "clone3", "fork", "vfork") and result > 0
        }
        self._processes = {calls[0][0]: _Process({}, cwd)}

    def read(self) -> None:
        """Put all that concerns the directory in the recording."""
        for pid, name, arguments, result, _ in self._calls:
            if result < 0:
                continue
            handler = getattr(self, f"_{name}", None)
            if handler is not None:
                strings = [bytes.fromhex(text.replace("\\x", "")) for text, _ in _STRING.findall(arguments)]
                handler(self._process(pid), strings, _STRING.sub("''", arguments).split(", "), result)

    def _process(self, pid: int) -> _Process:
        found = self._processes.get(pid)
        if found is None:
            above, shares = self._creators[pid]
            parent = self._process(above)
            found = parent if shares else _Process(dict(parent.files), parent.cwd)
            self._processes[pid] = found
        return found

    def _path(self, process: _Process, text: bytes, folder: str = "AT_FDCWD") -> str:
        path = os.fsdecode(text)
        if folder != "AT_FDCWD" and not path.startswith("/"):
            opened = process.files.get(int(folder))
            return os.path.join(self._to.paths[opened.node], path) if opened else "/nowhere"
        return os.path.normpath(os.path.join(process.cwd, path))

    def _ours(self, path: str) -> bool:
        return path.startswith(self._to.root + "/")

    # --- files -------------------------------------------------------------------------------------------------------

    def _openat(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._opened(process, self._path(process, strings[0], words[0]), words[2], result)

    def _open(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._opened(process, self._path(process, strings[0]), words[1], result)

    def _opened(self, process: _Process, path: str, flags: str, result: int) -> None:
        node = self._to.node(path)
        if node is None and self._ours(path) and "O_CREAT" in flags:
            node = self._to.make(path, "file")
        elif node is not None and "O_TRUNC" in flags:
            self._to.cut(node, 0)
        process.files[result] = None if node is None else _Open(node, append="O_APPEND" in flags)

    def _close(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        process.files.pop(int(words[0]), None)

    def _dup(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        process.files[result] = process.files.get(int(words[0]))

    _dup2 = _dup3 = _dup

    def _fcntl(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        if words[1].startswith("F_DUPFD"):
            self._dup(process, strings, words, result)

    def _lseek(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        opened = process.files.get(int(words[0]))
        if opened:
            opened.position = result

    def _write(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        opened = process.files.get(int(words[0]))
        if opened:
            self._to.write(opened, b"".join(strings)[:result], None)

    _writev = _write

    def _pwrite64(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        opened = process.files.get(int(words[0]))
        if opened:
            self._to.write(opened, b"".join(strings)[:result], int(words[-1]))

    def _ftruncate(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        opened = process.files.get(int(words[0]))
        if opened:
            self._to.cut(opened.node, int(words[1]))

    def _fallocate(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        opened = process.files.get(int(words[0]))
        if opened:
            self._to.cut(opened.node, max(self._to.size(opened.node), int(words[2]) + int(words[3])))

    def _sendfile(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        if process.files.get(int(words[0])):
            raise RuntimeError("a file below the directory is written by sendfile, whose bytes strace does not tell")

    def _copy_file_range(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        if process.files.get(int(words[2])):
            raise RuntimeError("a file below the directory is written by copy_file_range, whose bytes nobody tells")

    def _fsync(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        opened = process.files.get(int(words[0]))
        if opened:
            self._to.ops.append(Op("sync", opened.node))

    _fdatasync = _fsync

    def _syncfs(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        if process.files.get(int(words[0])):
            self._to.ops.append(Op("sync all", 0))

    def _sync(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._to.ops.append(Op("sync all", 0))

    # --- names -------------------------------------------------------------------------------------------------------

    def _chdir(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        process.cwd = self._path(process, strings[0])

    def _mkdirat(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._made(self._path(process, strings[0], words[0]))

    def _mkdir(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._made(self._path(process, strings[0]))

    def _made(self, path: str) -> None:
        if self._ours(path):
            self._to.make(path, "directory")

    def _symlink(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        path = self._path(process, strings[1])
        if self._ours(path):
            self._to.make(path, f">{os.fsdecode(strings[0])}")

    def _unlinkat(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._removed(self._path(process, strings[0], words[0]))

    def _unlink(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._removed(self._path(process, strings[0]))

    _rmdir = _unlink

    def _removed(self, path: str) -> None:
        if self._to.node(path) is not None:
            self._to.remove(path)

    def _renameat(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._renamed(self._path(process, strings[0], words[0]), self._path(process, strings[1], words[2]))

    _renameat2 = _renameat

    def _rename(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._renamed(self._path(process, strings[0]), self._path(process, strings[1]))

    def _renamed(self, old: str, new: str) -> None:
        if self._ours(old) != self._ours(new):
            raise RuntimeError(f"{old} is renamed to {new}, across the edge of what is recorded")
        if self._ours(old):
            self._to.rename(old, new)

    def _linkat(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._linked(self._path(process, strings[0], words[0]), self._path(process, strings[1], words[2]))

    def _link(self, process: _Process, strings: list[bytes], words: list[str], result: int) -> None:
        self._linked(self._path(process, strings[0]), self._path(process, strings[1]))

    def _linked(self, old: str, new: str) -> None:
        if self._ours(old):
            self._to.link(old, new)
