"""Small, careful operations on files: atomic writes, deletion that follows no link, errors in words."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from pipelet.errors import StorageError

_ADVICE = {
    errno.ENOSPC: "make room on the disk and run again",
    errno.EDQUOT: "make room within the quota and run again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and run again",
    errno.EACCES: "check who may write there",
    errno.EPERM: "check who may write there",
    errno.EROFS: "choose a place that can be written",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ENOTDIR: "a file stands where a directory should be: move it away",
}


def explain(action: str, path: str, error: OSError) -> str:
    """Say in one sentence what failed, where, why, and what helps.

    Parameters
    ----------
    action
        What was tried, after "can't": ``"write"``.
    path
        The file or directory.
    error
        What the system said.

    Returns
    -------
    str
        The sentence.
    """
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0)
    return f"can't {action} {path}: {reason}" + (f" ({advice})" if advice else "")


@contextlib.contextmanager
def storage_errors(action: str, path: str, kind: type[StorageError] = StorageError) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` that names the file, with the first as its cause."""
    try:
        yield
    except OSError as error:
        raise kind(explain(action, path, error)) from error


def is_directory(path: str) -> bool:
    """Tell whether `path` is a real directory; a link to one is none."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def scan(directory: str) -> list[os.DirEntry[str]]:
    """List a directory in the order of names; one that is not there is empty."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def directories(directory: str) -> set[str]:
    """Give the names of the real directories in `directory`; one that is not there has none.

    Raises
    ------
    StorageError
        It can't be read.
    """
    with storage_errors("read", directory):
        try:
            with os.scandir(directory) as entries:
                return {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        except FileNotFoundError:
            return set()


def sync_directory(directory: str) -> None:
    """Ask the disk to keep the names in `directory`; file systems that can't do this for directories are left alone."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_directories(path: str, sync: bool = True) -> None:
    """Make a directory and those above it, unless they are there.

    Parameters
    ----------
    path
        Absolute.
    sync
        Wait until the disk has the names of those that were made.

    Raises
    ------
    OSError
        They can't be made.
    """
    made = []
    folder = path
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
        made.append(folder)
    os.makedirs(path, exist_ok=True)
    for above in made if sync else ():
        # One that can't be read can't be waited for; it is not ours either.
        with contextlib.suppress(PermissionError):
            sync_directory(above)


@contextlib.contextmanager
def replacement(path: str, sync: bool = True, scratch: str | None = None) -> Iterator[BinaryIO]:
    """Give a new file to write to, which takes the place of another when the block ends without an error.

    Parameters
    ----------
    path
        The file to replace; it need not exist. The new one has its mode; where there is none, the umask's.
    sync
        Wait until the disk has it.
    scratch
        A directory on the same file system that is emptied now and then: so a process that is killed leaves nothing
        beside the file. One that does not exist is not used.

    Yields
    ------
    BinaryIO
        Open for writing.

    Raises
    ------
    OSError
        It could not be written; the old file stands.
    """
    folder = os.path.dirname(path)
    beside = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
    temporary = os.path.join(scratch, uuid.uuid4().hex) if scratch and os.path.isdir(scratch) else beside
    try:
        # tempfile would make it readable by its owner alone, whatever the umask says.
        with open(temporary, "xb") as file:
            _keep_mode(path, file)
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with replacement(path, sync) as copy, open(temporary, "rb") as file:
                shutil.copyfileobj(file, copy)
            os.unlink(temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if sync:
        sync_directory(folder)


def _keep_mode(path: str, file: BinaryIO) -> None:
    """Let those read the new file who could read the old one, whoever writes it."""
    # A file system without modes, or somebody else's file: then the umask decides.
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        if mode != stat.S_IMODE(os.fstat(file.fileno()).st_mode) and not os.path.islink(path):
            os.fchmod(file.fileno(), mode)


def write_atomic(path: str, data: bytes, sync: bool = True, scratch: str | None = None) -> None:
    """Write a file so that at any moment it holds either the old or the new content.

    Parameters
    ----------
    path, sync, scratch
        As for `replacement`.
    data
        The new content.

    Raises
    ------
    StorageError
        It could not be written; the old content stands.
    """
    with storage_errors("write", path), replacement(path, sync, scratch) as file:
        file.write(data)


def keep(path: str, data: bytes, sync: bool = True, scratch: str | None = None) -> None:
    """Write a file as `write_atomic` does, unless it is there with this content."""
    with storage_errors("read", path), contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == len(data) and file.read() == data:
            return
    write_atomic(path, data, sync, scratch)


def encode(text: str) -> bytes:
    """Encode a text; lone surrogates (from names that are no UTF-8) become ``\\udc80``, which JSON reads back."""
    return text.encode("utf-8", "backslashreplace")


def read_text(path: str) -> str | None:
    """Read a text file, ``None`` if there is none.

    Raises
    ------
    StorageError
        It can't be read.
    """
    with storage_errors("read", path):
        try:
            with open(path, "rb") as file:
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return None


def remove(path: str) -> None:
    """Delete a file, a link or a whole directory; links are deleted, never followed; nothing there is fine.

    Raises
    ------
    StorageError
        Something could not be deleted.
    """
    with storage_errors("delete", path):
        if not is_directory(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        try:
            shutil.rmtree(path)
        except PermissionError:
            # A task may have write-protected its directories; what we own we may open again.
            os.chmod(path, stat.S_IRWXU)
            for folder, folders, _ in os.walk(path):
                for inner in (os.path.join(folder, name) for name in folders):
                    if is_directory(inner):
                        os.chmod(inner, stat.S_IRWXU)
            shutil.rmtree(path)


def rename(source: str, target: str) -> None:
    """Rename as `os.rename` does, also a directory that its owner has write-protected."""
    try:
        os.rename(source, target)
    except PermissionError:
        if not is_directory(source):
            raise
        # Moving a directory to another one rewrites its "..", which needs the right to write in it.
        mode = stat.S_IMODE(os.lstat(source).st_mode)
        os.chmod(source, mode | stat.S_IWUSR)
        try:
            os.rename(source, target)
        except OSError:
            os.chmod(source, mode)
            raise
        os.chmod(target, mode)


def discard(path: str, room: str, sync: bool = False) -> None:
    """Delete something in one step as seen from outside: it goes elsewhere by one rename, and is deleted there.

    Parameters
    ----------
    path
        The file, link or directory; nothing there is fine.
    room
        The directory for what is being deleted; made if need be.
    sync
        Delete nothing of it before the disk knows that it was moved.

    Raises
    ------
    StorageError
        It could not be moved or deleted.
    """
    target = os.path.join(room, uuid.uuid4().hex)
    with storage_errors("delete", path):
        if not os.path.lexists(path):
            return
        os.makedirs(room, exist_ok=True)
        try:
            rename(path, target)
            if sync:
                sync_directory(room)
                sync_directory(os.path.dirname(path))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            target = path
    remove(target)
