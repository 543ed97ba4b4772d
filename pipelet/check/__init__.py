"""Compares a tree with its database, says what differs, and mends what can be."""

from __future__ import annotations

from pipelet.check.compare import Progress, compare
from pipelet.check.mend import mend
from pipelet.check.report import Finding, Report

__all__ = ["Finding", "Progress", "Report", "compare", "mend"]
