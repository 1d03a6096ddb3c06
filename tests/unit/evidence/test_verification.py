"""Verification: a whole bundle passes, and every alteration is found with its place."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence.attestation import AttestedKey, attested, format_statement, parse_statement
from evidence.canonical import canonical_json
from evidence.catalogue import Catalogue
from evidence.envelope import Envelope, pae
from evidence.errors import BadInputError
from evidence.finding import Code
from evidence.manifest import format_manifest, payload_oxum
from evidence.model import Result, Run
from evidence.sealing import seal
from evidence.signing import RunKey
from evidence.tree import read_tree
from evidence.verification import UNKNOWN, Verification, verify

ROOT = Path(__file__).parents[3]
ATTESTATION = "attestation.dsse.json"
Change = Callable[[Path], None]


def codes(found: Verification) -> set[tuple[str, str]]:
    """Return code and path of every finding."""
    return {(finding.code.value, finding.path) for finding in found.findings}


def files_of(bundle: Path) -> list[str]:
    """Return every file of a bundle, relative to it."""
    return sorted(
        path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()
    )


# --- what is accepted --------------------------------------------------------------------------


def test_verify_accepts_a_whole_bundle_and_knows_no_signer(bundle: Path) -> None:
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
    """The path to the bundle may be a link, as reports/latest is."""
    latest = tmp_path / "latest"
    latest.symlink_to(bundle.name)
    found = verify(latest)
    assert found.ok
    assert found.predicate is not None
    assert len(found.predicate.files) == len(files_of(bundle)) - 1


# --- bytes -------------------------------------------------------------------------------------


def test_verify_finds_one_changed_byte_in_every_file(bundle: Path) -> None:
    """One flipped bit in any file is found under that file's name."""
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
    """A file that is gone is found under its name, whichever it is."""
    for name in files_of(bundle):
        path = bundle / name
        content = path.read_bytes()
        path.unlink()
        assert name in {finding.path for finding in verify(bundle).findings}, name
        path.write_bytes(content)
    assert verify(bundle).ok


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_verify_refuses_any_random_alteration(bundle: Path, data: st.DataObject) -> None:
    """Replacing, inserting, cutting or truncating anywhere in any file is found."""
    name = data.draw(st.sampled_from(files_of(bundle)))
    path = bundle / name
    original = path.read_bytes()
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 64)))
    altered = original[:start] + data.draw(st.binary(max_size=64)) + original[end:]
    path.write_bytes(altered)
    try:
        assert verify(bundle).ok is (altered == original), name
    finally:
        path.write_bytes(original)


# --- the closed world --------------------------------------------------------------------------


def _add(name: str) -> Change:
    def change(bundle: Path) -> None:
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")

    return change


def _empty_folder(bundle: Path) -> None:
    (bundle / "data/captures/.none").mkdir()


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
        pytest.param(_add("signoffs/x.json"), "FILE_UNLISTED", "signoffs/x.json", id="sign-off"),
        pytest.param(_empty_folder, "EMPTY_FOLDER", "data/captures/.none", id="empty-folder"),
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
def test_verify_finds_what_does_not_belong(
    bundle: Path, change: Change, code: str, path: str
) -> None:
    """What was added, swapped for a link or named alike is found by its code and path."""
    change(bundle)
    assert (code, path) in codes(verify(bundle))


def test_verify_survives_a_name_that_is_no_text(bundle: Path) -> None:
    """A name of undecodable bytes is a finding that can be printed."""
    Path(os.fsdecode(os.fsencode(bundle) + b"/data/\xff")).write_text("x")
    texts = [str(finding) for finding in verify(bundle).findings]
    assert any(text.startswith("BAD_NAME data/\\udcff: name: got") for text in texts)


def test_verify_reports_all_findings_at_once(bundle: Path) -> None:
    """Three alterations give three names, not only the first."""
    (bundle / "data/journal.jsonl").write_bytes(b"")
    (bundle / "VERIFY.txt").unlink()
    (bundle / "new").write_text("x")
    assert {
        ("DIGEST_MISMATCH", "data/journal.jsonl"),
        ("SIZE_MISMATCH", "data/journal.jsonl"),
        ("FILE_MISSING", "VERIFY.txt"),
        ("FILE_UNLISTED", "new"),
    } <= codes(verify(bundle))


# --- the attestation ---------------------------------------------------------------------------


def envelope_of(bundle: Path) -> dict[str, Any]:
    """Return the envelope as plain JSON."""
    value: dict[str, Any] = json.loads((bundle / ATTESTATION).read_bytes())
    return value


