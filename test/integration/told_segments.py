"""What the segments of `test_explain_property` do; they stand outside of the code directory, so no key holds it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from pipelet.errors import SeveralTasksError

#: The variable that names the directory for marks and for the list of what was executed.
ROOT = "PIPELET_PROPERTY_ROOT"


class Told:
    """One execution of a segment: all it gives follows from its input, its version and what it read."""

    def __init__(self, name: str, version: int, seg_input: object) -> None:
        self.name = name
        self.root = Path(os.environ[ROOT])
        values = seg_input.values() if isinstance(seg_input, dict) else [seg_input]
        self.text = "_".join(map(str, values))
        self.seen: list[object] = [name, version, self.text]
        weather = self.root / f"weather_{name}"
        if weather.exists():
            # What no key and no record knows of.
            self.seen.append(weather.read_text())

    @property
    def number(self) -> int:
        return zlib.crc32(repr(self.seen).encode()) >> 3

    def executed(self, product: Callable[[], str]) -> None:
        """Note that it ran; die where a bomb was laid."""
        done = self.root / "executed"
        with open(done, "a") as log:
            log.write(f"{self.name} {self.text}\n")
        bomb = self.root / "bomb"
        if bomb.exists() and len(done.read_text().splitlines()) >= int(bomb.read_text()):
            Path(product()).write_text("half")
            os._exit(9)

    def read(self, paths: Iterable[str]) -> None:
        """Let the result depend on these files; their names hold ids, and don't count."""
        self.seen.append(sorted(Path(path).read_text() for path in paths))

    def read_one(self, find: Callable[[], str]) -> None:
        """Let the result depend on the file of the one ancestor task, if it is one and left any."""
        try:
            self.read(path for path in [find()] if os.path.exists(path))
        except SeveralTasksError as error:
            self.seen.append(str(error))

    def members(self, values: list[object]) -> None:
        """Let the result depend on the members of a class; which of them comes first is no reason to run again."""
        self.seen.append(sorted(map(str, values)))

    def write(self, path: str) -> None:
        """Leave a product."""
        Path(path).write_text(str(self.number))

    def fail(self) -> None:
        """Fail if it was told to."""
        if (self.root / f"fail_{self.name}_{self.text}").exists():
            raise RuntimeError("told to fail")
