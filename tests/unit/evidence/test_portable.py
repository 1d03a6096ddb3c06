"""Reading bundles needs no POSIX: the same answers where `os` has only what Windows has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.archive import Archive
from gateproof_evidence.format.archive.folder import Folder
from gateproof_evidence.format.archive.writer import add_entries, write_archive
from gateproof_evidence.format.tree import Limits, is_link, open_file, read_tree
from gateproof_evidence.model.finding import Code
from gateproof_evidence.verification.bundle import verify
from gateproof_evidence.verification.outside import is_inside
from tests.corpus.workshop import write_ssh_key
from tests.portable import environment, without_posix
from tests.unit.evidence.support import codes

Read = Callable[..., Any]
JUNIT = "data/tests/junit.xml"


@pytest.fixture
def no_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take from `os` what Windows lacks."""
    without_posix(monkeypatch)


@pytest.fixture
def in_both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    """Provide a function that calls another with and without POSIX, and compares the results."""

    def both(function: Callable[[], Any]) -> Any:
        expected = function()
        with monkeypatch.context() as patch:
            without_posix(patch)
            assert function() == expected
        return expected

    return both


def test_portable_reading_has_the_same_files(
    tmp_path: Path, in_both: Callable[[Callable[[], Any]], Any]
) -> None:
    """Paths, sizes, digests and contents do not depend on the functions of the system."""
    for number in range(90):
        folder = tmp_path / "tree" / f"{number % 7}" / f"{number}"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_bytes(os.urandom(9) * number * 1000)
        (folder / "b\r\n.txt").write_bytes(b"a\r\nb\n\x1a")
    tree = in_both(lambda: read_tree(tmp_path / "tree", keep=lambda _: 10_000))
    assert (len(tree.files), {one.kind for one in tree.odd}) == (180, {"name"})


@pytest.mark.parametrize("limits", [Limits(entries=20), Limits(total=1000)], ids=["many", "large"])
def test_portable_reading_ends_at_the_same_limits(
    bundle: Path, limits: Limits, in_both: Callable[[Callable[[], Any]], Any]
) -> None:
    """A folder above a limit has the one finding."""
    found = in_both(lambda: {one.code for one in verify(bundle, limits=limits).findings})
    assert found == {"LIMIT_EXCEEDED"}


@pytest.mark.usefixtures("no_posix")
def test_portable_reading_follows_no_link(bundle: Path, tmp_path: Path) -> None:
    """Links to files and to folders are findings, and nothing behind them is read."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    (bundle / "data" / "more").symlink_to(outside)
    (bundle / JUNIT).rename(tmp_path / "junit.xml")
    (bundle / JUNIT).symlink_to(tmp_path / "junit.xml")
    tree = read_tree(bundle, keep=lambda _: 0)
    assert {(one.kind, one.path) for one in tree.odd} == {("link", "data/more"), ("link", JUNIT)}
    assert [one.path for one in tree.files if "secret" in one.path] == []
    for path in ("data/more/secret", JUNIT):
        with pytest.raises(OSError, match=r"No such file|symbolic links"):
            Folder(bundle).read(path)


@pytest.mark.usefixtures("no_posix")
def test_portable_reading_opens_no_link_that_replaces_a_checked_file(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that becomes a link between check and open is not taken for the file."""
    path = bundle / JUNIT
    status = path.lstat()
    other = tmp_path / "other.xml"
    other.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(other)
    monkeypatch.setattr("gateproof_evidence.format.tree.os.lstat", lambda *_, **__: status)
    with pytest.raises(OSError, match="it was replaced while it was opened"):
        open_file(str(path))


