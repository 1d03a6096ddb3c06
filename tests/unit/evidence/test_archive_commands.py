"""Every command on a ZIP archive: the same answers as on the folder, and additions next to it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateproof_evidence.cli import main
from gateproof_evidence.format.archive.archive import Archive
from gateproof_evidence.format.archive.writer import write_archive
from gateproof_evidence.sealing.merging.part import read_part
from gateproof_evidence.verification.baseline import read_baseline
from gateproof_evidence.verification.bundle import verify
from gateproof_evidence.verification.earlier import read_earlier
from gateproof_evidence.verification.expectation import read_previous
from tests.sample import fixed_key, sealed
from tests.sample.shards import sealed_shards

from .support import codes, files_of

WHO = "ada@x.org"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a released bundle to copy."""
    return sealed(tmp_path_factory.mktemp("released"), failing=False)


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """Provide a released bundle as a folder."""
    return Path(shutil.copytree(template, tmp_path / "bundle"))


@pytest.fixture
def archive(template: Path, tmp_path: Path) -> Path:
    """Provide the same bundle as a ZIP archive."""
    (tmp_path / "packed").mkdir()
    return write_archive(template, tmp_path / "packed/run.zip")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a reviewer's key."""
    path = tmp_path_factory.mktemp("key") / "ada"
    words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(path))
    subprocess.run(words, check=True)
    return path


@pytest.fixture
def allowed(key: Path, tmp_path: Path) -> Path:
    """Provide a list of who may sign."""
    path = tmp_path / "allowed"
    path.write_text(f"{WHO} {key.with_suffix('.pub').read_text()}")
    return path


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def signed(bundle: Path, key: Path) -> Result:
    """Sign a bundle off."""
    done = gateproof("sign-off", bundle, "--key", key, "--identity", WHO, "--yes")
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize(
    "command",
    [
        ("verify", "--json"),
        ("verify", "--require-released", "--require-report"),
        ("show",),
        ("show", "--json"),
        ("show", "--criterion", "RLS-01", "--full"),
        ("show", "--phase"),
        ("render",),
        ("export", "--format", "gaps-md"),
    ],
    ids=lambda command: "-".join(command).replace("--", ""),
)
def test_command_answers_the_same_for_an_archive(
    folder: Path, archive: Path, command: tuple[str, ...]
) -> None:
    """A command prints the same for the archive as for the folder, but the path."""
    one = gateproof(command[0], folder, *command[1:])
    other = gateproof(command[0], archive, *command[1:])
    assert (one.exit_code, one.stderr) == (0, "")
    assert other.stdout == one.stdout.replace(str(folder), str(archive))
    assert (other.exit_code, other.stderr) == (0, "")


def test_diff_compares_an_archive_with_a_folder(folder: Path, archive: Path) -> None:
    """Both forms of one bundle have no difference."""
    done = gateproof("diff", archive, folder)
    assert (done.exit_code, "no regression" in done.stdout) == (0, True)


def test_verify_of_an_altered_archive_has_the_finding_of_the_folder(
    folder: Path, tmp_path: Path
) -> None:
    """An altered capture has the same findings in both forms."""
    capture = next((folder / "data/transcripts").rglob("*.txt"))
    capture.write_bytes(capture.read_bytes() + b"more")
    found = codes(verify(folder))
    assert ("SIZE_MISMATCH", capture.relative_to(folder).as_posix()) in found
    assert codes(verify(write_archive(folder, tmp_path / "altered.zip"))) == found


@pytest.mark.parametrize("command", ["verify", "show", "render", "rejudge"])
def test_bundle_of_version_1_is_refused_with_the_version_that_verifies_it(
    folder: Path, tmp_path: Path, command: str
) -> None:
    """Its rules are those of an earlier gateproof, which the message names."""
    run = folder / "data/run.json"
    run.write_text(run.read_text().replace("schema/run/v2", "schema/run/v1"))
    for bundle in (folder, write_archive(folder, tmp_path / "earlier.zip")):
        done = gateproof(command, bundle)
        assert done.exit_code == 4
        assert "bundle: got version 1, expected version 2; gateproof 0.2.0" in done.output


def test_readers_of_earlier_bundles_read_archives(folder: Path, archive: Path) -> None:
    """A baseline, reused proofs, the previous bundle: the same from both forms."""
    pem = fixed_key().public_pem
    assert read_baseline(archive, pem) == read_baseline(folder, pem)
    assert read_earlier(archive, pem) == read_earlier(folder, pem)
    assert read_previous(archive) == read_previous(folder)


