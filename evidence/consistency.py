"""Whether the files inside a bundle agree with each other and with what was attested.

Owns the comparison of run.json, the catalogue, the journal and the captures. Leaves signature,
manifests and the closed world to `evidence.verification`. Does not derive verdicts again.

Source: design, "Verification".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from evidence.attestation import Predicate
from evidence.canonical import DuplicateKeyError, JsonError, read_json
from evidence.errors import EvidenceError
from evidence.finding import Code, Finding
from evidence.model import RECORD, Observation, Run
from evidence.takeover import FOLDER, compare_taken_over
from evidence.tree import File

RUN = "data/run.json"
CATALOGUE = "data/catalogue.json"
WAIVERS = "data/waivers.json"
JOURNAL = "data/journal.jsonl"
_PROOFS = "data/proofs/"


def is_read(path: str) -> bool:
    """Say whether the content of a file is compared, and not only its digest.

    Captures are left out: what the system answered may be any bytes, duplicate keys too.
    """
    return path in (RUN, CATALOGUE, JOURNAL) or (
        path.startswith((_PROOFS, FOLDER)) and path.endswith(".json")
    )


def compare(
    files: Mapping[str, File], predicate: Predicate | None, key: Ed25519PublicKey | None
) -> Iterator[Finding]:
    """Compare what the files say.

    Args:
        files: by path; those for which `is_read` holds carry their content.
        predicate: what was attested, or None where that could not be read.
        key: the signer's, where one was given.

    """
    run, problems = _read_run(files)
    yield from problems
    if run is not None and predicate is not None:
        yield from _compare_run(run, predicate)
    if run is not None:
        yield from compare_taken_over(run, files, key)
    yield from _compare_catalogue(files, predicate)
    yield from _compare_journal(files)
    for path in sorted(files):
        if path.startswith(_PROOFS) and is_read(path):
            yield from _json(files[path])[1]


def read_run(files: Mapping[str, File]) -> Run | None:
    """Return the run of a bundle, or None where it cannot be read; `compare` says why."""
    return _read_run(files)[0]


def _read_run(files: Mapping[str, File]) -> tuple[Run | None, tuple[Finding, ...]]:
    file = files.get(RUN)
    if file is None:
        return None, (Finding(code=Code.FILE_MISSING, path=RUN, message="the run is missing"),)
    value, problems = _json(file)
    if problems:
        return None, problems
    try:
        return Run.model_validate(value), ()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        message = f"{field}: {problem['msg']}"
        return None, (Finding(code=Code.JSON_MALFORMED, path=RUN, message=message),)


def _compare_run(run: Run, predicate: Predicate) -> Iterator[Finding]:
    ids = tuple(verdict.id for verdict in run.criteria)
    for field, got, expected in (
        ("criteria", ids, predicate.criteria),
        ("result", run.result, predicate.result),
        ("exit_status", run.exit_status, predicate.exit_status),
        ("catalogue_digest", run.catalogue_digest, predicate.catalogue_digest),
        ("commit", run.bindings.commit, predicate.commit),
        ("dirty", run.bindings.dirty, predicate.dirty),
        ("nonce", run.bindings.nonce, predicate.nonce),
        ("previous", run.bindings.previous, predicate.previous),
        ("started", run.started, predicate.started),
        ("ended", run.ended, predicate.ended),
    ):
        if got != expected:
            message = f"{field}: got {_short(got)}, expected {_short(expected)} as attested"
            yield Finding(code=Code.RUN_MISMATCH, path=RUN, message=message)


def _compare_catalogue(files: Mapping[str, File], predicate: Predicate | None) -> Iterator[Finding]:
    file = files.get(CATALOGUE)
    if file is None:
        yield Finding(code=Code.FILE_MISSING, path=CATALOGUE, message="the catalogue is missing")
        return
    value, problems = _json(file)
    yield from problems
    if problems or predicate is None:
        return
    if file.digest != predicate.catalogue_digest:
        message = f"got {file.digest}, expected {predicate.catalogue_digest} as attested"
        yield Finding(code=Code.CATALOGUE_MISMATCH, path=CATALOGUE, message=message)
    if _ids(value) != predicate.criteria:
        message = "ids: got others than the attested criteria"
        yield Finding(code=Code.CATALOGUE_MISMATCH, path=CATALOGUE, message=message)


def _compare_journal(files: Mapping[str, File]) -> Iterator[Finding]:
    file = files.get(JOURNAL)
    if file is None:
        yield Finding(code=Code.FILE_MISSING, path=JOURNAL, message="the journal is missing")
        return
    if file.content is None:
        yield Finding(code=Code.JSON_MALFORMED, path=JOURNAL, message="too large to be read")
        return
    if file.content and not file.content.endswith(b"\n"):
        yield Finding(code=Code.JSON_MALFORMED, path=JOURNAL, message="the last line is cut off")
    for number, line in enumerate(file.content.split(b"\n")[:-1], start=1):
        yield from _compare_record(line, number, files)


def _compare_record(line: bytes, number: int, files: Mapping[str, File]) -> Iterator[Finding]:
    try:
        record = RECORD.validate_python(read_json(line))
    except DuplicateKeyError as error:
        message = f"line {number}: {error}"
        yield Finding(code=Code.JSON_DUPLICATE_KEY, path=JOURNAL, message=message)
        return
    except (EvidenceError, ValidationError) as error:
        message = f"line {number}: {str(error).splitlines()[0]}"
        yield Finding(code=Code.JSON_MALFORMED, path=JOURNAL, message=message)
        return
    if isinstance(record, Observation):
        yield from compare_capture(record, files)


def compare_capture(record: Observation, files: Mapping[str, File]) -> Iterator[Finding]:
    """Compare an observation with the capture that it names."""
    path = f"data/{record.capture}"
    file = files.get(path)
    who = f"observation {record.writer}:{record.seq}"
    if file is None:
        message = f"{who} names a capture that is missing"
        yield Finding(code=Code.CAPTURE_MISMATCH, path=path, message=message)
    elif file.digest != record.digest:
        message = f"{who}: got {file.digest}, expected {record.digest}"
        yield Finding(code=Code.CAPTURE_MISMATCH, path=path, message=message)


def _json(file: File) -> tuple[Any, tuple[Finding, ...]]:
    code = Code.JSON_MALFORMED
    if file.content is None:
        return None, (Finding(code=code, path=file.path, message="too large to be read"),)
    try:
        return read_json(file.content), ()
    except JsonError as error:
        if isinstance(error, DuplicateKeyError):
            code = Code.JSON_DUPLICATE_KEY
        return None, (Finding(code=code, path=file.path, message=str(error)),)


def _ids(catalogue: Any) -> tuple[str, ...]:
    try:
        return tuple(str(criterion["id"]) for criterion in catalogue["criteria"])
    except (KeyError, TypeError):
        return ()


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
