"""Verification: a whole bundle is accepted, and every addition and change is found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.tree import Limits
from gateproof_evidence.model import Result
from gateproof_evidence.model.finding import Code
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import UNKNOWN, verify
from gateproof_evidence.verification.expectation import Expectation
from tests.sample import sealed

from .support import ATTESTATION, Change, codes, files_of

ROOT = Path(__file__).parents[3]


def test_verify_accepts_a_whole_bundle_of_an_unknown_signer(bundle: Path) -> None:
    """Without a key from outside, a whole bundle has no findings and an unknown signer."""
    found = verify(bundle)
    assert found.ok
    assert found.signer == UNKNOWN
    assert found.result is Result.BLOCKED


def test_verify_names_the_signer_whose_key_was_given(bundle: Path, key: RunKey) -> None:
    """With the signer's key, the signer is that key's id."""
    found = verify(bundle, key=key.public_pem)
    assert found.ok
    assert found.signer == key.keyid


def test_verify_follows_a_link_to_the_bundle_only(bundle: Path, tmp_path: Path) -> None:
    """The path to the bundle may be a link, such as reports/latest."""
    latest = tmp_path / "latest"
    latest.symlink_to(bundle.name)
    found = verify(latest)
    assert found.ok
    assert found.predicate is not None
    assert len(found.predicate.files) == len(files_of(bundle)) - 1


# --- bytes -------------------------------------------------------------------------------------


def test_verify_finds_one_changed_byte_in_every_file(bundle: Path) -> None:
    """One flipped bit in any file is found, with that file's name."""
    names = files_of(bundle)
    assert len(names) >= 15
    for name in names:
        path = bundle / name
        original = path.read_bytes()
        middle = len(original) // 2
        path.write_bytes(original[:middle] + bytes([original[middle] ^ 1]) + original[middle + 1 :])
        assert name in {finding.path for finding in verify(bundle).findings}, name
        path.write_bytes(original)
    assert verify(bundle).ok


def test_verify_finds_every_removed_file(bundle: Path) -> None:
    """Any missing file is found, with its name."""
    for name in files_of(bundle):
        path = bundle / name
        content = path.read_bytes()
        path.unlink()
        assert name in {finding.path for finding in verify(bundle).findings}, name
        path.write_bytes(content)
    assert verify(bundle).ok


# --- the closed world --------------------------------------------------------------------------


def _add(name: str) -> Change:
    def change(bundle: Path) -> None:
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")

    return change


def _empty_folder(bundle: Path) -> None:
    (bundle / "data/transcripts/.none").mkdir()


def _nested_empty_folder(bundle: Path) -> None:
    (bundle / "signoffs/none").mkdir(parents=True)


def _file_link(bundle: Path) -> None:
    path = bundle / "data/tests/junit.xml"
    path.rename(bundle.parent / "junit.xml")
    path.symlink_to(bundle.parent / "junit.xml")


def _folder_link(bundle: Path) -> None:
    (bundle / "data/tests").rename(bundle.parent / "tests")
    (bundle / "data/tests").symlink_to(bundle.parent / "tests")


def _broken_link(bundle: Path) -> None:
    (bundle / "data/gone").symlink_to("nowhere")


def _pipe(bundle: Path) -> None:
    os.mkfifo(bundle / "data/pipe")


