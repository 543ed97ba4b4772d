"""What a process does that looks at one hostile file, which is its standard input; the `forkserver` begins it."""

from __future__ import annotations

import importlib
import json
import os
import resource
from typing import Any, BinaryIO

from pipelet.errors import ViewError

#: Each job: the module that does it. It has a function ``answer(file, options)`` that gives bytes, or something for
#: JSON.
JOBS = {
    "array": "arrays",
    "archive": "archives",
    "code": "highlight",
    "difference": "differences",
    "fits": "fitsfile",
    "json": "jsontree",
    "picture": "pictures",
    "pickle": "pickled",
    "values": "pickled",
}
#: Handles that libraries need while they are loaded.
_HANDLES = 64


def limit(seconds: float, memory: int, size: int) -> None:
    """Give up for good what is not needed.

    Parameters
    ----------
    seconds
        Of work.
    memory
        In bytes.
    size
        Of the files: they may be mapped.
    """
    whole = max(int(seconds), 1)
    wanted = {
        "RLIMIT_CPU": whole,
        "RLIMIT_DATA": memory,
        "RLIMIT_AS": memory + size,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": _HANDLES,
    }
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Some systems know a limit and refuse to set it.
        try:
            resource.setrlimit(kind, (bound, bound))
        except (ValueError, OSError):
            if name in ("RLIMIT_CPU", "RLIMIT_FSIZE"):
                raise


def start_nothing() -> None:
    """Forbid new processes, once all libraries are there."""
    if hasattr(resource, "RLIMIT_NPROC"):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def prepare(request: dict[str, Any]) -> None:
    """Load what a request needs, whatever is in its file."""
    _module(request["job"]).prepare()
    if request["options"].get("of") == "fits":
        _module("fits").prepare()


def _module(job: str) -> Any:
    return importlib.import_module(f"pipelet.web.viewers.{JOBS[job]}")


def main(request: dict[str, Any]) -> int:
    """Do the job; 0 and the answer, or 3 and the reason."""
    handles = [0, int(request["options"].get("other", 0))]
    limit(request["seconds"], request["memory"], sum(os.fstat(handle).st_size for handle in set(handles)))
    # What libraries print is no answer.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        return _answer(out, request)
    finally:
        out.flush()


def _answer(out: BinaryIO, request: dict[str, Any]) -> int:
    try:
        prepare(request)
        start_nothing()
        with os.fdopen(0, "rb", closefd=False) as file:
            answer = _module(request["job"]).answer(file, {"job": request["job"], **request["options"]})
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    except ViewError as error:
        out.write(str(error).encode("utf-8", "backslashreplace"))
        return 3
    except MemoryError:
        out.write(b"it takes too much memory to show")
        return 3
    except RecursionError:
        out.write(b"it is nested too deeply to show")
        return 3
    except Exception as error:
        # Whatever a library says of a damaged file, it is no fault of ours.
        words = " ".join(str(error).split())[:300] or type(error).__name__
        out.write(f"it can't be read as what it claims to be: {words}".encode("utf-8", "replace"))
        return 3
    out.write(data)
    return 0
