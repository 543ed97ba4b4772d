"""What people say of their jobs, and what they are told when that makes no sense."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from pipelet import launchers
from pipelet.errors import LauncherError
from pipelet.executors.cluster.options import JobOptions, clean_name
from pipelet.executors.cluster.serverfile import Timings
from pipelet.pipeline import Pipeline

LAUNCHERS = ["launch_batch", "launch_pbs", "launch_slurm", "launch_sge", "launch_ccage_worker_2"]


# --- values that are good --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("walltime", "seconds", "text"), [
    ("00:59:00", 3540, "00:59:00"),
    ("12:00:00", 43200, "12:00:00"),
    ("100:00:00", 360000, "100:00:00"),
    ("1-12:00:00", 129600, "36:00:00"),
    ("1:12:00:00", 129600, "36:00:00"),
    (" 1:00:00 ", 3600, "01:00:00"),
    (90, 90, "00:01:30"),
    (90.5, 90.5, "00:01:31"),
    (None, None, None),
])
def test_walltimes(walltime: Any, seconds: float | None, text: str | None) -> None:
    options = JobOptions("slurm", walltime=walltime)
    assert (options.walltime_seconds, options.walltime_text) == (seconds, text)


@pytest.mark.parametrize(("memory", "size"), [
    ("2 GB", 2 * 10**9), ("2gb", 2 * 10**9), ("4G", 4 * 10**9), ("512 MiB", 512 << 20), (2 * 10**9, 2 * 10**9),
    ("0.5 TB", 5 * 10**11),
])
def test_sizes_of_memory(memory: Any, size: int) -> None:
    assert JobOptions("slurm", memory=memory).memory_bytes == size


@pytest.mark.parametrize(("name", "wanted"), [
    ("fields", "fields"), ("my pipeline", "my_pipeline"), ("7knights", "j7knights"), ("-x.", "x"),
    ("a" * 40, "a" * 15), ("8" * 20, "j" + "8" * 14), ("à la carte", "la_carte"),
])
def test_names_of_jobs(name: str, wanted: str) -> None:
    assert clean_name(name) == wanted


def test_directives_may_have_their_mark() -> None:
    lines = ["#PBS -l place=scatter", "#SBATCH --qos=x", "#$ -pe smp 2", "#BSUB -x", "#OAR -t y", "-q #PBS z"]
    wanted = ("-l place=scatter", "--qos=x", "-pe smp 2", "-x", "-t y", "-q #PBS z")
    assert JobOptions("pbs", directives=tuple(lines)).directives == wanted


def test_options_survive_json() -> None:
    options = JobOptions("oar", cores=3, walltime=90, directives=("-a", "-b"), environment={"A": "b"}, scratch="/tmp")
    assert JobOptions.from_dict(json.loads(json.dumps(options.as_dict()))) == options


# --- values that are not ---------------------------------------------------------------------------------------------


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"walltime": "1h"}, "walltime='1h': give hh:mm:ss, such as '12:00:00', days-hh:mm:ss, or seconds"),
    ({"walltime": "12:00"}, "walltime='12:00': give hh:mm:ss"),
    ({"walltime": "00:60:00"}, "walltime='00:60:00': give hh:mm:ss"),
    ({"walltime": "2-100:00"}, "walltime='2-100:00': give hh:mm:ss"),
    ({"walltime": "00:00:00"}, "walltime='00:00:00': a job needs some time"),
    ({"walltime": -5}, "walltime=-5: a job needs some time"),
    ({"walltime": True}, "walltime=True: give hh:mm:ss"),
    ({"walltime": float("nan")}, "walltime=nan: give hh:mm:ss"),
    ({"memory": "lots"}, "memory='lots' is no size; give bytes, or a text such as '2 GB'"),
    ({"memory": "2 XB"}, "memory='2 XB' is no size"),
    ({"memory": None}, "memory=None is no size"),
    ({"memory": 4}, "memory=4 is too little for any task, since a worker needs some by itself; give at least 100 MB"),
    ({"cores": 0}, "cores=0: give a whole number, 1 or more"),
    ({"cores": -1}, "cores=-1: give a whole number, 1 or more"),
    ({"cores": "4"}, "cores='4': give a whole number, 1 or more"),
    ({"cores": 1.5}, "cores=1.5: give a whole number, 1 or more"),
    ({"cores": None}, "cores=None: give a whole number, 1 or more"),
    ({"tasks_per_worker": 0}, "tasks_per_worker=0: give a whole number, 1 or more, or None"),
    ({"idle_seconds": 0}, "idle_seconds=0 is no number of seconds above 0"),
    ({"idle_seconds": "x"}, "idle_seconds='x' is no number of seconds above 0"),
    ({"queue": ""}, "queue='' is not one line of text"),
    ({"queue": ["a"]}, "queue=['a'] is not one line of text"),
    ({"project": "a\nb"}, "project='a\\nb' is not one line of text"),
    ({"scratch": "\0"}, "scratch='\\x00' is not one line of text"),
    ({"job_name": "---"}, "job_name='---': give a name with letters"),
    ({"job_header": ["x"]}, "job_header=['x'] is no text; give lines of shell"),
    ({"directives": "-l x"}, "directives='-l x' is no list; give for example directives=['-l place=scatter']"),
    ({"directives": ["-l\nx"]}, "directives='-l\\nx' is not one line of text"),
    ({"submit_options": 5}, "submit_options=5 is no list"),
    ({"environment": "A=b"}, "environment='A=b' is no mapping; give for example {'DATA': '/data'}"),
    ({"environment": {"A B": "c"}}, "environment: 'A B': 'c' is no variable with its value, both as text"),
    ({"environment": {"A": 5}}, "environment: 'A': 5 is no variable with its value, both as text"),
    ({"system": "condor"}, "system='condor' is no batch system: did you mean 'htcondor'? Otherwise there are pbs, "),
    ({"system": "PBS"}, "system='PBS' is no batch system: did you mean 'pbs'?"),
    ({"system": 7}, "system=7 is no batch system: there are pbs, torque"),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=[str(values) for values, _ in WRONG])
def test_a_value_that_makes_no_sense(values: dict[str, Any], words: str) -> None:
    with pytest.raises(LauncherError) as caught:
        JobOptions(**{"system": "slurm", **values})
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("values", "words"), [
    ({"lease": 0}, "timings: lease=0 is no number of seconds above 0"),
    ({"lease": 130}, "timings: lease=130 must be less than silence=120"),
    ({"rejoin": "1"}, "timings: rejoin='1' is no number of seconds above 0"),
    ({"silence": float("inf")}, "timings: silence=inf is no number of seconds above 0"),
])
def test_timings_that_make_no_sense(values: dict[str, Any], words: str) -> None:
    with pytest.raises(LauncherError, match=f"^{re.escape(words)}"):
        Timings(**values)


# --- what is called tells who it is ----------------------------------------------------------------------------------


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Calls a launcher in a wrong way, and gives the words of its error."""

    def call(name: str, *arguments: Any, **options: Any) -> str:
        if name == "launch_batch":
            options.setdefault("system", "slurm")
        elif name == "launch_pbs":
            options.setdefault("system", "pbs")
        with pytest.raises(LauncherError) as caught:
            getattr(launchers, name)(*arguments, **options)
        return str(caught.value)

    return call


