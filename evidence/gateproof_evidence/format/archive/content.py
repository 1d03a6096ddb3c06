"""The content of one entry of a ZIP archive, read in parts.

Owns unpacking, and the comparison with the declared size and checksum. Never more than the declared
size is unpacked, and never more than one part is held.

Source: APPNOTE.TXT 6.3.10 (PKWARE), section 4.4.7; RFC 1951.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from gateproof_evidence.format.archive.directory import DEFLATED, ArchiveError, Entry, Read

_CHUNK = 256 * 1024


def read_content(read: Read, entry: Entry) -> Iterator[bytes]:
    """Yield the content of an entry in parts.

    Raises:
        ArchiveError: it has another size or checksum than declared, or cannot be unpacked. The
            checksum is known after the last part: a reader that stops before does not compare it.

    """
    where = f"entry {entry.path!a}"
    parts = _packed(read, entry, where)
    size = crc = 0
    for part in _unpacked(parts, where) if entry.method == DEFLATED else parts:
        size += len(part)
        if size > entry.size:
            raise ArchiveError(f"{where}: size: got more than {entry.size} bytes as declared")
        crc = zlib.crc32(part, crc)
        yield part
    if size != entry.size:
        raise ArchiveError(f"{where}: size: got {size} bytes, expected {entry.size} as declared")
    if crc != entry.crc:
        raise ArchiveError(f"{where}: checksum: got {crc:08x}, expected {entry.crc:08x}")


def _packed(read: Read, entry: Entry, where: str) -> Iterator[bytes]:
    at, end = entry.start, entry.start + entry.packed
    while at < end:
        part = read(min(end - at, _CHUNK), at)
        if not part:
            raise ArchiveError(f"{where}: got the end of the archive, expected its content")
        at += len(part)
        yield part


def _unpacked(parts: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Unpack; the stream must end with the last byte of the packed content."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    for packed in parts:
        left = packed
        while not stream.eof:
            try:
                part = stream.decompress(left, _CHUNK)
            except zlib.error as error:
                raise ArchiveError(f"{where}: content: got {error}, expected deflate") from error
            left = stream.unconsumed_tail
            if part:
                yield part
            elif not left:
                break  # all is unpacked: with a limit, output may remain after the last input
        if stream.unused_data or left:
            raise ArchiveError(f"{where}: content: got bytes after its end, expected none")
    if not stream.eof:
        raise ArchiveError(f"{where}: content: got a part of a stream, expected a whole one")
