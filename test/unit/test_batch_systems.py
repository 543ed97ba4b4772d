"""What is said to batch systems, and how their answers are read: those are as their manuals and sources show them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pipelet.errors import LauncherError
from pipelet.executors.cluster.options import SYSTEMS, JobOptions
from pipelet.executors.cluster.systems import State, current_job_id, import_dask_jobqueue, system
from pipelet.executors.cluster.systems.base import Answer, job_environment

PENDING, HELD, RUNNING, ENDING, ENDED, UNKNOWN = State

MARKS = {"pbs": "#PBS", "torque": "#PBS", "slurm": "#SBATCH", "sge": "#$", "lsf": "#BSUB", "oar": "#OAR"}
SCRIPTED = pytest.mark.parametrize("name", MARKS)
EVERY = pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "local"])
HEADER = "module load \"it's\"\nif true; then  # sometimes\n  export HOST=$(hostname)\nfi;"


@pytest.fixture
def site() -> Iterator[Any]:
    """Puts down settings as a site does for dask-jobqueue."""
    import_dask_jobqueue()
    import dask

    settings: list[Any] = []

    def put(name: str, **values: Any) -> None:
        pairs = {f"jobqueue.{name}.{key.replace('_', '-')}": value for key, value in values.items()}
        settings.append(dask.config.set(pairs))
        settings[-1].__enter__()

    yield put
    for setting in reversed(settings):
        setting.__exit__(None, None, None)


def script(name: str, **options: Any) -> str:
    """The script of a job."""
    defaults: dict[str, Any] = {"job_name": "fields", "python": "/opt/my env/bin/python", "scratch": "a b"}
    made = JobOptions(name, **{**defaults, **options})
    arguments = ["--idle", "600", "--scratch", "a b"]
    return system(name).make_script(made, "/data/it's mine/server.json", "fields-1", arguments)


def directives(text: str, mark: str) -> list[str]:
    """What stands behind the marks."""
    return [line[len(mark) :].strip() for line in text.splitlines() if line.startswith(f"{mark} ")]


def condor_words(text: str) -> list[str]:
    """The words of HTCondor's ``Arguments``, taken apart as its manual says."""
    (line,) = re.findall(r"^Arguments = (.*)$", text, re.M)
    assert line[0] == line[-1] == '"'
    assert not re.search(r"\$(?!\(DOLLAR\))", line), "a dollar that HTCondor would take for its own"
    line = line[1:-1].replace('""', '"').replace("$(DOLLAR)", "$")
    words = re.findall(r"(?:[^ ']|'(?:[^']|'')*')+", line)
    return [word[1:-1].replace("''", "'") if word.startswith("'") else word for word in words]


# --- the script ------------------------------------------------------------------------------------------------------


def test_the_directives_of_each_system() -> None:
    options: dict[str, Any] = {
        "cores": 4, "memory": "8 GiB", "walltime": "1-12:00:30", "queue": "long", "project": "cmb",
        "directives": ["#PBS -m n", "-x y"],
    }
    common = ["-m n", "-x y"]
    assert {name: directives(script(name, **options), mark) for name, mark in MARKS.items()} == {
        "pbs": [
            "-N fields", "-q long", "-A cmb", "-l select=1:ncpus=4:mem=8192mb", "-l walltime=36:00:30", "-r n", *common
        ],
        "torque": [
            "-N fields", "-q long", "-A cmb", "-l nodes=1:ppn=4,mem=8192mb", "-l walltime=36:00:30", "-r n", *common
        ],
        "slurm": [
            "-J fields", "-p long", "-A cmb", "-n 1", "--cpus-per-task=4", "--mem=8G", "-t 36:00:30", "--no-requeue",
            *common,
        ],
        "sge": ["-N fields", "-q long", "-P cmb", "-l h_rt=36:00:30", "-cwd", "-j y", "-r n", "-pe smp 4", *common],
        # Minutes are what it counts in, and part of one is not lost.
        "lsf": [
            "-J fields", "-q long", '-P "cmb"', "-n 4", '-R "span[hosts=1]"', "-M 8589935", "-W 36:01", "-rn", *common
        ],
        "oar": ["-n fields", "-q long", "--project cmb", "-l /nodes=1/core=4,walltime=36:00:30", *common],
    }


