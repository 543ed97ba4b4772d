"""The parents of a task as one short text, so that two sets of parents are compared as two strings.

The text is a JSON list with one entry for each parent segment, in order: the sorted ids of the tasks, or, where
they are many, the name of a *task set* that is stored once and shared by all that refer to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

#: Longer lists of ids are stored once, as a task set.
INLINE_IDS = 8
#: The names of so many are remembered at most.
_REMEMBERED = 100

Parents = tuple[tuple[int, ...], ...]


def task_set_name(ids: Sequence[int]) -> str:
    """The name of a set of tasks: a hash of its sorted ids, 24 hexadecimal digits."""
    text = ",".join(map(str, ids))
    return hashlib.blake2b(text.encode("ascii"), digest_size=12).hexdigest()


def encode_parents(
    parents: Parents,
    task_sets: dict[str, Parents] | None = None,
    named: dict[int, tuple[tuple[int, ...], str]] | None = None,
) -> str:
    """The text of a task's parents.

    Parameters
    ----------
    parents
        For each parent segment the sorted ids of its tasks.
    task_sets
        Receives the task sets that the text refers to: name -> ``(ids,)``.
    named
        Remembers the names of some long tuples by their identity, and the tuples, so that no other one can have it:
        the children of a silent parent all have the same one.
    """
    if len(parents) == 1 and len(parents[0]) == 1:
        return f"[[{parents[0][0]}]]"
    entries: list[str] = []
    for ids in parents:
        if len(ids) <= INLINE_IDS:
            entries.append("[" + ",".join(map(str, ids)) + "]")
        else:
            known = None if named is None else named.get(id(ids))
            name = task_set_name(ids) if known is None else known[1]
            if known is None and named is not None:
                if len(named) >= _REMEMBERED:
                    named.clear()
                named[id(ids)] = (ids, name)
            if task_sets is not None:
                task_sets[name] = (ids,)
            entries.append(f'"{name}"')
    return "[" + ",".join(entries) + "]"


def decode_parents(text: str, task_set: Callable[[str], Sequence[int]]) -> Parents:
    """The parents that a text stands for; ``task_set`` gives the ids of a named set."""
    if not text:
        return ()
    return tuple(
        tuple(task_set(entry)) if isinstance(entry, str) else tuple(int(number) for number in entry)
        for entry in json.loads(text)
    )
