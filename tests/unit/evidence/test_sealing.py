"""Sealing: a sealed bundle is whole, and a folder that cannot be verified is not sealed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateproof_evidence.errors import EvidenceError, NotWritableError
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.recording.journal import read_journal
from gateproof_evidence.judging import judgement
from gateproof_evidence.judging.judgement import Context
from gateproof_evidence.model import Result, Run, Waiver
from gateproof_evidence.redaction.canary import Canary, CanaryError
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import Sealed, seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from gateproof_evidence.verification.bundle import verify
from tests.unit.evidence.support import rewritten

Leak = Callable[[Path, pytest.MonkeyPatch, str], str]
"""Writes a secret into a file of the future bundle, and returns the file's name."""

FORMS = sorted(Canary(core="0" * 24).forms())


@pytest.fixture
def canary() -> Canary:
    """Provide a canary that no file contains."""
    return Canary.make()


@pytest.fixture
def sealing(
    staging: Path,
    tmp_path: Path,
    catalogue: Catalogue,
    waivers: tuple[Waiver, ...],
    context: Context,
    key: RunKey,
    clock: Callable[[], datetime],
) -> Callable[..., Sealed]:
    """Provide a function that seals the staged run, with changes."""

    def do(**changes: Any) -> Sealed:
        fields = {
            "journal": read_staged_journal(staging),
            "catalogue": catalogue,
            "waivers": waivers,
            "context": context,
            "key": key,
            "clock": clock,
            **changes,
        }
        return seal(staging, tmp_path / "bundle", **fields)

    return do


def test_seal_moves_a_whole_bundle_into_place(bundle: Path, staging: Path) -> None:
    """A sealed bundle verifies, and its staging folder is gone."""
    assert verify(bundle).findings == ()
    assert not staging.exists()


