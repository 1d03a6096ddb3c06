"""Reading a ZIP archive: what is refused, what is found, and what other writers make is read."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import shutil
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.archive import Archive
from gateproof_evidence.format.tree import LIMITS, Limits, Reading, Tree, read_tree
from tests.archives import DESCRIPTOR, STORED, UTF8, Part, build, of_folder

SIGN = Part(name=b"bagit.txt", content=b"BagIt-Version: 1.0\n")
TEXT = b"a line of a capture\n" * 50
ONE = Part(name=b"data/one.txt", content=TEXT)

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Provide a function that writes an archive and returns its path."""

    def written(content: bytes) -> Path:
        path = tmp_path / "bundle.zip"
        path.write_bytes(content)
        return path

    return written


def tree_of(path: Path, limits: Limits = LIMITS) -> Tree:
    """Open an archive and read all of it."""
    return Archive(path).read_tree(Reading(keep=lambda _: 1 << 20, limits=limits))


def changed(**fields: object) -> Part:
    """Return the second entry with other fields."""
    return Part(name=ONE.name, content=TEXT, **fields)  # type: ignore[arg-type]


def test_archive_of_plain_files_is_read(write: Write) -> None:
    """An archive without any fault has the files with their sizes, digests and contents."""
    tree = tree_of(write(build([SIGN, ONE])))
    assert [(one.path, one.content) for one in tree.files] == [
        ("bagit.txt", SIGN.content),
        ("data/one.txt", TEXT),
    ]
    assert tree.odd == ()


LARGE = struct.pack("<2H2Q", 1, 16, len(TEXT), len(ONE.packed))
MARKED = {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}


