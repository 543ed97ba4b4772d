"""What came of a task that was run again, and the words for it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any, NamedTuple

#: So many differing elements, and so many products, are shown.
SHOWN = 8


class Product(NamedTuple):
    """A file that the task left, now or when it is on record."""

    name: str
    size: int | None  #: ``None``: it was not made again
    recorded: int | None  #: ``None``: it was not there, or is not there any more

    def __str__(self) -> str:
        if self.size is None:
            return f"{self.name}: not made, {_bytes(self.recorded)} recorded"
        then = "the recorded size" if self.size == self.recorded else f"{self.recorded} recorded"
        return f"{self.name}: {_bytes(self.size)}, {'not recorded' if self.recorded is None else then}"


@dataclass(frozen=True)
class Replayed:
    """What came of a task that was run again.

    Attributes
    ----------
    id, segment, text
        The task's number, its segment, and its input as text.
    status, recorded
        ``done`` or ``failed`` now, or ``left`` in the debugger; and what is on record.
    output
        What it gave now; ``None`` for no particular output.
    error
        What it raised now, with its traceback.
    differences
        How the output differs from the recorded one, in words; empty where it is equal.
    products
        The files that it left.
    directory, data
        Where all was done, and the task's own data directory in there.
    seconds, recorded_seconds
        How long it took.
    notes
        What could not be as it was, in words.
    """

    id: int
    segment: str
    text: str
    status: str
    recorded: str
    output: list[Any] | None
    error: BaseException | None
    differences: tuple[str, ...]
    products: tuple[Product, ...]
    directory: str
    data: str
    seconds: float
    recorded_seconds: float | None
    notes: tuple[str, ...] = ()
    #: Versions that differ from those on record.
    versions: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether it ended well, with the recorded output."""
        return self.error is None and not self.differences

    def __str__(self) -> str:
        then = "" if self.recorded_seconds is None else f" ({self.recorded_seconds:.3g} s then)"
        lines = [f"{self.status} in {self.seconds:.3g} s{then}"]
        if self.status == "left":
            lines = ["left in the debugger, before its end"]
        elif self.error is not None:
            lines = [f"{lines[0]}: {last_line(self.error)}", f"on record: {self.recorded}"]
        elif self.differences:
            lines += ["output: differs from the recorded one", *(f"    {words}" for words in self.differences)]
        elif self.recorded != "done":
            lines.append("output: there is none on record to compare it with")
        else:
            number = "no particular output" if self.output is None else elements(len(self.output))
            lines.append(f"output: equal to the recorded one, {number}")
        if self.versions and not self.same:
            lines.append(f"other versions than then: {', '.join(self.versions)}")
        if self.products:
            lines.append(f"products, in {self.data}:")
            told = sorted(self.products, key=lambda item: item.size == item.recorded)
            lines += [f"    {item}" for item in told[:SHOWN]]
            if len(told) > SHOWN:
                lines.append(f"    and {len(told) - SHOWN} more")
        return "\n".join(lines)

    __repr__ = __str__


def last_line(error: BaseException) -> str:
    """The kind of an error and its message."""
    return traceback.format_exception_only(type(error), error)[-1].strip()


def _bytes(number: int | None) -> str:
    return f"{number} byte{'' if number == 1 else 's'}"


def elements(number: int) -> str:
    """A number of elements in words."""
    return f"{number} element{'' if number == 1 else 's'}"
