"""Every SQL statement on the tables, by name."""

from __future__ import annotations

from collections.abc import Mapping

from pipelet.core.model import DIGEST, Status
from pipelet.statusdb.rows import InstanceRow, QueuedTask, TaskRow

_INSTANCE_COLUMNS = ", ".join(InstanceRow._fields)
_TASK_COLUMNS = ", ".join(TaskRow._fields)
#: What is known of a task when it is queued; the rest follows with its result.
QUEUED_FIELDS = QueuedTask._fields[:-1]

SELECT_INSTANCES = f"SELECT {_INSTANCE_COLUMNS} FROM instance ORDER BY created DESC, id DESC"
SELECT_INSTANCES_OF = f"SELECT {_INSTANCE_COLUMNS} FROM instance WHERE segment = ? ORDER BY created DESC, id DESC"
SELECT_INSTANCE_BY_KEY = f"SELECT {_INSTANCE_COLUMNS} FROM instance WHERE key = ?"
SELECT_INSTANCE_BY_ID = f"SELECT {_INSTANCE_COLUMNS} FROM instance WHERE id = ?"
SELECT_TASK = f"SELECT {_TASK_COLUMNS} FROM task WHERE id = ?"
_TASK_PAGE = f"""
SELECT {_TASK_COLUMNS} FROM task
WHERE instance = ? AND id > ? AND current BETWEEN ? AND ?{{}} ORDER BY id LIMIT ?"""
#: The status stands in the text, not as an argument: only so SQLite sees that the partial index will do.
SELECT_TASK_PAGE: Mapping[Status | None, str] = {
    None: _TASK_PAGE.format(""),
    **{status: _TASK_PAGE.format(f" AND status = {status.value}") for status in Status},
}
SELECT_PLAN_PAGE = """
SELECT id, digest, status, current, place, text, parents, asked, aside, output IS NULL
FROM task WHERE instance = ? AND id > ? ORDER BY id LIMIT ?"""
SELECT_DIGEST_PAGE = "SELECT digest, id FROM task WHERE instance = ? AND id > ? ORDER BY id LIMIT ?"
_LISTED = "FROM json_each(?) AS listed CROSS JOIN task ON task.id = listed.value"
SELECT_PLAN_LISTED = f"""
SELECT task.id, digest, status, current, place, text, parents, asked, aside, output IS NULL {_LISTED}"""
SELECT_TASKS_LISTED = f"SELECT {', '.join(f'task.{name}' for name in TaskRow._fields)} {_LISTED}"
SELECT_QUEUED_LISTED = f"SELECT {', '.join(f'task.{name}' for name in QUEUED_FIELDS)} {_LISTED}"
SELECT_DIGESTS_LISTED = f"""
SELECT task.id, digests, output IS NULL {_LISTED} WHERE status = {Status.DONE.value}"""
#: Many rows as few long values: several times as fast as one by one. The ids tell that all are there, and in order.
# In digits, since up to SQLite 3.36 the function ends its value where the first byte is zero.
_COLUMN = "group_concat(hex({}), '')"
SELECT_STANDING = f"""
SELECT group_concat(id), {_COLUMN.format("digest")}, group_concat(parents, ' '), group_concat(place, '/') FROM (
    SELECT task.id AS id, digest, parents, coalesce(place, '') AS place {_LISTED}
    WHERE instance = ? AND status = {Status.DONE.value} AND current > 0 AND place IS NOT '' AND asked IS NULL)"""
SELECT_FALLEN = f"""
SELECT min(listed.key) {_LISTED.replace(" CROSS", " LEFT")}
WHERE NOT (instance = ? AND status = {Status.DONE.value} AND current > 0 AND place IS NOT '' AND asked IS NULL)
OR instance IS NULL"""
SELECT_ALL_IDS = "SELECT group_concat(id) FROM (SELECT id FROM task WHERE instance = ? ORDER BY id)"
SELECT_INPUTS_LISTED = f"SELECT digest, task.id {_LISTED}"
SELECT_SINGLES = f"""
SELECT group_concat(id), {_COLUMN.format("digests")} FROM (
    SELECT task.id AS id, digests {_LISTED}
    WHERE status = {Status.DONE.value} AND output IS NOT NULL AND length(digests) = {DIGEST})"""
#: Longer outputs are read one by one: many of them as one value may be more than SQLite, or the memory, can hold.
SHORT = 1024
SELECT_SINGLE_OUTPUTS = f"""
SELECT group_concat(id), {_COLUMN.format("digests")}, {_COLUMN.format("output")}, {_COLUMN.format("texts")} FROM (
    SELECT task.id AS id, digests, output, texts {_LISTED}
    WHERE status = {Status.DONE.value} AND length(output) <= {SHORT} AND length(digests) = {DIGEST}
    AND texts IS NOT NULL)"""
