"""Writing a ZIP archive, and which bundle a path names."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from gateproof_evidence.errors import BadInputError, EvidenceError, NotWritableError
from gateproof_evidence.format.archive.archive import Archive
from gateproof_evidence.format.archive.folder import Folder
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.writer import add_entries, write_archive
from gateproof_evidence.format.tree import Reading, read_tree
from tests.archives import Part, build


def test_archive_of_one_bundle_has_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    """A copy with other times and modes, in another order of creation, gives the same bytes."""
    copy = tmp_path / "copy"
    for path in sorted((path for path in bundle.rglob("*") if path.is_file()), reverse=True):
        to = copy / path.relative_to(bundle)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
        to.chmod(0o600)
        os.utime(to, (1, 1))
    one = write_archive(bundle, tmp_path / "one.zip").read_bytes()
    assert write_archive(copy, tmp_path / "two.zip").read_bytes() == one


def test_archive_has_sorted_entries_without_times_and_comments(
    bundle: Path, tmp_path: Path
) -> None:
    """Entries are the paths of the bundle, sorted, with one time, one mode and no extra field."""
    path = write_archive(bundle, tmp_path / "one.zip")
    files = read_tree(bundle, keep=lambda _: 0).files
    with zipfile.ZipFile(path) as packed:
        assert packed.comment == b""
        assert packed.namelist() == sorted(file.path for file in files)
        for entry in packed.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == stat.S_IFREG | 0o644
            assert (entry.extra, entry.comment, entry.flag_bits) == (b"", b"", 0)
            assert entry.compress_type == zipfile.ZIP_DEFLATED
    assert Archive(path).read_tree(Reading(keep=lambda _: 0)).files == files


def test_archive_with_a_name_outside_ascii_is_marked_as_utf8(tmp_path: Path) -> None:
    """A name outside ASCII is written as UTF-8, and reads as it was."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bagit.txt").write_bytes(b"x")
    (tmp_path / "in/ä.txt").write_bytes(b"y")
    archive = Archive(write_archive(tmp_path / "in", tmp_path / "one.zip"))
    assert archive.read("ä.txt") == b"y"


def test_archive_never_overwrites(bundle: Path, tmp_path: Path) -> None:
    """A name that is taken is refused, and the file of that name stays."""
    taken = tmp_path / "taken.zip"
    taken.write_bytes(b"mine")
    with pytest.raises(NotWritableError, match="got a path that exists, expected a free name"):
        write_archive(bundle, taken)
    assert taken.read_bytes() == b"mine"


def test_archive_that_cannot_be_written_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    """After a refusal no part of an archive is left, under no name."""
    with pytest.raises(NotWritableError, match="archive: got No such file"):
        write_archive(bundle, tmp_path / "gone" / "one.zip")
    (bundle / "link").symlink_to("bagit.txt")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(EvidenceError, match="link: archive: got a link or a special file"):
        write_archive(bundle, tmp_path / "one.zip")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "message"), [("none", "got an empty folder"), ("a%b", "name: got '%'")]
)
def test_archive_of_a_folder_that_is_no_bundle_is_refused(
    bundle: Path, tmp_path: Path, name: str, message: str
) -> None:
    """Empty folders and unsafe names are refused: sealing refuses them too."""
    (bundle / name).mkdir()
    if name != "none":
        (bundle / name / "x").write_bytes(b"x")
    with pytest.raises(EvidenceError, match=message):
        write_archive(bundle, tmp_path / "one.zip")


def test_archive_with_added_entries_equals_that_of_the_folder_with_them(
    bundle: Path, tmp_path: Path
) -> None:
    """Adding to an archive gives the bytes of an archive of the folder with the same addition."""
    archive = Archive(write_archive(bundle, tmp_path / "one.zip"))
    add_entries(archive, {"signoffs/x.json": b"{}"})
    (bundle / "signoffs").mkdir()
    (bundle / "signoffs/x.json").write_bytes(b"{}")
    expected = write_archive(bundle, tmp_path / "two.zip").read_bytes()
    assert (tmp_path / "one.zip").read_bytes() == expected


