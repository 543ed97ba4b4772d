"""Users, levels and passwords."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelet import accounts
from pipelet.errors import AccountError, DatabaseError, MissingDatabaseError, MissingPackageError
from pipelet.statusdb import Writer

argon2 = pytest.importorskip("argon2")
pytestmark = pytest.mark.dear_passwords


@pytest.fixture
def sqlfile(tmp_path: Path) -> Path:
    path = tmp_path / ".sqlstatus"
    Writer.open(path).close()
    return path


def stored(sqlfile: Path) -> list[Any]:
    with closing(sqlite3.connect(sqlfile)) as connection:
        return connection.execute("SELECT name, hash, level FROM user").fetchall()


def test_the_life_of_a_user(sqlfile: Path) -> None:
    accounts.add_user(sqlfile, "Lancelot", 1, "Guenièvre")
    accounts.add_user(sqlfile, "Sir Robin", 2, "brave")
    assert accounts.users(sqlfile) == {"Lancelot": 1, "Sir Robin": 2}
    assert accounts.check_password(sqlfile, "Lancelot", "Guenièvre") == 1
    assert accounts.check_password(sqlfile, "Lancelot", "brave") is None
    accounts.add_user(sqlfile, "Lancelot", 2, "Elaine")
    assert accounts.check_password(sqlfile, "Lancelot", "Guenièvre") is None
    assert accounts.check_password(sqlfile, "Lancelot", "Elaine") == 2
    accounts.remove_user(sqlfile, "Lancelot")
    assert accounts.check_password(sqlfile, "Lancelot", "Elaine") is None
    assert accounts.users(sqlfile) == {"Sir Robin": 2}


def test_only_a_salted_argon2id_hash_is_stored(sqlfile: Path) -> None:
    accounts.add_user(sqlfile, "a", 1, "the same")
    accounts.add_user(sqlfile, "b", 1, "the same")
    (_, first, _), (_, second, _) = stored(sqlfile)
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert first != second
    assert b"the same" not in sqlfile.read_bytes()


def test_one_word_however_it_is_typed(sqlfile: Path) -> None:
    accounts.add_user(sqlfile, "Andre\u0301", 1, "caf\u00e9")
    assert accounts.check_password(sqlfile, "Andr\u00e9", "cafe\u0301") == 1


@pytest.mark.parametrize("name", ["", "  ", " x", "x ", "a\nb", "a\0b", "a\x7fb", "a\u202eb", "a\udcffb"])
def test_names_that_are_refused(sqlfile: Path, name: str) -> None:
    with pytest.raises(AccountError, match="name"):
        accounts.add_user(sqlfile, name, 1, "x")
    with pytest.raises(AccountError, match="name"):
        accounts.remove_user(sqlfile, name)
    assert stored(sqlfile) == []


@pytest.mark.parametrize("level", [0, 3, -1, True, "1", None])
def test_levels_that_are_refused(sqlfile: Path, level: Any) -> None:
    with pytest.raises(AccountError, match=r"level must be 1 .* or 2"):
        accounts.add_user(sqlfile, "x", level, "x")
    assert stored(sqlfile) == []


def test_an_empty_password_is_refused(sqlfile: Path) -> None:
    with pytest.raises(AccountError, match="must not be empty"):
        accounts.add_user(sqlfile, "x", 1, "")


def test_an_unknown_user(sqlfile: Path) -> None:
    with pytest.raises(AccountError, match=r"no user 'Zoot' in .*known: nobody"):
        accounts.remove_user(sqlfile, "Zoot")


def test_unknown_names_cost_the_same_work(sqlfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.add_user(sqlfile, "Arthur", 1, "x")
    checked: list[Any] = []
    verify = argon2.PasswordHasher.verify

    def watched(self: Any, stored_hash: str, password: bytes) -> bool:
        checked.append(argon2.extract_parameters(stored_hash))
        return bool(verify(self, stored_hash, password))

    monkeypatch.setattr(argon2.PasswordHasher, "verify", watched)
    for name in ("Arthur", "Zoot", "", "a\0b", "a\udcffb", "\ud800"):
        assert accounts.check_password(sqlfile, name, "wrong \udcff\ud800") is None
    assert len(checked) == 6
    assert len(set(map(repr, checked))) == 1


def test_a_hash_that_cannot_be_read(sqlfile: Path) -> None:
    for spoiled in ("plain text", "$argon2id$v=19$m=65536,t=3,p=4$short$x"):
        with Writer.open(sqlfile) as writer:
            writer.put_user("Arthur", spoiled, 1)
        with pytest.raises(AccountError, match="set it anew with `pipeutils -a Arthur -l 1 SQLFILE`"):
            accounts.check_password(sqlfile, "Arthur", "x")


def test_no_database_is_made(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(MissingDatabaseError, match="run the pipeline first"):
        accounts.add_user(path, "x", 1, "x")
    with pytest.raises(MissingDatabaseError):
        accounts.remove_user(path, "x")
    with pytest.raises(MissingDatabaseError):
        accounts.check_password(path, "x", "x")
    assert not path.exists()
    path.write_text("no database at all")
    with pytest.raises(DatabaseError, match="no SQLite database"):
        accounts.add_user(path, "x", 1, "x")


def test_accounts_beside_a_run(sqlfile: Path) -> None:
    with Writer.open(sqlfile, "wal") as run:
        run.set_tag(1, "x")
        accounts.add_user(sqlfile, "Arthur", 1, "x")
        assert run.users() == {"Arthur": 1}
        assert run._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_without_the_package(sqlfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argon2", None)
    with pytest.raises(MissingPackageError, match="pip install argon2-cffi"):
        accounts.add_user(sqlfile, "x", 1, "x")
    assert stored(sqlfile) == []
    with pytest.raises(MissingPackageError):
        accounts.check_password(sqlfile, "x", "x")