def test_merge_reads_archives(tmp_path: Path) -> None:
    """A shard's archive is the same part of a merge as its folder."""
    first = sealed_shards(tmp_path)[0]
    packed = read_part(write_archive(first, tmp_path / "shard.zip"), {})
    part = read_part(first, {})
    assert [*packed.lines()] == [*part.lines()]
    assert (packed.record, packed.predicate, packed.checks) == (
        part.record,
        part.predicate,
        part.checks,
    )
    assert all(packed.read(path) == part.read(path) for path in part.digests)


def test_signoff_of_an_archive_lies_next_to_it_and_counts(
    archive: Path, key: Path, allowed: Path
) -> None:
    """A sign-off leaves the archive as it is, and verification reads the files next to it."""
    before = archive.read_bytes()
    done = signed(archive, key)
    places = sorted(archive.parent.glob("run.zip.signoffs/*"))
    assert [path.suffix for path in places] == [".json", ".sig"]
    assert f"{places[0]}: whole, released" in done.stdout
    assert archive.read_bytes() == before
    options = ("--allowed-signers", allowed, "--require-signoffs", 1)
    found = gateproof("verify", archive, *options)
    assert (found.exit_code, "signed off by 1 person" in found.stdout) == (0, True)
    places[1].unlink()
    assert gateproof("verify", archive, *options).exit_code == 1


def test_signoff_through_a_link_lies_next_to_the_archive_itself(
    archive: Path, key: Path, allowed: Path
) -> None:
    """The additions of ``latest.zip`` are those of the archive that it leads to."""
    link = archive.with_name("latest.zip")
    link.symlink_to(archive.name)
    signed(link, key)
    assert archive.with_name("run.zip.signoffs").is_dir()
    done = gateproof("verify", link, "--allowed-signers", allowed, "--require-signoffs", 1)
    assert done.exit_code == 0


def test_file_next_to_an_archive_that_is_no_addition_is_a_finding(archive: Path) -> None:
    """Files in the folders next to an archive have the findings that they would have inside."""
    for name in ("signoffs", "timestamps"):
        place = archive.with_name(f"run.zip.{name}")
        place.mkdir()
        (place / "note.txt").write_bytes(b"x")
    assert codes(verify(archive)) == {
        ("SIGNOFF_MALFORMED", "signoffs/note.txt"),
        ("TIMESTAMP_MALFORMED", "timestamps/note.txt"),
    }


def test_verify_refuses_a_key_next_to_an_archive(archive: Path) -> None:
    """A key among the additions of an archive is no key from outside; one elsewhere is."""
    place = archive.with_name("run.zip.signoffs") / "key.pem"
    place.parent.mkdir()
    place.write_bytes(fixed_key().public_pem)
    done = gateproof("verify", archive, "--key", place)
    assert (done.exit_code, "got a file inside the bundle" in done.stderr) == (4, True)
    place.rename(archive.with_name("key.pem"))
    assert gateproof("verify", archive, "--key", archive.with_name("key.pem")).exit_code == 0


# --- attach -----------------------------------------------------------------------------------


@pytest.fixture
def additions(template: Path, tmp_path: Path, key: Path) -> list[Path]:
    """Provide a sign-off that was made on a copy of the archive."""
    copy = write_archive(template, tmp_path / "copy.zip")
    signed(copy, key)
    return sorted(tmp_path.glob("copy.zip.signoffs/*"))


def test_attach_puts_a_signoff_into_either_form(
    folder: Path, archive: Path, additions: list[Path], allowed: Path
) -> None:
    """Both forms have the same files then, verify with them, and the archive is still plain."""
    for bundle in (folder, archive):
        done = gateproof("attach", bundle, *additions)
        assert (done.exit_code, done.stderr) == (0, "")
        assert f"{bundle}: attached signoffs/{additions[0].name}" in done.stdout
        options = ("--allowed-signers", allowed, "--require-signoffs", 1)
        assert gateproof("verify", bundle, *options).exit_code == 0
    assert sorted(Archive(archive).paths()) == files_of(folder)
    assert archive.read_bytes() == write_archive(folder, archive.with_name("x")).read_bytes()


def test_attach_takes_the_files_next_to_the_archive(archive: Path, key: Path) -> None:
    """The sign-off next to an archive can be put into it; both together still verify."""
    signed(archive, key)
    near = sorted(archive.parent.glob("run.zip.signoffs/*"))
    done = gateproof("attach", archive, *near, "--json")
    assert json.loads(done.stdout)["attached"] == [f"signoffs/{path.name}" for path in near]
    assert len(verify(archive).review.signoffs) == 1
    near[0].write_bytes(b"{}")
    assert ("LOOKALIKE", f"signoffs/{near[0].name}") in codes(verify(archive))


