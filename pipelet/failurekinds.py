"""What a failed task has in common with others: the exception, and the last line of the user's own code."""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
from typing import NamedTuple

#: A line of a traceback that names a place in a file.
FRAME = re.compile(r'^[ \t|]*File "(?P<file>.+)", line (?P<line>\d+)(?:, in (?P<function>.+))?', re.MULTILINE)
#: The name of an exception at the start of a line.
EXCEPTION = re.compile(r"^(?P<name>[^\W\d][\w.]*)(?::|$)")
#: Between the tracebacks of an exception and of the one that it led to.
_CHAIN = re.compile(
    r"^(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):$",
    re.MULTILINE,
)
#: Of an error that is longer than both only these are looked at: its first characters and its last.
HEAD, TAIL = 500, 3500

_PLACES_OF_OTHERS = tuple(
    os.path.join(path, "")
    for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
)
_PLACE_OF_PIPELET = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
#: The task may have run on another machine.
_LIBRARY = re.compile(r"site-packages|dist-packages|/lib(?:64)?/python3\.\d+/")
_INSTANCE = re.compile(r"^.*_[A-Z2-7]{6,}/")
_OURS = "pipelet.errors."
_SIGNAL = re.compile(r"\bSIG[A-Z][A-Z0-9]*\b")


class FailureKind(NamedTuple):
    """Failures of one kind are looked at, and set aside, together."""

    exception: str  #: its type, with its module; of our own without it
    file: str  #: where it was raised, relative to the scripts; empty when that is not known
    line: int
    function: str

    @property
    def id(self) -> str:
        """A short name that is the same everywhere."""
        parts = (self.exception, self.file, str(self.line), self.function)
        text = "\0".join(parts).encode("utf-8", "backslashreplace")
        return hashlib.blake2b(text, digest_size=8).hexdigest()

    @property
    def place(self) -> str:
        """The place for people; empty when it is not known."""
        if not self.file:
            return ""
        inside = f", in {self.function}" if self.function not in ("", "<module>") else ""
        return f"{self.file}, line {self.line}{inside}"

    def is_called(self, name: str) -> bool:
        """Whether this is its `id`, or the name of its exception, with its module or without."""
        return name in (self.id, self.exception, self.exception.rpartition(".")[2])


def is_users(path: str) -> bool:
    """Whether code in this file is the user's: neither a library's nor the engine's."""
    if path.startswith("<"):
        return False
    return not (_LIBRARY.search(path) or path.startswith((*_PLACES_OF_OTHERS, _PLACE_OF_PIPELET)))


def kind_of_error(text: str | None) -> FailureKind:
    """Say of which kind an error is.

    Parameters
    ----------
    text
        A traceback as a failed task leaves it; it may be cut in the middle.

    Returns
    -------
    FailureKind
    """
    text = text or ""
    chain = _CHAIN.split(text)
    last = chain[-1]
    frames = list(FRAME.finditer(last))
    named = _exception(last[frames[-1].end() :].partition("\n")[2] if frames else last)
    users = [frame for frame in frames if is_users(frame["file"])]
    if not users:
        # What was raised by the engine tells in the tracebacks before which line of the user's led to it.
        users = [frame for part in chain[:-1] for frame in FRAME.finditer(part) if is_users(frame["file"])]
    found = (users or frames)[-1] if users or frames else None
    if found is None:
        return FailureKind(named, "", 0, "")
    script = next((frame["file"] for frame in FRAME.finditer(text) if is_users(frame["file"])), "")
    return FailureKind(named, _relative(found["file"], script), int(found["line"]), found["function"] or "")


def message_of(text: str) -> str:
    """What an error says: the first line of the words of its exception, without its name."""
    last = _CHAIN.split(text)[-1]
    frames = list(FRAME.finditer(last))
    line = _exception_line(last[frames[-1].end() :].partition("\n")[2] if frames else last)
    named = EXCEPTION.match(line)
    return line[named.end() :].strip() if named else line


class Kinds:
    """Tells of which kind errors are; thousands that differ only in what the exception says are read once."""

    _MOST = 1000

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], FailureKind] = {}

    def __call__(self, text: str | None) -> FailureKind:
        """What `kind_of_error` gives."""
        before, _, last = (text or "").rstrip().rpartition("\n")
        key = (before, last.partition(":")[0] if before else last)
        kind = self._known.get(key)
        if kind is None:
            if len(self._known) >= self._MOST:
                self._known.clear()
            kind = self._known[key] = kind_of_error(text)
        return kind


def _exception(text: str) -> str:
    """The name of the exception in what stands behind the last frame."""
    line = _exception_line(text)
    found = EXCEPTION.match(line)
    if found is None:
        return "an error"
    name = found["name"]
    if not name.startswith(_OURS):
        return name
    # Whoever is killed dies in many ways.
    signal = _SIGNAL.search(line) if name == f"{_OURS}WorkerDied" else None
    return name.removeprefix(_OURS) + (f" ({signal[0]})" if signal else "")


def _exception_line(text: str) -> str:
    # source lines and carets below a frame are indented: the first line that is not names the exception
    return next((line for line in text.splitlines() if line and not line[0].isspace()), "")


def _relative(path: str, script: str) -> str:
    """A path without what differs from machine to machine: relative to the scripts, or to an instance's directory."""
    folder = f"{os.path.dirname(script)}/"
    if script and path.startswith(folder):
        inside = path[len(folder) :]
        return _INSTANCE.sub("", inside)
    kept = _INSTANCE.sub("", path)
    return kept if kept != path else os.path.basename(path)