def wrapped(bundle: Path, path: Path) -> Path:
    """Pack a bundle below one folder."""
    files = sorted(one for one in bundle.rglob("*") if one.is_file())
    names = [f"run/{one.relative_to(bundle).as_posix()}".encode() for one in files]
    parts = [Part(name=n, content=f.read_bytes()) for n, f in zip(names, files, strict=True)]
    path.write_bytes(build(parts))
    return path


def test_bundle_one_folder_down_in_an_archive_is_found(bundle: Path, tmp_path: Path) -> None:
    """An archive whose entries all lie below one folder reads as that folder."""
    found = open_source(wrapped(bundle, tmp_path / "one.zip"))
    assert found.read_tree(Reading(keep=lambda _: 0)) == read_tree(bundle, keep=lambda _: 0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([b"a/bagit.txt", b"b/bagit.txt"], "bundle: got 'a', 'b', expected one"),
        ([b"a/bagit.txt", b"note.txt"], "got 'note.txt' next to its folder"),
        ([b"a/b/bagit.txt"], "got an archive without attestation.dsse.json"),
        ([b"../bagit.txt"], "bundle: got '..'"),
    ],
)
def test_bundle_one_folder_down_in_an_archive_must_be_the_only_one(
    tmp_path: Path, names: list[bytes], message: str
) -> None:
    """Several bundles, files next to it, or more folders are refused."""
    (tmp_path / "one.zip").write_bytes(build([Part(name=name) for name in names]))
    with pytest.raises(BadInputError, match=message):
        open_source(tmp_path / "one.zip")


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_bundle_one_folder_down_is_found(bundle: Path, tmp_path: Path, form: str) -> None:
    """The folder of an artifact names the one bundle in it, a folder or an archive."""
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "notes.txt").write_bytes(b"")
    (artifact / "latest").symlink_to("run")
    expected = read_tree(bundle, keep=lambda _: 0)
    if form == "folder":
        bundle.rename(artifact / "run")
    else:
        write_archive(bundle, artifact / "run.zip")
    assert open_source(artifact).read_tree(Reading(keep=lambda _: 0)) == expected


def test_bundle_one_folder_down_must_be_the_only_one(bundle: Path, tmp_path: Path) -> None:
    """Two bundles are refused and named, whatever their form; none is refused too."""
    artifact = tmp_path / "artifact"
    (artifact / "inner").mkdir(parents=True)
    with pytest.raises(BadInputError, match=r"got a folder without attestation\.dsse\.json"):
        open_source(artifact)
    shutil.copytree(bundle, artifact / "inner/deeper")
    with pytest.raises(BadInputError, match=r"got a folder without attestation\.dsse\.json"):
        open_source(artifact)
    shutil.copytree(bundle, artifact / "one")
    write_archive(bundle, artifact / "one.zip")
    with pytest.raises(BadInputError, match=r"got a folder of 2: one, one\.zip, expected one"):
        open_source(artifact)


def test_source_of_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    """Other files are refused and named by what they are."""
    (tmp_path / "text").write_bytes(b"text")
    (tmp_path / "text.zip").write_bytes(b"text")
    with pytest.raises(BadInputError, match="got a file, expected the folder or the ZIP archive"):
        open_source(tmp_path / "text")
    with pytest.raises(BadInputError, match="end: got none, expected a whole ZIP archive"):
        open_source(tmp_path / "text.zip")
    with pytest.raises(BadInputError, match="got no such path"):
        open_source(tmp_path / "gone.zip")


def test_folder_reads_no_file_through_a_link(bundle: Path) -> None:
    """A link, a file below a link and a pipe are no files of the folder; plain ones are."""
    (bundle / "away").symlink_to("data")
    (bundle / "run").symlink_to("data/run.json")
    os.mkfifo(bundle / "pipe")
    folder = Folder(bundle)
    for path in ("away/run.json", "run", "pipe", "../bundle/bagit.txt"):
        assert folder.size(path) is None
    for path in ("away/run.json", "run", "pipe"):
        with pytest.raises(OSError, match=r"No such file|Too many levels|not a regular file"):
            folder.read(path)
    assert folder.read("data/run.json") == (bundle / "data/run.json").read_bytes()
    assert folder.size("data/run.json") == (bundle / "data/run.json").stat().st_size
