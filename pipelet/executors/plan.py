"""How a run gets its executor: what is said when the run is started travels to the process that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipelet.limits import Limits
from pipelet.progress import WorkerProgress

if TYPE_CHECKING:
    from pipelet.executors.base import Executor


class Site(NamedTuple):
    """Where a run is, for an executor that is being made."""

    engine_dir: str  #: the engine's own directory in the prefix, which workers on other hosts see as well
    scratch_dir: str  #: only this run's, perhaps on this host alone; it goes when the run ends
    limits: Limits
    log: Callable[[int, str], None]  #: takes a message for the log of the prefix, with its level
    #: Takes a line on the workers, for people who watch the run, and what each of them does.
    fleet: Callable[[str, Sequence[WorkerProgress]], None] = lambda text, workers: None


class ExecutorPlan(Protocol):
    """Makes the executor of a run, in the process that runs it."""

    @property
    def last_seconds(self) -> float:
        """How long the executor may take to end once whoever started the run is gone."""

    @property
    def may_fail(self) -> bool:
        """Whether making it takes others, who may refuse: then a run has begun only when that was done."""

    def make(self, site: Site) -> Executor:
        """Make the executor.

        Raises
        ------
        LauncherError
            That can't be done here.
        """


@dataclass(frozen=True)
class LocalWorkers:
    """Plans worker processes on this machine.

    Attributes
    ----------
    slots
        How many tasks run at once.
    """

    slots: int
    last_seconds: float = 1.5
    may_fail: bool = False

    def make(self, site: Site) -> Executor:
        """Make the executor."""
        # Here, since whoever starts a run in the background needs no engine.
        from pipelet.executors.process import ProcessExecutor

        return ProcessExecutor(self.slots, site.scratch_dir, site.limits)
