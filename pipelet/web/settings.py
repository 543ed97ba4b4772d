"""What the server of the web pages is told, and where its own files are."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
from dataclasses import asdict, dataclass, field, replace

from pipelet.errors import WebError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080

#: Seconds that a page waits for a database which somebody has locked: it keeps a thread from all others.
DATABASE_PATIENCE = 3.0

#: The first words of our own addresses: a base path that begins with one of them could be taken for a page.
OUR_WORDS = ("p", "static", "login", "logout")

_STEP = re.compile(r"[A-Za-z0-9._~@+-]+")


def _directory(own: str, general: str, home: str) -> str:
    # A relative path would depend on where somebody stands; the standard for XDG_* has it ignored.
    chosen = os.environ.get(own)
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    base = os.environ.get(general, "")
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser(home), "pipelet")


def config_directory() -> str:
    """Give the directory of the list of tracked pipelines (``PIPELET_CONFIG_DIR``, ``XDG_CONFIG_HOME``)."""
    return _directory("PIPELET_CONFIG_DIR", "XDG_CONFIG_HOME", "~/.config")


def state_directory() -> str:
    """Give the directory of the server's log and pid file (``PIPELET_STATE_DIR``, ``XDG_STATE_HOME``)."""
    return _directory("PIPELET_STATE_DIR", "XDG_STATE_HOME", "~/.local/state")


def make_private(directory: str) -> None:
    """Make a directory that only its owner may look into, unless it is there.

    Raises
    ------
    WebError
        It can't be made.
    """
    try:
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        os.mkdir(directory, 0o700)
    except OSError as error:
        if os.path.isdir(directory):
            return
        if os.path.lexists(directory):
            raise WebError(f"{directory} should be a directory, and is a file: move it away") from None
        raise WebError(f"can't make the directory {directory}: {error.strerror or error}") from error


@dataclass(frozen=True)
class Settings:
    """How the server listens.

    Attributes
    ----------
    host, port
        Where; port 0 is any that is free.
    cert, key
        Files with the certificate and the key of TLS; both or none.
    base_path
        What comes before all addresses of the pages as the browser sees them, as ``/user/ada/proxy/8080``; empty for
        nothing.
    proxy
        The addresses of proxies whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
    config, state
        The directories of the list of pipelines, and of log and pid file.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    cert: str | None = None
    key: str | None = None
    base_path: str = ""
    proxy: tuple[str, ...] = ()
    config: str = field(default_factory=config_directory)
    state: str = field(default_factory=state_directory)

    @property
    def is_secure(self) -> bool:
        """Whether this server itself speaks TLS."""
        return self.cert is not None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def cookie(self) -> str:
        """The name of the session's cookie.

        A browser sends the cookies of a host to all its ports, and through tunnels many servers are ``localhost``: so
        each server has its own name. With the prefix nobody can set it over a connection without TLS.
        """
        text = "\0".join((socket.gethostname(), str(os.getuid()), self.state, str(self.port)))
        name = f"pipelet-{hashlib.blake2b(os.fsencode(text), digest_size=4).hexdigest()}"
        return name if not self.is_secure else f"__Secure-{name}" if self.base_path else f"__Host-{name}"

    @property
    def is_personal(self) -> bool:
        """Whether visitors sit at this machine, and may be told of its files."""
        return self.is_loopback and not self.proxy and not self.base_path

    def url(self, port: int = 0) -> str:
        """Give the address to open in a browser.

        Parameters
        ----------
        port
            The one that it listens at, if it was chosen by the system.

        Returns
        -------
        str
            With the base path and a slash at the end.
        """
        host = self.host
        if host == DEFAULT_HOST:
            host = "localhost"
        elif is_wildcard(host):
            host = socket.getfqdn()
        elif ":" in host:
            host = f"[{host}]"
        return f"{'https' if self.is_secure else 'http'}://{host}:{port or self.port}{self.base_path}/"

    def to_json(self) -> str:
        """Give them as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read what `to_json` gave."""
        values = json.loads(text)
        return cls(**{**values, "proxy": tuple(values["proxy"])})


def is_wildcard(host: str) -> bool:
    """Tell whether a host to listen on stands for all the addresses of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether a host is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked(settings: Settings) -> Settings:
    """Look at settings as somebody typed them; give them in one form.

    Raises
    ------
    WebError
        Something can't be meant so.
    """
    if not 0 <= settings.port <= 65535:
        raise WebError(f"there is no port {settings.port}: give one from 1024 to 65535, or 0 for any that is free")
    if not settings.cert or not settings.key:
        if settings.cert is not None or settings.key is not None:
            raise WebError("TLS needs both: --cert with the certificate and --key with its key")
    else:
        tls_context(settings.cert, settings.key)
    for address in settings.proxy:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise WebError(f"--proxy takes the address of the proxy, as in 10.0.0.7, not {address!r}") from None
    return replace(settings, base_path=checked_base_path(settings.base_path))


def checked_base_path(path: str) -> str:
    """Give a base path with a slash at its beginning and none at its end; an empty one stays empty.

    Raises
    ------
    WebError
        It can't be told from the addresses of pages, or has a character that does not belong there.
    """
    steps = [step for step in path.split("/") if step]
    for step in steps:
        if not _STEP.fullmatch(step) or step in (".", ".."):
            raise WebError(f"--base-path {path}: {step!r} can't be a part of it; letters, digits and ._~@+- can")
    if steps and steps[0] in OUR_WORDS:
        raise WebError(f"--base-path {path}: it must not begin with /{steps[0]}, where the pages themselves are")
    return "".join(f"/{step}" for step in steps)


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """Load certificate and key; no password is asked for.

    Raises
    ------
    WebError
        They can't be read, or do not belong together.
    """
    for option, path in (("--cert", cert), ("--key", key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise WebError(f"{option} {path} can't be read: {error.strerror or error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _PasswordWanted:
        raise WebError(
            f"the key {key} is locked with a password, which nobody could type at a start: write one without, as"
            f" `openssl pkey -in {key} -out KEY` does, readable by you alone"
        ) from None
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise WebError(f"the key {key} does not belong to the certificate {cert}") from error
        raise WebError(
            f"{cert} and {key} can't be used for TLS ({error.reason or error}): both must be PEM files, which begin"
            " with -----BEGIN"
        ) from error
    return context


class _PasswordWanted(Exception):
    """A key is encrypted."""


def _no_password() -> str:
    raise _PasswordWanted