def test_the_description_for_htcondor() -> None:
    text = script(
        "htcondor", cores=4, memory="8 GiB", walltime=90, queue="Arch == 1", project="cmb", directives=["RequestDisk=9"]
    )
    pairs = dict(re.findall(r"^(\S+) = (.*)$", text, re.M))
    assert pairs["RequestCpus"] == "MY.DaskWorkerCores"
    assert pairs["MY.DaskWorkerCores"] == "4"
    assert pairs["RequestMemory"] == "floor(MY.DaskWorkerMemory / 1048576)"
    assert pairs["MY.DaskWorkerMemory"] == str(8 << 30)
    assert (pairs["allowed_execute_duration"], pairs["+MaxRuntime"]) == ("90", "90")
    assert (pairs["Requirements"], pairs["accounting_group"], pairs["RequestDisk"]) == ("Arch == 1", "cmb", "9")
    assert pairs["periodic_remove"] == "JobStatus == 1 && NumJobStarts > 0"
    assert text.rstrip().endswith("\nQueue")


def test_a_specification_of_resources_replaces_what_is_made() -> None:
    for name, wanted in {"pbs": "-l ngpus=1", "torque": "-l ngpus=1", "sge": "-l ngpus=1", "slurm": "ngpus=1"}.items():
        assert wanted in directives(script(name, resource_spec="ngpus=1"), MARKS[name])
    assert "-l /host=1/gpu=1,walltime=00:59:00" in directives(script("oar", resource_spec="/host=1/gpu=1"), "#OAR")
    assert "select" not in script("pbs", resource_spec="ngpus=1")
    assert "-pe openmp 2" in script("sge", cores=2, directives=["-pe openmp 2"])
    assert "smp" not in script("sge", cores=2, directives=["-pe openmp 2"])


@SCRIPTED
def test_a_script_is_good_shell_with_the_header_behind_all_directives(name: str) -> None:
    text = script(name, job_header=HEADER, environment={"A": "it's $HOME; `x`\n#"})
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert text.startswith("#!")
    lines = text.splitlines()
    last = max(place for place, line in enumerate(lines) if line.startswith(MARKS[name]))
    assert HEADER in "\n".join(lines[last + 1 :])
    # Batch systems look for directives until the first line that is none.
    assert all(line.startswith(MARKS[name]) or not line for line in lines[1 : last + 1])
    executed = shlex.split(next(line for line in lines if line.startswith("exec ")))
    assert executed[:4] == ["exec", "/opt/my env/bin/python", "-m", "pipelet.executors.cluster.job"]
    assert executed[4:9] == ["/data/it's mine/server.json", "--name", "fields-1", "--nthreads", "1"]
    assert executed[-4:] == ["--idle", "600", "--scratch", "a b"]


def ran(command: list[str], text: str = "") -> str:
    """What shell says in the end about its variables, run where there are none."""
    return subprocess.run(command, input=text, text=True, capture_output=True, check=True, env={"HOME": "/h"}).stdout


@EVERY
def test_the_environment_and_the_header_are_there_when_the_worker_begins(name: str) -> None:
    value = "it's $HOME; \"x\"\t\\n `false`\n# no comment"
    show = script(
        name, python="/usr/bin/env", environment={"DATA": value},
        job_header="B=$(echo $HOME);  # a comment\nif true; then\n  export C='a; b'\"$B\"\nfi;",
    )
    show = show.replace("-m pipelet.executors.cluster.job", "-0")
    if name == "htcondor":
        words = condor_words(show)
        assert words[0] == "-c"
        assert re.search(r"^Executable = /bin/bash$", show, re.M)
        words[1] = words[1].partition(" -0 ")[0] + " -0"
        out = ran(["/bin/bash", *words])
    else:
        out = ran(["/bin/bash"], show.partition(" -0 ")[0] + " -0\n")
    found = dict(pair.split("=", 1) for pair in out.split("\0") if "=" in pair)
    assert found["DATA"] == value
    assert found["C"] == "a; b/h"


@pytest.mark.parametrize("header", ["x=1;", "true &", "x=1", "true # said", "(true)"])
def test_headers_for_htcondor_that_end_as_they_like(header: str) -> None:
    words = condor_words(script("htcondor", job_header=header, python="/bin/true"))
    assert subprocess.run(["/bin/bash", *words], check=False, capture_output=True).stderr == b""


def test_pipelet_is_found_by_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    monkeypatch.setenv("PYTHONPATH", f"/one:{home}:/two:")
    assert job_environment(JobOptions("pbs")) == {"PYTHONPATH": f"{home}:/one:/two"}
    assert job_environment(JobOptions("pbs", environment={"PYTHONPATH": "/mine"})) == {"PYTHONPATH": "/mine"}


@EVERY
def test_a_job_without_walltime_asks_for_none(name: str) -> None:
    assert not re.search(r"walltime|h_rt|-W |-t |MaxRuntime|duration|00:30", script(name, walltime=None))


