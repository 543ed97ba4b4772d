"""What a disk may hold after a power cut: states made from recorded writes, cut at any point.

Four kinds of state for each cut, from what the system happened to write by itself, to nothing that was not waited for:

========== ============================================================================================================
whole      All operations before the cut, as if every one had reached the disk at once.
names      All names, and of the contents only what was synchronised: new files are empty.
strict     Only what was synchronised: names by the synchronisation of their directory, contents by that of the file.
chance     Names up to some point, of each content some more writes than were synchronised, or zeros in their place.
========== ============================================================================================================
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from writes import Op

KINDS = ("whole", "names", "strict", "chance")

_NAMES = ("make", "link", "remove", "rename")
#: SQLite counts on what the file systems of Linux do: a new log that is synchronised has its name as well.
_OWN_NAME = ".sqlstatus"
#: Shared memory of processes that are gone.
_FORGOTTEN = ("-shm",)


@dataclass
class State:
    """Contents of files, and the names that lead to them."""

    contents: dict[int, bytes] = field(default_factory=dict)
    entries: dict[int, dict[str, int]] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)

    def build(self, root: Path) -> None:
        """Make it on disk, in an empty directory."""
        todo = [(0, root)]
        while todo:
            node, path = todo.pop()
            for name, inner in self.entries.get(node, {}).items():
                there, kind = path / name, self.kinds[inner]
                if kind == "directory":
                    there.mkdir()
                    todo.append((inner, there))
                elif kind.startswith(">"):
                    there.symlink_to(kind[1:])
                elif not name.endswith(_FORGOTTEN):
                    there.write_bytes(self.contents.get(inner, b""))


def after_cut(ops: Sequence[Op], cut: int, kind: str, rng: random.Random) -> State:
    """The state of the disk after a power cut.

    Parameters
    ----------
    ops
        What was written.
    cut
        How many of them had happened.
    kind
        One of `KINDS`.
    rng
        For ``chance``.
    """
    past = ops[:cut]
    names = {index for index, op in enumerate(past) if op.kind in _NAMES}
    if kind == "strict":
        names &= _synced_names(past)
    elif kind == "chance":
        upto = rng.randint(0, cut)
        names = {index for index in names if index < upto} | (names & _synced_names(past))
    state = State(kinds={op.node: op.what for op in past if op.kind == "make"}, entries={0: {}})
    for index in sorted(names):
        _name(state.entries, past[index])
    for node, what in state.kinds.items():
        if what == "file":
            state.contents[node] = _content([op for op in past if op.node == node or op.kind == "sync all"], kind, rng)
    return state


def _synced_names(ops: Sequence[Op]) -> set[int]:
    """The changes of names that the disk must have: of directories that were synchronised afterwards."""
    synced: set[int] = set()
    waiting: dict[int, set[int]] = {}
    made: dict[int, int] = {}
    for index, op in enumerate(ops):
        if op.kind in _NAMES:
            for folder in {op.folder, op.new_folder} - {-1}:
                waiting.setdefault(folder, set()).add(index)
            if op.kind == "make":
                made[op.node] = index
        elif op.kind == "sync":
            synced |= waiting.pop(op.node, set())
            if ops[made.get(op.node, 0)].name.startswith(_OWN_NAME):
                synced.add(made[op.node])
        elif op.kind == "sync all":
            synced.update(*waiting.values())
            waiting.clear()
    return synced


def _name(entries: dict[int, dict[str, int]], op: Op) -> None:
    inside = entries.setdefault(op.folder, {})
    if op.kind in ("make", "link"):
        inside[op.name] = op.node
    elif op.kind == "remove":
        if inside.get(op.name) == op.node:
            del inside[op.name]
    else:
        if inside.get(op.name) == op.node:
            del inside[op.name]
        entries.setdefault(op.new_folder, {})[op.new_name] = op.node


def _content(ops: Sequence[Op], kind: str, rng: random.Random) -> bytes:
    """What a file holds: all that was written before its last synchronisation, and maybe more."""
    last = max((index for index, op in enumerate(ops) if op.kind.startswith("sync")), default=-1)
    sure, rest = ops[: last + 1], [op for op in ops[last + 1 :] if op.kind in ("write", "cut")]
    content = bytearray()
    for op in sure if kind != "whole" else ops:
        _apply(content, op)
    if kind == "chance" and rest:
        kept = rest[: rng.randint(0, len(rest))]
        zeros = rng.random() < 0.2
        if kept and rng.random() < 0.3:
            # The last write in part.
            kept[-1] = kept[-1]._replace(data=kept[-1].data[: rng.randint(0, len(kept[-1].data))])
        for op in kept:
            _apply(content, op._replace(data=bytes(len(op.data))) if zeros else op)
    return bytes(content)


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "write":
        if len(content) < op.offset:
            content.extend(bytes(op.offset - len(content)))
        content[op.offset : op.offset + len(op.data)] = op.data
    elif op.kind == "cut":
        del content[op.offset :]
        content.extend(bytes(op.offset - len(content)))


def acknowledged(ops: Sequence[Op], cut: int, journals: dict[int, str]) -> dict[str, bytes]:
    """What each journal held when it was last synchronised, by its path.

    Parameters
    ----------
    ops, cut
        As for `after_cut`.
    journals
        Nodes and paths.
    """
    found = {}
    for node, path in journals.items():
        own = [op for op in ops[:cut] if op.node == node]
        last = max((index for index, op in enumerate(own) if op.kind == "sync"), default=-1)
        if last >= 0:
            content = bytearray()
            for op in own[: last + 1]:
                _apply(content, op)
            found[path] = bytes(content)
    return found


def named(paths: dict[int, str], root: str, suffix: str) -> dict[int, str]:
    """The nodes whose last name ends so, with their paths relative to the root."""
    return {node: os.path.relpath(path, root) for node, path in paths.items() if path.endswith(suffix)}
