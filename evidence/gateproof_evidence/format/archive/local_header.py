"""The local headers of a ZIP archive: each must say what the central directory says.

Owns the comparison, and the rule that headers, contents and data descriptors fill the archive from
its first byte to its central directory: nothing lies before, between or over them. So every program
that reads the archive finds the same entries, whichever of the two it believes.

Source: APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3.7 and 4.3.9.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from gateproof_evidence.format.archive.directory import (
    DESCRIPTOR,
    ArchiveError,
    Directory,
    Entry,
    Read,
    extra_fields,
    large,
)

_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTORS = {12: "<3L", 16: "<4x3L", 20: "<L2Q", 24: "<4xL2Q"}
"""Lengths of a data descriptor to its form: with or without a signature, small or large sizes."""


def place_entries(read: Read, directory: Directory) -> Iterator[Entry]:
    """Yield every entry with the position of its content, in the order of the archive.

    Raises:
        ArchiveError: a header differs from the central directory, or bytes are left over or used
            twice.

    """
    ordered = sorted(directory.entries, key=lambda entry: entry.offset)
    ends = [entry.offset for entry in ordered[1:]] + [directory.start]
    first = ordered[0].offset if ordered else directory.start
    if first:
        raise ArchiveError(f"beginning: got {first} bytes before the first entry, expected none")
    for entry, end in zip(ordered, ends, strict=True):
        where = f"entry {entry.path!a}"
        start = entry.offset + _compare_header(read, entry, where)
        _compare_end(read, entry, start + entry.packed, end, where)
        yield replace(entry, start=start)


def _compare_header(read: Read, entry: Entry, where: str) -> int:
    """Compare a local header with the central directory, and return its length."""
    found = read(_LOCAL.size + len(entry.name) + 128, entry.offset)
    if not found.startswith(b"PK\3\4") or len(found) < _LOCAL.size:
        raise ArchiveError(f"{where}: local header: got none, expected one at {entry.offset}")
    _, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack_from(found)
    length: int = _LOCAL.size + name + extra
    if length > len(found):
        found = read(length, entry.offset)
    fields = extra_fields(found[_LOCAL.size + name : length], where)
    size, packed = large((size, packed), fields, where)
    got = (found[_LOCAL.size : _LOCAL.size + name], flags, method)
    for field, one, other in zip(
        ("name", "flags", "method"), got, (entry.name, entry.flags, entry.method), strict=True
    ):
        if one != other:
            raise ArchiveError(_differs(where, field, one, other))
    _compare_numbers(entry, (crc, packed, size), where)
    return length


def _compare_numbers(entry: Entry, got: tuple[int, int, int], where: str) -> None:
    """Compare checksum and sizes, which may be 0 where a data descriptor follows."""
    later = bool(entry.flags & DESCRIPTOR)
    expected = (entry.crc, entry.packed, entry.size)
    for field, one, other in zip(("checksum", "packed size", "size"), got, expected, strict=True):
        if one != other and not (later and one == 0):
            raise ArchiveError(_differs(where, field, one, other))


def _differs(where: str, field: str, got: object, expected: object) -> str:
    message = f"{where}: local header: {field}: got {got!a}, expected {expected!a}"
    return f"{message} as in the central directory"


def _compare_end(read: Read, entry: Entry, end: int, following: int, where: str) -> None:
    """Compare the bytes between the content and what follows: nothing, or a data descriptor."""
    left = following - end
    if left < 0:
        raise ArchiveError(f"{where}: got content that overlaps what follows, expected none")
    if not entry.flags & DESCRIPTOR:
        if left:
            raise ArchiveError(f"{where}: got {left} bytes after its content, expected none")
        return
    if left not in _DESCRIPTORS:
        raise ArchiveError(f"{where}: data descriptor: got {left} bytes, expected 12 to 24")
    found = read(left, end)
    numbers = struct.unpack(_DESCRIPTORS[left], found)
    signed = left in (12, 20) or found.startswith(b"PK\7\x08")
    expected = (entry.crc, entry.packed, entry.size)
    if not signed or numbers != expected:
        raise ArchiveError(_differs(where, "data descriptor", numbers, expected))