@pytest.mark.parametrize(
    "part",
    [
        changed(method=STORED),
        changed(flags=DESCRIPTOR, descriptor="<3L"),
        changed(flags=DESCRIPTOR, descriptor="<4s3L"),
        changed(flags=DESCRIPTOR, descriptor="<L2Q"),
        changed(flags=DESCRIPTOR, descriptor="<4sL2Q"),
        changed(flags=DESCRIPTOR | UTF8, descriptor="<4s3L", central={"version": 45}),
        changed(flags=0x0002),
        changed(mode=0),
        changed(extra=b"UT\5\0\1abcd", local_extra=b"UT\x09\0\1abcdefgh"),
        changed(extra=LARGE, local_extra=LARGE, local=MARKED, central=MARKED),
    ],
    ids=["stored", "descriptor", "signed", "large-descriptor", "large-signed", "as-github",
         "fastest", "no-mode", "times", "large"],
)  # fmt: skip
def test_archive_of_another_form_is_read(write: Write, part: Part) -> None:
    """Stored entries, each form of a data descriptor, extra fields: the content is the same."""
    tree = tree_of(write(build([SIGN, part])))
    assert [one.content for one in tree.files] == [SIGN.content, TEXT]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (changed(flags=1), "got an encrypted entry"),
        (changed(flags=0x40), "got an encrypted entry"),
        (changed(flags=0x2000), "got an encrypted entry"),
        (changed(flags=0x20), "flags: got 0x0020"),
        (changed(method=12, raw=b"x"), r"method: got 12, expected stored \(0\) or deflated"),
        (changed(method=99, raw=b"x"), "method: got 99"),
        (changed(central={"disk": 1}), "disk: got 1"),
        (changed(central={"version": 64}), "version: got 64, expected at most 63"),
        (changed(local={"name": b"data/two.txt"}), r"local header: name: got b'data/two.txt'"),
        (changed(local={"method": STORED}), "local header: method: got 0"),
        (changed(local={"flags": 2}), "local header: flags: got 2"),
        (changed(local={"crc": 1}), "local header: checksum: got 1"),
        (changed(local={"size": 1}), "local header: size: got 1"),
        (changed(local={"packed": 1}), "local header: packed size: got 1"),
        (changed(local={"size": 0}), "local header: size: got 0"),
        (changed(gap=b"hidden"), "got 6 bytes after its content"),
        (changed(flags=DESCRIPTOR), "data descriptor: got 0 bytes"),
        (changed(flags=DESCRIPTOR, descriptor="<3L", described={"size": 1}), "data descriptor: "),
        (changed(flags=DESCRIPTOR, descriptor="<4s3L", described={"crc": 1}), "data descriptor: "),
        (changed(flags=DESCRIPTOR, descriptor="<3L", gap=b"more"), "data descriptor: got"),
        (changed(central={"packed": 999}, local={"packed": 999}), "overlaps what follows"),
        (changed(central={"size": 1 << 30}), "more than deflate can pack"),
        (changed(method=STORED, central={"size": 5}), "stored bytes, expected 5"),
        (changed(extra=b"UT\x09\0\1"), "extra field 0x5455: got it twice or cut off"),
        (changed(extra=b"UT\0"), "got a part of one"),
        (changed(extra=b"UT\0\0UT\0\0"), "got it twice"),
        (changed(extra=b"up\5\0\1abcd"), "got a second one in an extra field"),
        (changed(local_extra=b"up\5\0\1abcd"), "got a second one in an extra field"),
        (changed(extra=LARGE), "field for large numbers: got 16 bytes, expected 0"),
        (Part(name=b"data/\xff"), "bytes outside ASCII that are not marked"),
        (Part(name=b""), "name: got 0 bytes"),
        (Part(name=b"/"), "name: got 1 bytes"),
        (Part(name=b"x" * 2049), "name: got 2049 bytes, expected a path of 1 to 2048"),
        (Part(name=b"data/", content=b"x"), "got a folder with content"),
    ],
)  # fmt: skip
def test_archive_entry_that_can_be_read_in_two_ways_is_refused(
    write: Write, part: Part, message: str
) -> None:
    """Each fault of an entry refuses the archive when it is opened, with its own message."""
    with pytest.raises(BadInputError, match=message):
        Archive(write(build([SIGN, part])))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (changed(central={"crc": 1}, local={"crc": 1}), "checksum: got [0-9a-f]{8}, expected 0+1"),
        (changed(central={"size": 10}, local={"size": 10}), "size: got more than 10 bytes"),
        (changed(central={"size": 5000}, local={"size": 5000}), "size: got 1000 bytes, expected"),
        (changed(raw=ONE.packed[:-3]), "got a part of a stream"),
        (changed(raw=ONE.packed + b"more"), "got bytes after its end"),
        (changed(raw=b"\xff" * 20), "expected deflate"),
    ],
)
def test_archive_content_that_differs_from_its_header_is_refused(
    write: Write, part: Part, message: str
) -> None:
    """A wrong checksum, size or stream is found when the entry is read, and names it."""
    with pytest.raises(
        BadInputError, match=f"bundle.zip: archive: entry 'data/one.txt': .*{message}"
    ):
        tree_of(write(build([SIGN, part])))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got none, expected a whole ZIP archive"),
        (b"PK\3\4 but no end", "got none, expected a whole ZIP archive"),
        (build([SIGN])[:-30], "got none, expected a whole ZIP archive"),
        (build([SIGN], after=b"more"), "got bytes after the end of the archive or a comment"),
        (build([SIGN], after=b"note", end={"comment": 4}), "or a comment, expected neither"),
        (build([SIGN], before=b"#!/bin/sh\n"), "got 10 bytes before the first entry"),
        (b"#!/bin/sh\n" + build([SIGN]), "before the first entry or between its parts"),
        (build([SIGN], end={"disk": 1}), "disks: got an archive of several"),
        (build([SIGN], end={"here": 0}), "disks: got an archive of several"),
        (build([SIGN], end={"count": 2, "here": 2}), "got 1 entries, expected 2"),
        (build([SIGN, ONE], end={"count": 1, "here": 1}), "got more than the 1 entries"),
        (build([SIGN], end={"length": 1}), "got another place than before the end"),
        (build([SIGN], end={"length": 1 << 30}), "got 1073741824 bytes, expected at most"),
        (build([SIGN, SIGN]), "entry 'bagit.txt': got it twice"),
        (build([SIGN, ONE, Part(name=b"data/one.txt/two")]), "got a file and a folder"),
        (build([ONE]), "got an archive without attestation.dsse.json"),
    ],
)  # fmt: skip
def test_archive_whose_structure_is_unsound_is_refused(
    write: Write, content: bytes, message: str
) -> None:
    """Bytes before, between or after the parts, several disks, wrong counts: each is refused."""
    with pytest.raises(BadInputError, match=message):
        Archive(write(content))


