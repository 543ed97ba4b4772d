"""A pipeline that somebody has put into a file with pickle.

To load it is to run it as code, so a file that anybody else could have written is refused.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import pwd
import reprlib
import shlex
import stat
from typing import BinaryIO

from pipelet.errors import LauncherError, PipelineError
from pipelet.pipeline import Pipeline

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_HOW = "make it in Python, after P.push(...): pickle.dump(P, file)"


def open_private(path: str) -> BinaryIO:
    """Open a file that nobody else could have written.

    What is looked at is the file that is open, so that none can be put in its place between the look and the reading.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    LauncherError
        There is none, or others can write it or put another one in its place.
    """
    real = os.path.realpath(path)
    try:
        # A pipe of that name would not open before somebody writes to it.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LauncherError(f"there is no file {path}; {_HOW}") from None
    except OSError as error:
        raise LauncherError(f"{path} can't be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise LauncherError(f"{path} is no file with a pipeline; {_HOW}")
        _check_owner(path, path, found)
        if found.st_mode & _OTHERS_WRITE:
            raise LauncherError(
                f"{path} is run as code when it is loaded, and others can write it: chmod go-w {shlex.quote(real)}"
            )
        _check_way(path, real)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_way(path: str, real: str) -> None:
    """See to it that nobody else can put another file or directory into the way to a file."""
    try:
        for place in _upwards(os.path.abspath(path)):
            found = os.lstat(place)
            if stat.S_ISLNK(found.st_mode):
                _check_owner(path, place, found)
        for place in _upwards(os.path.dirname(real)):
            found = os.lstat(place)
            _check_owner(path, place, found)
            # In a directory with this bit, such as /tmp, each can move away only what is his own.
            if found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
                raise LauncherError(
                    f"{path} is run as code when it is loaded, and others can put another file in its place, since "
                    f"they can write the directory {place}: chmod go-w {shlex.quote(place)}"
                )
    except OSError as error:
        raise LauncherError(f"{path}: {error.filename}: {error.strerror}") from None


def _upwards(place: str) -> list[str]:
    """A path and all that it lies in."""
    places = [place]
    while os.path.dirname(places[-1]) != places[-1]:
        places.append(os.path.dirname(places[-1]))
    return places


def _check_owner(path: str, place: str, found: os.stat_result) -> None:
    if found.st_uid in (os.geteuid(), 0):
        return
    name = str(found.st_uid)
    with contextlib.suppress(KeyError):
        name = pwd.getpwuid(found.st_uid).pw_name
    what = "it" if place == path else place
    raise LauncherError(
        f"{path} is run as code when it is loaded, and {what} belongs to {name}: pickle the pipeline yourself, into a "
        "directory of yours"
    )


def load_pipeline(file: BinaryIO, path: str) -> Pipeline:
    """Load the pipeline of a file.

    Parameters
    ----------
    file
        As `open_private` gave it.
    path
        Its name, for errors.

    Raises
    ------
    LauncherError
        It holds something else, or what can't be loaded here.
    """
    try:
        found = pickle.load(file)
    except PipelineError as error:
        raise LauncherError(f"{path}: {error}") from None
    except (ImportError, AttributeError) as error:
        raise LauncherError(f"{path} refers to what can't be imported here: {error}; {_HOW}") from None
    except Exception as error:  # what is no pickle, or a damaged one, can raise anything
        raise LauncherError(f"{path} is no pickle that can be read ({error or type(error).__name__}); {_HOW}") from None
    if not isinstance(found, Pipeline):
        raise LauncherError(f"{path} holds no pipeline but {reprlib.repr(found)}; {_HOW}")
    return found
