"""The end of a ZIP archive and its central directory: which entries it has, and where.

Owns parsing both, strictly. Leaves the local headers to
`gateproof_evidence.format.archive.local_header`, the contents to
`gateproof_evidence.format.archive.content`. Python's `zipfile` is not used for reading: it cuts a
name at a zero byte, accepts any bytes before the first entry, and compares of a local header only
the name.

Source: APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3.12 to 4.3.16, 4.4 and 4.5.3.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.tree import LONGEST_PATH, Limits

Read = Callable[[int, int], bytes]
"""Returns as many bytes from a position as there are, up to a number: ``read(count, position)``."""

STORED, DEFLATED = 0, 8
ENCRYPTED = 0x0001 | 0x0040 | 0x2000
"""Flags of an encrypted entry: classic, strong, and a masked directory."""
DESCRIPTOR = 0x0008
"""The flag of an entry whose sizes follow its data."""
UTF8 = 0x0800
_ALLOWED = 0x0002 | 0x0004 | DESCRIPTOR | UTF8
"""Flags that do not change the meaning of an entry, or that are handled."""

LARGEST_DIRECTORY = 64 * 1024**2
"""The most bytes of a central directory; one of 10,000 captures has 1.5 MB."""
LONGEST_NAME = 2 * LONGEST_PATH
"""The most bytes of a name: a longer one has too many characters, or too many folders."""
_DENSEST = 1040
"""The most bytes that deflate makes of one byte, 1032, and some room for the end of a stream."""

ZIP64, UNICODE_PATH = 0x0001, 0x7075
"""Ids of extra fields: large numbers, and a second name."""
MARK16, MARK32 = 0xFFFF, 0xFFFFFFFF
"""Values that say that the number is in the field for large numbers."""

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_DOS_FOLDER = 0x10
_NEWEST = 63
"""The version of the format that an entry may need, 6.3: zipfile reads no newer one."""


class ArchiveError(BadInputError):
    """An archive breaks a rule of its format, or could be read in two ways."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One entry of the central directory."""

    name: bytes
    path: str
    """The name as text; a folder's is without the slash at its end."""
    flags: int
    method: int
    crc: int
    packed: int
    """Bytes of the packed content."""
    size: int
    """Declared bytes of the content."""
    offset: int
    """The position of the local header."""
    mode: int
    """The file type and permissions of Unix; 0 if unknown."""
    attributes: int
    """The attributes of DOS."""
    start: int = 0
    """The position of the packed content; known when the local header was read."""

    @property
    def is_folder(self) -> bool:
        """Whether its name is that of a folder."""
        return self.name.endswith(b"/")

    @property
    def is_link(self) -> bool:
        """Whether unpacking would make a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_special(self) -> bool:
        """Whether it is something else than its name says: a device, a pipe, a folder as a file."""
        kind = stat.S_IFMT(self.mode)
        if self.is_folder:
            return kind not in (0, stat.S_IFDIR)
        return kind not in (0, stat.S_IFREG) or bool(self.attributes & _DOS_FOLDER)


@dataclass(frozen=True, kw_only=True)
class Directory:
    """The central directory of an archive."""

    entries: tuple[Entry, ...]
    start: int
    """The position where it begins and the last entry ends."""


@dataclass(frozen=True, kw_only=True)
class _End:
    """Where the central directory is."""

    count: int
    start: int
    length: int
    position: int
    """The position at which the directory must end."""


def read_directory(read: Read, size: int, limits: Limits) -> Directory:
    """Read the central directory, which must fill the archive's end exactly.

    1. The last 22 bytes are the end record: no comment, one disk.
    2. The record for large numbers, if there is one, agrees with it.
    3. The directory is no larger than the limits, and ends where the records begin.
    4. Each entry has a method that can be read, is not encrypted, and has one name.

    Args:
        read: reads from the archive.
        size: of the archive in bytes.
        limits: the most entries.

    Raises:
        ArchiveError: one of these rules does not hold; the message names it.

    """
    # 1, 2
    end = _read_end(read, size)
    # 3
    _refuse_large(end, limits)
    content = read(end.length, end.start)
    # 4
    return Directory(entries=tuple(_entries(content, end.count)), start=end.start)


def extra_fields(extra: bytes, where: str) -> Mapping[int, bytes]:
    """Return the extra fields of a header by their ids.

    Raises:
        ArchiveError: a field is cut off, is there twice, or gives a second name.

    """
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(extra):
        if at + 4 > len(extra):
            raise ArchiveError(f"{where}: extra field: got a part of one, expected whole ones")
        number, length = struct.unpack_from("<2H", extra, at)
        value = extra[at + 4 : at + 4 + length]
        if len(value) < length or number in fields:
            raise ArchiveError(f"{where}: extra field {number:#x}: got it twice or cut off")
        fields[number] = value
        at += 4 + length
    if UNICODE_PATH in fields:
        raise ArchiveError(f"{where}: name: got a second one in an extra field, expected one name")
    return fields


def large(values: tuple[int, ...], fields: Mapping[int, bytes], where: str) -> tuple[int, ...]:
    """Return numbers of a header, each from the field for large numbers if it is marked so.

    Raises:
        ArchiveError: the field has more or fewer numbers than are marked.

    """
    marked = sum(value == MARK32 for value in values)
    field = fields.get(ZIP64, b"")
    if ZIP64 not in fields:
        return values
    if len(field) != 8 * marked:
        raise ArchiveError(
            f"{where}: field for large numbers: got {len(field)} bytes, expected {8 * marked}"
        )
    numbers = iter(struct.unpack(f"<{marked}Q", field))
    return tuple(next(numbers) if value == MARK32 else value for value in values)


def _read_end(read: Read, size: int) -> _End:
    position = size - _END.size
    found = read(_END.size, position) if position >= 0 else b""
    if not found.startswith(b"PK\5\6") or found[-2:] != b"\0\0":
        raise ArchiveError(_no_end(read, size))
    _, disk, first, here, count, length, start, _ = _END.unpack(found)
    locator = read(_LOCATOR.size, max(position - _LOCATOR.size, 0))
    if locator.startswith(b"PK\6\7"):
        return _read_end64(read, locator, position, (disk, first, here, count, length, start))
    if (disk, first) != (0, 0) or here != count:
        raise ArchiveError("disks: got an archive of several, expected one file")
    return _End(count=count, start=start, length=length, position=position)


def _no_end(read: Read, size: int) -> str:
    tail = read(min(size, 1 << 16), max(size - (1 << 16), 0))
    if b"PK\5\6" in tail:
        return "end: got bytes after the end of the archive or a comment, expected neither"
    return "end: got none, expected a whole ZIP archive; a download may have stopped"


def _read_end64(read: Read, locator: bytes, after: int, narrow: tuple[int, ...]) -> _End:
    """Read the end record for large numbers, which lies directly before its locator."""
    position = after - _LOCATOR.size - _END64.size
    found = read(_END64.size, max(position, 0))
    _, disk_of_it, place, disks = _LOCATOR.unpack(locator)
    if place != position or not found.startswith(b"PK\6\6"):
        raise ArchiveError("end: got a locator that leads elsewhere, expected the record before it")
    _, length_of_it, _, _, *numbers = _END64.unpack(found)
    disk, first, here, count, length, start = numbers
    if disk_of_it or disks > 1 or disk or first or here != count:
        raise ArchiveError("disks: got an archive of several, expected one file")
    marks = (MARK16, MARK16, MARK16, MARK16, MARK32, MARK32)
    differs = [n for n, w, m in zip(narrow, numbers, marks, strict=True) if n not in (w, m)]
    if length_of_it != _END64.size - 12 or differs:
        raise ArchiveError("end: got two records that differ, expected the same numbers in both")
    return _End(count=count, start=start, length=length, position=position)


def _refuse_large(end: _End, limits: Limits) -> None:
    if end.count > limits.entries:
        raise ArchiveError(f"entries: got {end.count}, expected at most {limits.entries}")
    if end.length > LARGEST_DIRECTORY:
        raise ArchiveError(
            f"central directory: got {end.length} bytes, expected at most {LARGEST_DIRECTORY}"
        )
    if end.start + end.length != end.position:
        raise ArchiveError(
            "central directory: got another place than before the end of the archive; there are "
            "bytes before the first entry or between its parts, expected none"
        )


def _entries(content: bytes, count: int) -> Iterator[Entry]:
    at = 0
    for number in range(1, count + 1):
        if content[at : at + 4] != b"PK\1\2" or at + _CENTRAL.size > len(content):
            raise ArchiveError(f"central directory: got {number - 1} entries, expected {count}")
        header = _CENTRAL.unpack_from(content, at)
        at += _CENTRAL.size
        lengths = header[10:13]
        rest = content[at : at + sum(lengths)]
        if len(rest) < sum(lengths):
            raise ArchiveError("central directory: got an entry that is cut off")
        at += len(rest)
        yield _entry(header, rest[: lengths[0]], rest[lengths[0] : lengths[0] + lengths[1]])
    if at != len(content):
        raise ArchiveError(f"central directory: got more than the {count} entries that it states")


def _entry(header: tuple[int, ...], name: bytes, extra: bytes) -> Entry:
    _, _, version, flags, method, _, _, crc, packed, size, _, _, _, disk, _, external, offset = (
        header
    )
    where = f"entry {name.decode('utf-8', 'backslashreplace')!a}"
    _refuse_unreadable(where, flags, method)
    if version > _NEWEST:
        raise ArchiveError(f"{where}: version: got {version}, expected at most {_NEWEST}")
    if disk:
        raise ArchiveError(f"{where}: disk: got {disk}, expected an archive of one file")
    size, packed, offset = large((size, packed, offset), extra_fields(extra, where), where)
    _refuse_sizes(where, name, method, packed, size)
    return Entry(
        name=name,
        path=_decode(name, flags, where).removesuffix("/"),
        flags=flags,
        method=method,
        crc=crc,
        packed=packed,
        size=size,
        offset=offset,
        mode=external >> 16,
        attributes=external & 0xFFFF,
    )


def _refuse_unreadable(where: str, flags: int, method: int) -> None:
    if flags & ENCRYPTED:
        raise ArchiveError(f"{where}: got an encrypted entry, expected a readable one")
    if method not in (STORED, DEFLATED):
        raise ArchiveError(f"{where}: method: got {method}, expected stored (0) or deflated (8)")
    if flags & ~_ALLOWED:
        raise ArchiveError(f"{where}: flags: got {flags:#06x}, expected known ones only")


def _refuse_sizes(where: str, name: bytes, method: int, packed: int, size: int) -> None:
    if name.endswith(b"/") and size:
        raise ArchiveError(f"{where}: got a folder with content, expected an empty entry")
    if method == STORED and packed != size:
        raise ArchiveError(f"{where}: got {packed} stored bytes, expected {size} as declared")
    if size > _DENSEST * (packed + 1):
        raise ArchiveError(
            f"{where}: size: got {size} bytes out of {packed}, more than deflate can pack"
        )


def _decode(name: bytes, flags: int, where: str) -> str:
    """Return a name as text; bytes that are not UTF-8 stay, and no bundle may have such a name."""
    if not flags & UTF8 and not name.isascii():
        raise ArchiveError(f"{where}: name: got bytes outside ASCII that are not marked as UTF-8")
    if not name.strip(b"/") or len(name) > LONGEST_NAME:
        raise ArchiveError(
            f"{where[:100]}: name: got {len(name)} bytes, expected a path of 1 to {LONGEST_NAME}"
        )
    return name.decode("utf-8", "surrogateescape")