@pytest.fixture
def pipeline(tmp_path: Any) -> Pipeline:
    return Pipeline("a", code_dir=tmp_path, prefix=tmp_path / "prefix")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_an_unknown_option_with_the_nearest_name(name: str, launch: Callable[..., str], pipeline: Pipeline) -> None:
    said = launch(name, pipeline, 2, waltime="12:00:00")
    assert said.startswith(f"{name} has no option 'waltime': did you mean 'walltime'? There are cores, directives, env")
    assert "did you mean 'queue'" in launch(name, pipeline, 2, partition="long")
    assert "did you mean 'address'" in launch(name, pipeline, 2, adress=("x", 1))
    assert launch(name, pipeline, 2, zzz=1).startswith(f"{name} has no option 'zzz'; there are cores, ")


def test_an_option_under_the_name_of_another_launcher(launch: Callable[..., str], pipeline: Pipeline) -> None:
    assert "'cpu_time': did you mean 'walltime'?" in launch("launch_batch", pipeline, 2, cpu_time="12:00:00")
    assert "'multicores': did you mean 'cores'?" in launch("launch_slurm", pipeline, 2, multicores=2)
    assert "'system'; there are" in launch("launch_slurm", pipeline, 2, system="pbs")


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("number", [-1, 1.5, "2", None, True])
def test_a_number_of_jobs_that_is_none(
    name: str, number: Any, launch: Callable[..., str], pipeline: Pipeline
) -> None:
    least = 1 if name == "launch_ccage_worker_2" else 0
    assert launch(name, pipeline, number) == f"{name}: N={number!r} is no number of workers; give {least} or more"


