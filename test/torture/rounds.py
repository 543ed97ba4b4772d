"""One round: a pipeline, its storm, and the look at what is left."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import look
from faults import BEFORE, DURING, Scene
from shapes import SHAPES, Shape, Stage
from storm import Disk, Ended, Run

#: How often a pipeline may be started again without any fault before it must be through.
TRIALS = 6


class Failed(Exception):
    """Something was not as it must be."""


class Round:
    """One pipeline from its first stage to its last, disturbed.

    Parameters
    ----------
    seed
        Decides everything but the moments that depend on the machine.
    directory
        Made; where it happens.
    faults, shapes
        Names to choose from.
    longest
        Seconds that a lock on the database lasts at most.
    verbose
        Tell each step.
    """

    #: What undisturbed runs gave, by all that decides it.
    _calm: ClassVar[dict[str, dict[Any, Any]]] = {}

    def __init__(
        self, seed: int, directory: Path, faults: Sequence[str], shapes: Sequence[str], longest: float, verbose: bool
    ) -> None:
        self.seed = seed
        self.faults: Counter[str] = Counter()
        self.starts = 0
        self._rng = random.Random(seed)
        self._verbose = verbose
        self._begun = time.monotonic()
        self._names = faults
        self._directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        self._root = directory / "code"
        self._root.mkdir(parents=True)
        self._disk = Disk(directory / "disk")
        self._shape: Shape = SHAPES[self._rng.choice(shapes)](self._rng)
        self._workers = self._rng.choice((1, 2, 2, 3))
        temporary = (self._disk.path if self._rng.random() < 0.3 else directory) / "tmp"
        self._scene = Scene(self._root, self._disk.path / "prefix", self._disk, temporary, self._rng, longest)
        #: How long a run of this pipeline takes, as the runs tell.
        self._length = 2.0
        #: Whether the runs that follow may rightly execute what is done.
        self._edited = False
        self._stage = 0

    @property
    def own_disk(self) -> bool:
        """Whether there is a small disk that can be full or read-only."""
        return self._disk.own

    def line(self) -> str:
        """What happened, in one line."""
        faults = " ".join(f"{name}{f'*{n}' if n > 1 else ''}" for name, n in self.faults.items()) or "no fault"
        return (
            f"seed {self.seed}  {self._shape.name}/{len(self._shape.stages)}  {self.starts} starts  "
            f"{time.monotonic() - self._begun:.1f} s  {faults}"
        )

    def play(self) -> None:
        """Go through all the stages, and look.

        Raises
        ------
        Failed
            Something is not as it must be.
        """
        calm = self._undisturbed()
        last = len(self._shape.stages) - 1
        for number in range(last + 1):
            self._stage = number
            self._say(f"stage {number} of {self._shape.name}")
            self._write(self._root, number)
            through = False
            for _ in range(self._rng.choice((1, 2, 3) if number < last else (2, 3, 4, 5))):
                # What is through can only be disturbed beforehand.
                if through and self._rng.random() < 0.6:
                    break
                kind = BEFORE if through or self._rng.random() < 0.15 else DURING
                names = [name for name in self._names if name in kind] or ([] if through else list(self._names))
                if self._shape.blind:
                    names = [name for name in names if name != "remove_task"]
                through = self._disturbed(self._rng.choice(names)) if names else through
            # Now and then an edit comes before the pipeline is through.
            if number == last or self._rng.random() < 0.6:
                self._finish()
            self._edited = True
        self._settled()
        self._compare(calm)

    def keep(self) -> Path:
        """Put everything where it can be looked at later."""
        self._disk.close(self._directory / "kept")
        return self._directory

    def remove(self) -> None:
        """Remove everything."""
        self._disk.close(None)
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- runs --------------------------------------------------------------------------------------------------------

    def _write(self, root: Path, number: int) -> None:
        self._shape.write(root, number, self._workers, {"prefix": str(self._scene.prefix)})

    def _undisturbed(self) -> dict[Any, Any]:
        """What the last stage gives where nothing was before and nothing happens."""
        stage: Stage = self._shape.stages[-1]
        name = repr((self._shape.dot, stage))
        if name not in self._calm:
            root = self._directory / "calm"
            root.mkdir()
            prefix = root / "prefix"
            self._shape.write(root, len(self._shape.stages) - 1, 2, {"prefix": str(prefix)})
            for _ in range(TRIALS):
                begun = time.monotonic()
                run = Run(root, root / "tmp")
                if run.end().status == 0:
                    break
            else:
                raise Failed("the undisturbed run does not end")
            self._length = time.monotonic() - begun
            self._calm[name] = look.view(root, prefix)
        return self._calm[name]

    def _disturbed(self, fault: str) -> bool:
        """One start with one fault, before it or while it runs; whether the pipeline is through."""
        before = self._done()
        undo: Callable[[], None] | None = None
        if fault in BEFORE:
            undo = BEFORE[fault](self._scene)
            self._count(fault, undo is not None)
        limit = None
        if fault == "disk_full" and not self._disk.own:
            limit = self._rng.choice((10_000, 50_000, 200_000))
            self._count("file_limit", True)
        seen = look.executed(self._root)
        run = self._start(limit)
        try:
            if fault in DURING and limit is None:
                self._await_moment(run, fault, sum(seen.values()))
                self._say(f"{fault} after {time.monotonic() - run.begun:.2f} s")
                self._count(fault, run.running and DURING[fault](self._scene, run))
            if undo is not None and self._rng.random() < 0.5:
                run.wait(self._rng.uniform(0.1, 2.0))
                undo, _ = None, undo()
            first = self._ended(run)
            self._look_at(first, fault)
            for ended in self._scene.second:
                self._look_at(ended, fault)
            self._scene.second.clear()
        finally:
            run.kill()
            if undo is not None:
                undo()
        self._nothing_twice(before, seen, fault)
        return first.status == 0

    def _finish(self) -> None:
        """Start until the pipeline is through, with no fault any more."""
        for trial in range(TRIALS):
            before, seen = self._done(), look.executed(self._root)
            run = self._start()
            ended = self._ended(run)
            self._look_at(ended, "nothing")
            self._nothing_twice(before, seen, "nothing")
            if ended.status == 0:
                self._scene.removed = False
                self._length = 0.5 * (self._length + ended.seconds) if trial == 0 else self._length
                return
        raise Failed(f"the pipeline is not through after {TRIALS} undisturbed runs:\n{ended.out}{ended.err}")

    def _settled(self) -> None:
        """What was removed while a run lasted is made again by one more; then there is nothing to do."""
        for number in range(2):
            seen = look.executed(self._root)
            self._finish()
            again = look.executed(self._root) - seen
            if again and number:
                raise Failed(f"run again although nothing was to do: {dict(again)}")

    def _start(self, limit: int | None = None) -> Run:
        self.starts += 1
        return Run(self._root, self._scene.temporary, limit)

    def _ended(self, run: Run) -> Ended:
        try:
            ended = run.end()
        except TimeoutError as error:
            raise Failed(str(error)) from None
        left = run.left()
        if left:
            raise Failed(f"processes are left ten seconds after the end: {left}")
        self._say(f"status {ended.status}: {(ended.out + ended.err).strip()}")
        return ended

    def _await_moment(self, run: Run, fault: str, begun: int) -> None:
        """Wait for the moment: some time, or some event; and for the process that the fault needs."""
        kind = self._rng.choice(("time", "begun", "begun", "begun", "journal", "moving"))
        span = self._rng.uniform(0.0, 1.1 * self._length)
        if kind == "begun":
            # From the first task on.
            while run.running and sum(look.executed(self._root).values()) == begun:
                run.wait(0.005)
            span *= 0.5 * self._rng.random()
        needed = fault.rpartition("_")[2] if fault.endswith(("worker", "scheduler")) else ""
        end = time.monotonic() + span
        size = self._journal_size()
        while run.running:
            event = (kind == "journal" and self._journal_size() != size) or (
                kind == "moving" and (self._scene.prefix / ".pipelet" / "moving").exists()
            )
            late = time.monotonic() > end
            if (event or late) and (not needed or any(found.kind == needed for found in run.processes())):
                return
            run.wait(0.001)

    def _journal_size(self) -> int:
        try:
            return sum(path.stat().st_size for path in self._scene.prefix.rglob("*.journal"))
        except OSError:
            return 0

    def _count(self, fault: str, happened: bool) -> None:
        if happened:
            self.faults[fault] += 1

    # --- what must hold ----------------------------------------------------------------------------------------------

    def _done(self) -> Counter[look.Task]:
        try:
            with look.copied(self._scene.prefix, self._directory / "copy") as copy:
                return look.done(self._root, copy)
        except Exception as error:
            raise Failed(f"the tree can't be read: {type(error).__name__}: {error}") from error

    def _nothing_twice(self, before: Counter[look.Task], seen: Counter[look.Task], fault: str) -> None:
        """What the tree said was done is not run again, unless its directory is gone."""
        if self._scene.removed:
            return
        again = set(look.executed(self._root) - seen) & set(before)
        if self._edited:
            again = {task for task in again if task[0] not in self._shape.askers}
        if again:
            raise Failed(f"after {fault}, tasks that were done ran again: {sorted(again)}")

    def _look_at(self, ended: Ended, fault: str) -> None:
        """Whatever happens, a run says in words what is wrong."""
        if ended.status == -signal.SIGINT and ended.err.endswith("KeyboardInterrupt\n"):
            # Ctrl-C before main.py has come to its first line that catches it.
            return
        if "loky/backend/resource_tracker.py" in ended.err:
            # What a new tracker of loky says when the old one was killed.
            return
        if "Traceback" in ended.err or "broke down" in ended.err:
            raise Failed(f"a traceback after {fault} (status {ended.status}):\n{ended.err}")
        if "was not refused" in ended.err:
            raise Failed(ended.err)
        if ended.status > 1 and ended.status != 130:
            raise Failed(f"status {ended.status} after {fault}:\n{ended.out}{ended.err}")

    def _compare(self, calm: dict[Any, Any]) -> None:
        wrong = look.differences(calm, look.view(self._root, self._scene.prefix))
        wrong += look.litter(self._scene.prefix)
        wrong += [f"{path} is left" for path in self._scene.temporary.glob("pipelet-*")]
        wrong += look.rebuilt_differently(self._scene.prefix, self._directory / "rebuilt")
        if wrong:
            raise Failed("not as without faults:\n  " + "\n  ".join(wrong[:40]))

    def _say(self, text: str) -> None:
        if self._verbose:
            print(f"  {text}", flush=True)