SELECT_DONE_DIGESTS = f"""
SELECT digest FROM task WHERE instance = ? AND status = {Status.DONE.value} AND current > 0"""
SELECT_IDS = "SELECT id FROM task WHERE instance = ? AND current = ?"
SELECT_IN_DATA = "SELECT id FROM task WHERE instance = ? AND place = ''"
#: As the index has it, so that SQLite sees that it will do.
_MARKED = "FROM task WHERE aside > 0 AND instance = ?"
SELECT_MARKED = f"SELECT id, aside {_MARKED} ORDER BY id"
COUNT_MARKED = f"SELECT count(*) {_MARKED} AND aside = ? AND current = 1"
SELECT_NAMED = "SELECT id, text FROM task WHERE instance = ? AND place <> '' ORDER BY id"
SELECT_SETTLED = "SELECT revision, mark FROM settled WHERE instance = ?"
ADD_REVISION = """
INSERT INTO settled (instance, revision) VALUES (?, 1)
ON CONFLICT (instance) DO UPDATE SET revision = revision + 1, mark = NULL"""
UPDATE_MARK = """
INSERT INTO settled (instance, revision, mark) VALUES (?, 0, ?)
ON CONFLICT (instance) DO UPDATE SET mark = excluded.mark"""
SELECT_PLACES = "SELECT DISTINCT place FROM task WHERE instance = ? AND current = 1 AND place IS NOT NULL"
SELECT_ANY_PARAM = "SELECT 1 FROM param LIMIT 1"
SELECT_OUTPUT_PAGE = f"""
SELECT id, id, output, digests, texts FROM task
WHERE instance = ? AND id > ? AND current = 1 AND status = {Status.DONE.value} ORDER BY id LIMIT ?"""
# CROSS JOIN: SQLite keeps that order of the tables, so that rows come in the order of the list.
SELECT_OUTPUTS_LISTED = f"""
SELECT listed.key, task.id, output, digests, texts FROM json_each(?) AS listed CROSS JOIN task ON task.id = listed.value
WHERE instance = ? AND status = {Status.DONE.value}"""
SELECT_PARAMS = """
SELECT task, name, value, text, exposed FROM param
WHERE task IN (SELECT value FROM json_each(?)) ORDER BY task, name"""
SELECT_TAGS = "SELECT instance, tag FROM tag"
SELECT_TALLY = "SELECT instance, status, n FROM tally ORDER BY instance, status"
SELECT_TALLY_OF = """
SELECT instance, status, n FROM tally
WHERE instance IN (SELECT value FROM json_each(?)) ORDER BY instance, status"""
SELECT_TASK_SET = "SELECT ids FROM task_set WHERE digest = ?"
SELECT_USERS = "SELECT name, level FROM user ORDER BY name"
SELECT_USER = "SELECT hash, level FROM user WHERE name = ?"

# The event of a task carries the fields of its row in order, but the instance: that is the last argument.
TASK_EVENT_FIELDS = tuple(name for name in TaskRow._fields if name != "instance")
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in TaskRow._fields if name != "id")

