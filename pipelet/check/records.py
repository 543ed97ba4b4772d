"""One instance in the database, compared with its journal and its other files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from pipelet.check.replay import ASIDE, CURRENT, PARTS, STATUS, Replay, State, params_of, replay, state_of
from pipelet.check.report import Report, counted, some
from pipelet.core.model import Status
from pipelet.core.parents import task_set_name
from pipelet.core.text import task_name
from pipelet.errors import DamagedDatabaseError
from pipelet.meta import parameters_text
from pipelet.statusdb import InstanceRow, Reader, TaskRow, unpack_ids
from pipelet.storage import Tree

_ENDED = (Status.DONE, Status.FAILED)
_PAGE = 1000
SUPERSEDED, CURRENT_VERSION = 0, 1


class Light(NamedTuple):
    """A task without its large values."""

    id: int
    status: int
    current: int
    place: str | None
    text: str
    ended: float | None = None

    @property
    def name(self) -> str:
        """The name of its directory, if it has one of its own."""
        return task_name(self.id, self.text)


class Comparison:
    """What is found out about one instance while its rows go by.

    Parameters
    ----------
    tree, reader
        The two sides.
    row
        The instance.
    report
        Takes the findings.
    """

    def __init__(self, tree: Tree, reader: Reader, row: InstanceRow, report: Report) -> None:
        self._tree = tree
        self._reader = reader
        self.row = row
        self._report = report
        self.tasks: list[Light] = []
        self._sets: set[str] = set()

    def _add(self, kind: str, what: str, cure: str, mendable: bool = True) -> None:
        self._report.add(kind, self.row.path, what, cure, mendable)

    # --- the journal ---------------------------------------------------------------------------------------------

    def journal(self) -> Replay | None:
        """Read the journal; gives it if it can be compared with the rows."""
        row = self.row
        told = replay(self._tree.journal(row.path), row.journal_end)
        known = f"the database knows it up to byte {row.journal_end}"
        if told.damage == "damaged" or told.damage.startswith("can't"):
            words = f"its journal can be read only up to byte {told.end} of {told.size}, and {known}"
            if told.damage == "damaged":
                cure = "writes it anew from the database, and keeps the old file beside it"
                self._add("journal-damaged", words, cure)
            else:
                self._add("journal-unreadable", f"{words} ({told.damage})", "let it be read", mendable=False)
            return None
        if told.damage:
            words = f"its journal has {told.damage}"
            self._add("journal-newer", words, "use the newer version that wrote it", mendable=False)
            return None
        if told.end < row.journal_end:
            cure = "writes it anew from the database"
            state = f"ends at byte {told.end}" if told.size else "is missing"
            self._add("journal-short", f"its journal {state}, and {known}", cure)
            return None
        if told.end < told.size:
            words = f"the last {counted(told.size - told.end, 'byte')} of its journal are torn"
            self._add("torn", words, "cuts them off: nothing that was done is in them")
        if not told.bounded:
            self._add("rows", f"{known}, where no entry of it ends", "reads the whole journal again")
            return None
        if told.end > row.journal_end:
            words = f"its journal has {counted(told.end - row.journal_end, 'byte')} that the database has not read"
            self._add("journal-long", words, "takes them over into the database")
        return told

    # --- the rows ------------------------------------------------------------------------------------------------

    def rows(self, told: Replay | None, any_params: bool, tick: Callable[[int], None]) -> None:
        """Go through the tasks once, and compare each with the journal."""
        differing: dict[str, list[str]] = {}
        unjournalled: list[str] = []
        missing = dict.fromkeys(told.tasks) if told is not None else {}
        for row, state in self._states(any_params and told is not None, tick):
            light = Light(row.id, row.status, row.current, row.place, row.text, row.ended)
            self.tasks.append(light)
            if '"' in row.parents:
                self._sets.update(name for name in json.loads(row.parents) if isinstance(name, str))
            if told is None:
                continue
            missing.pop(row.id, None)
            said = told.tasks.get(row.id)
            if said is None:
                if row.status in _ENDED:
                    unjournalled.append(light.name)
            elif parts := difference(state, said):
                differing.setdefault(parts, []).append(light.name)
        self._tell_rows(differing, unjournalled, list(missing))
        if told is not None:
            self._columns(told)

    def _states(self, with_params: bool, tick: Callable[[int], None]) -> Iterator[tuple[TaskRow, State]]:
        rows = self._reader.tasks(self.row.id, current=None)
        while page := list(islice(rows, _PAGE)):
            params = self._reader.params([row.id for row in page]) if with_params else {}
            for row in page:
                yield row, state_of(row, params_of(params.get(row.id, ())))
            tick(len(page))

    def _tell_rows(self, differing: Mapping[str, list[str]], unjournalled: list[str], missing: list[int]) -> None:
        again = "takes over what the journal says"
        for parts, names in differing.items():
            words = f"{counted(len(names), 'task')} differ from the journal in {parts}: {some(names)}"
            self._add("rows", words, again)
        if missing:
            words = f"{counted(len(missing), 'task')} of the journal are not in the database: {some(map(str, missing))}"
            self._add("rows", words, again)
        if unjournalled:
            words = f"{counted(len(unjournalled), 'task')} of the database are not in the journal: {some(unjournalled)}"
            self._add("unjournalled", words, "writes them to the journal")

    def _columns(self, told: Replay) -> None:
        row = self.row
        pairs = (
            ("the task that has data/ itself", row.whole_task, told.whole),
            ("the list of wanted tasks", row.wanted, told.wanted),
            ("why it waits", row.waiting, told.waiting),
        )
        differing = [name for name, mine, said in pairs if mine != said]
        if differing:
            words = f"its row differs from the journal in {' and '.join(differing)}"
            self._add("rows", words, "takes over what the journal says")

    # --- what is made of the rows --------------------------------------------------------------------------------

    def task_sets(self) -> None:
        """Look for the sets of tasks that rows refer to."""
        bad = []
        for name in sorted(self._sets):
            ids = self._reader.task_set(name)
            if ids is None or task_set_name(ids) != name:
                bad.append(name)
        if bad:
            words = f"{counted(len(bad), 'set')} of parent tasks are missing or changed in the database: {some(bad)}"
            self._add("sets", words, "reads the journals again")

    def tally(self, tally: Mapping[Status, int]) -> None:
        """Compare the counts with the rows."""
        counted_now = Counter(Status(task.status) for task in self.tasks if task.current == CURRENT_VERSION)
        if dict(tally) != dict(counted_now):
            self._add("tally", f"its tally says {_tally(tally)}, and there are {_tally(counted_now)}", "counts again")

    def running(self) -> None:
        """Look for tasks that are said to run, though no run is there."""
        names = [task.name for task in self.tasks if task.status == Status.RUNNING]
        if names:
            words = f"{counted(len(names), 'task')} are recorded as running, and no run is there: {some(names)}"
            self._add("running", words, "sets them back to queued; the next run would, too")

    def wanted(self) -> list[int]:
        """Look at the list of the wanted tasks; gives those that are there."""
        if not self.row.wanted:
            return []
        known = {task.id for task in self.tasks}
        try:
            ids = unpack_ids(self.row.wanted)
        except DamagedDatabaseError:
            cure = "makes it of the tasks that are current"
            self._add("wanted", "the list of the tasks that the last run wanted can't be read", cure)
            return []
        strangers = [task for task in ids if task not in known]
        if strangers:
            words = f"the last run wanted {counted(len(strangers), 'task')} that no record knows"
            self._add("wanted", f"{words}: {some(map(str, strangers))}", "takes them off the list")
        return [task for task in ids if task in known]

    def tag(self, tag: str | None) -> None:
        """Compare the tag with its file."""
        file = self._tree.read_tag(self.row.path) or None
        if file != tag:
            words = f"its tag is {file or 'none'} in the tree, and {tag or 'none'} in the database"
            self._add("tag", words, "takes over the tree's")

    def args(self, wanted: list[int]) -> None:
        """Compare the parameters with the file that people read."""
        if any(task.status not in _ENDED for task in self.tasks if task.current == CURRENT_VERSION):
            # It is written when all of the tasks have ended.
            return
        file = self._tree.read_args(self.row.path)
        expected = expected_args(self._reader, self.tasks, wanted)
        if file == expected or (file is not None and self._was_true(file)):
            return
        words = "the file of its parameters (.args) is missing" if file is None else "its .args has other parameters"
        self._add("args", f"{words} than the database" if file is not None else words, "writes it anew")

    def _was_true(self, file: str) -> bool:
        """Whether each value is on record: a run that executes nothing leaves the file as it was."""
        names = {task.name: task.id for task in self.tasks}
        values: dict[int, dict[str, str]] = {
            task: {item.name: one_line(item.text) for item in items}
            for task, items in self._reader.params(names.values()).items()
        }
        anywhere = {pair for params in values.values() for pair in params.items()}
        section = None
        for line in filter(None, file.splitlines()):
            name, equals, value = line.partition(" = ")
            if not equals and line.startswith("[") and line.endswith("]"):
                section = names.get(line[1:-1])
                if section is None:
                    return False
                continue
            known = anywhere if section is None else values.get(section, {}).items()
            if (name, value) not in known:
                return False
        return True


def expected_args(reader: Reader, tasks: list[Light], wanted: list[int]) -> str | None:
    """What the file of the parameters says when a run has just written it; ``None``: there is none."""
    saved = reader.params(wanted)
    if not saved:
        return None
    names = {task.id: task.name for task in tasks}
    return parameters_text(
        {names[task]: {item.name: item.text for item in items} for task, items in saved.items() if items}
    )


def one_line(value: str | None) -> str:
    """A value as the file of the parameters has it."""
    return parameters_text({"": {"x": value}}).removeprefix("x = ").removesuffix("\n")


def difference(mine: State, said: State) -> str:
    """In which parts a row differs from the journal; empty where it does not, or where that is in order."""
    if mine[STATUS] not in _ENDED:
        # A failed task that waits for its next try is on record as that in the database only.
        if said[STATUS] == Status.DONE:
            return "status"
        return ", ".join(PARTS[at] for at in (CURRENT, ASIDE) if mine[at] != said[at])
    return ", ".join(name for name, a, b in zip(PARTS, mine, said, strict=True) if a != b)


def _tally(counts: Mapping[Status, int]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in Status if counts.get(status)) or "none"
