"""The folder of a worker's metrics: creation, ownership and removal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.observability import metrics_folder as module
from system.observability.metrics_folder import PREFIX, metrics_folder, remove_abandoned

HOLD = """
import sys
from system.observability.metrics_folder import metrics_folder
with metrics_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Create temporary folders in the test's folder, in this process and in others."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_folder_is_removed_after_its_worker(place: Path) -> None:
    """The folder is new, empty and private to the account, and is removed with its files."""
    with metrics_folder() as folder:
        assert folder.parent == place
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "counter_parent.db").write_bytes(b"x")
    assert list(place.iterdir()) == []


def test_folder_of_a_killed_worker_is_removed_and_others_are_kept(place: Path) -> None:
    """The next worker removes a killed worker's folder; other folders stay."""
    foreign = place / "system-metrics-of-another-version"
    foreign.mkdir()
    words = [sys.executable, "-c", HOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout is not None
        held = Path(other.stdout.readline().strip())
        (held / "counter_parent.db").write_bytes(b"x")
        with metrics_folder() as mine:
            assert held.exists()
        other.kill()
        other.wait(10)
        assert held.exists()
        with metrics_folder() as mine:
            assert set(place.iterdir()) == {mine, foreign}


def test_folder_lives_as_long_as_a_child(place: Path) -> None:
    """A folder that a child inherited is not abandoned while the child runs."""
    with metrics_folder() as folder:
        ready, notify = os.pipe()
        ended, end = os.pipe()
        if (child := os.fork()) == 0:
            os.close(end)
            os.write(notify, b"!")
            os.read(ended, 1)
            os._exit(0)
        os.read(ready, 1)
        remove_abandoned(place)
        assert folder.exists()
        os.close(end)
        assert os.waitpid(child, 0) == (child, 0)
    for descriptor in (ready, notify, ended):
        os.close(descriptor)


def test_link_is_not_followed(place: Path) -> None:
    """A symbolic link with the name of a folder is kept, and so is its target."""
    target = place / "target"
    target.mkdir()
    (target / "file").write_bytes(b"x")
    (place / f"{PREFIX}link").symlink_to(target)
    remove_abandoned(place)
    assert (target / "file").exists()
    assert (place / f"{PREFIX}link").is_symlink()


def test_folder_that_was_removed_by_mistake_is_created_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another worker removes the folder before it is locked, a new one is created."""
    made: list[Path] = []
    lock = module._lock

    def late(folder: Path) -> int:
        made.append(folder)
        if len(made) == 1:
            opened = lock(folder)
            shutil.rmtree(folder)
            return opened
        return lock(folder)

    monkeypatch.setattr(module, "_lock", late)
    with metrics_folder() as folder:
        assert folder == made[1]
        assert list(place.iterdir()) == [folder]