@SCRIPTED
def test_what_a_site_has_put_down_counts(name: str, site: Any) -> None:
    section = "pbs" if name == "torque" else name
    site(
        section, queue="theirs", job_extra_directives=["--theirs"], interface="ib0", local_directory="$TMPDIR",
        log_directory="/nowhere/at/all", job_script_prologue=["echo theirs"],
    )
    text = script(name)
    assert "-q theirs" in text or "-p theirs" in text
    assert "--theirs" in directives(text, MARKS[name])
    # The worker of dask-jobqueue knows options that ours has under other names, or not at all.
    assert "--interface" not in text
    assert "--local-directory" not in text
    assert "/nowhere" not in text
    assert "$TMPDIR" not in text, "the user has said it"
    assert "\necho theirs\n" in text
    assert "-q mine" in script(name, queue="mine") or "-p mine" in script(name, queue="mine")
    assert "echo theirs" not in script(name, job_header="echo mine")
    made = system(name).make_script(JobOptions(name), "/server.json", "w", [])
    assert made.rstrip().endswith("--scratch $TMPDIR"), "the shell of the job says what that is"


def test_what_a_site_has_put_down_for_htcondor_counts(site: Any) -> None:
    site("htcondor", disk="3 GB", job_extra_directives={"+Theirs": "1", "rank": "2"})
    text = script("htcondor", directives=["rank = 3"])
    assert "MY.DaskWorkerDisk = 3000000000\n" in text
    assert "+Theirs = 1\n" in text
    assert re.findall(r"^rank = .*", text, re.M) == ["rank = 3"]


def test_what_htcondor_can_not_read() -> None:
    with pytest.raises(LauncherError, match="'-l mem' says nothing to HTCondor; write it as 'RequestDisk = 4GB'"):
        script("htcondor", directives=["-l mem"])


# --- ids -------------------------------------------------------------------------------------------------------------

CHATTY = """\
-----------------------------------------------------------------
          Welcome to the Stampede3 Supercomputer
-----------------------------------------------------------------
No reservation for this job
--> Verifying valid submit host (login2)...OK
--> Checking available allocation (123456)...OK
"""


@pytest.mark.parametrize(("name", "said", "wanted"), [
    ("pbs", "12.host\n", "12.host"),
    ("pbs", "12[].pbs01.site.example.org\n", "12[].pbs01.site.example.org"),
    ("pbs", "Your job uses project cmb.\n1453338.pbs02\n", "1453338.pbs02"),
    ("torque", "12.master\n", "12.master"),
    ("torque", "29\n", "29"),
    ("slurm", "Submitted batch job 4711\n", "4711"),
    ("slurm", "Submitted batch job 4711 on cluster big\n", "4711"),
    ("slurm", f"{CHATTY}Submitted batch job 4711\n", "4711"),
    ("slurm", "4711;big\n", "4711"),
    ("sge", "1\n", "1"),
    ("sge", 'Your job 17 ("fields") has been submitted\n', "17"),
    ("sge", "Unable to run job 2 hosts ahead\n23\n", "23"),
    ("lsf", "Job <123> is submitted to queue <normal>.\n", "123"),
    ("lsf", "Checking 4 limits\nJob <123> is submitted to default queue <normal>.\n", "123"),
    ("htcondor", "Submitting job(s).\n1 job(s) submitted to cluster 8.\n", "8.0"),
    ("oar", "[ADMISSION RULE] Set default walltime to 7200.\nOAR_JOB_ID=4924\n", "4924"),
])
def test_the_id_of_a_job(name: str, said: str, wanted: str) -> None:
    assert system(name).job_id(Answer(0, said, "")) == wanted


@EVERY
def test_an_answer_without_an_id(name: str) -> None:
    with pytest.raises(LauncherError, match=f"{name} took a job, but its id can't be read .*: ok, thanks 7 times;"):
        system(name).job_id(Answer(0, "ok, thanks 7 times", ""))


@pytest.mark.parametrize(("variable", "wanted"), [
    ("PBS_JOBID", "12.host"), ("SLURM_JOB_ID", "4711"), ("JOB_ID", "17"), ("LSB_JOBID", "123"), ("OAR_JOB_ID", "4924"),
])
def test_a_job_knows_its_id(variable: str, wanted: str) -> None:
    assert current_job_id({variable: wanted, "PATH": "/bin"}) == wanted
    assert current_job_id({"PATH": "/bin"}) is None


# --- states ----------------------------------------------------------------------------------------------------------


