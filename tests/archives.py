"""ZIP archives made by hand, byte by byte, so that each field can be wrong."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STORED, DEFLATED = 0, 8
DESCRIPTOR, UTF8 = 0x0008, 0x0800

_LOCAL = ("version", "flags", "method", "time", "date", "crc", "packed", "size")
_FORM = "<4s5H3L2H"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One entry; `local` and `central` replace fields of one of its two headers alone."""

    name: bytes
    content: bytes = b""
    method: int = DEFLATED
    flags: int = 0
    mode: int = 0o100644
    descriptor: str = ""
    """The form of a data descriptor, such as ``<4s3L``; empty for none."""
    extra: bytes = b""
    local_extra: bytes = b""
    raw: bytes | None = None
    """The packed content; by default it is made of the content."""
    local: Mapping[str, int | bytes] = field(default_factory=dict)
    central: Mapping[str, int | bytes] = field(default_factory=dict)
    described: Mapping[str, int] = field(default_factory=dict)
    gap: bytes = b""
    """Bytes after it."""

    @property
    def packed(self) -> bytes:
        """The packed content."""
        if self.raw is not None:
            return self.raw
        if self.method != DEFLATED:
            return self.content
        stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return stream.compress(self.content) + stream.flush()

    @property
    def numbers(self) -> dict[str, int]:
        """The checksum and both sizes."""
        crc = zlib.crc32(self.content)
        return {"crc": crc, "packed": len(self.packed), "size": len(self.content)}


def build(
    parts: Iterable[Part], *, before: bytes = b"", after: bytes = b"", end: Mapping[str, int] = {}
) -> bytes:
    """Return an archive.

    Args:
        parts: its entries.
        before: bytes before the first entry, which the offsets count.
        after: bytes after the end.
        end: replaces fields of the end record.

    """
    body, directory = bytearray(before), bytearray()
    listed = [*parts]
    for part in listed:
        directory += _central(part, len(body))
        body += _local(part) + part.packed + _descriptor(part) + part.gap
    fields = {"disk": 0, "first": 0, "here": len(listed), "count": len(listed)}
    fields |= {"length": len(directory), "start": len(body), "comment": 0, **end}
    record = struct.pack("<4s4H2LH", b"PK\5\6", *(fields[name] for name in fields))
    return bytes(body + directory + record + after)


def _local(part: Part) -> bytes:
    later = bool(part.flags & DESCRIPTOR)
    numbers = dict.fromkeys(part.numbers, 0) if later else part.numbers
    fields = {"flags": part.flags, "method": part.method, **numbers, **part.local}
    name = bytes(fields.pop("name", part.name))
    values = [fields.get(one, 0x21 if one == "date" else 0) for one in _LOCAL]
    head = struct.pack(_FORM, b"PK\3\4", *values, len(name), len(part.local_extra))
    return head + name + part.local_extra


def _descriptor(part: Part) -> bytes:
    if not part.descriptor:
        return b""
    numbers = {**part.numbers, **part.described}.values()
    signature = [b"PK\7\x08"] if "s" in part.descriptor else []
    return struct.pack(part.descriptor, *signature, *numbers)


def _central(part: Part, offset: int) -> bytes:
    fields: dict[str, int | bytes] = {
        "version": 20,
        "flags": part.flags, "method": part.method, **part.numbers,
        "disk": 0, "attributes": part.mode << 16, "offset": offset, **part.central,
    }  # fmt: skip
    head = struct.pack("<4s2H", b"PK\1\2", 3 << 8 | 20, fields["version"])
    head += struct.pack("<4H3L", fields["flags"], fields["method"], 0, 0x21, *(
        fields[one] for one in ("crc", "packed", "size")
    ))  # fmt: skip
    name, extra = part.name, part.extra
    head += struct.pack("<5H2L", len(name), len(extra), 0, fields["disk"], 0,
                        fields["attributes"], fields["offset"])  # fmt: skip
    return head + name + extra


def of_folder(folder: Path) -> bytes:
    """Return a folder as an archive, with its links, special files, empty folders and any names."""
    return build(_parts(folder))


def _parts(folder: Path) -> Iterator[Part]:
    for path in sorted(folder.rglob("*")):
        name = os.fsencode(path.relative_to(folder).as_posix())
        flags, mode = (0 if name.isascii() else UTF8), path.lstat().st_mode
        if path.is_symlink():
            yield Part(name=name, flags=flags, mode=mode, content=os.fsencode(os.readlink(path)))  # noqa: PTH115
        elif path.is_dir():
            yield Part(name=name + b"/", flags=flags, mode=mode, method=STORED)
        elif path.is_file():
            yield Part(name=name, flags=flags, mode=mode, content=path.read_bytes())
        else:
            yield Part(name=name, flags=flags, mode=mode, method=STORED)
