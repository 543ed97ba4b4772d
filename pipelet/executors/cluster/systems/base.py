"""What all batch systems have in common.

The job scripts, the submit commands and the reading of job ids are those of dask-jobqueue, so that what a site has put
down for it (``~/.config/dask/jobqueue.yaml``) counts here as well. What it lacks is to ask how jobs are.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import shlex
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelet.errors import LauncherError, MissingPackageError
from pipelet.executors.cluster.options import JobOptions

#: A command of a batch system that takes longer than that hangs; one that cancels jobs is not waited for so long, since
#: those end by themselves when there is no server, but some systems cancel one after the other.
COMMAND_SECONDS, _CANCEL_SECONDS, _CANCEL_SECONDS_PER_JOB = 120.0, 20.0, 0.2
#: And so long one that comes after another one that hung.
_HUNG_SECONDS = 5.0
_LOOK_SECONDS = 0.2
#: What a command has started may keep its output open, and says nothing more of interest.
_LAST_WORDS_SECONDS = 5.0
#: After so many seconds jobs are asked for that could not be cancelled as it seems.
_END_SECONDS = 2.0
#: So many ids go to a command at once.
_MOST_IDS = 500
#: Of what a command says so many characters are shown.
_WORDS_LENGTH = 1500
WORKER_MODULE = "pipelet.executors.cluster.job"
#: Settings of dask-jobqueue that would say something to its own workers only, or something else than the user has said.
_NOT_FROM_SITE = ("local-directory", "interface", "log-directory", "walltime")


class State(enum.Enum):
    """How a job is, as its batch system says."""

    PENDING = "pending"  #: it waits for its turn
    HELD = "held"  #: it waits until somebody lets it go
    RUNNING = "running"
    ENDING = "ending"  #: nothing of it goes on but that the system puts it away
    ENDED = "ended"  #: it is over, or the system knows nothing of it any more
    UNKNOWN = "unknown"  #: the system did not say


class Answer:
    """What a command said.

    Attributes
    ----------
    code
        Its exit status; ``None`` if it took too long.
    out, err
        What it printed.
    """

    def __init__(self, code: int | None, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def words(self) -> str:
        """What it printed, on either stream: some wrappers print errors where results should be."""
        text = "\n".join(part.strip() for part in (self.err, self.out) if part.strip())
        return text[:_WORDS_LENGTH] or "it said nothing"


def run_command(
    arguments: Sequence[str], given: str | None = None, seconds: float | None = None,
    stop: threading.Event | None = None,
) -> Answer:
    """Run a command of a batch system.

    Parameters
    ----------
    arguments
        The command and its words.
    given
        What it reads from its standard input; nothing if not given.
    seconds
        How long it may take, ``COMMAND_SECONDS`` if not given.
    stop
        When this is set nobody wants to know any more.

    Raises
    ------
    LauncherError
        There is no such command here.
    """
    limit = COMMAND_SECONDS if seconds is None else seconds
    end = time.monotonic() + limit
    try:
        # In a session of its own, so that it ends with all that it has started.
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL if given is None else subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, bufsize=0, start_new_session=True,
        )
    except OSError as error:
        raise LauncherError(
            f"{arguments[0]} can't be started ({error.strerror}): is this a host from which jobs are submitted?"
        ) from error
    out, err = _Hearing(process.stdout), _Hearing(process.stderr)
    if given is not None:
        threading.Thread(target=_say, args=(process.stdin, given.encode()), daemon=True).start()
    try:
        while process.poll() is None:
            if time.monotonic() > end or (stop is not None and stop.is_set()):
                _kill(process)
                return Answer(None, "", f"no answer within {limit:.0f} s")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
    except BaseException:
        _kill(process)
        raise
    last = time.monotonic() + _LAST_WORDS_SECONDS
    return Answer(process.returncode, out.text(last), err.text(last))


class _Hearing:
    """Listens to what a command says, in a thread: it can be left when the command has ended."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with self._stream:
            while part := self._stream.read(1 << 16):
                self._parts.append(part)

    def text(self, end: float) -> str:
        """All of it; what has come up to some time where that is not the end yet."""
        self._thread.join(max(0.0, end - time.monotonic()))
        return b"".join(self._parts).decode(errors="replace")


def _say(stream: Any, text: bytes) -> None:
    # It may have ended without having read all.
    with contextlib.suppress(BrokenPipeError), stream:
        view = memoryview(text)
        while view:
            view = view[stream.write(view) :]


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # One that waits for a disk or a network may not go at once, and is not waited for.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LAST_WORDS_SECONDS)