def states(name: str, jobs: list[str], code: int, out: str = "", err: str = "") -> list[State]:
    """The states of jobs, in their order."""
    found = system(name).read_states(jobs, Answer(code, out, err))
    assert set(found) == set(jobs)
    return [found[job] for job in jobs]


OPENPBS = """\
Job Id: {job}
    Job_Name = fields
    Job_Owner = ada@login1.site.example.org
    job_state = {state}
    queue = workq
    server = pbs01
    Checkpoint = u
    ctime = Mon Nov 30 10:00:00 2026
    Error_Path = login1.site.example.org:/data/ada/fields/.pipelet/log/jobs/fields
	-3f8a21c7.out
    Join_Path = oe
    Resource_List.mem = 8192mb
    Resource_List.select = 1:ncpus=4:mem=8192mb
    substate = 10
    Variable_List = PBS_O_HOME=/home/ada,PBS_O_LANG=en_US.UTF-8,PBS_O_LOGNAME=ada,
	PBS_O_PATH=/usr/local/bin:/usr/bin:/bin,PBS_O_SHELL=/bin/bash,
	PBS_O_WORKDIR=/data/ada,PBS_O_SYSTEM=Linux,PBS_O_QUEUE=workq
    comment = Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T: 6
	4)
    project = _pbs_project_default

"""


@pytest.mark.parametrize(("letter", "wanted"), [
    ("Q", PENDING), ("W", PENDING), ("T", PENDING), ("H", HELD), ("R", RUNNING), ("B", RUNNING), ("E", ENDING),
    ("S", RUNNING), ("U", RUNNING), ("F", ENDED), ("X", ENDED), ("M", ENDED), ("C", ENDED), ("?", UNKNOWN),
])
def test_states_of_pbs(letter: str, wanted: State) -> None:
    out = OPENPBS.format(job="12.pbs01", state=letter)
    assert states("pbs", ["12.pbs01"], 0, out) == [wanted]
    assert states("torque", ["12.pbs01"], 0, out) == [wanted]


def test_jobs_that_pbs_has_forgotten() -> None:
    jobs = ["12.pbs01", "13.pbs01", "14.pbs01", "15.pbs01"]
    out = OPENPBS.format(job="13.pbs01", state="R")
    err = (
        "qstat: Unknown Job Id 12.pbs01\n"
        "qstat: 14.pbs01 Job has finished, use -x or -H to obtain historical job information\n"
    )
    # Of the last one nothing is said: the server may be another one, which does not answer.
    assert states("pbs", jobs, 35, out, err) == [ENDED, RUNNING, ENDED, UNKNOWN]
    assert states("pbs", ["12.pbs01"], 153, err="qstat: Unknown Job Id 12.pbs01\n") == [ENDED]
    assert states("pbs", ["14.pbs01"], 35, err=err.splitlines()[1]) == [ENDED]
    assert states("torque", ["12.m"], 153, err="qstat: Unknown Job Id Error 12.m\n") == [ENDED]
    # One number is the beginning of another.
    assert states("pbs", ["1.pbs01"], 153, err="qstat: Unknown Job Id 12.pbs01\n") == [UNKNOWN]


def test_pbs_leaves_out_or_adds_the_name_of_the_server() -> None:
    out = OPENPBS.format(job="12.pbs01", state="R") + OPENPBS.format(job="13.pbs01.site.example.org", state="Q")
    assert states("pbs", ["12", "13.pbs01"], 0, out) == [RUNNING, PENDING]


def test_torque_commands_on_top_of_slurm() -> None:
    known = "Job Id:\t33\n\tJob_Name = fields\n\tJob_Owner = root@localhost\n\tjob_state = {}\n\tqueue = debug\n\n"
    assert states("torque", ["33"], 0, known.format("Q")) == [PENDING]
    # Of several jobs they leave out those that are unknown; if all are, only the exit status tells.
    assert states("torque", ["32", "33"], 0, known.format("C")) == [ENDED, ENDED]
    assert states("torque", ["31", "32"], 153) == [ENDED, ENDED]


@pytest.mark.parametrize("name", ["pbs", "torque"])
@pytest.mark.parametrize(("code", "err"), [
    (1, "Connection refused\nqstat: cannot connect to server pbs01 (errno=15010)\n"),
    (255, "No Permission.\nqstat: cannot connect to server pbs01 (errno=15007)\n"),
    (2, "pbs_iff: cannot read reply from pbs_server\n"),
    (1, ""),
])
def test_a_server_of_pbs_that_does_not_answer(name: str, code: int, err: str) -> None:
    assert states(name, ["12.pbs01", "13.pbs01"], code, err=err) == [UNKNOWN, UNKNOWN]