def test_archive_with_overlapping_entries_is_refused(write: Write) -> None:
    """Two entries that share one content, as in a bomb, are refused."""
    at = build([SIGN, ONE]).index(b"PK\3\4", 4)
    packed = build([SIGN, ONE, Part(name=b"data/two.txt", content=TEXT, central={"offset": at})])
    with pytest.raises(BadInputError, match=r"'data/one\.txt': got content that overlaps"):
        Archive(write(packed))


def test_archive_with_more_entries_than_the_limit_is_refused(write: Write) -> None:
    """The number of entries is compared before the directory is read; at the limit it is read."""
    path = write(build([SIGN, ONE]))
    with pytest.raises(BadInputError, match="entries: got 2, expected at most 1"):
        Archive(path, Limits(entries=1))
    assert Archive(path, Limits(entries=2)).size("bagit.txt") == len(SIGN.content)


def test_archive_above_a_limit_of_reading_has_a_finding(write: Write) -> None:
    """More bytes in all, more files and folders, or deeper folders: a finding, as for a folder."""
    deep = Part(name=b"/".join([b"d"] * 34))
    path = write(build([SIGN, ONE]))
    assert tree_of(path, Limits(total=100)).odd[0].message.startswith("got more than 100 bytes")
    assert tree_of(path, Limits(entries=2)).odd[0].message.startswith("got more than 2 files")
    found = tree_of(write(build([SIGN, deep]))).odd
    assert [(one.kind, one.path) for one in found] == [("limit", "/".join("d" * 33))]


def test_archive_with_a_large_entry_that_is_not_listed_does_not_unpack_it(write: Write) -> None:
    """An entry above the limit of kept bytes with another size than listed is not read."""
    content = bytes(3000)
    path = write(build([SIGN, Part(name=b"data/zeros", content=content)]))
    read = Archive(path).read_tree(Reading(keep=lambda _: 0, limits=Limits(kept=1000), sizes={}))
    listed = Archive(path).read_tree(
        Reading(keep=lambda _: 0, limits=Limits(kept=1000), sizes={"data/zeros": 3000})
    )
    assert [one.digest == "unread" for one in read.files] == [False, True]
    assert [one.digest == "unread" for one in listed.files] == [False, False]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (Part(name=b"data/link", mode=stat.S_IFLNK | 0o777, content=b"/etc/passwd"), "link"),
        (Part(name=b"data/pipe", mode=stat.S_IFIFO | 0o644), "special"),
        (Part(name=b"data/disk", mode=stat.S_IFBLK | 0o644), "special"),
        (Part(name=b"data/odd", central={"attributes": 0x10}), "special"),
        (Part(name=b"data/none/", method=STORED, mode=0o40755), "empty-folder"),
        (Part(name=b"../outside"), "name"),
        (Part(name=b"/etc/passwd"), "name"),
        (Part(name=b"data\\one"), "name"),
        (Part(name=b"data/a\0.txt"), "name"),
        (Part(name=b"data/\xff", flags=UTF8), "name"),
        (Part(name=b"data/COM1"), "name"),
        (Part(name=b"Bagit.txt"), "lookalike"),
    ],
)
def test_archive_has_the_findings_of_a_folder(write: Write, part: Part, kind: str) -> None:
    """Links, special files, empty folders and names are findings, and nothing is unpacked."""
    assert [one.kind for one in tree_of(write(build([SIGN, part]))).odd] == [kind]


def packed_by_zip(folder: Path, path: Path, *options: str) -> None:
    """Pack a folder with Info-ZIP."""
    subprocess.run(["zip", "-q", "-r", *options, str(path), "."], cwd=folder, check=True)


def packed_by_python(folder: Path, path: Path) -> None:
    """Pack a folder with the command of Python's module."""
    names = sorted(one.name for one in folder.iterdir())
    command = [sys.executable, "-m", "zipfile", "-c", str(path), *names]
    subprocess.run(command, cwd=folder, check=True)


