"""The files of a project, compared with the list of git."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from gateproof.base.project import copy_folders, copy_project, project_files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with ignored files, exceptions, and ignore files in subfolders."""
    written = {
        ".gitignore": "build/\n*.log\nreports/*\n!reports/README.md\n/only-here\n",
        "build/a": "",
        "code/build/b": "",
        "code/only-here": "",
        "code/a.py": "",
        "code/a.log": "",
        "code/kept/.gitignore": "!*.log\nsecret\n",
        "code/kept/b.log": "",
        "code/kept/secret": "",
        "cache/.gitignore": "*\n",
        "cache/x": "",
        "only-here": "",
        "reports/README.md": "",
        "reports/one/run.json": "",
        ".ci/run": "",
    }
    for name, content in written.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return tmp_path / "project"


def test_files_of_a_project_are_those_that_git_would_list(project: Path) -> None:
    """With nested ignore files and exceptions, the list equals that of git."""
    found = project_files(project)
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    command = ["git", "-C", str(project), "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == sorted(name for name in listed.split("\0") if name)
    assert "code/kept/b.log" in found
    assert "code/kept/secret" not in found


def test_copy_of_a_project_needs_no_checkout_and_has_no_git_folder(
    project: Path, tmp_path: Path
) -> None:
    """The same files are copied with and without a folder of git."""
    copy_project(project, tmp_path / "before")
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    copy_project(project, tmp_path / "after")
    assert project_files(tmp_path / "before") == project_files(project)
    assert not (tmp_path / "after" / ".git").exists()
    assert project_files(tmp_path / "after") == project_files(project)


def test_copy_leaves_out_unfinished_compiled_files(tmp_path: Path) -> None:
    """A compiled file with a temporary name may disappear before it is copied."""
    cache = tmp_path / "project" / "code" / "__pycache__"
    cache.mkdir(parents=True)
    for name in ("a.cpython-311.pyc", "a.cpython-311.pyc.140315989172240"):
        (cache / name).touch()
    copy_folders(tmp_path / "project", ["code"], tmp_path / "copy")
    copied = sorted(path.name for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert copied == ["a.cpython-311.pyc"]


def test_copy_has_the_modes_and_times_of_the_files(tmp_path: Path) -> None:
    """A program can be run in the copy, and Python sees that a compiled file belongs to its source.

    A link is copied as what it leads to: a change to the copy changes nothing else.
    """
    folder = tmp_path / "project" / "code"
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text("exit 0\n", encoding="utf-8")
    (folder / "run.sh").chmod(0o750)
    os.utime(folder / "run.sh", ns=(1_000_000_001, 2_000_000_003))
    (folder / "linked.sh").symlink_to("run.sh")
    folder.chmod(0o711)
    copy_folders(tmp_path / "project", ["code"], tmp_path / "copy")
    copied = tmp_path / "copy" / "code"
    for name in ("run.sh", "linked.sh"):
        found = (copied / name).lstat()
        assert (stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode)) == (stat.S_IFREG, 0o750)
        assert found.st_mtime_ns == 2_000_000_003
    assert stat.S_IMODE(copied.stat().st_mode) == 0o711


@pytest.mark.parametrize("gone", ["code/__pycache__/a.pyc", "code/b.py"])
def test_only_compiled_files_may_be_gone_during_the_copy(tmp_path: Path, gone: str) -> None:
    """A compiled file that cannot be read is left out of a copy; any other ends it.

    A link to nothing stands for a file that another process has removed.
    """
    (tmp_path / "code/__pycache__").mkdir(parents=True)
    (tmp_path / "code/a.py").write_text("a = 1\n", encoding="utf-8")
    (tmp_path / gone).symlink_to("nothing")
    copied = tmp_path / "copy"
    if gone.endswith(".py"):
        with pytest.raises(shutil.Error, match=r"b\.py"):
            copy_folders(tmp_path, ["code"], copied)
        return
    copy_folders(tmp_path, ["code"], copied)
    assert (copied / "code/a.py").read_text(encoding="utf-8") == "a = 1\n"
    assert not (copied / gone).is_file()
