"""Sealing: a sealed bundle is whole, and a folder that cannot be verified is not sealed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateproof_evidence.errors import EvidenceError, NotWritableError
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.model import Result, Run, Waiver
from gateproof_evidence.redaction.canary import Canary, CanaryError
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.verification.bundle import verify

Leak = Callable[[Path, pytest.MonkeyPatch, str], str]
"""Writes a secret into a file of the future bundle, and returns the file's name."""

FORMS = sorted(Canary(core="0" * 24).forms())


@pytest.fixture
def canary() -> Canary:
    """Provide a new canary."""
    return Canary.make()


@pytest.fixture
def sealing(
    staging: Path,
    tmp_path: Path,
    run: Run,
    catalogue: Catalogue,
    waivers: tuple[Waiver, ...],
    key: RunKey,
    clock: Callable[[], datetime],
) -> Callable[..., Path]:
    """Provide a function that seals the staged run, with changes."""

    def do(**changes: Any) -> Path:
        fields = {
            "run": run,
            "catalogue": catalogue,
            "waivers": waivers,
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
    """The run in run.json equals the run that was sealed."""
    content = (bundle / "data/run.json").read_bytes()
    assert next(iter(json.loads(content))) == "schema"
    assert Run.model_validate_json(content) == run


def test_seal_refuses_a_destination_that_exists(
    sealing: Callable[..., Path], tmp_path: Path, staging: Path
) -> None:
    """A bundle is never overwritten, not even an empty folder with its name."""
    (tmp_path / "bundle").mkdir()
    with pytest.raises(NotWritableError, match="bundle: got something that is there already"):
        sealing()
    assert sorted(path.name for path in staging.iterdir()) == ["data"]


def _link(data: Path) -> None:
    (data / "captures/link.txt").symlink_to("/etc/hostname")


def _pipe(data: Path) -> None:
    os.mkfifo(data / "captures/pipe")


def _empty_folder(data: Path) -> None:
    (data / "captures/none").mkdir()


def _outside(data: Path) -> None:
    (data.parent / "notes.txt").write_text("x")


def _backslash(data: Path) -> None:
    (data / "captures/a\\b.txt").write_text("x")


def _lookalike(data: Path) -> None:
    (data / "tests/JUNIT.xml").write_text("x")


def _lost_capture(data: Path) -> None:
    (data / "captures/rls/RLS-02/001-http.txt").unlink()
    (data / "captures/rls/RLS-02/other.txt").write_text("x")


def _changed_capture(data: Path) -> None:
    (data / "captures/rls/RLS-02/001-http.txt").write_text("> GET /other\n")


def _taken(data: Path) -> None:
    (data / "run.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_link, r"captures/link\.txt: bundle: got a link", id="link"),
        pytest.param(_pipe, "captures/pipe: bundle: got a special file", id="pipe"),
        pytest.param(_empty_folder, "captures/none: bundle: got an empty folder", id="empty"),
        pytest.param(_outside, r"notes\.txt: bundle: got a file outside data/", id="outside"),
        pytest.param(_backslash, "printable characters without", id="backslash"),
        pytest.param(_lookalike, "only by case or Unicode form", id="lookalike"),
        pytest.param(_lost_capture, "names a capture that is missing", id="lost-capture"),
        pytest.param(_changed_capture, "observation main:7: got sha256:", id="changed-capture"),
        pytest.param(_taken, r"data/run\.json: bundle: got a file of that name", id="taken"),
    ],
)
def test_seal_refuses_a_folder_that_could_not_be_verified(
    sealing: Callable[..., Path],
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


def test_seal_refuses_a_run_on_another_catalogue(sealing: Callable[..., Path], run: Run) -> None:
    """A verdict that is missing from the run is an error before anything is written."""
    short = run.model_copy(update={"criteria": run.criteria[1:]})
    with pytest.raises(EvidenceError, match=r"others than the catalogue's \(RLS-01 differs\)"):
        sealing(run=short)


def test_seal_refuses_a_run_that_its_journal_does_not_support(
    sealing: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    """A run that verification would refuse is not sealed."""
    better = run.model_copy(update={"result": Result.RELEASED})
    with pytest.raises(EvidenceError, match="run: result: got released, expected blocked"):
        sealing(run=better)
    with pytest.raises(EvidenceError, match="run: reasons: got"):
        sealing(waivers=())
    assert not (tmp_path / "bundle").exists()


# --- canaries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_seal_refuses_a_canary_in_the_run_itself(
    sealing: Callable[..., Path], run: Run, canary: Canary, tmp_path: Path, form: str
) -> None:
    """A canary that no probe saw, and no rule redacted, is found in the files of sealing."""
    assert run.environment is not None
    reason = f"no engine answers: {canary.forms()[form]}"
    environment = run.environment.model_copy(update={"reason": reason})
    leaking = run.model_copy(update={"environment": environment})
    with pytest.raises(CanaryError, match=r"data/[a-z./]+: redaction: got a canary"):
        sealing(run=leaking, canaries=[Canary.make(), canary])
    assert not (tmp_path / "bundle").exists()


def _in_staging(name: str) -> Leak:
    def leak(staging: Path, _: pytest.MonkeyPatch, secret: str) -> str:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_text(f"seen: {secret}\n")
        return name

    return leak


def _in_report(_: Path, patch: pytest.MonkeyPatch, secret: str) -> str:
    patch.setattr(
        "gateproof_evidence.sealing.seal.html.render", lambda *_, **__: f"<p>{secret}".encode()
    )
    return "data/report.html"


def _in_export(_: Path, patch: pytest.MonkeyPatch, secret: str) -> str:
    name = "data/exports/gaps.csv"
    patch.setattr(
        "gateproof_evidence.sealing.seal.exports.render_all", lambda _: {name: secret.encode()}
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
        pytest.param(_in_staging("data/captures/rls/RLS-01/009-sql.txt"), id="capture"),
        pytest.param(_in_staging("data/tests/pytest.html"), id="page-of-pytest"),
        pytest.param(_in_staging("data/redactions.json"), id="ledger"),
        pytest.param(_in_report, id="report"),
        pytest.param(_in_export, id="export"),
        pytest.param(_in_tag_file, id="tag-file"),
    ],
)
def test_seal_refuses_a_secret_in_any_file(
    sealing: Callable[..., Path],
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
    sealing: Callable[..., Path], staging: Path, canary: Canary
) -> None:
    """A canary in a file name is found in the manifest."""
    (staging / f"data/tests/{canary.core}.txt").write_text("nothing")
    with pytest.raises(CanaryError, match=r"manifest-sha256\.txt: redaction"):
        sealing(canaries=[canary])


def test_seal_accepts_a_bundle_without_a_canary(
    sealing: Callable[..., Path], canary: Canary
) -> None:
    """A canary that was redacted does not prevent sealing."""
    assert verify(sealing(canaries=[canary])).ok


def test_seal_names_a_file_that_cannot_be_written(
    sealing: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a full disk has the path and what to do, and there is no bundle."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritableError, match="No space left on device, expected to write it"):
        sealing()
    assert not (tmp_path / "bundle").exists()