def test_no_job_for_a_server_that_runs(launch: Callable[..., str], pipeline: Pipeline) -> None:
    assert launch("launch_slurm", pipeline, 0, server=False).endswith("N=0 is no number of workers; give 1 or more")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_value_in_the_words_of_the_launcher(name: str, launch: Callable[..., str], pipeline: Pipeline) -> None:
    own = {} if name == "launch_batch" else {"cpu_time": "1h"}
    option = "walltime" if name == "launch_batch" else "cpu_time"
    said = launch(name, pipeline, 2, **own or {"walltime": "1h"})
    assert said.startswith(f"{name}: {option}='1h': give hh:mm:ss, such as '12:00:00'")
    assert launch(name, pipeline, 2, memory="x").startswith(f"{name}: memory='x' is no size")


def test_the_words_of_pipelet_1(launch: Callable[..., str], pipeline: Pipeline) -> None:
    name = "launch_ccage_worker_2"
    assert launch(name, pipeline, 2, multicores=0).startswith(f"{name}: multicores=0: give a whole number")
    assert launch(name, pipeline, 2, ntasks_per_worker=0).startswith(f"{name}: ntasks_per_worker=0: give a whole")
    assert launch(name, pipeline, 2, job_dir="").startswith(f"{name}: job_dir='' is not one line of text")
    assert launch(name, pipeline, 2, log_dir="").startswith(f"{name}: log_dir='' is not one line of text")
    assert launch(name, pipeline, 2, vmem="").startswith(f"{name}: vmem='': give a size as Grid Engine takes it")
    assert launch(name, pipeline, 2, vmem="4 GB").startswith(f"{name}: vmem='4 GB': give a size")


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("address", ["login1", ("login1",), ("login1", "x"), ("login1", 1 << 16), ("", 5), 7])
def test_an_address_that_is_none(
    name: str, address: Any, launch: Callable[..., str], pipeline: Pipeline
) -> None:
    wanted = f"{name}: address={address!r}: give (host, port), such as ('login1', 50000)"
    assert launch(name, pipeline, 2, address=address) == wanted


@pytest.mark.parametrize("name", LAUNCHERS)
def test_arguments_in_a_wrong_order(name: str, launch: Callable[..., str], pipeline: Pipeline) -> None:
    assert launch(name, 2, pipeline) == f"{name}: 2 is no Pipeline; give that first, and then N"


def test_timings_that_are_none(launch: Callable[..., str], pipeline: Pipeline) -> None:
    assert launch("launch_batch", pipeline, 2, timings=5) == (
        "launch_batch: timings=5: give Timings(lease=..., silence=...)"
    )
    assert launch("launch_sge", pipeline, 2, timings=5).startswith("launch_sge: timings=5")


def test_a_job_script_tells_who_it_is(launch: Callable[..., str], pipeline: Pipeline) -> None:
    assert launch("job_script", pipeline, "slurm", cores=0).startswith("job_script: cores=0")
    assert launch("job_script", pipeline, "slurm", core=2).startswith("job_script has no option 'core': did you mean")
    assert launch("job_script", pipeline, "slrum").startswith("job_script: system='slrum' is no batch system: did you")