def packed_in_a_stream(folder: Path, path: Path) -> None:
    """Pack a folder as GitHub does: into a stream, so that sizes follow the contents."""

    class Stream:
        def __init__(self) -> None:
            self.file = path.open("wb")

        def write(self, data: bytes) -> int:
            return self.file.write(data)

        def flush(self) -> None:
            self.file.flush()

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:  # type: ignore[call-overload]
        for one in sorted(folder.rglob("*")):
            packed.write(one, one.relative_to(folder).as_posix())
    stream.file.close()


def packed_by_shutil(folder: Path, path: Path) -> None:
    """Pack a folder with shutil, which adds entries for folders."""
    shutil.make_archive(str(path.with_suffix("")), "zip", folder)


WRITERS = [packed_by_python, packed_in_a_stream, packed_by_shutil]
if shutil.which("zip"):
    WRITERS.append(packed_by_zip)


@pytest.mark.parametrize("pack", WRITERS)
def test_archive_of_another_writer_reads_as_the_folder(
    bundle: Path, tmp_path: Path, pack: Callable[[Path, Path], None]
) -> None:
    """Archives of other programs have the same files, sizes and digests as the folder."""
    path = tmp_path / "other.zip"
    pack(bundle, path)
    expected = read_tree(bundle, keep=lambda _: 0)
    found = Archive(path).read_tree(Reading(keep=lambda _: 0))
    assert found == expected
    assert len(found.files) > 10, "premise: the bundle has files"


def test_archive_agrees_with_zipfile_on_what_it_accepts(bundle: Path, tmp_path: Path) -> None:
    """Python's module, an independent reader, finds the same names and contents."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(of_folder(bundle))
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        theirs = {one: packed.read(one) for one in packed.namelist() if not one.endswith("/")}
    archive = Archive(path)
    assert {name: archive.read(name) for name in archive.paths()} == theirs


def test_archive_content_is_read_in_parts_of_any_size(write: Write) -> None:
    """An entry larger than one part, and one that packs a thousandfold, are read whole."""
    noise, zeros = os.urandom(1_500_000), bytes(5_000_000)
    archive = Archive(
        write(build([SIGN, Part(name=b"noise", content=noise), Part(name=b"zeros", content=zeros)]))
    )
    assert max(map(len, archive.parts("zeros"))) <= 256 * 1024
    assert archive.read("noise") == noise
    assert zlib.crc32(archive.read("zeros")) == zlib.crc32(zeros)
    assert archive.read("zeros", 10) == bytes(10)


def test_archive_lines_are_those_of_the_file(write: Write) -> None:
    """Lines end with a newline alone, and the last one needs none."""
    content = b"one\r\ntwo\rthree\n" + b"x" * 600_000 + b"\nlast"
    archive = Archive(write(build([SIGN, Part(name=b"data/lines", content=content)])))
    assert list(archive.lines("data/lines")) == [
        b"one\r\n", b"two\rthree\n", b"x" * 600_000 + b"\n", b"last",
    ]  # fmt: skip


def test_archive_file_that_is_none_is_missing(write: Write) -> None:
    """Links, folders and unknown paths have no size and cannot be read."""
    link = Part(name=b"data/link", mode=stat.S_IFLNK | 0o777, content=b"one.txt")
    archive = Archive(write(build([SIGN, ONE, link, Part(name=b"data/", method=STORED)])))
    for path in ("data/link", "data", "gone"):
        assert archive.size(path) is None
        with pytest.raises(FileNotFoundError):
            archive.read(path)
    assert archive.size("data/one.txt") == len(TEXT)


def test_archive_large_numbers_in_its_end_must_agree(write: Write) -> None:
    """An end record for large numbers is read if both agree, and refused if they differ."""
    plain = build([SIGN, ONE])
    *_, length, start = struct.unpack_from("<4s4H2L", plain, len(plain) - 22)

    def wide(count: int) -> bytes:
        at = len(plain) - 22
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
        return plain[:at] + record + struct.pack("<4sLQL", b"PK\6\7", 0, at, 1) + plain[at:]

    assert len(tree_of(write(wide(2))).files) == 2
    with pytest.raises(BadInputError, match="got two records that differ"):
        Archive(write(wide(3)))


def test_archive_ranges_are_those_of_the_file(write: Write) -> None:
    """Ranges in any order, over each other and past the end, are those of the content."""
    content = bytes(range(256)) * 4000
    archive = Archive(write(build([SIGN, Part(name=b"data/x", content=content)])))
    for start, count in ((0, 5), (5, 5), (300_000, 10), (300_005, 10), (1, 2), (1_023_990, 99)):
        assert archive.read("data/x", count, start) == content[start : start + count]
    assert archive.read("data/x", 5, len(content) + 1) == b""
    assert archive.read("data/x", None, 1_023_000) == content[1_023_000:]


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_archive_with_one_altered_byte_is_refused_or_reads_the_same(
    write: Write, flip: int
) -> None:
    """No byte changes what is read: an alteration is refused, a finding, or without any effect."""
    late = changed(flags=DESCRIPTOR, descriptor="<4s3L", local_extra=b"UT\5\0\1abcd")
    sound = build([SIGN, late, Part(name=b"data/", method=STORED, mode=0o40755)])
    expected = tree_of(write(sound)).files
    read = 0
    for at in range(len(sound)):
        altered = bytearray(sound)
        altered[at] ^= flip
        try:
            tree = tree_of(write(bytes(altered)))
        except BadInputError:
            continue
        read += 1
        assert tree.odd or tree.files == expected, f"byte {at}"
    assert 0 < read < len(sound) / 3, "premise: only times, versions and attributes have no effect"


def test_archive_feeds_an_entry_in_its_order(write: Write) -> None:
    """A feed gets all of an entry, in parts, from the same read that is hashed."""
    content = os.urandom(700_000)
    path = write(build([SIGN, Part(name=b"data/x", content=content)]))
    parts: list[bytes] = []
    tree = Archive(path).read_tree(Reading(keep=lambda _: 0, feed={"data/x": parts.append}))
    assert len(parts) > 1, "premise: it does not fit into one part"
    assert b"".join(parts) == content
    assert tree.files[1].digest == f"sha256:{hashlib.sha256(content).hexdigest()}"


def open_files(folder: Path) -> list[str]:
    """Return the open files in a folder; other tests may close theirs at any time."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return [path for path in found if path.startswith(f"{folder}/")]


