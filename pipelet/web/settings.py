"""How the server of the web pages was told to run."""

from __future__ import annotations

from dataclasses import dataclass

#: Addresses that nobody on another machine can reach.
_LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """How the server runs.

    Attributes
    ----------
    host, port
        Where it listens.
    cert, key
        Files for TLS; without them it speaks plain HTTP.
    base_path
        What stands before every path where a proxy forwards to it, ``/user/ada/proxy``; empty without.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    cert: str | None = None
    key: str | None = None
    base_path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in _LOOPBACK or self.host.startswith("127.")

    @property
    def is_secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.cert is not None