def put(bundle: Path, value: Any) -> None:
    """Write an envelope in canonical form."""
    (bundle / ATTESTATION).write_bytes(canonical_json(value))


def _strip_signature(bundle: Path) -> None:
    put(bundle, {**envelope_of(bundle), "signatures": []})


def _two_signatures(bundle: Path) -> None:
    value = envelope_of(bundle)
    put(bundle, {**value, "signatures": value["signatures"] * 2})


def _empty_signature(bundle: Path) -> None:
    value = envelope_of(bundle)
    put(bundle, {**value, "signatures": [{**value["signatures"][0], "sig": ""}]})


def _other_type(bundle: Path) -> None:
    put(bundle, {**envelope_of(bundle), "payloadType": "text/plain"})


def _extra_field(bundle: Path) -> None:
    put(bundle, {**envelope_of(bundle), "note": "fine"})


def _pretty(bundle: Path) -> None:
    (bundle / ATTESTATION).write_text(json.dumps(envelope_of(bundle), indent=1))


def _final_newline(bundle: Path) -> None:
    path = bundle / ATTESTATION
    path.write_bytes(path.read_bytes() + b"\n")


def _duplicate_key(bundle: Path) -> None:
    path = bundle / ATTESTATION
    path.write_bytes(path.read_bytes().replace(b"{", b'{"payload":"",', 1))


def _url_alphabet(bundle: Path) -> None:
    value = envelope_of(bundle)
    signature = value["signatures"][0]
    sig = base64.urlsafe_b64encode(base64.b64decode(signature["sig"])).decode()
    sig = sig if sig != signature["sig"] else "-" + sig[1:]
    put(bundle, {**value, "signatures": [{**signature, "sig": sig}]})


def _loose_bits(bundle: Path) -> None:
    """64 bytes end in two padding signs, which leave four bits that decoders ignore."""
    value = envelope_of(bundle)
    signature = value["signatures"][0]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(signature["sig"][-3]) + 1]
    sig = signature["sig"][:-3] + last + "=="
    assert base64.b64decode(sig) == base64.b64decode(signature["sig"])
    put(bundle, {**value, "signatures": [{**signature, "sig": sig}]})


def _other_keyid(bundle: Path) -> None:
    value = envelope_of(bundle)
    signature = {**value["signatures"][0], "keyid": f"sha256:{'0' * 64}"}
    put(bundle, {**value, "signatures": [signature]})


def _truncated(bundle: Path) -> None:
    path = bundle / ATTESTATION
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        pytest.param(_strip_signature, "ATTESTATION_MALFORMED", "signatures: got 0", id="stripped"),
        pytest.param(_two_signatures, "ATTESTATION_MALFORMED", "got 2, expected exactly 1", id="2"),
        pytest.param(_empty_signature, "SIGNATURE_INVALID", "does not hold", id="empty"),
        pytest.param(_other_type, "ATTESTATION_MALFORMED", "got 'text/plain'", id="other-type"),
        pytest.param(_extra_field, "ATTESTATION_MALFORMED", "'note'", id="extra-field"),
        pytest.param(_pretty, "ATTESTATION_MALFORMED", "another spelling", id="pretty"),
        pytest.param(_final_newline, "ATTESTATION_MALFORMED", "another spelling", id="newline"),
        pytest.param(_duplicate_key, "JSON_DUPLICATE_KEY", "key 'payload' twice", id="duplicate"),
        pytest.param(_url_alphabet, "ATTESTATION_MALFORMED", "base64", id="url-alphabet"),
        pytest.param(_loose_bits, "ATTESTATION_MALFORMED", "loose bits", id="loose-bits"),
        pytest.param(_other_keyid, "KEY_MISMATCH", "the key that signed", id="other-keyid"),
        pytest.param(_truncated, "ATTESTATION_MALFORMED", "JSON: got", id="truncated"),
    ],
)
def test_verify_accepts_one_spelling_of_the_attestation(
    bundle: Path, change: Change, code: str, message: str
) -> None:
    """Any other spelling of the attestation, even one of the same meaning, is refused."""
    change(bundle)
    found = verify(bundle)
    told = [f.message for f in found.findings if (f.code, f.path) == (code, ATTESTATION)]
    assert told, codes(found)
    assert message in told[0]