UPSERT_TASK = f"""
INSERT INTO task ({", ".join(TASK_EVENT_FIELDS)}, instance) VALUES ({", ".join("?" * len(TaskRow._fields))})
ON CONFLICT (id) DO UPDATE SET {_UPDATES}"""
# Arguments have no numbers: some versions of Python 3.12 warn of these where values come as a list.
_INSERT_QUEUED = f"""
INSERT INTO task (status, aside, instance, {", ".join(QUEUED_FIELDS)}) VALUES """
_QUEUED_ROW = f"({Status.QUEUED.value}, 0, ?, {', '.join('?' * len(QUEUED_FIELDS))})"
INSERT_QUEUED = _INSERT_QUEUED + _QUEUED_ROW
#: So many rows are written by each of the statements below with MANY in their names. SQLite compiles a statement with
#: so many arguments in a millisecond, and it took no more than 999 of them in versions that are still around.
MANY = 50
INSERT_MANY_QUEUED = _INSERT_QUEUED + ", ".join([_QUEUED_ROW] * MANY)
RESULT_FIELDS = (
    "status", "place", "output", "digests", "texts", "asked", "begun", "ended", "host", "pid", "error", "job",
)
UPDATE_RESULT = f"UPDATE task SET {', '.join(f'{name} = ?' for name in RESULT_FIELDS)} WHERE id = ?"
#: Most tasks make no directory, ask for nothing and meet no error.
PLAIN_FIELDS = ("output", "digests", "texts", "begun", "ended", "host", "pid", "id")
_PLAIN = f"status = {Status.DONE.value}, place = NULL, asked = NULL, error = NULL, job = NULL"
_PLAIN_ROW = f"({', '.join('?' * len(PLAIN_FIELDS))})"
UPDATE_PLAIN = f"""
UPDATE task SET {_PLAIN}, {", ".join(f"{name} = ?" for name in PLAIN_FIELDS[:-1])} WHERE id = ?"""
UPDATE_MANY_PLAIN = f"""
WITH result ({", ".join(PLAIN_FIELDS)}) AS (VALUES {", ".join([_PLAIN_ROW] * MANY)})
UPDATE task SET {_PLAIN}, {", ".join(f"{name} = result.{name}" for name in PLAIN_FIELDS[:-1])}
FROM result WHERE task.id = result.id"""
#: Many tasks have run in the same job.
UPDATE_JOB = "UPDATE task SET job = ? WHERE id IN (SELECT value FROM json_each(?))"
UPDATE_PARENTS_RANGE = "UPDATE task SET parents = ? WHERE id BETWEEN ? AND ? AND instance = ?"
UPDATE_PARENTS_LISTED = """
UPDATE task SET parents = ? WHERE id IN (SELECT value FROM json_each(?)) AND instance = ?"""
SELECT_STATES = """
SELECT id, instance, status, current FROM task WHERE id IN (SELECT value FROM json_each(?))"""
#: A task that is running shows since when; its result brings the exact time.
UPDATE_STATUS = f"""
UPDATE task SET status = ?, begun = CASE
    WHEN ? = {Status.RUNNING.value} AND status <> {Status.RUNNING.value} THEN ?
    WHEN ? = {Status.QUEUED.value} AND status = {Status.RUNNING.value} THEN NULL
    ELSE begun END
WHERE id = ?"""
UPDATE_CURRENT = "UPDATE task SET current = ? WHERE id = ? AND instance = ?"
#: The events that set one column of a task and nothing else. A journal speaks of its own instance's tasks: after a
#: rebuild a number that came on no record may have been given to another's.
UPDATE_COLUMN: Mapping[str, str] = {
    "parents": "UPDATE task SET parents = ? WHERE id = ? AND instance = ?",
    "asked": "UPDATE task SET asked = ? WHERE id = ? AND instance = ?",
    "aside": "UPDATE task SET aside = ? WHERE id = ? AND instance = ?",
    "place": "UPDATE task SET place = ? WHERE id = ? AND instance = ?",
}
DELETE_TASKS = "DELETE FROM task WHERE id IN (SELECT value FROM json_each(?))"
DELETE_PARAMS = "DELETE FROM param WHERE task IN (SELECT value FROM json_each(?))"
INSERT_PARAM = "INSERT OR REPLACE INTO param (task, name, value, text, exposed) VALUES (?, ?, ?, ?, ?)"
ADD_TO_TALLY = """
INSERT INTO tally (instance, status, n) VALUES (?, ?, ?)
ON CONFLICT (instance, status) DO UPDATE SET n = n + excluded.n"""
DELETE_ZERO_TALLIES = "DELETE FROM tally WHERE n = 0"
INSERT_TASK_SET = "INSERT OR REPLACE INTO task_set (digest, ids) VALUES (?, ?)"
INSERT_INSTANCE = "INSERT INTO instance (id, segment, key, path, parents, created) VALUES (?, ?, ?, ?, ?, ?)"
#: The events that set one column of an instance.
UPDATE_INSTANCE: Mapping[str, str] = {
    "whole": "UPDATE instance SET whole_task = ? WHERE id = ?",
    "wanted": "UPDATE instance SET wanted = ? WHERE id = ?",
    "waiting": "UPDATE instance SET waiting = ? WHERE id = ?",
    "journal_end": "UPDATE instance SET journal_end = ? WHERE id = ?",
}
DELETE_INSTANCE_PARAMS = "DELETE FROM param WHERE task IN (SELECT id FROM task WHERE instance = ?)"
#: All that belongs to an instance, in an order in which each statement still finds what it needs.
DELETE_INSTANCE: tuple[str, ...] = (
    DELETE_INSTANCE_PARAMS,
    "DELETE FROM task WHERE instance = ?",
    "DELETE FROM tally WHERE instance = ?",
    "DELETE FROM tag WHERE instance = ?",
    "DELETE FROM settled WHERE instance = ?",
    "DELETE FROM instance WHERE id = ?",
)
SELECT_LAST_TASK_ID = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'task'"
INSERT_TAG = "INSERT OR REPLACE INTO tag (instance, tag) VALUES (?, ?)"
DELETE_TAG = "DELETE FROM tag WHERE instance = ?"
INSERT_USER = "INSERT OR REPLACE INTO user (name, hash, level) VALUES (?, ?, ?)"
DELETE_USER = "DELETE FROM user WHERE name = ?"

SET_JOURNAL_MODE: Mapping[str, str] = {"wal": "PRAGMA journal_mode = WAL", "delete": "PRAGMA journal_mode = DELETE"}
READ_JOURNAL_MODE = "PRAGMA journal_mode"
# A log may lose its last commits when the power fails, never its consistency: the journals in the tree hold them.
SET_SYNCHRONOUS: Mapping[str, str] = {"wal": "PRAGMA synchronous = NORMAL", "delete": "PRAGMA synchronous = FULL"}
SET_BUSY_TIMEOUT = "PRAGMA busy_timeout = {milliseconds:d}"
SET_CACHE_SIZE = "PRAGMA cache_size = -4096"
