"""Batch systems that are not at hand, as small scripts with the names of their commands and the form of their answers.

A fake notes how it was called, starts scripts as processes of this machine with an environment of their own, and
answers as the manual of the real command says.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support import Project, alive, until

from pipelet.errors import LauncherError
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.serverfile import Timings
from pipelet.executors.cluster.systems import State, base, detect, system
from pipelet.launchers import launch_batch, launch_pbs

#: Nobody waits for long here.
QUICK = Timings(lease=6, silence=9, rejoin=60, status=1, start=30)

#: What the fakes share: a note of each call, a new number, and whether a process lives.
COMMON = """\
#!/bin/bash
printf '%q ' "${0##*/}" "$@" >> "$FAKES/calls"; echo >> "$FAKES/calls"
new() { n=$(( $(cat "$FAKES/count" 2>/dev/null || echo 11) + 1 )); echo $n > "$FAKES/count"; }
begin() { setsid env -i PATH="$PATH" HOME="$HOME" "$@" & echo $! > "$FAKES/$n"; }
lives() { [ -e "/proc/$(cat "$FAKES/$1")" ] && ! grep -q '^State:.*Z' "/proc/$(cat "$FAKES/$1")/status"; }
end() { for job in "$@"; do lives "${job%%.*}" && kill -TERM -- "-$(cat "$FAKES/${job%%.*}")"; done; }
"""

OPENPBS = {
    "qsub": """\
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
grep -q '^#PBS -l select=1:ncpus=1:mem=' "$1" || { echo "qsub: Job has no resources" >&2; exit 188; }
new; begin PBS_JOBID=$n.host PBS_ENVIRONMENT=PBS_BATCH bash "$1" > "$out" 2>&1 < /dev/null
echo $n.host
""",
    "qstat": """\
[ "$1" = --version ] && { echo "pbs_version = 23.06.06"; exit 0; }
for job in "${@:2}"; do
  if [ ! -e "$FAKES/${job%%.*}" ]; then echo "qstat: Unknown Job Id $job" >&2; code=153
  elif lives "${job%%.*}"; then printf 'Job Id: %s\\n    Job_Name = fields\\n    job_state = R\\n\\n' "$job"
  else echo "qstat: $job Job has finished, use -x or -H to obtain historical job information" >&2; code=35; fi
done
exit ${code:-0}
""",
    "qdel": 'end "$@"\n',
}
LSF = {
    "bsub": """\
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
new; cat > "$FAKES/$n.script"
grep -q '^#BSUB -W ' "$FAKES/$n.script" || { echo "No walltime. Job not submitted." >&2; exit 255; }
begin LSB_JOBID=$n bash "$FAKES/$n.script" >> "$out" 2>&1 < /dev/null
echo "Job <$n> is submitted to default queue <normal>."
""",
    "bjobs": """\
for job in "${@:5}"; do
  if [ ! -e "$FAKES/$job" ]; then echo "Job <$job> is not found" >&2; code=255
  elif lives "$job"; then echo "$job RUN"; else echo "$job EXIT"; fi
done
exit ${code:-0}
""",
    "bkill": 'end "$@"\n',
}
HTCONDOR = {
    "condor_submit": """\
