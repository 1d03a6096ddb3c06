"""Reading a folder in threads: the same result as in sequence, and no file stays open."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gateproof_evidence.format.tree import Limits, read_tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Provide 300 files in 150 folders, one of them larger than one read."""
    root = tmp_path / "tree"
    for number in range(150):
        inner = root / f"{number:03d}"
        inner.mkdir(parents=True)
        (inner / "a.txt").write_bytes(f"{number}".encode() * number)
        (inner / "b.txt").write_bytes(b"")
    (root / "007" / "a.txt").write_bytes(os.urandom(700_000))
    return root


def open_files() -> set[str]:
    """Return the open files of this process."""
    found = set()
    for handle in os.listdir("/proc/self/fd"):  # noqa: PTH208 (the names are descriptor numbers)
        try:
            found.add(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115
        except OSError:
            continue
    return found


def test_tree_has_every_file_with_the_digest_of_its_content(folder: Path) -> None:
    """Path, size, digest and content are those of a sequential read, in the order of paths."""
    tree = read_tree(folder, keep=lambda path: 1_000_000 if path.endswith("a.txt") else 0)
    expected = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [one.path for one in tree.files] == [p.relative_to(folder).as_posix() for p in expected]
    for one, path in zip(tree.files, expected, strict=True):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert (one.size, one.digest) == (len(content), f"sha256:{digest}")
        assert one.content == (content if path.name == "a.txt" else None)
    assert tree.odd == ()


def test_tree_feeds_a_file_in_its_order(folder: Path) -> None:
    """A feed gets all of a file's content, in parts that do not change afterwards."""
    parts: list[bytes] = []
    read_tree(folder, keep=lambda _: 0, feed={"007/a.txt": parts.append})
    assert len(parts) > 1, "premise: it does not fit into one part"
    assert b"".join(parts) == (folder / "007" / "a.txt").read_bytes()


@pytest.mark.parametrize(
    "limits", [Limits(), Limits(total=1000), Limits(entries=40)], ids=["none", "total", "entries"]
)
def test_tree_leaves_nothing_open(folder: Path, limits: Limits) -> None:
    """Every folder is closed again, also if a limit ends the reading early."""
    before = open_files()
    tree = read_tree(folder, keep=lambda _: 0, limits=limits)
    assert tree.complete is (limits == Limits())
    assert open_files() - before == set()
