"""The demonstration that the web pages are shown with."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from pipelet.accounts import check_password, users
from pipelet.core.model import Status
from pipelet.pipeline import Pipeline
from pipelet.statusdb import Reader
from tools.demo_site import Demo
from tools.demo_site.main import PIPEDOT


def test_demonstration_has_versions_failures_tags_and_users(demo: Demo) -> None:
    with Reader.open(demo.sqlfile) as reader:
        rows = reader.instances()
        tally = reader.tally()
        assert sorted(reader.tags().values()) == ["collaboration meeting", "proposal", "wide bins"]
    assert len([row for row in rows if row.segment == "poster"]) == 3
    failed = {row.segment for row in rows if tally[row.id].get(Status.FAILED)}
    assert failed == {"spectrum"}
    posters = sorted(row.created / 86400 for row in rows if row.segment == "poster")
    assert [round(after - before) for before, after in pairwise(posters)] == [14, 9]
    assert users(demo.sqlfile) == {"ada": 2, "guest": 1}
    assert check_password(demo.sqlfile, "ada", "lovelace") == 2
    (poster,) = Pipeline(PIPEDOT, demo.code, demo.prefix).tasks("poster", "done")
    assert (Path(poster.path) / "poster.png").stat().st_size > 10_000
