"""Fixtures of the tests on real batch systems."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from batchsystems import BatchSystem, build
from support import Project


@pytest.fixture(scope="session")
def systems_environment() -> dict[str, str]:
    """The environment of the batch systems, which are built if they are not there."""
    return build()


@pytest.fixture(params=["slurm", "pbs", "sge"])
def batch(
    request: pytest.FixtureRequest, systems_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> BatchSystem:
    """Each of the batch systems; its commands are on PATH."""
    return chosen(request.param, systems_environment, monkeypatch)


@pytest.fixture
def slurm(systems_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> BatchSystem:
    """Slurm alone."""
    return chosen("slurm", systems_environment, monkeypatch)


@pytest.fixture
def sge(systems_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> BatchSystem:
    """Grid Engine alone."""
    return chosen("sge", systems_environment, monkeypatch)


def chosen(name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> BatchSystem:
    system = BatchSystem(name, environment)
    for variable, value in system.environment.items():
        monkeypatch.setenv(variable, value)
    return system


@pytest.fixture(autouse=True)
def no_record_stays(project: Project) -> Iterator[None]:
    """See to it that a server that has ended leaves no job on record."""
    yield
    records = sorted((project.prefix / ".pipelet" / "server" / "jobs").glob("*.json"))
    assert not records, f"jobs are still on record: {records}"
