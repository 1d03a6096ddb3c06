"""Tells a full or broken machine from a defect of the system or of the harness.

The run keeps the files of servers, copies and processes in the temporary folder. What fails because
that is full is a problem of the environment, even if the system or a check reports it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateproof.base.errors import EnvironmentProblemError

LACKING = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    )
)
"""Errors by which the machine, and neither the system nor the harness, is at fault."""

LACKING_STATES = ("53100", "53200", "58030")
"""The same as SQLSTATE: disk_full, out_of_memory, io_error."""

_EXTENSION = re.compile(r'extension "([^"]+)" is not available')

LEAST_FREE = 1024 * 1024
"""With fewer free bytes, a failure is no finding: a process may have met the full disk."""


def lacks_resources(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, comes from a full or broken machine."""
    return any(_lacks(one) for one in _chain(error))


def temporary_folder_problem(error: OSError) -> EnvironmentProblemError:
    """Return the error for a run that cannot make its files in the temporary folder."""
    folder = os.environ.get("TMPDIR") or tempfile.gettempdir()
    return EnvironmentProblemError(
        f"{error.filename or folder}: temporary folder: got {error.strerror or error}, expected "
        "room for the files of the run; free space there, or name another folder with TMPDIR"
    )


def _lacks(error: BaseException) -> bool:
    if isinstance(error, shutil.Error):  # it keeps only the texts of what went wrong
        return any(os.strerror(number) in str(error) for number in LACKING)
    if isinstance(error, OSError) and error.errno in LACKING:
        return True
    return getattr(error, "sqlstate", None) in LACKING_STATES


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, those of its group, and its causes; each once."""
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        group = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        left += [*group, *filter(None, (one.__cause__, one.__context__))]


def missing_extension(text: str) -> str:
    """Return the extension of PostgreSQL that an error says the server does not have, or nothing.

    It is not installed on the machine of the server: neither the system nor the harness is at
    fault. Source: PostgreSQL's message for SQLSTATE 0A000 of CREATE EXTENSION, since version 12.
    """
    found = _EXTENSION.search(text)
    return found[1] if found else ""


def extension_problem(name: str) -> EnvironmentProblemError:
    """Return the error for a server without an extension that the system needs."""
    return EnvironmentProblemError(
        f"PostgreSQL's extension {name}: got none on this server, expected it installed; name a "
        "server that has it with --postgres-bin (embedded) or --postgres-image (containers)"
    )


def disk_problem(folder: Path) -> str:
    """Return why the disk of a folder cannot take more, or an empty string.

    PostgreSQL may run as another account, to which the blocks that are reserved for root are full.
    """
    try:
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < LEAST_FREE or (disk.f_files and not disk.f_favail):
            return (
                f"{folder}: temporary folder: got {free:,} bytes and {disk.f_favail:,} files "
                f"free, expected at least {LEAST_FREE:,} bytes; free space there, or name another "
                "folder with TMPDIR"
            )
        probe = folder / f".space-{os.getpid()}"
        probe.write_bytes(b"x")  # a quota shows only here
        probe.unlink()
    except OSError as error:
        return f"{folder}: temporary folder: got {error.strerror}" if _lacks(error) else ""
    return ""