exec "$PYTHON" - "${@: -1}" "${@:1:$#-1}" <<'END'
import os, re, subprocess, sys
text, options = open(sys.argv[1]).read(), sys.argv[2:]
said = dict(re.findall(r"^([\\w.+]+) = (.*)$", text, re.M))
said.update(option.split("=", 1) for option in options if option != "-append")
assert text.rstrip().endswith("Queue") and int(said["allowed_execute_duration"]) > 0 and said["RequestDisk"]
line = said["Arguments"][1:-1].replace('""', '"').replace("$(DOLLAR)", "$")
words = re.findall(r"(?:[^ ']|'(?:[^']|'')*')+", line)
words = [word[1:-1].replace("''", "'") if word[0] == "'" else word for word in words]
fakes, log = os.environ["FAKES"], open(said["output"], "ab")
number = int(open(fakes + "/count").read()) + 1 if os.path.exists(fakes + "/count") else 8
open(fakes + "/count", "w").write(str(number))
environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
job = subprocess.Popen([said["Executable"], *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                       env=environment, start_new_session=True)
open(f"{fakes}/{number}", "w").write(str(job.pid))
print(f"Submitting job(s).\\n1 job(s) submitted to cluster {number}.", flush=True)
os._exit(0)
END
""",
    "condor_q": """\
for job in "$@"; do [ "$job" = -autoformat ] && break; lives "${job%%.*}" && echo "${job%%.*} 0 2"; done
exit 0
""",
    "condor_rm": 'end "$@"\n',
}
OAR = {
    "oarsub": """\
while [ $# -gt 1 ]; do [ "$1" = -O ] && out=$2; [ "$1" = -S ] && scan=1; shift; done
[ "$scan" ] && grep -q '^#OAR -l .*walltime=' $1 && [ -x $1 ] || { echo "# Error: no walltime" >&2; exit 5; }
new; begin OAR_JOB_ID=$n sh -c "$1" >> "$out" 2>&1 < /dev/null
echo "[ADMISSION RULE] Modify resource description with type constraints"
echo "OAR_JOB_ID=$n"
""",
    "oarstat": """\
shift; while [ $# -gt 0 ]; do
  if lives "$2"; then echo "$2: Running"; elif [ -e "$FAKES/$2" ]; then echo "$2: Terminated"; fi; shift 2
done
""",
    "oardel": 'end "$@"\n',
}
SYSTEMS = {"pbs": OPENPBS, "lsf": LSF, "htcondor": HTCONDOR, "oar": OAR}


class Fakes:
    """A directory with commands, which are on PATH, and notes of how they were called."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        (root / "bin").mkdir()
        # Real commands of batch systems may lie beside these.
        for tool in ("bash", "cat", "env", "grep", "setsid", "sh", "sleep"):
            (root / "bin" / tool).symlink_to(shutil.which(tool) or tool)
        monkeypatch.setenv("FAKES", str(root))
        monkeypatch.setenv("PYTHON", sys.executable)
        monkeypatch.setenv("PATH", str(root / "bin"))

    def write(self, commands: dict[str, str], directory: str = "bin") -> None:
        """Put commands there."""
        (self.root / directory).mkdir(exist_ok=True)
        for name, text in commands.items():
            path = self.root / directory / name
            path.write_text(COMMON + text)
            path.chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        """The commands that were called, with their words."""
        path = self.root / "calls"
        return [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """No commands yet."""
    root = tmp_path / "fakes"
    root.mkdir()
    return Fakes(root, monkeypatch)


def submit(name: str, root: Path, **options: Any) -> tuple[str, str]:
    """Submit a script that does nothing."""
    found = system(name)
    made = JobOptions(name, **options)
    script = found.make_script(made, "/nowhere", "fields-1", ["--idle", "1"])
    script = re.sub(r"^exec .*$", "true", script, flags=re.M)
    return found.submit(made, script, "fields-1", str(root), str(root))


# --- single commands -------------------------------------------------------------------------------------------------


ANSWERS = {
    "pbs": ("qsub", "echo 12.host", ["-j", "oe", "-o", "LOG", "--more", "SCRIPT"], "12.host"),
    "torque": ("qsub", "echo 12", ["-j", "oe", "-o", "LOG", "--more", "SCRIPT"], "12"),
    "slurm": (
        "sbatch", "echo Submitted batch job 12", ["--output=LOG", "--open-mode=append", "--more", "SCRIPT"], "12"
    ),
    "sge": ("qsub", "echo 12", ["-terse", "-j", "y", "-o", "LOG", "--more", "SCRIPT"], "12"),
    "lsf": (
        "bsub", "grep -q '^#BSUB -J pipelet$' && echo 'Job <12> is submitted to queue <normal>.'",
        ["-o", "LOG", "--more"], "12",
    ),
    "htcondor": (
        "condor_submit", "echo '1 job(s) submitted to cluster 12.'",
        [
            "-append", "output=LOG", "-append", "error=LOG", "-append", "stream_output=True", "-append",
            "stream_error=True", "--more", "SCRIPT",
        ],
        "12.0",
    ),
    "oar": ("oarsub", "echo OAR_JOB_ID=12", ["-S", "-O", "LOG", "-E", "LOG", "--more", "SCRIPT"], "12"),
}
EVERY = pytest.mark.parametrize("name", ANSWERS)


@EVERY
def test_how_a_job_is_submitted(name: str, fakes: Fakes) -> None:
    command, answer, words, job = ANSWERS[name]
    fakes.write({command: f"{answer}\n"})
    log = str(fakes.root / "fields-1.out")
    assert submit(name, fakes.root, submit_options=["--more"]) == (job, log)
    script = fakes.root / "fields-1.sh"
    assert script.stat().st_mode & 0o777 == 0o700, "it may hold what nobody else should see"
    wanted = [word.replace("LOG", log).replace("SCRIPT", str(script)) for word in words]
    assert [call for call in fakes.calls if call[0] == command] == [[command, *wanted]]


@EVERY
@pytest.mark.parametrize("stream", [1, 2])
def test_a_job_that_is_refused(name: str, stream: int, fakes: Fakes) -> None:
    command = ANSWERS[name][0]
    fakes.write({command: f"cat > /dev/null; echo 'Job exceeds queue limits: long' >&{stream}; exit 3\n"})
    with pytest.raises(LauncherError) as caught:
        submit(name, fakes.root, queue="long")
    assert str(caught.value) == (
        f"{command} refused a job, exit status 3: Job exceeds queue limits: long (the script is "
        f"{fakes.root}/fields-1.sh)"
    )


@EVERY
def test_a_job_that_is_refused_without_a_word(name: str, fakes: Fakes) -> None:
    command = ANSWERS[name][0]
    fakes.write({command: "exit 1\n"})
    with pytest.raises(LauncherError, match=rf"{command} refused a job, exit status 1: it said nothing"):
        submit(name, fakes.root)


@EVERY
def test_commands_that_hang(name: str, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "COMMAND_SECONDS", 0.3)
    (status, *_), command = system(name).status_command(["12"]), ANSWERS[name][0]
    fakes.write(dict.fromkeys([status, command], "exec sleep 60\n"))
    begun = time.monotonic()
    assert system(name).status(["12", "13"]) == {"12": State.UNKNOWN, "13": State.UNKNOWN}
    with pytest.raises(LauncherError, match=rf"{command} took too long: no answer within"):
        submit(name, fakes.root)
    assert time.monotonic() - begun < 30


def test_a_command_that_hangs_when_nobody_wants_to_know_any_more(fakes: Fakes) -> None:
    # Also where it has started something that keeps its output open.
    fakes.write({"qstat": "sleep 60\n", "qdel": "exec sleep 60\n"})
    stop = threading.Event()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    begun = time.monotonic()
    assert system("pbs").status(["12"], stop) == {"12": State.UNKNOWN}
    timer.join()
    assert time.monotonic() - begun < 30


def test_a_command_that_is_slow_to_read_its_input_gets_all_of_it(fakes: Fakes) -> None:
    fakes.write({"slow": "sleep 0.5; cat\n"})
    text = "line\n" * 100_000
    assert base.run_command(["slow"], text).out == text


def test_a_command_that_ends_without_having_read_its_input(fakes: Fakes) -> None:
    fakes.write({"hasty": "echo no; exit 3\n"})
    answer = base.run_command(["hasty"], "line\n" * 100_000)
    assert (answer.code, answer.out) == (3, "no\n")


def test_a_command_that_leaves_something_behind_that_keeps_its_output_open(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_LAST_WORDS_SECONDS", 1.0)
    fakes.write({"qsub": "sleep 60 & echo $! > $FAKES/left; echo 12.host\n"})
    begun = time.monotonic()
    assert base.run_command(["qsub"]).out == "12.host\n"
    assert time.monotonic() - begun < 30
    os.kill(int((fakes.root / "left").read_text()), signal.SIGKILL)


def test_a_wrapper_of_the_site_that_opens_its_output_anew(fakes: Fakes) -> None:
    # What was written before would be gone, were that a file.
    fakes.write({"qsub": "echo 12.host; echo please read the news > /dev/stdout\n"})
    assert submit("pbs", fakes.root)[0] == "12.host"


def test_a_command_that_hangs_ends_with_all_that_it_has_started(fakes: Fakes) -> None:
    fakes.write({"qstat": "sleep 60 & echo $! > $FAKES/left; wait\n"})
    assert base.run_command(["qstat"], seconds=1.0).code is None
    until(lambda: not alive([int((fakes.root / "left").read_text())]), "the end of what it had started", 10)


GONE = "for job in \"${@:2}\"; do echo \"qstat: Unknown Job Id $job\" >&2; done; exit 153\n"


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long for the end of jobs."""
    monkeypatch.setattr(base, "_CANCEL_SECONDS", 1.0)
    monkeypatch.setattr(base, "_CANCEL_SECONDS_PER_JOB", 0.0)
    monkeypatch.setattr(base, "_HUNG_SECONDS", 0.3)
    monkeypatch.setattr(base, "_END_SECONDS", 0.1)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("qstat", ["exec sleep 60\n", None], ids=["hangs", "is missing"])
def test_jobs_that_can_not_be_cancelled(fakes: Fakes, qstat: str | None) -> None:
    fakes.write({"qdel": "exec sleep 60\n"} | ({} if qstat is None else {"qstat": qstat}))
    jobs = [str(number) for number in range(1600)]
    kept = system("pbs").cancel(jobs)
    assert list(kept) == jobs
    assert kept["0"] == "qdel: no answer within 1 s; nor is known whether they are there"
    assert kept["500"] == "qdel: no answer within 0 s; nor is known whether they are there"
    asked = [[call[0], len(call)] for call in fakes.calls]
    # each part is tried, though with less patience; and one that hangs when asked for the jobs is left then
    assert asked == [["qdel", 501]] * 3 + [["qdel", 101]] + ([] if qstat is None else [["qstat", 502]])


@pytest.mark.usefixtures("no_patience")
def test_jobs_that_have_ended_though_the_command_was_killed(fakes: Fakes) -> None:
    fakes.write({"qdel": "exec sleep 60\n", "qstat": GONE})
    assert system("pbs").cancel(["12.host", "13.host"]) == {}


@pytest.mark.usefixtures("no_patience")
def test_a_failure_to_cancel_counts_for_jobs_that_are_still_there(fakes: Fakes) -> None:
    state = "printf 'Job Id: %s.host\\n    job_state = %s\\n' "
    fakes.write({
        "qdel": "echo Unauthorized Request 13.host; exit 1\n",
        "qstat": f"{state}13 Q; {state}14 E; echo 'qstat: Unknown Job Id 12' >&2; exit 153\n",
    })
    kept = system("pbs").cancel(["12.host", "13.host", "14.host"])
    assert kept == {"13.host": "qdel: Unauthorized Request 13.host"}
    assert [call[0] for call in fakes.calls] == ["qdel", "qstat"]


@EVERY
def test_commands_that_are_missing(name: str, fakes: Fakes) -> None:
    command, status = ANSWERS[name][0], system(name).status_command(["12"])[0]
    with pytest.raises(LauncherError, match=rf"^{command} can't be started \(No such file or directory\): is this"):
        submit(name, fakes.root)
    with pytest.raises(LauncherError, match=rf"^{status} can't be started"):
        system(name).status(["12"])


@pytest.mark.parametrize(("name", "command"), [
    ("pbs", "qdel"), ("torque", "qdel"), ("slurm", "scancel"), ("sge", "qdel"), ("lsf", "bkill"),
    ("htcondor", "condor_rm"), ("oar", "oardel"),
])
def test_how_jobs_are_cancelled(name: str, command: str, fakes: Fakes) -> None:
    fakes.write({command: ""})
    assert system(name).cancel(["12", "13"]) == {}
    assert fakes.calls == [[command, "12", "13"]]
    system(name).cancel([str(number) for number in range(1001)])
    assert [len(call) - 1 for call in fakes.calls[1:]] == [500, 500, 1], "a command line has an end"


def test_a_script_that_oar_can_not_run(fakes: Fakes) -> None:
    fakes.write({"oarsub": "echo OAR_JOB_ID=1\n"})
    (fakes.root / "my data").mkdir()
    with pytest.raises(LauncherError, match=r"OAR can't run .*my data/fields-1.sh: give script_dir="):
        submit("oar", fakes.root / "my data")
    assert fakes.calls == []


@pytest.mark.parametrize(("name", "mark"), [
    ("pbs", ":"), ("torque", ":"), ("sge", ":"), ("sge", ","), ("sge", "$"), ("slurm", "%"), ("slurm", "\\"),
    ("lsf", "%"), ("oar", "%"), ("htcondor", "$"),
])
def test_paths_of_logs_that_would_mean_something_else(name: str, mark: str, fakes: Fakes) -> None:
    fakes.write({ANSWERS[name][0]: ""})
    (fakes.root / f"my{mark}data").mkdir()
    with pytest.raises(LauncherError, match=rf"to {name} .* in the path of a job's output means .*; give log_dir="):
        submit(name, fakes.root / f"my{mark}data")
    assert fakes.calls == []


# --- which system this is --------------------------------------------------------------------------------------------


TORQUE_VERSION = "echo 'Version: 6.1.3' >&2\n"
NO_VERSION = "echo 'Unknown option: version' >&2; exit 2\n"


@pytest.mark.parametrize(("commands", "wanted"), [
    ({"sbatch": ""}, "slurm"),
    ({"bsub": ""}, "lsf"),
    ({"oarsub": ""}, "oar"),
    ({"condor_submit": ""}, "htcondor"),
    ({"qsub": "", "qconf": ""}, "sge"),
    ({"qsub": "", "qconf": "", "qstat": NO_VERSION}, "sge"),
    ({"qsub": "", "qstat": OPENPBS["qstat"]}, "pbs"),
    ({"qsub": "", "qstat": TORQUE_VERSION}, "torque"),
    ({"qsub": "", "qstat": NO_VERSION}, "torque"),
    ({"sbatch": "", "qsub": "", "qstat": NO_VERSION}, "slurm"),
])
def test_the_system_whose_commands_are_there(commands: dict[str, str], wanted: str, fakes: Fakes) -> None:
    fakes.write(commands)
    assert detect() == wanted


def test_commands_of_two_systems_or_of_none(fakes: Fakes) -> None:
    with pytest.raises(LauncherError, match=r"no batch system is on this host: .* go to a login node"):
        detect()
    fakes.write({"sbatch": "", "bsub": ""})
    with pytest.raises(LauncherError, match="commands of slurm and of lsf on this host: say which, system='slurm'"):
        detect()


def test_commands_of_torque_beside_those_of_grid_engine(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write({"qsub": "", "qconf": ""})
    fakes.write({"qsub": "", "qstat": TORQUE_VERSION}, "torque")
    monkeypatch.setenv("PATH", f"{fakes.root}/torque:{fakes.root}/bin")
    assert detect() == "torque"
    monkeypatch.setenv("PATH", f"{fakes.root}/bin:{fakes.root}/torque")
    assert detect() == "sge"


# --- whole runs ------------------------------------------------------------------------------------------------------


def sleeping(project: Project, seconds: float, kept: float = 1e9) -> None:
    """A segment whose tasks tell in which job they ran; from the input `kept` on they wait for a file ``gate``."""
    project.write(a=f"""\
    import os, time
    time.sleep({seconds})
    while get_input() >= {kept} and not os.path.exists({str(project.root / "gate")!r}):
        time.sleep(0.05)
    names = ("PBS_JOBID", "LSB_JOBID", "OAR_JOB_ID")
    set_output([(get_input(), next((os.environ[name] for name in names if name in os.environ), None),
                 os.environ.get("LOADED"))])
    """)


@pytest.mark.parametrize("name", ["lsf", "htcondor", "oar"])
def test_a_run_through_a_system_that_is_not_at_hand(name: str, project: Project, fakes: Fakes) -> None:
    fakes.write(SYSTEMS[name])
    sleeping(project, 0.02)
    pipeline = project.pipeline("a", {"a": range(8)})
    w, _ = launch_batch(
        pipeline, 2, None, log_level=0, timings=QUICK, walltime="00:10:00",
        job_header="LOADED='it''s'$(echo ' here')\nexport LOADED",
    )
    summary = w.run()
    assert (summary.done, summary.failed) == (8, 0)
    outputs = pipeline.outputs("a")
    assert [output[0] for output in outputs] == list(range(8))
    assert {output[2] for output in outputs} == {"its here"}
    jobs = {None} if name == "htcondor" else {"12", "13"}
    assert {output[1] for output in outputs} <= jobs
    submitted = [call for call in fakes.calls if call[0] == next(iter(SYSTEMS[name]))]
    assert len(submitted) == 2
    pids = [int((fakes.root / str(number)).read_text()) for number in ((8, 9) if name == "htcondor" else (12, 13))]
    until(lambda: not alive(pids), "the end of the jobs", 30)


def test_a_job_of_openpbs_that_is_lost_is_replaced(project: Project, fakes: Fakes) -> None:
    fakes.write(OPENPBS)
    sleeping(project, 0.2, kept=8)
    pipeline = project.pipeline("a", {"a": range(24)})
    w, _ = launch_pbs(pipeline, 2, cpu_time="00:10:00", log_level=0, timings=QUICK)
    try:
        log = project.prefix / ".pipelet" / "log" / "pipelet.log"
        until(lambda: len(re.findall(r"job 1[23]\.host on \S+ has joined", log.read_text())) == 2, "both workers", 60)
        os.killpg(int((fakes.root / "12").read_text()), signal.SIGKILL)
        (project.root / "gate").touch()
        summary = w.run()
    except BaseException:
        w.stop()
        raise
    assert (summary.done, summary.failed) == (24, 0)
    assert [output[0] for output in pipeline.outputs("a")] == list(range(24))
    text = log.read_text()
    assert re.search(r"job 12\.host on \S+ was lost", text)
    assert "submitted job 14.host in place of one that has ended" in text
    assert len([call for call in fakes.calls if call[0] == "qsub"]) == 3


def test_a_job_of_openpbs_that_never_begins_to_work_ends_the_run(project: Project, fakes: Fakes) -> None:
    # The server keeps it in its history, and the other ones are unknown to it: all of them have ended.
    fakes.write({**OPENPBS, "qsub": OPENPBS["qsub"].replace('bash "$1"', "bash -c 'echo no such module; exit 1'")})
    sleeping(project, 0)
    w, _ = launch_batch(
        project.pipeline("a", {"a": [1]}), 2, "pbs", log_level=0, walltime="00:10:00",
        timings=Timings(lease=6, silence=9, rejoin=60, status=0.2, start=30),
    )
    with pytest.raises(LauncherError, match=r"(?s)no job is left .*has ended before its worker .*no such module"):
        w.run()
    asked = [call for call in fakes.calls if call[:2] == ["qstat", "-f"]]
    assert max(map(len, asked)) == 4, "both jobs are asked for at once"


def test_a_run_that_no_job_was_taken_for(project: Project, fakes: Fakes) -> None:
    fakes.write({**OPENPBS, "qsub": "echo 'qsub: Unknown queue' >&2; exit 170\n"})
    sleeping(project, 0)
    with pytest.raises(LauncherError, match="qsub refused a job, exit status 170: qsub: Unknown queue"):
        launch_pbs(project.pipeline("a", {"a": [1]}), 2, queue="nowhere", log_level=0)
    assert not (project.prefix / ".pipelet" / "lock").exists()


def test_what_is_done_is_on_record_before_jobs_are_cancelled(project: Project, fakes: Fakes) -> None:
    """One job works, the other waits for its turn; and the batch system does not let go of it."""
    waits = 'new; [ $n = 13 ] && { echo $n.host; exit; }; begin PBS'
    fakes.write({
        **OPENPBS, "qsub": OPENPBS["qsub"].replace("new; begin PBS", waits),
        "qstat": "[ $1 = -f ] && printf 'Job Id: 13.host\\n    job_state = Q\\n' || echo pbs_version = 23\n",
        "qdel": 'while [ ! -e "$FAKES/go" ]; do sleep 0.1; done; echo "qdel: not now" >&2; exit 1\n',
    })
    sleeping(project, 0.02, kept=5)
    pipeline = project.pipeline("a", {"a": range(8)})
    w, _ = launch_pbs(pipeline, 2, cpu_time="00:10:00", log_level=0, timings=Timings(lease=6, silence=9, start=30))
    log = project.prefix / ".pipelet" / "log" / "pipelet.log"
    try:
        until(lambda: pipeline.status()["a"].get("done") == 5, "what does not wait for the gate", 60)
        stopping = threading.Thread(target=w.stop)
        stopping.start()
        until(lambda: ["qdel", "13.host"] in fakes.calls, "the job to be cancelled", 60)
        assert pipeline.status()["a"] == {"done": 5, "queued": 3}
        assert "the run was stopped" in log.read_text()
        assert not (project.prefix / ".pipelet" / "server" / "server.json").exists()
    finally:
        (fakes.root / "go").touch()
    stopping.join(60)
    assert fakes.calls.count(["qdel", "13.host"]) == 1
    told = [line for line in log.read_text().splitlines() if "13.host" in line]
    assert told[-1].endswith(
        "could not be cancelled, and will end when they find no server: jobs 13.host (qdel: qdel: not now)"
    )
    assert len(list((project.prefix / ".pipelet" / "server" / "jobs").iterdir())) == 1
    assert sum(task.status == "done" for task in pipeline.tasks("a")) == 5