def _decomposed(bundle: Path) -> None:
    (bundle / "data/cafe\u0301.txt").write_text("x")


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        pytest.param(_add("data/extra.txt"), "FILE_UNLISTED", "data/extra.txt", id="added"),
        pytest.param(_add("extra.txt"), "FILE_UNLISTED", "extra.txt", id="added-at-the-root"),
        pytest.param(_add(".hidden"), "FILE_UNLISTED", ".hidden", id="dotfile"),
        pytest.param(_add("data/.git/x"), "FILE_UNLISTED", "data/.git/x", id="ignored-folder"),
        pytest.param(_add("signoffs/x"), "SIGNOFF_MALFORMED", "signoffs/x", id="sign-off"),
        pytest.param(_empty_folder, "EMPTY_FOLDER", "data/transcripts/.none", id="empty-folder"),
        pytest.param(_nested_empty_folder, "EMPTY_FOLDER", "signoffs/none", id="empty-inside"),
        pytest.param(_file_link, "LINK", "data/tests/junit.xml", id="file-link"),
        pytest.param(_folder_link, "LINK", "data/tests", id="folder-link"),
        pytest.param(_broken_link, "LINK", "data/gone", id="broken-link"),
        pytest.param(_pipe, "SPECIAL_FILE", "data/pipe", id="pipe"),
        pytest.param(_add("data/Report.html"), "LOOKALIKE", "data/report.html", id="case"),
        pytest.param(_add("DATA/x"), "LOOKALIKE", "data", id="case-of-a-folder"),
        pytest.param(_decomposed, "BAD_NAME", "data/cafe\u0301.txt", id="decomposed"),
        pytest.param(_add("data/a\\b"), "BAD_NAME", "data/a\\b", id="backslash"),
        pytest.param(_add("data/a\nb"), "BAD_NAME", "data/a\nb", id="newline"),
        pytest.param(_add("data/a%0Ab"), "BAD_NAME", "data/a%0Ab", id="percent"),
    ],
)
def test_verify_finds_foreign_files(bundle: Path, change: Change, code: str, path: str) -> None:
    """An added file, a link or a look-alike is found, with its code and path."""
    change(bundle)
    assert (code, path) in codes(verify(bundle))


def test_verify_survives_a_name_that_is_not_text(bundle: Path) -> None:
    """A name of undecodable bytes is a finding that can be printed."""
    Path(os.fsdecode(os.fsencode(bundle) + b"/data/\xff")).write_text("x")
    texts = [str(finding) for finding in verify(bundle).findings]
    assert any(text.startswith("BAD_NAME data/\\udcff: name: got") for text in texts)


def test_verify_reports_all_findings_at_once(bundle: Path) -> None:
    """Three alterations give findings for all three files, not only the first."""
    (bundle / "data/journal.jsonl").write_bytes(b"")
    (bundle / "VERIFY.txt").unlink()
    (bundle / "new").write_text("x")
    assert {
        ("DIGEST_MISMATCH", "data/journal.jsonl"),
        ("SIZE_MISMATCH", "data/journal.jsonl"),
        ("FILE_MISSING", "VERIFY.txt"),
        ("FILE_UNLISTED", "new"),
    } <= codes(verify(bundle))