@pytest.mark.usefixtures("no_posix")
@pytest.mark.parametrize(
    ("number", "device", "same"),
    [(0, 0, True), (5, 7, True), (5, 7 + 2**40, True), (6, 7, False), (5, 8, False)],
    ids=["no numbers", "same", "same serial", "other file", "other volume"],
)
def test_portable_reading_compares_what_the_file_system_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, device: int, same: bool
) -> None:
    """A file system without numbers is read; on others the opened file is the one that was there.

    A Python on Windows returns 32 bits of a volume's number by one function, 64 by another.
    """
    path = tmp_path / "file"
    path.write_bytes(b"x")
    mode, size = path.stat().st_mode, 1
    before = SimpleNamespace(st_mode=mode, st_size=size, st_ino=5, st_dev=7)
    after = SimpleNamespace(st_mode=mode, st_size=size, st_ino=number, st_dev=device)
    monkeypatch.setattr("gateproof_evidence.format.tree.os.lstat", lambda *_, **__: before)
    monkeypatch.setattr("gateproof_evidence.format.tree.os.fstat", lambda _: after)
    if same:
        os.close(open_file(str(path))[0])
    else:
        with pytest.raises(OSError, match="it was replaced while it was opened"):
            open_file(str(path))


@pytest.mark.parametrize(
    ("tag", "link"),
    [(0xA0000003, True), (0xA000000C, True), (0x9000001A, False), (0, False)],
    ids=["junction", "symbolic link", "file in a cloud folder", "none"],
)
def test_junctions_are_links(tmp_path: Path, tag: int, link: bool) -> None:
    """A junction names another folder; other reparse points are files of their own."""
    status: Any = SimpleNamespace(st_mode=tmp_path.stat().st_mode, st_reparse_tag=tag)
    assert is_link(status) is link


def test_no_name_that_is_no_plain_path_is_opened(bundle: Path) -> None:
    """Backslashes, drives, devices and parents lead out of a folder on Windows: none is tried."""
    folder = Folder(bundle / "data")
    assert folder.read("run.json"), "premise: a plain name is read"
    (bundle / "data" / "a\\b").write_text("x")
    (bundle / "data" / "C:x").write_text("x")
    for name in ("a\\b", "C:x", "../bagit.txt", "NUL", "/etc/passwd"):
        with pytest.raises(FileNotFoundError):
            folder.read(name)


@pytest.mark.usefixtures("no_posix")
def test_portable_archive_is_whole_and_its_damage_is_found(bundle: Path, tmp_path: Path) -> None:
    """An archive is read by seeking, in two threads; another byte in it is refused."""
    path = write_archive(bundle, tmp_path / "bundle.zip")
    assert verify(path).ok
    source = Archive(path)
    assert source.read("data/run.json") == (bundle / "data/run.json").read_bytes()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.zip").write_bytes(content)
    with pytest.raises(BadInputError, match="archive: "):
        verify(tmp_path / "damaged.zip")


@pytest.mark.usefixtures("no_posix")
def test_portable_archive_can_be_closed_before_it_is_replaced(bundle: Path, tmp_path: Path) -> None:
    """Windows replaces no open file: what was written again is found, and the old is closed."""
    path = write_archive(bundle, tmp_path / "bundle.zip")
    source = Archive(path)
    add_entries(source, {"signoffs/a": b"x"})
    with pytest.raises(OSError, match="Bad file descriptor"):
        source.read("data/run.json")
    assert Archive(path).read("signoffs/a") == b"x"


def test_portable_folder_above_the_last_files_is_not_a_link(
    bundle: Path, tmp_path: Path, in_both: Callable[[Callable[[], Any]], Any]
) -> None:
    """A link in the place of the folder of transcripts is a finding, and is not read."""
    folder = next(path for path in (bundle / "data").iterdir() if path.name == "transcripts")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    found = in_both(lambda: codes(verify(bundle)))
    assert (Code.LINK.value, "data/transcripts") in found