def test_verify_refuses_the_attestation_of_another_bundle(
    bundle: Path, copy_of: Callable[[Path], Path]
) -> None:
    """An attestation that is whole by itself does not cover another bundle's files."""
    other = copy_of(bundle)
    (other / "data/journal.jsonl").write_bytes(b"")
    reseal(other, RunKey.ephemeral())
    shutil.copy(other / ATTESTATION, bundle / ATTESTATION)
    found = verify(bundle)
    assert ("SIGNATURE_INVALID", ATTESTATION) in codes(found)
    assert ("DIGEST_MISMATCH", "data/journal.jsonl") in codes(found)
    assert found.result is None


def test_verify_refuses_manifests_that_were_rewritten(bundle: Path) -> None:
    """Changing a file and both manifests to match leaves the signature to tell."""
    (bundle / "data/tests/junit.xml").write_text("<testsuites tests='0'/>\n")
    rewrite_manifests(bundle)
    found = codes(verify(bundle))
    assert ("DIGEST_MISMATCH", "data/tests/junit.xml") in found
    assert ("DIGEST_MISMATCH", "manifest-sha256.txt") in found
    assert ("DIGEST_MISMATCH", "tagmanifest-sha256.txt") in found


def test_verify_refuses_a_bundle_sealed_again_with_another_key(bundle: Path, key: RunKey) -> None:
    """Who seals an altered bundle with a key of their own is found by the signer's key only."""
    (bundle / "data/tests/junit.xml").write_text("<testsuites tests='0'/>\n")
    reseal(bundle, RunKey.ephemeral())
    assert verify(bundle).ok
    found = verify(bundle, key=key.public_pem)
    assert ("WRONG_SIGNER", ATTESTATION) in codes(found)
    assert found.signer == UNKNOWN
    assert found.result is None


def test_verify_refuses_a_public_key_that_did_not_sign(bundle: Path, key: RunKey) -> None:
    """A foreign public-key.pem is found even where the signer's key was given."""
    (bundle / "public-key.pem").write_bytes(RunKey.ephemeral().public_pem)
    assert {
        ("KEY_MISMATCH", "public-key.pem"),
        ("DIGEST_MISMATCH", "public-key.pem"),
    } <= codes(verify(bundle, key=key.public_pem))


# --- what a careless or lying sealer could have signed ------------------------------------------


def _duplicate_in_run(bundle: Path) -> None:
    path = bundle / "data/run.json"
    path.write_text(
        path.read_text().replace('"exit_status": 1', '"exit_status": 0,"exit_status": 1')
    )


def _other_result(bundle: Path) -> None:
    path = bundle / "data/run.json"
    path.write_text(path.read_text().replace('"result": "blocked"', '"result": "released"'))


def _fewer_criteria(bundle: Path) -> None:
    path = bundle / "data/run.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps({**run, "criteria": run["criteria"][:-1]}))


def _unknown_field(bundle: Path) -> None:
    path = bundle / "data/run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": "fine"}))


def _other_catalogue(bundle: Path) -> None:
    path = bundle / "data/catalogue.json"
    catalogue = json.loads(path.read_text())
    path.write_bytes(canonical_json({"criteria": catalogue["criteria"][1:]}))


def _changed_capture(bundle: Path) -> None:
    (bundle / "data/captures/dlq/DLQ-01/001-sql.txt").write_text("select 2;\n")


def _bad_journal(bundle: Path) -> None:
    (bundle / "data/journal.jsonl").write_text('{"kind":"rumour"}\n')


def _duplicate_in_proof(bundle: Path) -> None:
    (bundle / "data/proofs/RLS-01/drop-policy.json").write_text('{"result":"void","result":"ok"}')


@pytest.mark.parametrize(
    ("change", "code", "path", "message"),
    [
        pytest.param(
            _duplicate_in_run,
            "JSON_DUPLICATE_KEY",
            "data/run.json",
            "'exit_status' twice",
            id="key",
        ),
        pytest.param(
            _other_result, "RUN_MISMATCH", "data/run.json", "result: got released", id="result"
        ),
        pytest.param(
            _fewer_criteria, "RUN_MISMATCH", "data/run.json", "criteria: got RLS-01", id="criteria"
        ),
        pytest.param(_unknown_field, "JSON_MALFORMED", "data/run.json", "verdict", id="field"),
        pytest.param(
            _other_catalogue,
            "CATALOGUE_MISMATCH",
            "data/catalogue.json",
            "got sha256",
            id="catalogue",
        ),
        pytest.param(
            _changed_capture,
            "CAPTURE_MISMATCH",
            "data/captures/dlq/DLQ-01/001-sql.txt",
            "observation main:3",
            id="capture",
        ),
        pytest.param(_bad_journal, "JSON_MALFORMED", "data/journal.jsonl", "line 1", id="journal"),
        pytest.param(
            _duplicate_in_proof,
            "JSON_DUPLICATE_KEY",
            "data/proofs/RLS-01/drop-policy.json",
            "'result' twice",
            id="proof",
        ),
    ],
)
def test_verify_refuses_files_that_disagree_though_signed(
    bundle: Path, key: RunKey, change: Change, code: str, path: str, message: str
) -> None:
    """A signature does not make files agree: each contradiction is found by itself."""
    change(bundle)
    reseal(bundle, key)
    found = verify(bundle)
    assert codes(found) == {(code, path)}
    assert message in found.findings[0].message


