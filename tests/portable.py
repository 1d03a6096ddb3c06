"""A system without POSIX: what Windows lacks is taken from `os`, in this process or in another."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

MISSING = (
    "O_CLOEXEC",
    "O_NOFOLLOW",
    "O_NONBLOCK",
    "fchmod",
    "fwalk",
    "geteuid",
    "getuid",
    "pread",
    "readv",
    "statvfs",
)
"""Names of `os` that Windows lacks."""
_FOLDERS = ("lstat", "open", "stat")
"""Functions that take no descriptor of a folder there."""

SITE = f"""
import os, shutil, sys

def plain(function):
    def called(*args, dir_fd=None, **words):
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        return function(*args, **words)
    return called

def refused(*args, **words):
    raise OSError(1314, "A required privilege is not held by the client")

shutil._use_fd_functions = False
for name in {MISSING!r}:
    delattr(os, name)
for name in {_FOLDERS!r}:
    setattr(os, name, plain(getattr(os, name)))
os.supports_dir_fd = os.supports_fd = set()
os.symlink = refused
for name in ("fcntl", "grp", "pwd", "resource"):
    sys.modules[name] = None
"""
"""A ``sitecustomize`` that takes the same from a new Python before it imports anything else."""


def without_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take from this process what Windows lacks, until the test ends."""
    monkeypatch.setattr(shutil, "_use_fd_functions", False)  # it removes temporary folders
    for name in MISSING:
        monkeypatch.delattr(os, name)
    for name in _FOLDERS:
        monkeypatch.setattr(os, name, _plain(getattr(os, name)))
    monkeypatch.setattr(os, "supports_dir_fd", set())


def _plain(function: Any) -> Any:
    def called(*args: Any, dir_fd: int | None = None, **words: Any) -> Any:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        return function(*args, **words)

    return called


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a Python without POSIX, whose start file lies in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    path = os.pathsep.join((str(folder), *filter(None, sys.path)))
    return {**os.environ, "PYTHONPATH": path, **more}