def test_states_of_slurm() -> None:
    assert system("slurm").status_command(["1", "2"])[-1] == "--jobs=1,2"
    out = "1 PENDING Priority\n2 RUNNING None\n3 PENDING JobHeldUser\n4 COMPLETING None\n5 TIMEOUT TimeLimit\n6 NEW 0\n"
    found = states("slurm", list("1234567"), 0, out)
    assert found == [PENDING, RUNNING, HELD, ENDING, ENDED, UNKNOWN, ENDED]
    assert states("slurm", ["9"], 1, err="slurm_load_jobs error: Invalid job id specified\n") == [ENDED]
    unreachable = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
    assert states("slurm", ["9", "8"], 1, err=unreachable) == [UNKNOWN, UNKNOWN]
    assert states("slurm", ["9", "8"], 0) == [ENDED, ENDED]


SGE = """\
job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID
-----------------------------------------------------------------------------------------------------------------
      1 0.55500 fields     ada          r     11/30/2026 10:00:00 all.q@node1.site.example.org       4
      2 0.50500 fields     ada          qw    11/30/2026 10:00:01                                    4
      3 0.00000 fields     ada          hqw   11/30/2026 10:00:02                                    4
      4 0.50500 fields     ada          Eqw   11/30/2026 10:00:03                                    4
      5 0.55500 fields     ada          dr    11/30/2026 10:00:04 all.q@node1.site.example.org       4
      6 0.55500 fields     ada          t     11/30/2026 10:00:05 all.q@node1.site.example.org       4
      7 0.55500 fields     ada          hr    11/30/2026 10:00:06 all.q@node1.site.example.org       4
      8 0.50500 fields     ada          Rq    11/30/2026 10:00:07                                    4
"""


def test_states_of_grid_engine() -> None:
    found = states("sge", list("123456789"), 0, SGE)
    assert found == [RUNNING, PENDING, HELD, HELD, ENDING, RUNNING, RUNNING, PENDING, ENDED]
    assert states("sge", ["1"], 0) == [ENDED]
    gone = "error: commlib error: got select error (Connection refused)\nerror: unable to contact qmaster\n"
    assert states("sge", ["1", "2"], 1, err=gone) == [UNKNOWN, UNKNOWN]


def test_states_of_lsf() -> None:
    assert system("lsf").status_command(["1"]) == ["bjobs", "-a", "-noheader", "-o", "jobid stat", "1"]
    out = "1 PEND\n2 RUN\n3 PSUSP\n4 DONE\n5 EXIT\n6 UNKWN\n7 USUSP\n8 ZOMBI\n"
    found = states("lsf", [*"12345678", "12", "13"], 255, out, "Job <12> is not found\n")
    assert found == [PENDING, RUNNING, HELD, ENDED, ENDED, UNKNOWN, RUNNING, ENDED, ENDED, UNKNOWN]
    # The exit status for a job that is not known differs from site to site.
    assert states("lsf", ["12"], 0, "", "Job <12> is not found\n") == [ENDED]
    assert states("lsf", ["12"], 255, "", "Failed in an LSF library call: LIM is down; try later\n") == [UNKNOWN]
    assert states("lsf", ["12"], 0) == [UNKNOWN]


def test_states_of_htcondor() -> None:
    assert system("htcondor").status_command(["8.0"])[:2] == ["condor_q", "8.0"]
    out = "1 0 1\n2 0 2\n3 0 5\n4 0 4\n5 0 3\n6 0 7\n7 0 6\n"
    found = states("htcondor", [f"{number}.0" for number in range(1, 9)], 0, out)
    assert found == [PENDING, RUNNING, HELD, ENDED, ENDED, RUNNING, RUNNING, ENDED]
    gone = "\n-- Failed to fetch ads from: <192.0.2.7:9618?addrs=192.0.2.7-9618> : login1\n"
    assert states("htcondor", ["8.0"], 1, "", gone) == [UNKNOWN]


def test_states_of_oar() -> None:
    assert system("oar").status_command(["1", "2"]) == ["oarstat", "-s", "-j", "1", "-j", "2"]
    out = "1: Waiting\n2: Running\n3: Hold\n4: Terminated\n5: Error\n6: Finishing\n7: toLaunch\n8: Suspended\n9: NA\n"
    found = states("oar", [*"123456789", "10"], 0, out)
    assert found == [PENDING, RUNNING, HELD, ENDED, ENDED, ENDING, PENDING, RUNNING, UNKNOWN, ENDED]
    assert states("oar", ["1"], 255, err="DB connection error, exiting.\n") == [UNKNOWN]
