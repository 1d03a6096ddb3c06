"""Which files belong to a project, held against git's own answer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateproof.base.project import copy_folders, copy_project, project_files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with files that its ignores keep out, let in again, and keep out further down."""
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
    """Nested ignores and their exceptions give git's list."""
    found = project_files(project)
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    command = ["git", "-C", str(project), "ls-files", "-z", "--others", "--exclude-standard"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == sorted(name for name in told.split("\0") if name)
    assert "code/kept/b.log" in found
    assert "code/kept/secret" not in found


def test_copy_of_a_project_needs_no_checkout_and_holds_no_git(
    project: Path, tmp_path: Path
) -> None:
    """Without git's folder the same files are copied as with it."""
    copy_project(project, tmp_path / "before")
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    copy_project(project, tmp_path / "after")
    assert project_files(tmp_path / "before") == project_files(project)
    assert not (tmp_path / "after" / ".git").exists()
    assert project_files(tmp_path / "after") == project_files(project)


def test_copy_leaves_out_what_python_is_still_writing(tmp_path: Path) -> None:
    """A compiled file under its temporary name may be gone by the time it is copied."""
    cache = tmp_path / "project" / "code" / "__pycache__"
    cache.mkdir(parents=True)
    for name in ("a.cpython-311.pyc", "a.cpython-311.pyc.140315989172240"):
        (cache / name).touch()
    copy_folders(tmp_path / "project", ["code"], tmp_path / "copy")
    copied = sorted(path.name for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert copied == ["a.cpython-311.pyc"]
