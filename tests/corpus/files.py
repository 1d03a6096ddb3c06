"""Steps of a recipe that change files, names and lines."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Callable
from functools import reduce
from pathlib import Path

from gateproof_evidence.format.canonical import canonical_json
from tests.corpus.workshop import MANIFEST, Workshop


def write(bundle: Path, _: Workshop, *, path: str, text: str = "x\n") -> None:
    """Write a file, and create its folders."""
    (bundle / path).parent.mkdir(parents=True, exist_ok=True)
    (bundle / path).write_bytes(text.encode("utf-8"))


def write_name(bundle: Path, _: Workshop, *, path: str, name: str) -> None:
    """Write a file with a name in hexadecimal, because it is not valid text."""
    folder = os.fsencode(bundle / path)
    Path(os.fsdecode(folder + b"/" + bytes.fromhex(name))).write_bytes(b"x\n")


def append(bundle: Path, _: Workshop, *, path: str, text: str) -> None:
    """Append to a file."""
    with (bundle / path).open("ab") as file:
        file.write(text.encode("utf-8"))


def replace(bundle: Path, _: Workshop, *, path: str, old: str, new: str) -> None:
    """Replace the first occurrence of a text in a file."""
    content = (bundle / path).read_bytes()
    assert old.encode() in content, f"{path}: got no {old!r}"
    (bundle / path).write_bytes(content.replace(old.encode(), new.encode(), 1))


def flip(bundle: Path, _: Workshop, *, path: str, at: int = 0) -> None:
    """Flip one bit."""
    content = bytearray((bundle / path).read_bytes())
    content[at] ^= 1
    (bundle / path).write_bytes(content)


def truncate(bundle: Path, _: Workshop, *, path: str, by: int = 0) -> None:
    """Remove bytes from the end of a file; without a number, all of them."""
    content = (bundle / path).read_bytes()
    (bundle / path).write_bytes(content[:-by] if by else b"")


def delete(bundle: Path, _: Workshop, *, path: str) -> None:
    """Remove a file, and its folder if that is empty then."""
    (bundle / path).unlink()
    with contextlib.suppress(OSError):
        (bundle / path).parent.rmdir()


def rename(bundle: Path, _: Workshop, *, path: str, to: str) -> None:
    """Rename a file or a folder."""
    (bundle / path).rename(bundle / to)


def copy(bundle: Path, _: Workshop, *, path: str, to: str) -> None:
    """Copy a file."""
    (bundle / to).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle / path, bundle / to)


def swap(bundle: Path, _: Workshop, *, path: str, other: str) -> None:
    """Swap the contents of two files."""
    first, second = (bundle / path).read_bytes(), (bundle / other).read_bytes()
    (bundle / path).write_bytes(second)
    (bundle / other).write_bytes(first)


def link(bundle: Path, _: Workshop, *, path: str, to: str) -> None:
    """Make a symbolic link."""
    (bundle / path).symlink_to(to)


def link_away(bundle: Path, shop: Workshop, *, path: str) -> None:
    """Move a file or a folder out of the bundle, and replace it by a link."""
    away = shop.folder / f"{bundle.name}-{Path(path).name}"
    (bundle / path).rename(away)
    (bundle / path).symlink_to(away)


def pipe(bundle: Path, _: Workshop, *, path: str) -> None:
    """Make a named pipe."""
    os.mkfifo(bundle / path)


def listen(bundle: Path, shop: Workshop, *, path: str) -> None:
    """Make a socket; its path may have only 108 bytes, so it is made elsewhere and moved."""
    short = shop.folder / "s"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(short))
    short.rename(bundle / path)


def folder(bundle: Path, _: Workshop, *, path: str) -> None:
    """Make a folder, and its parents."""
    (bundle / path).mkdir(parents=True)


def take(bundle: Path, shop: Workshop, *, sample: str, path: str, to: str = "") -> None:
    """Copy a file from another bundle."""
    (bundle / (to or path)).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shop.samples[sample] / path, bundle / (to or path))


def pack(bundle: Path, _: Workshop, *, kind: str) -> None:
    """Replace the bundle by an archive that writes outside its folder when it is unpacked."""
    manifest = (bundle / MANIFEST).read_bytes()
    shutil.rmtree(bundle)
    if kind == "zip":
        with zipfile.ZipFile(bundle, "w") as packed:
            packed.writestr(MANIFEST, manifest)
            packed.writestr("../../outside.txt", "x")
    else:
        with tarfile.open(bundle, "w") as tarred:
            slip = tarfile.TarInfo("outside")
            slip.type, slip.linkname = tarfile.SYMTYPE, "../../"
            tarred.addfile(slip)


def edit(
    bundle: Path,
    _: Workshop,
    *,
    path: str,
    at: list[str | int],
    value: str,
    canonical: bool = False,
) -> None:
    """Set one value in a JSON file, given as JSON."""
    document = json.loads((bundle / path).read_bytes())
    within = reduce(lambda inner, key: inner[key], at[:-1], document)
    within[at[-1]] = json.loads(value)
    text = canonical_json(document) if canonical else json.dumps(document, indent=2).encode()
    (bundle / path).write_bytes(text)


def cut(
    bundle: Path, _: Workshop, *, path: str, at: list[str | int], canonical: bool = False
) -> None:
    """Remove one value from a JSON file."""
    document = json.loads((bundle / path).read_bytes())
    del reduce(lambda inner, key: inner[key], at[:-1], document)[at[-1]]
    text = canonical_json(document) if canonical else json.dumps(document, indent=2).encode()
    (bundle / path).write_bytes(text)


def drop_line(bundle: Path, _: Workshop, *, path: str, holding: str) -> None:
    """Remove the one line that contains a text."""
    lines = (bundle / path).read_text().splitlines(keepends=True)
    kept = [line for line in lines if holding not in line]
    assert len(kept) == len(lines) - 1, f"{path}: got {len(lines) - len(kept)} of {holding!r}"
    (bundle / path).write_text("".join(kept))


def repeat_line(bundle: Path, _: Workshop, *, path: str, holding: str) -> None:
    """Append a copy of the one line that contains a text."""
    lines = (bundle / path).read_text().splitlines(keepends=True)
    found = [line for line in lines if holding in line]
    assert len(found) == 1, f"{path}: got {len(found)} of {holding!r}"
    (bundle / path).write_text("".join([*lines, *found]))


def reverse_lines(bundle: Path, _: Workshop, *, path: str) -> None:
    """Reverse the order of the lines."""
    lines = (bundle / path).read_text().splitlines(keepends=True)
    (bundle / path).write_text("".join(reversed(lines)))


def copy_line(bundle: Path, _: Workshop, *, path: str, holding: str, to: str) -> None:
    """Append a copy of the one line that contains a text to another file."""
    lines = (bundle / path).read_text().splitlines(keepends=True)
    found = [line for line in lines if holding in line]
    assert len(found) == 1, f"{path}: got {len(found)} of {holding!r}"
    with (bundle / to).open("a") as file:
        file.write(found[0])


def set_line(bundle: Path, _: Workshop, *, path: str, start: str, line: str) -> None:
    """Replace the one line that starts with a text."""
    lines = (bundle / path).read_text().splitlines()
    assert sum(one.startswith(start) for one in lines) == 1, f"{path}: {start}"
    changed = (line if one.startswith(start) else one for one in lines)
    (bundle / path).write_text("".join(f"{one}\n" for one in changed))


STEPS: tuple[Callable[..., None], ...] = (
    append,
    copy,
    copy_line,
    cut,
    delete,
    drop_line,
    edit,
    flip,
    folder,
    link,
    link_away,
    listen,
    pack,
    pipe,
    rename,
    repeat_line,
    replace,
    reverse_lines,
    set_line,
    swap,
    take,
    truncate,
    write,
    write_name,
)
