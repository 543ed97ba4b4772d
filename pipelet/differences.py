"""How a segment differs from its last version on disk: which ingredients of its key are others, and how."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelet.codediff import diff_ingredients, unified
from pipelet.depends import kept_name
from pipelet.errors import StorageError
from pipelet.planner import Snapshot
from pipelet.statusdb import InstanceRow, Reader
from pipelet.storage import Tree

#: So many lines of a difference are shown.
_MOST_LINES = 60
#: The kinds of ingredients, the likeliest cause of a change first.
_KINDS = ("code", "hook", "depend", "multiplex")


class Difference(NamedTuple):
    """One ingredient of a key that is another one."""

    name: str  #: ``code melt.py``, or a sentence where there is nothing more to say
    detail: str = ""  #: a unified diff, or words


class Differences:
    """Compares the segments of a pipeline with their versions on disk.

    Parameters
    ----------
    snapshot
        The pipeline as it is now.
    tree, reader
        What is on disk.
    """

    def __init__(self, snapshot: Snapshot, tree: Tree, reader: Reader) -> None:
        self._snapshot = snapshot
        self._tree = tree
        self._reader = reader
        self._causes: dict[tuple[str, str], tuple[str, ...]] = {}

    def since_last(self, segment: str) -> tuple[list[str], list[Difference]]:
        """Say why there is no version of a segment at its key.

        Parameters
        ----------
        segment
            Which segment.

        Returns
        -------
        reasons
            Sentences, the first ingredient that differs first.
        differences
            Those ingredients of which more can be shown.
        """
        versions = self._reader.instances(segment)
        if not versions:
            return ["new: there is no version of it on disk"], []
        last = versions[0]
        meta = self._meta(last)
        if meta is None:
            return [f"the last version on disk can't be read: {last.path}"], []
        own = list(self._own(segment, last, meta))
        reasons = [f"changed since {last.path}: {item.name}" for item in own]
        reasons += self._parents(segment, meta)
        if not reasons:
            reasons = ["changed: this version of Pipelet makes other keys"]
        return reasons, [item for item in own if item.detail]

    # --- what is the segment's own -------------------------------------------------------------------------------

    def _own(self, segment: str, last: InstanceRow, meta: dict[str, object]) -> Iterator[Difference]:
        code = self._snapshot.codes[segment]
        changed = diff_ingredients(_strings(meta.get("ingredients")), code.ingredients)
        for name in sorted(changed, key=lambda name: (_rank(name), name)):
            kind, _, file = name.partition(" ")
            if kind == "multiplex":
                before = _directive(meta.get("directives"))
                yield Difference(name, f"{before} before, {_directive(code.directives)} now")
                continue
            kept = kept_name(file) if kind == "depend" else file
            old, new = self._tree.read_kept(last.path, kept), code.files.get(kept)
            yield Difference(name, shortened(unified(old, new, file)))
        yield from self._environment(meta)

    def _environment(self, meta: dict[str, object]) -> Iterator[Difference]:
        facts = self._snapshot.environment_facts
        if facts is None or "environment" not in meta:
            return
        before = meta["environment"] if isinstance(meta["environment"], dict) else {}
        if facts.digest == before.get("digest", ""):
            return
        name, old = facts.name, str(before.get("class", "Environment"))
        lines = before.get("source")
        source = "\n".join(map(str, lines)) if isinstance(lines, list) else ""
        words = f"environment class {name}" if name == old else f"environment class, which was {old} and is {name}"
        yield Difference(words, shortened(unified(_data(source), _data(facts.source), f"class {name}")))

    # --- parents -------------------------------------------------------------------------------------------------

    def _parents(self, segment: str, meta: dict[str, object]) -> Iterator[str]:
        before = _strings(meta.get("parents"))
        parents = self._snapshot.graph.parents(segment)
        for name in parents:
            if name not in before:
                yield f"new parent: {name}"
            elif before[name] != self._snapshot.keys[name]:
                yield f"parent changed: {name}{self._because(name, before[name])}"
        yield from (f"parent gone: {name}" for name in before if name not in parents)
        if set(before) == set(parents) and tuple(before) != parents:
            yield f"other order of the parents: {', '.join(before)} before, {', '.join(parents)} now"

    def _because(self, parent: str, key: str) -> str:
        causes = self._causes_of(parent, key)
        if len(causes) == 1 and causes[0].startswith(f"{parent} "):
            return causes[0].removeprefix(parent)
        return f", because of {' and '.join(causes)}" if causes else ""

    def _causes_of(self, segment: str, key: str) -> tuple[str, ...]:
        """The segments furthest up that make a segment another one than that at a key, with what changed in each."""
        known = self._causes.get((segment, key))
        if known is None:
            known = self._causes[segment, key] = tuple(dict.fromkeys(self._look_up(segment, key)))
        return known

    def _look_up(self, segment: str, key: str) -> Iterator[str]:
        row = self._reader.instance(key)
        meta = None if row is None else self._meta(row)
        if row is None or meta is None:
            return
        before = _strings(meta.get("parents"))
        for name in self._snapshot.graph.parents(segment):
            if name in before and before[name] != self._snapshot.keys[name]:
                yield from self._causes_of(name, before[name])
        names = [item.name for item in self._own(segment, row, meta)]
        names += [reason for reason in self._parents(segment, meta) if not reason.startswith("parent changed")]
        if names:
            yield f"{segment} ({names[0]})"

    def _meta(self, row: InstanceRow) -> dict[str, object] | None:
        try:
            return self._tree.read_meta(row.path)
        except StorageError:
            return None


def shortened(diff: str) -> str:
    """A difference of which the end is left out where it is long, with a word on how much that is."""
    lines = diff.splitlines(keepends=True)
    if len(lines) <= _MOST_LINES:
        return diff
    return f"{''.join(itertools.islice(lines, _MOST_LINES))}... and {len(lines) - _MOST_LINES} more lines\n"


def _rank(name: str) -> int:
    kind = name.partition(" ")[0]
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)


def _directive(directives: object) -> str:
    found = directives if isinstance(directives, Sequence) else ()
    return next((str(line) for line in found if str(line).startswith("#multiplex")), "no #multiplex")


def _data(text: str) -> bytes | None:
    return f"{text}\n".encode() if text else None


def _strings(value: object) -> dict[str, str]:
    return {str(name): str(item) for name, item in value.items()} if isinstance(value, dict) else {}
