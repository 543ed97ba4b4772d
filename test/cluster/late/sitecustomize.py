"""A file system that shows late what other hosts have done, as NFS does: every Python process that finds this has it.

Below ``LATE_ROOT`` a process does not see, for ``LATE_SECONDS``, a directory that another one has made. And of what is
in a directory it takes to be missing what it did not find there before, until it opens the directory once more.
"""

import builtins
import errno
import io
import os
import stat
import time

_ROOT, _SECONDS = os.environ.get("LATE_ROOT", ""), float(os.environ.get("LATE_SECONDS", "0"))
_stat, _scandir, _mkdir, _os_open, _open = os.stat, os.scandir, os.mkdir, os.open, builtins.open
_own = set()
#: When each directory was opened last.
_opened = {}


def _is_ours(path):
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(_ROOT + "/")


def _look(path):
    """Raise what a process gets to hear that does not see a path yet."""
    if not _is_ours(path):
        return
    parts = os.path.relpath(os.fspath(path), _ROOT).split("/")
    for depth in range(1, len(parts) + 1):
        step = os.path.join(_ROOT, *parts[:depth])
        above = os.path.dirname(step)
        if step in _own or above in _own or "data" not in step.split("/"):
            continue
        try:
            found = _stat(step, follow_symlinks=False)
        except OSError:
            return
        # Once something is in it, the change time of a directory is that of the last entry.
        if stat.S_ISDIR(found.st_mode):
            hidden = time.time() - found.st_ctime < _SECONDS
        else:
            hidden = _opened.get(above, 0) < found.st_ctime
        if hidden and os.path.basename(step) != "data":
            raise FileNotFoundError(errno.ENOENT, "not seen here yet", step)


def _looking(function):
    def wrapped(path, *arguments, **options):
        _look(path)
        return function(path, *arguments, **options)

    return wrapped


def _open_late(file, mode="r", *arguments, **options):
    if set(mode) & set("wxa") and _is_ours(file):
        _own.add(os.fspath(file))
    _look(file)
    return _open(file, mode, *arguments, **options)


def _scan_late(path=".", *arguments):
    _look(path)
    if _is_ours(path):
        _opened[os.fspath(path)] = time.time()
    return _scandir(path, *arguments)


def _make_own(path, *arguments, **options):
    _mkdir(path, *arguments, **options)
    if _is_ours(path):
        _own.add(os.fspath(path))


if _ROOT:
    os.stat, os.lstat = _looking(os.stat), _looking(os.lstat)
    os.mkdir, os.scandir = _make_own, _scan_late
    builtins.open = io.open = _open_late