def test_archive_is_closed_when_it_is_no_longer_used(write: Write, tmp_path: Path) -> None:
    """No descriptor stays open, neither after reading nor after a refusal."""
    path = write(build([SIGN]))
    archive = Archive(path)
    assert archive.read("bagit.txt") == SIGN.content
    assert open_files(tmp_path) == [str(path)]
    del archive
    with pytest.raises(BadInputError):
        Archive(write(b"PK\3\4"))
    gc.collect()
    assert open_files(tmp_path) == []


def test_archive_of_records_that_need_much_memory_has_a_finding(write: Write) -> None:
    """Small entries that unpack to more than may be kept in all are not unpacked."""
    parts = [Part(name=b"data/%d.json" % number, content=bytes(1000)) for number in range(17)]
    path = write(build([SIGN, *parts]))
    limits = Limits(kept=1000)
    records = Archive(path).read_tree(
        Reading(keep=lambda path: 1000 * ("json" in path), limits=limits)
    )
    assert records.odd[0].message == "got more than 16000 bytes of records, expected fewer"
    assert len(Archive(path).read_tree(Reading(keep=lambda _: 0, limits=limits)).files) == 18


def test_archive_with_many_folders_in_a_name_needs_little_memory(write: Write) -> None:
    """Names of a thousand folders are a finding, and each is read only as far as allowed."""
    parts = [Part(name=b"%d" % number + b"/x" * 1000) for number in range(500)]
    tracemalloc.start()
    archive = Archive(write(build([SIGN, *parts])))
    assert archive.read_tree(Reading(keep=lambda _: 0)).odd[0].kind == "limit"
    assert tracemalloc.get_traced_memory()[1] < 30 * 1024**2
    tracemalloc.stop()


def test_archive_entry_that_is_too_large_is_not_read_as_a_whole(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that needs all of a file refuses a huge one; a part of it can be read."""
    monkeypatch.setattr("gateproof_evidence.format.archive.archive.LARGEST_WHOLE", 999)
    archive = Archive(write(build([SIGN, ONE])))
    with pytest.raises(OSError, match="File too large"):
        archive.read("data/one.txt")
    assert archive.read("data/one.txt", 10) == TEXT[:10]
    assert archive.read("bagit.txt") == SIGN.content
