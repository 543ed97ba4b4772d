"""What a check found, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: So many names stand in one line.
_NAMES = 3


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind
        A word for the kind of it, the same in every version.
    where
        The instance or the file, relative to the prefix where it is below that.
    what
        What is wrong.
    cure
        What a repair does about it; where it does nothing, what its reader can do.
    mendable
        Whether a repair does something about it.
    """

    kind: str
    where: str
    what: str
    cure: str
    mendable: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {'--repair ' if self.mendable else 'not for --repair: '}{self.cure}"


@dataclass
class Report:
    """What a check found; print it.

    Attributes
    ----------
    prefix, sqlfile
        What was compared.
    instances, tasks
        How many were looked at.
    findings
        What is wrong; after a repair, what is still wrong.
    mended
        What a repair has put right.
    failures
        What a repair could not do, in words.
    """

    prefix: str
    sqlfile: str
    instances: int = 0
    tasks: int = 0
    findings: list[Finding] = field(default_factory=list)
    mended: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether tree and database agree, and nothing lies about."""
        return not self.findings

    @property
    def mendable(self) -> int:
        """How many of the findings a repair would put right."""
        return sum(finding.mendable for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"mended: {finding.where}: {finding.what}" for finding in self.mended]
        lines += [str(finding) for finding in self.findings]
        lines += [f"could not be mended: {failure}" for failure in self.failures]
        return "\n".join([*lines, self.summary()])

    def summary(self) -> str:
        """The last line: how much was compared, and how it is."""
        size = f"{counted(self.instances, 'segment instance')}, {counted(self.tasks, 'task')}"
        mended = f"{len(self.mended)} mended; " if self.mended else ""
        if self.clean:
            return f"{mended}{size}: tree and database agree"
        found = counted(len(self.findings), "finding")
        if self.mended or self.failures:
            return f"{mended}{size}: {found} left"
        return f"{size}: {found}, of which --repair mends {self.mendable}"

    def add(self, kind: str, where: str, what: str, cure: str, mendable: bool = True) -> None:
        """Note a finding; the arguments are those of `Finding`."""
        self.findings.append(Finding(kind, _one_line(where), _one_line(what), _one_line(cure), mendable))


def counted(number: int, word: str, many: str = "") -> str:
    """A number with its word, for one or for many."""
    return f"{number} {word if number == 1 else many or f'{word}s'}"


def some(names: Iterable[str]) -> str:
    """The first few of some names, and how many more there are."""
    listed: Sequence[str] = list(names)
    shown = ", ".join(listed[:_NAMES])
    return f"{shown} and {len(listed) - _NAMES} more" if len(listed) > _NAMES else shown


def _one_line(text: str) -> str:
    # Names on disk may hold anything; a terminal must not obey them.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
