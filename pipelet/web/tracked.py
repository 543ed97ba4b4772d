"""Which pipelines the web pages show."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Tracked(NamedTuple):
    """A pipeline that the web pages show."""

    name: str
    sqlfile: str  #: its database, absolute
    prefix: str  #: the root of its data, absolute


class Tracking(Protocol):
    """Gives the tracked pipelines."""

    def load(self) -> list[Tracked]:
        """List them by name, as they are now."""
        ...
