"""The one error root of this package, and the message for evidence that cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class EvidenceError(Exception):
    """Evidence could not be read, written or trusted."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class BadInputError(EvidenceError):
    """A file or an option breaks its rule; the message names it, the rule and what to do."""


class NotWritableError(EvidenceError):
    """Evidence could not be written; the run cannot be trusted without it."""


DISK_FAULTS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG)
)
"""Errors that say nothing about the folder that was named: the disk or the machine is at fault."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_ELSEWHERE = "or name another folder with --evidence-out"
_REMEDIES = {
    errno.ENOSPC: f"free space there, {_ELSEWHERE}",
    errno.EDQUOT: f"raise the quota, free space there, {_ELSEWHERE}",
    errno.EROFS: f"mount it for writing, {_ELSEWHERE}",
    errno.EACCES: f"allow this user to write there, {_ELSEWHERE}",
    errno.EPERM: f"allow this user to write there, {_ELSEWHERE}",
    errno.EIO: f"check the disk, {_ELSEWHERE}",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files of this machine",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
}


def not_writable(
    path: Path, error: Exception, *, what: str, needed: int | None = None
) -> NotWritableError:
    """Return the error for a file of evidence that the operating system does not let us write.

    Args:
        path: the file or folder.
        error: an `OSError`, or what a closed file raises.
        what: the kind of evidence, such as ``capture``.
        needed: the bytes that were to be written, if known.

    """
    number = error.errno if isinstance(error, OSError) else None
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    space = _space(path, needed) if number in _FULL else ""
    remedy = _REMEDIES.get(number or 0, f"free the disk {_ELSEWHERE}")
    return NotWritableError(f"{path}: {what}: got {reason}, expected to write it{space}; {remedy}")


def _space(path: Path, needed: int | None) -> str:
    """Return how much is free where a file was to be written, and how much it needs, if known."""
    if not hasattr(os, "statvfs"):
        return ""  # Windows
    folder = next(one for one in (path.absolute(), *path.absolute().parents) if one.is_dir())
    try:
        disk = os.statvfs(folder)
    except OSError:
        return ""
    files = f" and {disk.f_favail:,} files" if disk.f_files else ""
    wanted = f", and {needed:,} bytes are needed" if needed is not None else ""
    free = disk.f_bavail * disk.f_frsize
    return f" ({free:,} bytes{files} are free on the disk of {folder}{wanted})"
