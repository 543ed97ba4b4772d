"""What the operating system knows about the place of a file: its file system, and who holds locks on it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

#: Where SQLite's write-ahead log is known to work: all processes that open a file there are on one machine.
LOCAL_TYPES = frozenset(
    {"apfs", "aufs", "bcachefs", "btrfs", "ecryptfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk"}
    | {"hfs", "hfsplus", "jfs", "msdos", "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "tmpfs"}
    | {"udf", "ufs", "vfat", "xfs", "zfs"}
)

_MOUNTS = Path("/proc/self/mounts")
_LOCKS = Path("/proc/locks")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def _unescape(mount_point: str) -> str:
    """Undo the octal escapes (``\\040`` for a blank) of the kernel's mount table."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), mount_point)


def file_system_type(path: str | os.PathLike[str], mounts_text: str | None = None) -> str | None:
    """Tell on which type of file system a path is.

    Parameters
    ----------
    path
        A file or directory, or the place where one will be.
    mounts_text
        The mount table in the format of ``/proc/self/mounts``; read from there unless given.

    Returns
    -------
    str or None
        The kernel's word, such as ``"ext4"`` or ``"nfs4"``; None where there is no mount table.
    """
    if mounts_text is None:
        try:
            mounts_text = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    target = os.path.realpath(path)
    best, answer = -1, None
    for line in mounts_text.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = _unescape(fields[1]).rstrip("/")
        inside = target == point or target.startswith(point + "/")
        # Of two mounts on one point the later one hides the earlier.
        if inside and len(point) >= best:
            best, answer = len(point), fields[2]
    return answer


def is_local(path: str | os.PathLike[str], mounts_text: str | None = None) -> bool:
    """Tell whether a path is on a file system of this machine alone.

    What isn't known to be local counts as shared: network and cluster file systems have too many names to list.

    Parameters
    ----------
    path, mounts_text
        As for `file_system_type`.

    Returns
    -------
    bool
        True where all who open the file run on this machine.
    """
    return file_system_type(path, mounts_text) in LOCAL_TYPES


def lock_holders(paths: Sequence[str | os.PathLike[str]], locks_text: str | None = None) -> list[int]:
    """Find the other processes of this machine that hold locks on any of some files.

    Parameters
    ----------
    paths
        The files; those that don't exist are passed over.
    locks_text
        The lock table in the format of ``/proc/locks``; read from there unless given.

    Returns
    -------
    list of int
        Process ids, those that hold a lock for writing first; empty where the system doesn't tell.
    """
    if locks_text is None:
        try:
            locks_text = _LOCKS.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
    files = set()
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            continue
        files.add((os.major(found.st_dev), os.minor(found.st_dev), found.st_ino))
    writers: dict[int, None] = {}
    readers: dict[int, None] = {}
    for line in locks_text.splitlines():
        # 1: POSIX  ADVISORY  WRITE 1234 fe:00:1835 1073741825 1073741825; a waiting process has "->" after the number.
        fields = line.split()
        if len(fields) < 8 or fields[1] == "->" or not fields[4].isdecimal():
            continue
        major, minor, inode = fields[5].split(":")
        pid = int(fields[4])
        if (int(major, 16), int(minor, 16), int(inode)) in files and pid not in (0, os.getpid()):
            (writers if fields[3] == "WRITE" else readers)[pid] = None
    return list(writers | readers)
