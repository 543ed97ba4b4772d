"""Fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty code directory and a prefix that does not exist yet."""
    return Project(tmp_path)
