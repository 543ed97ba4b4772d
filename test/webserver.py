"""Real servers of the web pages: processes of their own, asked over sockets."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from support import ENVIRONMENT


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


class Home:
    """A user's own directories, and the command ``pipeweb`` with them.

    Attributes
    ----------
    config, state
        Where the list of pipelines is, and log and pid file.
    port
        The one that `start` gives.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config"
        self.state = root / "state"
        self.port = free_port()
        self.environment = {
            **ENVIRONMENT, "PIPELET_CONFIG_DIR": str(self.config), "PIPELET_STATE_DIR": str(self.state)
        }

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "pipelet.cli.pipeweb", *map(str, words)]

    def typed(self, *words: object, where: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``pipeweb`` with these words to its end."""
        return subprocess.run(
            self.command(*words), cwd=where or self.root, env=self.environment, capture_output=True,
            text=True, check=False, timeout=120,
        )

    def start(self, *words: object) -> subprocess.CompletedProcess[str]:
        return self.typed("start", "--port", self.port, *words)

    @property
    def pid(self) -> int:
        """The process of the server that was started last."""
        (note,) = self.state.glob("pipeweb-*.json")
        found = re.search(r'"pid": (\d+)', note.read_text())
        assert found
        return int(found[1])

    @property
    def log(self) -> str:
        (log,) = self.state.glob("pipeweb-*.log")
        return log.read_text()

    def connection(self, tls: bool = False) -> http.client.HTTPConnection:
        if not tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)

    def get(self, address: str = "/login", tls: bool = False, **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, head and body of an answer."""
        with contextlib.closing(self.connection(tls)) as connection:
            connection.request("GET", address, headers=headers)
            answer = connection.getresponse()
            return answer.status, _head(answer), answer.read().decode()

    def log_in(
        self, name: str, password: str, base: str = "", tls: bool = False, **more: str
    ) -> tuple[int, dict[str, str]]:
        """Fill in the form; status and head of the answer."""
        _, head, page = self.get(f"{base}/login", tls, **more)
        (token,) = re.findall(r'name="token" value="([^"]*)"', page)
        form = urlencode({"name": name, "password": password, "token": token})
        kind = "application/x-www-form-urlencoded"
        headers = {"Cookie": head["set-cookie"].split(";")[0], "Content-Type": kind, **more}
        with contextlib.closing(self.connection(tls)) as connection:
            connection.request("POST", f"{base}/login", form, headers)
            answer = connection.getresponse()
            return answer.status, _head(answer)


def _head(answer: http.client.HTTPResponse) -> dict[str, str]:
    """The head of an answer; of several cookies the first, which is the session's."""
    return {key.lower(): value for key, value in reversed(answer.getheaders())}


@contextlib.contextmanager
def home_of(root: Path) -> Iterator[Home]:
    """A home whose server ends with the block."""
    home = Home(root)
    try:
        yield home
    finally:
        # not where a test may have put modules of its own
        stopped = home.typed("stop", where=Path("/"))
    if home.state.is_dir():
        assert stopped.returncode == 0, stopped.stderr


def certificate(directory: Path, name: str = "own") -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )
    os.chmod(key, 0o600)
    return cert, key