class System:
    """One batch system; its modules derive from this.

    Attributes
    ----------
    name
        As users give it.
    job_variables
        Variables in a job's environment that hold its id.
    id_pattern
        Where the id of a job stands in what the submit command says. Sites let it say other things as well, so that the
        first number will not do.
    states
        What the system's words and letters for the state of a job mean.
    log_marks
        Characters that mean more than themselves in the path of a job's output.
    """

    name = ""
    job_variables: tuple[str, ...] = ()
    id_pattern: re.Pattern[str]
    states: Mapping[str, State] = {}
    log_marks = ""

    def job_class(self) -> Any:
        """The class of dask-jobqueue that knows this system."""
        raise NotImplementedError

    def job_options(self, options: JobOptions) -> dict[str, Any]:
        """Arguments for that class that only this system has."""
        return {"queue": options.queue, "account": options.project, "walltime": options.walltime_text}

    def directives(self, options: JobOptions) -> list[str]:
        """Directives for the job script."""
        return list(options.directives)

    def submit_words(self, name: str, log: str) -> list[str]:
        """What the submit command is told beside the script: above all where the job's output goes."""
        return []

    def log_path(self, log_dir: str, name: str) -> str:
        """The file with a job's output."""
        return os.path.join(log_dir, f"{name}.out")

    def submit_command(self, job: Any, name: str, log: str, options: JobOptions, path: str) -> list[str]:
        """The whole submit command."""
        return [*shlex.split(job.submit_command), *self.submit_words(name, log), *options.submit_options, path]

    def submit_input(self, script: str) -> str | None:
        """What the submit command reads from its standard input."""
        return None

    def job_id(self, answer: Answer) -> str:
        """The id of a job, from what the submit command said.

        Raises
        ------
        LauncherError
            It did not say one.
        """
        found = self.id_pattern.search(answer.out)
        if found is None:
            raise LauncherError(
                f"{self.name} took a job, but its id can't be read from what it said: {answer.words}; see whether the "
                "job is there, and cancel it"
            )
        return found["id"]

    def status_command(self, jobs: Sequence[str]) -> list[str]:
        """The command that says how jobs are."""
        raise NotImplementedError

    def read_states(self, jobs: Sequence[str], answer: Answer) -> dict[str, State]:
        """How jobs are, from what that command said; jobs that it does not name have ended."""
        raise NotImplementedError

    # --- the same everywhere -----------------------------------------------------------------------------------------

    def make_script(
        self, options: JobOptions, server_file: str, name: str, arguments: Sequence[str]
    ) -> str:
        """Make the script of a job.

        Parameters
        ----------
        options
            What the job asks for.
        server_file
            The file by which its worker finds the server.
        name
            Of the worker.
        arguments
            More for the worker.
        """
        return str(self._job(options, server_file, name, arguments).job_script())

    def submit(self, options: JobOptions, script: str, name: str, script_dir: str, log_dir: str) -> tuple[str, str]:
        """Submit a job.

        Parameters
        ----------
        options
            What the job asks for.
        script
            As `make_script` gave it.
        name
            Of the worker.
        script_dir, log_dir
            Where the script is kept, and where the output goes.

        Returns
        -------
        tuple of str
            The batch system's id of the job, and the file with its output.

        Raises
        ------
        LauncherError
            The system refused it; the words are its own. Or it would put the output elsewhere.
        OSError
            The script can't be written.
        """
        log = self.log_path(log_dir, name)
        marks = "".join(sorted(set(log) & set(self.log_marks)))
        if marks:
            raise LauncherError(
                f"to {self.name} {' and '.join(map(repr, marks))} in the path of a job's output means something else: "
                f"{log}; give log_dir=, a directory without, or choose another prefix"
            )
        path = os.path.join(script_dir, f"{name}.sh")
        with open(path, "w", opener=lambda file, flags: os.open(file, flags, 0o700)) as file:
            file.write(script)
        job = self._job(options, "", name, ())
        command = self.submit_command(job, name, log, options, path)
        answer = run_command(command, self.submit_input(script))
        if answer.code != 0:
            if answer.code is None:
                raise LauncherError(
                    f"{command[0]} took too long: {answer.words}; it may have taken the job all the same "
                    f"(the script is {path})"
                )
            raise LauncherError(
                f"{command[0]} refused a job, exit status {answer.code}: {answer.words} (the script is {path})"
            )
        return self.job_id(answer), log

    def status(
        self, jobs: Sequence[str], stop: threading.Event | None = None, seconds: float | None = None
    ) -> dict[str, State]:
        """Ask how jobs are: one command for all, but for very many.

        Parameters
        ----------
        jobs
            Their ids.
        stop
            When this is set nobody wants to know any more.
        seconds
            How long that may take, ``COMMAND_SECONDS`` if not given.

        Raises
        ------
        LauncherError
            There is no such command here.
        """
        states = dict.fromkeys(jobs, State.UNKNOWN)
        for start in range(0, len(jobs), _MOST_IDS):
            some = jobs[start : start + _MOST_IDS]
            answer = run_command(self.status_command(some), seconds=seconds, stop=stop)
            if answer.code is None:
                break  # so would the next one
            states.update(self.read_states(some, answer))
        return states

    def cancel(self, jobs: Sequence[str]) -> dict[str, str]:
        """Cancel jobs; those that have ended are none the worse for it.

        Returns
        -------
        dict
            The jobs that are still there, as far as is known, and why.

        Raises
        ------
        LauncherError
            There is no such command here.
        """
        words = shlex.split(self.job_class().cancel_command)
        failed: dict[str, str] = {}
        hung = False
        for start in range(0, len(jobs), _MOST_IDS):
            some = jobs[start : start + _MOST_IDS]
            seconds = _HUNG_SECONDS if hung else _CANCEL_SECONDS + _CANCEL_SECONDS_PER_JOB * len(some)
            answer = run_command([*words, *some], seconds=seconds)
            hung = hung or answer.code is None
            if answer.code != 0:
                failed |= dict.fromkeys(some, f"{words[0]}: {answer.words}")
        return self._still_there(failed)

    def _still_there(self, failed: Mapping[str, str]) -> dict[str, str]:
        """Those of some jobs that could not be cancelled, as it seems: a command fails also for one that has ended."""
        if not failed:
            return {}
        time.sleep(_END_SECONDS)
        states: Mapping[str, State] = {}
        with contextlib.suppress(LauncherError):
            states = self.status(list(failed), seconds=_CANCEL_SECONDS)
        kept = {}
        for job, why in failed.items():
            state = states.get(job, State.UNKNOWN)
            if state is State.UNKNOWN:
                kept[job] = f"{why}; nor is known whether they are there"
            elif state not in (State.ENDED, State.ENDING):
                kept[job] = why
        return kept

    def _job(self, options: JobOptions, server_file: str, name: str, arguments: Sequence[str]) -> Any:
        import dask

        make = self.job_class()  # by which the settings are read
        words = [shlex.quote(word) for word in arguments]
        scratch = self._site("local-directory")
        if scratch and options.scratch is None:
            words += ["--scratch", str(scratch)]  # the shell of the job may have to say what it is
        try:
            with dask.config.set({f"jobqueue.{make.config_name}.{setting}": None for setting in _NOT_FROM_SITE}):
                return make(
                    scheduler=shlex.quote(server_file), name=shlex.quote(name), cores=options.cores, processes=1,
                    memory=f"{options.memory_bytes}B", job_name=options.job_name,
                    python=f"exec {shlex.quote(options.python or sys.executable)}", worker_command=WORKER_MODULE,
                    worker_extra_args=words, job_extra_directives=self._directives(options),
                    job_script_prologue=self._prologue(options), death_timeout=60, **self.job_options(options),
                )
        except (ValueError, TypeError) as error:
            raise LauncherError(f"no job script can be made for {self.name}: {error}") from error

    def _prologue(self, options: JobOptions) -> list[str]:
        """What the script of a job does before the worker begins."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in job_environment(options).items()]
        header = options.job_header.strip("\n")
        return [*lines, header] if header.strip() else [*lines, *map(str, self._site("job-script-prologue") or [])]

    def _directives(self, options: JobOptions) -> Any:
        """Those of the site, of this module and of the user."""
        own = self.directives(options)
        site = self._site("job-extra-directives")
        if not isinstance(own, list):
            return {**(site or {}), **own}
        return [*(site or []), *own]

    def _site(self, setting: str) -> Any:
        """What the site has put down for dask-jobqueue."""
        import dask

        return dask.config.get(f"jobqueue.{self.job_class().config_name}.{setting}", None)


def job_environment(options: JobOptions) -> dict[str, str]:
    """Variables that a job needs: those that the user names, and what makes it find Pipelet."""
    path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    home = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    if home not in installed:
        path.insert(0, home)
    found = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(os.path.abspath(entry) for entry in path))} if path else {}
    return {**found, **options.environment}


def import_dask_jobqueue() -> Any:
    """Import dask-jobqueue without what it does to Ctrl-C.

    Raises
    ------
    LauncherError
        It is not installed, or this is not the main thread, where alone it can be imported at first.
    """
    if "dask_jobqueue" not in sys.modules and threading.current_thread() is not threading.main_thread():
        raise LauncherError("jobs can be submitted from the main thread only: call the launcher there")
    handler = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise MissingPackageError(
            f"the batch mode needs the package {error.name}: pip install 'pipelet-engine[batch]'"
        ) from error
    finally:
        # It would end the process at Ctrl-C, with exit status 0.
        if threading.current_thread() is threading.main_thread():
            with contextlib.suppress(ValueError, TypeError):
                signal.signal(signal.SIGINT, handler)
    return dask_jobqueue


def table_states(
    jobs: Sequence[str], rows: Mapping[str, str], states: Mapping[str, State], ended: Callable[[str], bool]
) -> dict[str, State]:
    """How jobs are, from a table of ids and words.

    Parameters
    ----------
    jobs
        Which jobs.
    rows
        The word for each job that was named.
    states
        What the words mean.
    ended
        Tells of a job that was not named whether it has ended.
    """
    found = {}
    for job in jobs:
        word = rows.get(job)
        if word is None:
            found[job] = State.ENDED if ended(job) else State.UNKNOWN
        else:
            found[job] = states.get(word, State.UNKNOWN)
    return found