def test_seal_writes_manifests_that_sha256sum_checks(bundle: Path) -> None:
    """sha256sum, an independent tool, accepts both manifests."""
    for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        done = subprocess.run(
            ["sha256sum", "-c", manifest], cwd=bundle, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count(": OK") >= 5


def test_seal_writes_the_catalogue_that_was_digested(bundle: Path, catalogue: Catalogue) -> None:
    """The digest of data/catalogue.json is the catalogue's digest."""
    content = (bundle / "data/catalogue.json").read_bytes()
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == catalogue.digest


def test_seal_writes_run_json_with_its_schema_first(bundle: Path, run: Run) -> None:
    """run.json reads back as the run that follows from the journal on disk."""
    content = (bundle / "data/run.json").read_bytes()
    assert next(iter(json.loads(content))) == "schema"
    assert Run.model_validate_json(content) == run


def test_seal_returns_the_run_that_run_json_contains(sealing: Callable[..., Sealed]) -> None:
    """Whatever the waivers change, the caller gets the value that was written and attested."""
    sealed = sealing(waivers=())
    assert sealed.run == Run.model_validate_json((sealed.bundle / "data/run.json").read_bytes())
    assert sealed.run.result is Result.BLOCKED
    assert verify(sealed.bundle).findings == ()


def test_seal_judges_the_journal_once(
    sealing: Callable[..., Sealed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run has one value: it is not judged a second time to be compared with itself."""
    judge, judged = judgement.judge, []

    def count(*arguments: Any) -> judgement.Judged:
        judged.append(judge(*arguments))
        return judged[-1]

    monkeypatch.setattr(judgement, "judge", count)
    run = sealing().run
    assert [one.criteria for one in judged] == [run.criteria]


def test_seal_refuses_a_destination_that_exists(
    sealing: Callable[..., Sealed], tmp_path: Path, staging: Path
) -> None:
    """A bundle is never overwritten, not even an empty folder with its name."""
    (tmp_path / "bundle").mkdir()
    with pytest.raises(NotWritableError, match="bundle: got a path that exists, expected a free"):
        sealing()
    assert sorted(path.name for path in staging.iterdir()) == ["data"]


def _link(data: Path) -> None:
    (data / "transcripts/link.txt").symlink_to("/etc/hostname")


def _pipe(data: Path) -> None:
    os.mkfifo(data / "transcripts/pipe")


def _empty_folder(data: Path) -> None:
    (data / "transcripts/none").mkdir()


def _outside(data: Path) -> None:
    (data.parent / "notes.txt").write_text("x")


def _backslash(data: Path) -> None:
    (data / "transcripts/a\\b.txt").write_text("x")


def _lookalike(data: Path) -> None:
    (data / "tests/JUNIT.xml").write_text("x")


def _lost_capture(data: Path) -> None:
    (data / "transcripts/rls/RLS-02.txt").unlink()


def _changed_capture(data: Path) -> None:
    path = data / "transcripts/rls/RLS-02.txt"
    path.write_text(path.read_text().replace("/health", "/others"))


def _unrecorded_transcript(data: Path) -> None:
    (data / "transcripts/rls/RLS-09.txt").write_text("x")


def _taken(data: Path) -> None:
    (data / "run.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_link, r"transcripts/link\.txt: bundle: got a link", id="link"),
        pytest.param(_pipe, "transcripts/pipe: bundle: got a special file", id="pipe"),
        pytest.param(_empty_folder, "transcripts/none: bundle: got an empty folder", id="empty"),
        pytest.param(_outside, r"notes\.txt: bundle: got a file outside data/", id="outside"),
        pytest.param(_backslash, "printable characters without", id="backslash"),
        pytest.param(_lookalike, "only by case or Unicode form", id="lookalike"),
        pytest.param(_lost_capture, "the transcript is missing", id="lost-capture"),
        pytest.param(_unrecorded_transcript, "no record names this", id="unrecorded"),
        pytest.param(_changed_capture, "observation main:8: got sha256:", id="changed-capture"),
        pytest.param(_taken, r"data/run\.json: bundle: got a file of that name", id="taken"),
    ],
)
def test_seal_refuses_what_could_not_be_verified(
    sealing: Callable[..., Sealed],
    staging: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    message: str,
) -> None:
    """An unexpected entry of the folder prevents the bundle, and the message names it."""
    change(staging / "data")
    with pytest.raises(EvidenceError, match=message):
        sealing()
    assert not (tmp_path / "bundle").exists()


def test_seal_refuses_a_catalogue_without_a_collected_criterion(
    sealing: Callable[..., Sealed], catalogue: Catalogue, staging: Path
) -> None:
    """A criterion that would get no verdict is reported before anything is written."""
    short = Catalogue(criteria=catalogue.criteria[1:])
    with pytest.raises(EvidenceError, match="journal: collected criteria: got RLS-01, expected"):
        sealing(catalogue=short)
    assert not (staging / "data/catalogue.json").exists()


def test_seal_refuses_a_journal_without_its_end(
    sealing: Callable[..., Sealed], staging: Path, tmp_path: Path
) -> None:
    """A journal whose last line was cut off gives no run, and no bundle."""
    path = staging / "data/journal.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EvidenceError, match="the end of the run: got 0 records, expected one"):
        sealing()
    assert not (tmp_path / "bundle").exists()


def test_seal_refuses_a_journal_that_changed_since_it_was_read(
    sealing: Callable[..., Sealed], staging: Path, tmp_path: Path
) -> None:
    """The journal in the bundle is the one from which the run was derived, byte by byte."""
    path = staging / "data/journal.jsonl"
    read = read_staged_journal(staging)
    path.write_bytes(path.read_bytes().removesuffix(b"}\n") + b" }\n")
    with pytest.raises(EvidenceError, match=r"data/journal\.jsonl: bundle: got sha256:"):
        sealing(journal=read)
    assert not (tmp_path / "bundle").exists()


# --- canaries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_seal_refuses_a_secret_that_came_through_in_the_run_itself(
    sealing: Callable[..., Sealed], context: Context, canary: Canary, tmp_path: Path, form: str
) -> None:
    """A secret that no probe redacted is found in the files that sealing writes."""
    assert context.environment is not None
    reason = f"no engine answers: {canary.forms()[form]}"
    leaking = context.environment.model_copy(update={"reason": reason})
    with pytest.raises(CanaryError, match=r"data/[a-z./]+: redaction: got a canary"):
        sealing(context=replace(context, environment=leaking), canaries=[Canary.make(), canary])
    assert not (tmp_path / "bundle").exists()


def _in_staging(name: str) -> Leak:
    def leak(staging: Path, _: pytest.MonkeyPatch, secret: str) -> str:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_text(f"seen: {secret}\n")
        return name

    return leak


def _in_transcript(staging: Path, _: pytest.MonkeyPatch, secret: str) -> str:
    """Write the secret into a text that the journal has recorded, and no report quotes."""
    name = "transcripts/rls/RLS-01/drop-policy.txt"
    data, journal = staging / "data", staging / "data/journal.jsonl"
    records = rewritten(data, read_journal([journal]), name, f"seen: {secret}")
    journal.write_text("".join(f"{one.model_dump_json()}\n" for one in records))
    return f"data/{name}"


def _in_report(_: Path, patch: pytest.MonkeyPatch, secret: str) -> str:
    patch.setattr(
        "gateproof_evidence.sealing.seal.html.render", lambda *_, **__: f"<p>{secret}".encode()
    )
    return "data/report.html"


def _in_export(_: Path, patch: pytest.MonkeyPatch, secret: str) -> str:
    name = "data/exports/gaps.csv"
    patch.setattr(
        "gateproof_evidence.sealing.seal.exports.render_each", lambda _: [(name, secret.encode())]
    )
    return name


def _in_tag_file(_: Path, patch: pytest.MonkeyPatch, secret: str) -> str:
    patch.setattr(
        "gateproof_evidence.sealing.seal.bag_files",
        lambda *_, **__: {"bag-info.txt": secret.encode()},
    )
    return "bag-info.txt"


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(_in_transcript, id="capture"),
        pytest.param(_in_staging("data/tests/pytest.html"), id="page-of-pytest"),
        pytest.param(_in_staging("data/redactions.json"), id="ledger"),
        pytest.param(_in_report, id="report"),
        pytest.param(_in_export, id="export"),
        pytest.param(_in_tag_file, id="tag-file"),
    ],
)
def test_seal_refuses_a_secret_in_any_file(
    sealing: Callable[..., Sealed],
    staging: Path,
    tmp_path: Path,
    canary: Canary,
    monkeypatch: pytest.MonkeyPatch,
    leak: Leak,
) -> None:
    """The message names the file with the secret, and there is no bundle."""
    name = leak(staging, monkeypatch, base64.b64encode(canary.value.encode()).decode())
    with pytest.raises(CanaryError, match=f"{name}: redaction: got a canary"):
        sealing(canaries=[canary])
    assert not (tmp_path / "bundle").exists()


def test_seal_refuses_a_secret_in_a_name(
    sealing: Callable[..., Sealed], staging: Path, canary: Canary
) -> None:
    """A canary in a file name is found in the manifest."""
    (staging / f"data/tests/{canary.core}.txt").write_text("nothing")
    with pytest.raises(CanaryError, match=r"manifest-sha256\.txt: redaction"):
        sealing(canaries=[canary])


def test_seal_accepts_what_holds_no_canary(sealing: Callable[..., Sealed], canary: Canary) -> None:
    """A canary that did not come through keeps nothing from being sealed."""
    assert verify(sealing(canaries=[canary]).bundle).ok


def test_seal_says_which_file_cannot_be_written(
    sealing: Callable[..., Sealed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a full disk has the path and what to do, and there is no bundle."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritableError, match="No space left on device, expected to write it"):
        sealing()
    assert not (tmp_path / "bundle").exists()
