"""The accounts of the web pages: names, levels and password hashes, in the status database."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING

from pipelet.errors import AccountError, MissingPackageError
from pipelet.statusdb import Reader, Writer

if TYPE_CHECKING:
    from argon2 import PasswordHasher

#: Level 1 reads, level 2 also writes.
LEVELS = (1, 2)

# Spelled out, so that an update of the package can't make known and unknown names cost differently.
TIME_COST, MEMORY_COST, PARALLELISM = 3, 65536, 4

#: The hash of a random password that nobody kept: it is checked where there is no such user.
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$KfZoZz8aJfW+rqOfj3STFg$9+gQE6zw228KEb1/Tx4F0H/eREivdWifW4LyLWholfo"


def _hasher() -> PasswordHasher:
    # Imported here: only what deals with passwords needs the package.
    try:
        from argon2 import PasswordHasher, Type
    except ImportError as error:
        raise MissingPackageError(
            "accounts need the package argon2-cffi, which is not installed: pip install argon2-cffi"
        ) from error
    return PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_COST, parallelism=PARALLELISM, type=Type.ID)


def _composed(text: str) -> str:
    """Give one form to what keyboards and terminals send in several."""
    return unicodedata.normalize("NFC", text)


def _checked_name(name: str) -> str:
    name = _composed(name)
    if not name.strip():
        raise AccountError("a user's name must not be empty")
    if name != name.strip():
        raise AccountError(f"the user's name {name!r} begins or ends with a blank: leave that out")
    bad = [character for character in name if unicodedata.category(character).startswith("C")]
    if bad:
        raise AccountError(f"the user's name {name!r} has a control character ({bad[0]!r}): leave it out")
    return name


def add_user(sqlfile: str | os.PathLike[str], name: str, level: int, password: str) -> None:
    """Add a user, or change level and password of the one of this name.

    Parameters
    ----------
    sqlfile
        The status database, which must exist.
    name
        Not empty, without control characters.
    level
        1 reads, 2 also writes.
    password
        Not empty.

    Raises
    ------
    AccountError
        The name, the level or the password is not allowed.
    DatabaseError
        The database is missing or can't be written.
    MissingPackageError
        The package ``argon2-cffi`` is not installed.
    """
    name = _checked_name(name)
    if isinstance(level, bool) or level not in LEVELS:
        raise AccountError(f"the level must be 1 (reads) or 2 (also writes), not {level!r}")
    if not password:
        raise AccountError("the password must not be empty")
    hasher = _hasher()
    with Writer.open(sqlfile, "keep", create=False) as writer:
        writer.put_user(name, hasher.hash(_encoded(password)), int(level))


def remove_user(sqlfile: str | os.PathLike[str], name: str) -> None:
    """Remove a user.

    Parameters
    ----------
    sqlfile
        The status database, which must exist.
    name
        Who is to go.

    Raises
    ------
    AccountError
        There is no such user.
    DatabaseError
        The database is missing or can't be written.
    """
    name = _checked_name(name)
    with Writer.open(sqlfile, "keep", create=False) as writer:
        if not writer.delete_user(name):
            known = ", ".join(writer.users()) or "nobody"
            raise AccountError(f"there is no user {name!r} in {writer.sqlfile}; known: {known}")


def check_password(sqlfile: str | os.PathLike[str], name: str, password: str) -> int | None:
    """Check a password, with the same work for names that don't exist.

    Parameters
    ----------
    sqlfile
        The status database; read permission is enough.
    name, password
        What somebody typed; anything may come.

    Returns
    -------
    int or None
        The level of the user; None where the name or the password is wrong.

    Raises
    ------
    AccountError
        The stored hash of this user can't be read.
    DatabaseError
        The database is missing or can't be read.
    MissingPackageError
        The package ``argon2-cffi`` is not installed.
    """
    _hasher()
    with Reader.open(sqlfile) as reader:
        found = reader.user(_composed(name)) if _can_be_stored(name) else None
    stored, level = found or (NOBODY, 0)
    try:
        right = verify(stored, password)
    except AccountError as error:
        raise AccountError(
            f"the stored password of {name!r} can't be read ({error}): set it anew with"
            f" `pipeutils -a {name} -l {level} SQLFILE`"
        ) from error
    return level if found and right else None


def verify(stored: str, password: str) -> bool:
    """Compare a password with a stored hash, which takes a good part of a second.

    Parameters
    ----------
    stored
        The hash.
    password
        What somebody typed.

    Returns
    -------
    bool
        Whether it is the right one.

    Raises
    ------
    AccountError
        The hash can't be read.
    MissingPackageError
        The package ``argon2-cffi`` is not installed.
    """
    hasher = _hasher()
    from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

    try:
        return hasher.verify(stored, _encoded(password))
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError) as error:
        raise AccountError(str(error) or "no hash of argon2") from error


def typed_name(name: str) -> str:
    """Give a user's name in the form in which names are stored."""
    return _composed(name)


def users(sqlfile: str | os.PathLike[str]) -> dict[str, int]:
    """List the users.

    Parameters
    ----------
    sqlfile
        The status database.

    Returns
    -------
    dict
        From the name to the level.

    Raises
    ------
    DatabaseError
        The database is missing or can't be read.
    """
    with Reader.open(sqlfile) as reader:
        return reader.users()


def _can_be_stored(name: str) -> bool:
    """Tell whether a name can be looked up: a lone surrogate, as undecodable bytes give, can't."""
    return not any(unicodedata.category(character) == "Cs" for character in name)


def _encoded(password: str) -> bytes:
    # What a terminal could not decode comes as lone surrogates, and must not be an error here.
    return _composed(password).encode("utf-8", "surrogatepass")