def test_verify_opens_no_link_that_replaces_a_checked_file(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that becomes a link between check and open is not followed."""
    path = bundle / "data/tests/junit.xml"
    status = path.lstat()
    _file_link(bundle)
    monkeypatch.setattr("gateproof_evidence.format.tree.os.lstat", lambda *_, **__: status)
    found = {f.path: f for f in verify(bundle).findings if f.code is Code.UNREADABLE}
    assert "symbolic links" in found["data/tests/junit.xml"].message


@pytest.mark.parametrize(
    ("limits", "path", "message"),
    [
        pytest.param(Limits(entries=20), ".", "more than 20 files and folders", id="entries"),
        pytest.param(Limits(total=5000), None, "more than 5000 bytes in total", id="total"),
    ],
)
def test_verify_stops_reading_above_a_limit(
    bundle: Path, limits: Limits, path: str | None, message: str
) -> None:
    """A folder above a limit is one finding, and nothing that was read is trusted."""
    found = verify(bundle, limits=limits)
    assert [finding.code for finding in found.findings] == ["LIMIT_EXCEEDED"]
    assert message in found.findings[0].message
    assert path in (None, found.findings[0].path)
    assert found.predicate is None


def test_verify_stops_at_deeply_nested_folders(bundle: Path) -> None:
    """A chain of folders that is deeper than any bundle's is not read to its end."""
    (bundle / "data" / Path(*["d"] * 40)).mkdir(parents=True)
    found = verify(bundle)
    assert codes(found) == {("LIMIT_EXCEEDED", "/".join(["data", *["d"] * 32]))}


def test_verify_names_files_that_are_too_large_to_read(bundle: Path) -> None:
    """A file that is too large to keep in memory is a finding, and is not read in part."""
    found = verify(bundle, limits=Limits(kept=300)).findings
    too_large = {finding.path for finding in found if finding.message == "too large to read"}
    assert too_large >= {
        ATTESTATION,
        "manifest-sha256.txt",
        "data/run.json",
    }


def test_verify_reads_a_journal_in_parts(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines across two parts are read, and an endless line is a finding."""
    monkeypatch.setattr("gateproof_evidence.format.tree._CHUNK", 7)
    assert verify(bundle).ok
    journal = bundle / "data/journal.jsonl"
    journal.write_bytes(b"x" * 3000)
    messages = [f.message for f in verify(bundle, limits=Limits(kept=2000)).findings]
    assert "line 1: too long to read" in messages


def test_verify_limits_the_number_of_records(bundle: Path) -> None:
    """A journal above the limit is not kept in memory, and nothing is derived from a part of it."""
    journal = bundle / "data/journal.jsonl"
    count = journal.read_bytes().count(b"\n")
    assert verify(bundle, limits=Limits(records=count)).ok
    found = verify(bundle, limits=Limits(records=count - 1))
    assert codes(found) == {("LIMIT_EXCEEDED", "data/journal.jsonl")}
    assert f"got more than {count - 1} lines, expected fewer" in found.findings[0].message


# --- the verdict, and bad input ----------------------------------------------------------------


def test_verify_requires_a_release_on_request(bundle: Path, tmp_path: Path) -> None:
    """A whole bundle of a blocked run is a finding; one of a released run is not."""
    released = Expectation(released=True)
    assert codes(verify(bundle, expect=released)) == {("NOT_RELEASED", ATTESTATION)}
    good = sealed(tmp_path / "good", failing=False)
    assert verify(good, expect=released).ok


@pytest.mark.parametrize(
    ("name", "got"),
    [
        pytest.param("absent", "got no such path", id="absent"),
        pytest.param("broken", "got a link to nowhere", id="link-to-nowhere"),
        pytest.param("file", "got a file", id="file"),
        pytest.param("empty", "got a folder without attestation.dsse.json, ", id="empty"),
        pytest.param("home", "got a folder without attestation.dsse.json, ", id="other-files"),
    ],
)
def test_verify_requires_a_bundle(tmp_path: Path, name: str, got: str) -> None:
    """A folder that is not a bundle is bad input in one line, not a list of findings."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "home" / ".git").mkdir(parents=True)
    (tmp_path / "home" / "data").symlink_to("..")
    with pytest.raises(BadInputError) as refused:
        verify(tmp_path / name)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / name}: bundle: {got}")
    assert message.endswith("name reports/latest or another one that a run sealed")


def test_verify_names_the_bundle_in_a_folder_of_bundles(bundle: Path) -> None:
    """The error for a folder of bundles names the last bundle in it."""
    shutil.copytree(bundle, bundle.parent / "another")
    (bundle.parent / "latest").symlink_to(bundle.name)
    with pytest.raises(BadInputError, match=f"name {bundle.parent}/latest or another one"):
        verify(bundle.parent)


@pytest.mark.parametrize("left", [ATTESTATION, "bagit.txt", "bag-info.txt", "manifest-sha256.txt"])
def test_verify_reports_what_a_stripped_bundle_lacks(bundle: Path, left: str) -> None:
    """A bundle with one of its own files left has findings for the missing ones."""
    tags = ("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt")
    for name in {ATTESTATION, *tags} - {left}:
        (bundle / name).unlink()
    missing = {f.path for f in verify(bundle).findings if f.code.endswith("_MISSING")}
    assert missing >= {ATTESTATION, "manifest-sha256.txt"} - {left}


def test_verify_requires_a_valid_key(bundle: Path) -> None:
    """A key that cannot be read is bad input, not a finding."""
    with pytest.raises(BadInputError, match="--key: public key: got something else"):
        verify(bundle, key=b"no key")


def test_verification_page_lists_every_code() -> None:
    """The reference has a row for each code, and no row for any other."""
    page = (ROOT / "docs/reference/verification.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = [row for row in rows if row.isupper()]
    assert sorted(listed) == sorted(code.value for code in Code)
