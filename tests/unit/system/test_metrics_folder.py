"""The folder of a worker's metrics: whose it is, and what becomes of it."""

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
    """Make folders in the test's own, here and in other processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_folder_is_gone_after_its_worker(place: Path) -> None:
    """It is new and empty, only this account's, and removed with all that is in it."""
    with metrics_folder() as folder:
        assert folder.parent == place
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "counter_parent.db").write_bytes(b"x")
    assert list(place.iterdir()) == []


def test_folder_of_the_dead_is_removed_and_that_of_the_living_kept(place: Path) -> None:
    """A killed worker's folder goes when the next one starts; a living one's and others' stay."""
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
    """What a worker's process handed on to a child is not abandoned while the child lives."""
    with metrics_folder() as folder:
        ready, told = os.pipe()
        ended, end = os.pipe()
        if (child := os.fork()) == 0:
            os.close(end)
            os.write(told, b"!")
            os.read(ended, 1)
            os._exit(0)
        os.read(ready, 1)
        remove_abandoned(place)
        assert folder.exists()
        os.close(end)
        assert os.waitpid(child, 0) == (child, 0)
    for descriptor in (ready, told, ended):
        os.close(descriptor)


def test_link_is_not_followed(place: Path) -> None:
    """A link in the place of a folder is left alone, with what it leads to."""
    precious = place / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"x")
    (place / f"{PREFIX}link").symlink_to(precious)
    remove_abandoned(place)
    assert (precious / "file").exists()
    assert (place / f"{PREFIX}link").is_symlink()


def test_folder_that_was_taken_for_abandoned_is_made_anew(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another worker removes it before it is locked, a further one is made."""
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
