"""The life of a job, as far as it can be told without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelet.errors import LauncherError
from pipelet.executors.cluster import job
from pipelet.executors.post import POSTS
from pipelet.launchers import job_script
from pipelet.pipeline import Pipeline


def test_a_job_whose_script_took_all_its_time_says_so_before_it_joins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "process_age", lambda: 57.0)
    options = job._parser().parse_args([str(tmp_path / "server.json"), "--name", "melt-1", "--lifetime", "55"])
    before = POSTS.shift
    with pytest.raises(LauncherError, match=r"the job is 57 s old .* after 55 s: give it more walltime, or a job_head"):
        job._Job(options, str(tmp_path))
    assert POSTS.shift is before


def test_a_code_directory_whose_name_no_batch_system_takes(tmp_path: Path) -> None:
    place = tmp_path / "日本"
    place.mkdir()
    (place / "a.py").write_text("")
    script = job_script(Pipeline("a", code_dir=place, prefix=tmp_path / "prefix"), "slurm")
    assert "#SBATCH -J pipelet\n" in script
