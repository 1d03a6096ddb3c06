"""Files that contradict each other are findings, even if a valid signature covers them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateproof_evidence.format.canonical import canonical_json
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import verify

from .support import Change, codes, reseal, rewrite_manifests, tagged

DERIVED = ("VERDICT_MISMATCH", "ROLLUP_MISMATCH")
"""Further findings if a file is changed that verdicts are derived from."""


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
    path = bundle / "data/transcripts/dlq/DLQ-01.txt"
    path.write_text(path.read_text().replace("select 1", "select 2"))


def _bad_journal(bundle: Path) -> None:
    (bundle / "data/journal.jsonl").write_text('{"kind":"rumour"}\n')


def _cut_journal(bundle: Path) -> None:
    path = bundle / "data/journal.jsonl"
    path.write_bytes(path.read_bytes()[:-1])


def _duplicate_in_journal(bundle: Path) -> None:
    path = bundle / "data/journal.jsonl"
    path.write_text(path.read_text().replace('"kind":"run"', '"kind":"phase","kind":"run"', 1))


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
            "data/transcripts/dlq/DLQ-01.txt",
            "observation main:13",
            id="capture",
        ),
        pytest.param(_bad_journal, "JSON_MALFORMED", "data/journal.jsonl", "line 1", id="journal"),
        pytest.param(_cut_journal, "JSON_MALFORMED", "data/journal.jsonl", "truncated", id="cut"),
        pytest.param(
            _duplicate_in_journal,
            "JSON_DUPLICATE_KEY",
            "data/journal.jsonl",
            "line 1: JSON object: got the key 'kind' twice",
            id="journal-key",
        ),
    ],
)
def test_verify_refuses_signed_files_that_contradict_each_other(
    bundle: Path, key: RunKey, change: Change, code: str, path: str, message: str
) -> None:
    """Each contradiction has its own finding, despite a valid signature."""
    change(bundle)
    reseal(bundle, key)
    found = [one for one in verify(bundle).findings if one.code not in DERIVED]
    assert {(one.code, one.path) for one in found} == {(code, path)}
    assert any(message in one.message for one in found)


def _drop_line(bundle: Path) -> None:
    path = bundle / "manifest-sha256.txt"
    lines = [line for line in path.read_text().splitlines() if not line.endswith("junit.xml")]
    path.write_text("\n".join([*lines, ""]))


def _foreign_line(bundle: Path) -> None:
    path = bundle / "tagmanifest-sha256.txt"
    lines = (bundle / "manifest-sha256.txt").read_text().splitlines()
    foreign = [line for line in lines if line.endswith("junit.xml")]
    path.write_text("\n".join([*path.read_text().splitlines(), *foreign, ""]))


def _outside_line(bundle: Path) -> None:
    path = bundle / "tagmanifest-sha256.txt"
    path.write_text(path.read_text() + f"{'0' * 64}  ../../etc/passwd\n")


def _old_bagit(bundle: Path) -> None:
    path = bundle / "bagit.txt"
    path.write_text(path.read_text().replace("1.0", "0.97"))
    rewrite_manifests(bundle)


def _wrong_oxum(bundle: Path) -> None:
    info = bundle / "bag-info.txt"
    lines = [line for line in info.read_text().splitlines() if not line.startswith("Payload")]
    info.write_text("\n".join([*lines, "Payload-Oxum: 1.1", ""]))
    tagged(bundle, info)


def _annotated_key(bundle: Path) -> None:
    path = bundle / "public-key.pem"
    path.write_bytes(b"The key of a friend:\n" + path.read_bytes())
    tagged(bundle, path)


@pytest.mark.parametrize(
    ("after", "code", "path"),
    [
        pytest.param(_drop_line, "FILE_UNLISTED", "data/tests/junit.xml", id="line-dropped"),
        pytest.param(_foreign_line, "MANIFEST_MISMATCH", "data/tests/junit.xml", id="foreign"),
        pytest.param(_outside_line, "MANIFEST_MALFORMED", "tagmanifest-sha256.txt", id="outside"),
        pytest.param(_old_bagit, "BAG_MALFORMED", "bagit.txt", id="bagit"),
        pytest.param(_wrong_oxum, "BAG_MALFORMED", "bag-info.txt", id="oxum"),
        pytest.param(_annotated_key, "KEY_UNREADABLE", "public-key.pem", id="key-note"),
    ],
)
def test_verify_refuses_signed_tag_files_that_mislead(
    bundle: Path, key: RunKey, after: Change, code: str, path: str
) -> None:
    """Manifests, declarations and key must fit the bundle, because other tools rely on them."""
    reseal(bundle, key, after=lambda folder: _drop_manifest_line_of_itself(folder, after))
    assert codes(verify(bundle)) == {(code, path)}


def _drop_manifest_line_of_itself(bundle: Path, after: Change) -> None:
    """Apply a change, and update the payload manifest's line in the tag manifest."""
    after(bundle)
    tagged(bundle, bundle / "manifest-sha256.txt")


def test_verify_compares_the_attested_criteria_with_the_catalogue(
    bundle: Path, key: RunKey
) -> None:
    """A criterion that both run and statement lack is found by the catalogue."""
    _fewer_criteria(bundle)
    reseal(bundle, key, claims={"criteria": ("RLS-01", "RLS-02", "DLQ-01")})
    found = verify(bundle)
    assert codes(found) == {
        ("CATALOGUE_MISMATCH", "data/catalogue.json"),
        ("VERDICT_MISMATCH", "data/run.json"),
    }
    assert "ids: got other ids than those of the attested criteria" in found.findings[0].message