def test_attach_refuses_what_is_taken_or_no_addition(
    folder: Path, archive: Path, additions: list[Path], tmp_path: Path
) -> None:
    """A name that is taken, another kind of file, a missing one: each is refused."""
    (tmp_path / "note.txt").write_bytes(b"x")
    for bundle in (folder, archive):
        for files, message in (
            ([tmp_path / "note.txt"], "got another file, expected a sign-off"),
            ([tmp_path / "gone.json"], "got No such file or directory"),
            ([*additions, additions[0]], "which is taken, expected a free name"),
        ):
            done = gateproof("attach", bundle, *files)
            assert (done.exit_code, message in done.stderr) == (4, True), done.stderr
        assert gateproof("attach", bundle, *additions).exit_code == 0
        done = gateproof("attach", bundle, *additions)
        assert (done.exit_code, "which is taken" in done.stderr) == (4, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.replace(b"released", b"blocked"), "SIGNOFF_MALFORMED"),
        (lambda content: content + b" ", "SIGNOFF_MALFORMED"),
        (lambda _: b"x" * 70_000, "got more than 65536 bytes"),
    ],
    ids=["altered", "another-form", "large"],
)
def test_attach_refuses_a_signoff_that_is_not_valid(
    folder: Path,
    archive: Path,
    additions: list[Path],
    change: Callable[[bytes], bytes],
    message: str,
) -> None:
    """An altered statement is refused, and neither form changes."""
    statement = additions[0]
    statement.write_bytes(change(statement.read_bytes()))
    before = archive.read_bytes(), files_of(folder)
    for bundle in (folder, archive):
        done = gateproof("attach", bundle, *additions)
        assert (done.exit_code, bool(re.search(message, done.stderr))) == (4, True), done.stderr
    assert (archive.read_bytes(), files_of(folder)) == before


def test_attach_refuses_the_signoff_of_another_bundle(
    additions: list[Path], tmp_path: Path
) -> None:
    """A valid sign-off of another run is refused; so is half of one."""
    (tmp_path / "other").mkdir()
    other = sealed(tmp_path / "other", failing=True)
    done = gateproof("attach", other, *additions)
    assert (done.exit_code, "SIGNOFF_OTHER_BUNDLE" in done.stderr) == (4, True)
    assert verify(other).ok
    half = gateproof("attach", other, additions[0])
    assert (half.exit_code, "expected the signature over the statement" in half.stderr) == (4, True)


def test_attach_keeps_the_folder_at_the_top_of_an_archive(
    template: Path, additions: list[Path], tmp_path: Path
) -> None:
    """An archive whose bundle is one folder down gets the files below that folder."""
    (tmp_path / "out").mkdir()
    shutil.copytree(template, tmp_path / "out/run")
    path = Path(shutil.make_archive(str(tmp_path / "down"), "zip", tmp_path / "out"))
    assert gateproof("attach", path, *additions).exit_code == 0
    found = Archive(path)
    assert (found.top, verify(path).ok) == ("run/", True)
    assert f"signoffs/{additions[0].name}" in set(found.paths())


def test_archive_with_a_finding_gets_no_addition(folder: Path, tmp_path: Path, key: Path) -> None:
    """A reviewer cannot sign an archive that does not verify."""
    (folder / "data/more.txt").write_bytes(b"x")
    path = write_archive(folder, tmp_path / "altered.zip")
    done = gateproof("sign-off", path, "--key", key, "--identity", WHO, "--yes")
    assert (done.exit_code, "FILE_UNLISTED" in done.stderr) == (4, True)
    assert not (tmp_path / "altered.zip.signoffs").exists()


def test_attach_refuses_another_file_of_a_name_next_to_the_archive(
    archive: Path, additions: list[Path]
) -> None:
    """A file next to the archive under the same name must be equal, or nothing is written."""
    place = archive.with_name("run.zip.signoffs")
    place.mkdir()
    for path in additions:
        (place / path.name).write_bytes(path.read_bytes())
    (place / additions[0].name).write_bytes(b"{}")
    done = gateproof("attach", archive, *additions)
    assert (done.exit_code, "LOOKALIKE" in done.stderr) == (4, True)
    (place / additions[0].name).write_bytes(additions[0].read_bytes())
    assert gateproof("attach", archive, *additions).exit_code == 0
