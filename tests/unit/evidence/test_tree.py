"""Reading a folder in threads: the same as one after another, and nothing stays open."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gateproof_evidence.format.tree import Limits, read_tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give 300 files in 150 folders, one of them larger than what is read at once."""
    root = tmp_path / "tree"
    for number in range(150):
        inner = root / f"{number:03d}"
        inner.mkdir(parents=True)
        (inner / "a.txt").write_bytes(f"{number}".encode() * number)
        (inner / "b.txt").write_bytes(b"")
    (root / "007" / "a.txt").write_bytes(os.urandom(700_000))
    return root


def open_files() -> set[str]:
    """Return what this process holds open."""
    found = set()
    for handle in os.listdir("/proc/self/fd"):  # noqa: PTH208 (the number that lists is in it)
        try:
            found.add(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115
        except OSError:
            continue
    return found


def test_tree_gives_every_file_with_the_digest_of_its_content(folder: Path) -> None:
    """Path, size, digest and content are those of a plain reading, in the order of paths."""
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
    """What takes a content piece by piece gets all of it, in pieces that stay as they are."""
    pieces: list[bytes] = []
    read_tree(folder, keep=lambda _: 0, feed={"007/a.txt": pieces.append})
    assert len(pieces) > 1, "premise: it does not fit into one piece"
    assert b"".join(pieces) == (folder / "007" / "a.txt").read_bytes()


@pytest.mark.parametrize(
    "limits", [Limits(), Limits(total=1000), Limits(entries=40)], ids=["none", "total", "entries"]
)
def test_tree_leaves_nothing_open(folder: Path, limits: Limits) -> None:
    """Also where a limit ends the reading early, every folder is closed again."""
    before = open_files()
    tree = read_tree(folder, keep=lambda _: 0, limits=limits)
    assert tree.complete is (limits == Limits())
    assert open_files() - before == set()