# --- the verdict, and bad input ----------------------------------------------------------------


def test_verify_asks_for_a_release_when_told_to(
    bundle: Path,
    staging: Path,
    tmp_path: Path,
    run: Run,
    catalogue: Catalogue,
    key: RunKey,
    clock: Callable[[], Any],
    copy_of: Callable[[Path], Path],
) -> None:
    """A blocked run is whole and no release; a released one is both."""
    found = verify(bundle, require_released=True)
    assert codes(found) == {("NOT_RELEASED", "data/run.json")}
    again = copy_of(bundle)
    shutil.copytree(again / "data", staging / "data")
    for name in ("run.json", "catalogue.json", "report.html"):
        (staging / "data" / name).unlink()
    released = run.model_copy(update={"result": Result.RELEASED, "exit_status": 0})
    good = seal(staging, tmp_path / "good", run=released, catalogue=catalogue, key=key, clock=clock)
    assert verify(good, require_released=True).ok


@pytest.mark.parametrize("name", ["absent", "file"])
def test_verify_wants_a_folder(tmp_path: Path, name: str) -> None:
    """What is no folder is bad input, not a finding."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInputError, match="bundle: got no folder"):
        verify(tmp_path / name)


def test_verify_wants_a_key_that_is_one(bundle: Path) -> None:
    """A key that cannot be read is bad input, not a finding."""
    with pytest.raises(BadInputError, match="--key: public key: got something else"):
        verify(bundle, key=b"no key")


def test_verify_finds_nothing_vouched_in_an_empty_folder(tmp_path: Path) -> None:
    """A folder without an attestation is a bundle with findings."""
    assert ("ATTESTATION_MISSING", ATTESTATION) in codes(verify(tmp_path))


def test_verification_page_lists_every_code() -> None:
    """The reference has a row for each code, and no row for any other."""
    page = (ROOT / "docs/reference/verification.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert rows == {code.value for code in Code}


# --- sealing again by hand -----------------------------------------------------------------------


def rewrite_manifests(bundle: Path) -> None:
    """Make both manifests and the payload's size fit what lies in the bundle."""
    files = read_tree(bundle, keep=lambda _: False).files
    payload = [file for file in files if file.path.startswith("data/")]
    info = bundle / "bag-info.txt"
    lines = [line for line in info.read_text().splitlines() if not line.startswith("Payload-Oxum")]
    info.write_text("\n".join([*lines, f"Payload-Oxum: {payload_oxum(payload)}", ""]))
    (bundle / "manifest-sha256.txt").write_bytes(format_manifest(payload))
    left_out = (ATTESTATION, "tagmanifest-sha256.txt")
    tags = [
        file
        for file in read_tree(bundle, keep=lambda _: False).files
        if not file.path.startswith("data/") and file.path not in left_out
    ]
    (bundle / "tagmanifest-sha256.txt").write_bytes(format_manifest(tags))


def reseal(bundle: Path, key: RunKey) -> None:
    """Seal what lies in a bundle again, with any key, keeping what the attestation claims."""
    claimed = parse_statement(Envelope.from_bytes((bundle / ATTESTATION).read_bytes()).payload)
    (bundle / "public-key.pem").write_bytes(key.public_pem)
    rewrite_manifests(bundle)
    files = [f for f in read_tree(bundle, keep=lambda _: False).files if f.path != ATTESTATION]
    payload = format_statement(
        claimed.model_copy(
            update={
                "files": attested(files),
                "key": AttestedKey(keyid=key.keyid, ephemeral=key.is_ephemeral),
            }
        )
    )
    signed = Envelope(payload=payload, keyid=key.keyid, signature=key.sign(pae(payload)))
    (bundle / ATTESTATION).write_bytes(signed.to_bytes())
