"""The tables of the status database, and the ordered changes that led to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from pipelet.errors import ForeignDatabaseError, NewerDatabaseError

#: "Pipl": it stands in the head of each of our files, so that nobody else's is ever taken for one.
APPLICATION_ID = 0x5069706C

READ_APPLICATION_ID = "PRAGMA application_id"
READ_USER_VERSION = "PRAGMA user_version"
READ_TABLE_NAMES = "SELECT name FROM sqlite_master"
# Pragmas take no bound parameters; both values are our own integers.
WRITE_APPLICATION_ID = f"PRAGMA application_id = {APPLICATION_ID}"
WRITE_USER_VERSION = "PRAGMA user_version = {version:d}"
BEGIN_IMMEDIATE = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"

# AUTOINCREMENT: an id that was once given is never given again, so that a record never points at somebody else.
CREATE_INSTANCE = """
CREATE TABLE instance (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    segment TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL UNIQUE,
    parents TEXT NOT NULL,
    created REAL NOT NULL,
    whole_task INTEGER,
    wanted BLOB,
    journal_end INTEGER NOT NULL DEFAULT 0,
    waiting TEXT
)"""
CREATE_TAG = "CREATE TABLE tag (instance INTEGER PRIMARY KEY, tag TEXT NOT NULL)"
# The small columns come first: SQLite walks through all pages of a large value to reach what stands behind it.
CREATE_TASK = """
CREATE TABLE task (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instance INTEGER NOT NULL,
    status INTEGER NOT NULL,
    current INTEGER NOT NULL,
    digest BLOB NOT NULL,
    place TEXT,
    text TEXT NOT NULL,
    parents TEXT NOT NULL,
    asked TEXT,
    begun REAL,
    ended REAL,
    host TEXT,
    pid INTEGER,
    aside INTEGER NOT NULL,
    error TEXT,
    digests BLOB,
    texts BLOB,
    input BLOB,
    output BLOB
)"""
INDEX_TASK_INSTANCE = "CREATE INDEX task_instance ON task (instance)"
# The few that are looked for among the many; an index on all statuses would cost more at each change than it gives.
INDEX_TASK_TROUBLED = "CREATE INDEX task_troubled ON task (instance) WHERE status = 1 OR status = 3"
# The last two columns are there to be counted without a look at the tasks.
INDEX_TASK_MARKED = "CREATE INDEX task_marked ON task (instance, aside, current) WHERE aside > 0"
ADD_TASK_JOB = "ALTER TABLE task ADD COLUMN job TEXT"
CREATE_TASK_SET = "CREATE TABLE task_set (digest TEXT PRIMARY KEY, ids TEXT NOT NULL) WITHOUT ROWID"
CREATE_PARAM = """
CREATE TABLE param (
    task INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB,
    text TEXT,
    exposed INTEGER NOT NULL,
    PRIMARY KEY (task, name)
) WITHOUT ROWID"""
CREATE_TALLY = """
CREATE TABLE tally (
    instance INTEGER NOT NULL,
    status INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (instance, status)
) WITHOUT ROWID"""
CREATE_USER = "CREATE TABLE user (name TEXT PRIMARY KEY, hash TEXT NOT NULL, level INTEGER NOT NULL) WITHOUT ROWID"

# What the next run may skip: how often the tasks of an instance were changed, and the state in which a run found
# nothing to do. It can always be made anew, so it is in no journal.
CREATE_SETTLED = """
CREATE TABLE settled (
    instance INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    mark TEXT
)"""


class Migration(NamedTuple):
    """One change of the tables, from a version to the next."""

    #: What it does, for the people who read this list.
    sentence: str
    statements: tuple[str, ...]


#: The change at position n leads from version n to n + 1. Only ever append: these have run on users' files.
MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "The first tables: instances with their tags, tasks with their parameters, tallies by status, and accounts.",
        (
            CREATE_INSTANCE,
            CREATE_TAG,
            CREATE_TASK,
            INDEX_TASK_INSTANCE,
            INDEX_TASK_TROUBLED,
            CREATE_TASK_SET,
            CREATE_PARAM,
            CREATE_TALLY,
            CREATE_USER,
        ),
    ),
    Migration("What the next run may skip.", (CREATE_SETTLED,)),
    Migration("Which tasks somebody has marked.", (INDEX_TASK_MARKED,)),
    Migration("Which job of a batch system ran a task.", (ADD_TASK_JOB,)),
)

_PIPELET_1_TABLES = frozenset({"segments", "tasks"})


def newest_version() -> int:
    """Return the version of the tables that this code works with."""
    return len(MIGRATIONS)


def read_version(connection: sqlite3.Connection, sqlfile: str) -> int:
    """Tell which version of our tables a database has, without changing it.

    Parameters
    ----------
    connection
        An open connection; read permission is enough.
    sqlfile
        The name for messages.

    Returns
    -------
    int
        From 1 on; 0 for a database in which nothing was ever made.

    Raises
    ------
    NewerDatabaseError
        A newer version of Pipelet made it.
    ForeignDatabaseError
        Something else made it, or Pipelet 1.
    """
    (application,) = connection.execute(READ_APPLICATION_ID).fetchone()
    (version,) = connection.execute(READ_USER_VERSION).fetchone()
    if application == APPLICATION_ID:
        if version > newest_version():
            raise NewerDatabaseError(
                f"{sqlfile} was made by a newer version of Pipelet (its tables have version {version}, this Pipelet"
                f" knows {newest_version()}). It is left as it is: update Pipelet, or give another file (sqlfile=..."
                " of Pipeline), which `pipeutils -r PREFIX SQLFILE` fills from the tree."
            )
        return int(version)
    tables = {name for (name,) in connection.execute(READ_TABLE_NAMES)}
    if not tables and application == 0 and version == 0:
        return 0
    if tables >= _PIPELET_1_TABLES:
        raise ForeignDatabaseError(
            f"{sqlfile} is a status database of Pipelet 1, which this version does not read. It is left as it is:"
            " give another file (sqlfile=... of Pipeline); `pipeutils -r PREFIX SQLFILE` fills one from a tree of this"
            " version."
        )
    raise ForeignDatabaseError(
        f"{sqlfile} is an SQLite database of another program, not a status database of Pipelet. It is left as it is:"
        " give another file (sqlfile=... of Pipeline); if a tree is there already, `pipeutils -r PREFIX SQLFILE` makes"
        " its database under the new name."
    )


def migrate(
    connection: sqlite3.Connection, sqlfile: str, migrations: Sequence[Migration] | None = None
) -> tuple[int, int]:
    """Bring the tables to the newest version, one transaction a change.

    A change and its record (``user_version``) are in one transaction: whatever happens, a database has the tables that
    its version says.

    Parameters
    ----------
    connection
        With ``isolation_level=None``, and not in a transaction.
    sqlfile
        The name for messages.
    migrations
        The ordered changes; `MIGRATIONS` unless given.

    Returns
    -------
    tuple of int
        The versions before and after.

    Raises
    ------
    NewerDatabaseError, ForeignDatabaseError
        See `read_version`.
    sqlite3.Error
        A change failed: the database stays at the version before it.
    """
    changes = MIGRATIONS if migrations is None else migrations
    before = version = read_version(connection, sqlfile)
    while version < len(changes):
        connection.execute(BEGIN_IMMEDIATE)
        try:
            # Read again, since another process may have made the change while this one waited for the lock.
            version = read_version(connection, sqlfile)
            if version < len(changes):
                for statement in changes[version].statements:
                    connection.execute(statement)
                version += 1
                connection.execute(WRITE_APPLICATION_ID)
                connection.execute(WRITE_USER_VERSION.format(version=version))
            connection.execute(COMMIT)
        except BaseException:
            # A full disk makes SQLite roll back by itself.
            if connection.in_transaction:
                connection.execute(ROLLBACK)
            raise
    return before, version
