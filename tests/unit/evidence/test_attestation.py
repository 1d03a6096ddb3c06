"""The attestation: canonical envelope and statement, and the signer."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateproof_evidence.format.canonical import canonical_json
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import UNKNOWN, verify

from .support import ATTESTATION, Change, codes, reseal, rewrite_manifests


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


def _unused_bits(bundle: Path) -> None:
    """Set bits that decoders ignore: 64 bytes in base64 have four of them before the padding."""
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
        pytest.param(
            _two_signatures, "ATTESTATION_MALFORMED", "got 2, expected a list of exactly 1", id="2"
        ),
        pytest.param(_empty_signature, "SIGNATURE_INVALID", "not valid", id="empty"),
        pytest.param(_other_type, "ATTESTATION_MALFORMED", "got 'text/plain'", id="other-type"),
        pytest.param(_extra_field, "ATTESTATION_MALFORMED", "'note'", id="extra-field"),
        pytest.param(_pretty, "ATTESTATION_MALFORMED", "another form", id="pretty"),
        pytest.param(_final_newline, "ATTESTATION_MALFORMED", "another form", id="newline"),
        pytest.param(_duplicate_key, "JSON_DUPLICATE_KEY", "key 'payload' twice", id="duplicate"),
        pytest.param(_url_alphabet, "ATTESTATION_MALFORMED", "base64", id="url-alphabet"),
        pytest.param(_unused_bits, "ATTESTATION_MALFORMED", "unused bits", id="unused-bits"),
        pytest.param(_other_keyid, "KEY_MISMATCH", "the key that signed", id="other-keyid"),
        pytest.param(_truncated, "ATTESTATION_MALFORMED", "JSON: got", id="truncated"),
    ],
)
def test_verify_accepts_only_the_canonical_attestation(
    bundle: Path, change: Change, code: str, message: str
) -> None:
    """Any other form of the attestation, even with the same meaning, is refused."""
    change(bundle)
    found = verify(bundle)
    messages = [f.message for f in found.findings if (f.code, f.path) == (code, ATTESTATION)]
    assert messages, codes(found)
    assert message in messages[0]


def test_verify_refuses_the_attestation_of_another_bundle(
    bundle: Path, copy_of: Callable[[Path], Path]
) -> None:
    """A valid attestation does not cover another bundle's files."""
    other = copy_of(bundle)
    (other / "data/journal.jsonl").write_bytes(b"")
    reseal(other, RunKey.ephemeral())
    shutil.copy(other / ATTESTATION, bundle / ATTESTATION)
    found = verify(bundle)
    assert ("SIGNATURE_INVALID", ATTESTATION) in codes(found)
    assert ("DIGEST_MISMATCH", "data/journal.jsonl") in codes(found)
    assert found.result is None


def test_verify_refuses_manifests_that_were_rewritten(bundle: Path) -> None:
    """If a file is changed and both manifests match it, the signature detects the change."""
    (bundle / "data/tests/junit.xml").write_text("<testsuites tests='0'/>\n")
    rewrite_manifests(bundle)
    found = codes(verify(bundle))
    assert ("DIGEST_MISMATCH", "data/tests/junit.xml") in found
    assert ("DIGEST_MISMATCH", "manifest-sha256.txt") in found
    assert ("DIGEST_MISMATCH", "tagmanifest-sha256.txt") in found


def test_verify_refuses_a_bundle_sealed_again_with_another_key(bundle: Path, key: RunKey) -> None:
    """An altered bundle that another key sealed is detected only with the signer's key."""
    (bundle / "data/tests/junit.xml").write_text("<testsuites tests='0'/>\n")
    reseal(bundle, RunKey.ephemeral())
    assert verify(bundle).ok
    found = verify(bundle, key=key.public_pem)
    assert ("WRONG_SIGNER", ATTESTATION) in codes(found)
    assert found.signer == UNKNOWN
    assert found.result is None


def test_verify_refuses_a_public_key_that_did_not_sign(bundle: Path, key: RunKey) -> None:
    """A foreign public-key.pem is detected even if the signer's key was given."""
    (bundle / "public-key.pem").write_bytes(RunKey.ephemeral().public_pem)
    assert {
        ("KEY_MISMATCH", "public-key.pem"),
        ("DIGEST_MISMATCH", "public-key.pem"),
    } <= codes(verify(bundle, key=key.public_pem))


def _swap_subjects(payload: bytes) -> bytes:
    statement = json.loads(payload)
    return canonical_json({**statement, "subject": statement["subject"][::-1]})


def _one_subject(payload: bytes) -> bytes:
    statement = json.loads(payload)
    return canonical_json({**statement, "subject": statement["subject"][:1]})


def _other_digest(payload: bytes) -> bytes:
    statement = json.loads(payload)
    first, second = statement["subject"]
    return canonical_json({**statement, "subject": [{**first, "digest": second["digest"]}, second]})


def _file_twice(payload: bytes) -> bytes:
    statement = json.loads(payload)
    files = statement["predicate"]["files"]
    return canonical_json(
        {**statement, "predicate": {**statement["predicate"], "files": [files[0], *files]}}
    )


def _without_manifests(payload: bytes) -> bytes:
    statement = json.loads(payload)
    files = [f for f in statement["predicate"]["files"] if "manifest" not in f["path"]]
    return canonical_json({**statement, "predicate": {**statement["predicate"], "files": files}})


def _unknown_claim(payload: bytes) -> bytes:
    statement = json.loads(payload)
    return canonical_json({**statement, "predicate": {**statement["predicate"], "approved": True}})


def _result_twice(payload: bytes) -> bytes:
    return payload.replace(b'"result":"blocked"', b'"result":"blocked","result":"released"')


@pytest.mark.parametrize(
    ("spell", "code", "message"),
    [
        pytest.param(
            lambda payload: json.dumps(json.loads(payload)).encode(),
            "ATTESTATION_MALFORMED",
            "another form or subject",
            id="form",
        ),
        pytest.param(_swap_subjects, "ATTESTATION_MALFORMED", "or subject", id="swapped"),
        pytest.param(_one_subject, "ATTESTATION_MALFORMED", "or subject", id="one-subject"),
        pytest.param(_other_digest, "ATTESTATION_MALFORMED", "or subject", id="other-digest"),
        pytest.param(_file_twice, "ATTESTATION_MALFORMED", "or a repetition", id="file-twice"),
        pytest.param(_without_manifests, "ATTESTATION_MALFORMED", "no manifests", id="manifests"),
        pytest.param(_unknown_claim, "ATTESTATION_MALFORMED", "approved", id="unknown-claim"),
        pytest.param(_result_twice, "JSON_DUPLICATE_KEY", "'result' twice", id="result-twice"),
    ],
)
def test_verify_accepts_only_the_canonical_statement(
    bundle: Path, key: RunKey, spell: Callable[[bytes], bytes], code: str, message: str
) -> None:
    """A signature over another form, or over other subjects, is not enough."""
    reseal(bundle, key, spell=spell)
    found = verify(bundle)
    assert codes(found) == {(code, ATTESTATION)}
    assert message in found.findings[0].message
    assert found.result is None