def test_inside_is_decided_by_the_folder_and_not_by_its_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system ignores case, another spelling of the bundle is inside too.

    A link is the second spelling here; resolving leaves it, as macOS leaves the case.
    """
    bundle, other = tmp_path / "Bundle", tmp_path / "other"
    bundle.mkdir()
    other.mkdir()
    (tmp_path / "bundle").symlink_to(bundle)
    monkeypatch.setattr(Path, "resolve", Path.absolute)
    assert is_inside(tmp_path / "bundle" / "key.pem", bundle)
    assert not is_inside(other / "key.pem", bundle)
    assert not is_inside(tmp_path / "absent" / "key.pem", tmp_path / "nothing")


def command(folder: Path, *words: str | Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run gateproof in a Python without POSIX."""
    return subprocess.run(
        [sys.executable, "-m", "gateproof_evidence", *map(str, words)],
        env=environment(folder / "site", **more),
        cwd=folder,
        capture_output=True,
        check=False,
    )


def test_portable_premise_takes_away_what_windows_lacks(tmp_path: Path) -> None:
    """In that Python, the functions and modules are gone, and links cannot be made."""
    program = "import os; os.symlink('a', 'b') if not hasattr(os, 'fwalk') else None"
    for tried, error in ((program, "1314"), ("import fcntl", "fcntl"), ("import pwd", "pwd")):
        done = subprocess.run(
            [sys.executable, "-c", tried],
            env=environment(tmp_path / "site"),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        assert error in done.stderr.decode()


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_portable_commands_read_a_bundle(bundle: Path, tmp_path: Path, form: str) -> None:
    """Every command for reading ends as on Linux, and writes the same bytes."""
    named = bundle if form == "folder" else write_archive(bundle, tmp_path / "bundle.zip")
    verified = command(tmp_path, "verify", named, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["ok"] is True
    rendered = command(tmp_path, "render", named)
    assert rendered.stdout == (bundle / "data/report.html").read_bytes()
    exported = command(tmp_path, "export", named, "--format", "junit")
    assert exported.stdout == (bundle / "data/exports/junit-criteria.xml").read_bytes()
    for words in (("show", named), ("diff", named, named), ("rejudge", named)):
        done = command(tmp_path, *words)
        assert (done.returncode, done.stderr) == (0, b""), words


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_portable_commands_add_to_a_bundle(bundle: Path, tmp_path: Path, form: str) -> None:
    """A reviewer signs by an existing key, the files are attached, and the bundle is whole."""
    write_ssh_key(tmp_path / "ada", 11)
    archive = write_archive(bundle, tmp_path / "bundle.zip")
    named = bundle if form == "folder" else archive
    words = ("--key", tmp_path / "ada", "--identity", "ada@x.org", "--yes", "--json")
    reservations = ("--with-reservations", "The failures are known and accepted until May.")
    signed = command(tmp_path, "sign-off", archive, *words, *reservations)
    assert signed.returncode == 0, signed.stderr
    files = sorted((tmp_path / "bundle.zip.signoffs").iterdir())
    attached = command(tmp_path, "attach", named, *files)
    assert attached.returncode == 0, attached.stderr
    found = json.loads(command(tmp_path, "verify", named, "--json").stdout)
    assert found["ok"] is True
    assert [one["signer"] for one in found["review"]["unverified_signoffs"]] == ["ada@x.org"]


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("cp1252", b"\\u6587"), ("cp437", b"\\u6587"), ("cp932", b"\x95\xb6")],
)
def test_output_in_a_legacy_code_page_spells_out_what_it_lacks(
    bundle: Path, tmp_path: Path, encoding: str, printed: bytes
) -> None:
    """A name that the code page has is printed in it, another as escapes; nothing is raised."""
    (bundle / "data" / "\u6587.txt").write_text("x")
    done = command(tmp_path, "verify", bundle, PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    assert b"FILE_UNLISTED data/" + printed + b".txt" in done.stdout
    assert done.stderr == b""
    shown = command(tmp_path, "show", bundle, PYTHONIOENCODING=encoding)
    assert (shown.returncode, shown.stderr) == (0, b"")
