"""Random alterations of a bundle are refused: bytes, names, order, length.

`GATEPROOF_ALTERATIONS` sets how many are tried.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateproof_evidence.verification.bundle import verify
from tests.sample import sealed

ALTERATIONS = int(os.environ.get("GATEPROOF_ALTERATIONS", "500"))

Draw = st.DataObject
Snapshot = Mapping[str, bytes]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide one small bundle for all alterations; each is undone."""
    return sealed(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def files(bundle: Path) -> Snapshot:
    """Provide the sealed content of every file."""
    paths = (path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in paths}


def _splice(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Replace up to 64 bytes."""
    name = data.draw(st.sampled_from(sorted(files)))
    content = files[name]
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 64)))
    (bundle / name).write_bytes(content[:start] + data.draw(st.binary(max_size=64)) + content[end:])


def _flip(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Flip one bit."""
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (bundle / name).write_bytes(content)


def _truncate(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Truncate a file anywhere."""
    name = data.draw(st.sampled_from(sorted(files)))
    (bundle / name).write_bytes(files[name][: data.draw(st.integers(0, len(files[name]) - 1))])


def _shuffle(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Move one line of a file to another place."""
    name = data.draw(st.sampled_from(sorted(files)))
    lines = files[name].splitlines(keepends=True)
    moved = lines.pop(data.draw(st.integers(0, len(lines) - 1)))
    lines.insert(data.draw(st.integers(0, len(lines))), moved)
    (bundle / name).write_bytes(b"".join(lines))


def _repeat(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Write one line of a file, or of another file, a second time."""
    name = data.draw(st.sampled_from(sorted(files)))
    other = data.draw(st.sampled_from(sorted(files)))
    line = data.draw(st.sampled_from(files[other].splitlines(keepends=True)))
    (bundle / name).write_bytes(files[name] + line)


def _swap(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Swap the contents of two files."""
    first, second = (data.draw(st.sampled_from(sorted(files))) for _ in range(2))
    (bundle / first).write_bytes(files[second])
    (bundle / second).write_bytes(files[first])


def _remove(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Remove a file."""
    (bundle / data.draw(st.sampled_from(sorted(files)))).unlink()


def _name(data: Draw) -> str:
    """Draw any name that a file system accepts."""
    # Not too short, so that it is seldom the name of an existing file.
    name = data.draw(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40))
    assume(name not in (".", ".."))
    assume(len(name.encode("utf-8", "surrogatepass")) <= 200)
    assume(not any(0xD800 <= ord(character) <= 0xDFFF for character in name))
    return name


def _rename(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Rename a file in its folder."""
    path = bundle / data.draw(st.sampled_from(sorted(files)))
    target = path.with_name(_name(data))
    assume(not target.is_dir())
    path.rename(target)


def _add(data: Draw, bundle: Path, files: Snapshot) -> None:
    """Add a file, a folder or a link next to a file."""
    path = (bundle / data.draw(st.sampled_from(sorted(files)))).with_name(_name(data))
    assume(not os.path.lexists(path))
    kind = data.draw(st.sampled_from(["file", "folder", "link"]))
    if kind == "file":
        path.write_bytes(data.draw(st.binary(max_size=8)))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(data.draw(st.sampled_from(["..", "gone", "/", str(bundle)])))


ALTER: tuple[Callable[[Draw, Path, Snapshot], None], ...] = (
    _splice,
    _flip,
    _truncate,
    _shuffle,
    _repeat,
    _swap,
    _remove,
    _rename,
    _add,
)


def _undo(bundle: Path, files: Snapshot) -> bool:
    """Restore every file, and return whether anything was restored."""
    changed = False
    for path in sorted(bundle.rglob("*"), reverse=True):
        name = path.relative_to(bundle).as_posix()
        if path.is_symlink() or (path.is_file() and name not in files):
            path.unlink()
            changed = True
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
            changed = True
    for name, content in files.items():
        path = bundle / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            changed = True
    return changed


@settings(
    max_examples=ALTERATIONS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_verify_refuses_every_random_alteration(
    bundle: Path, files: Snapshot, data: st.DataObject
) -> None:
    """An altered bundle is refused, and an unaltered one is not."""
    alter = data.draw(st.sampled_from(ALTER))
    ok = None
    try:
        alter(data, bundle, files)
        ok = verify(bundle).ok
    finally:
        changed = _undo(bundle, files)
    assert ok is not changed, alter.__doc__


def test_alterations_undo_themselves(bundle: Path, files: Snapshot) -> None:
    """The bundle verifies after all alterations."""
    assert _undo(bundle, files) is False
    assert verify(bundle).ok
    shutil.rmtree(bundle / "data/exports")
    (bundle / "new").symlink_to("..")
    assert _undo(bundle, files) is True
    assert verify(bundle).ok
