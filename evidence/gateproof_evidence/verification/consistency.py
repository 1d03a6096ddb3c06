"""Whether the files inside a bundle agree with each other and with the statement.

Owns reading run.json, the catalogue, the waivers and the journal of a bundle, strictly, and
comparing them with the statement. Leaves signature, manifests and the closed world
to `gateproof_evidence.verification.bundle`, and the derivation of the verdicts to
`gateproof_evidence.verification.derivation`.

Source: design, "Verification".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.canonical import DuplicateKeyError, read_json
from gateproof_evidence.format.catalogue import Catalogue, parse_catalogue
from gateproof_evidence.format.layout import (
    ANSWERS,
    CATALOGUE,
    EXPORT_FOLDER,
    JOURNAL,
    NOT_COMPARED,
    PAYLOAD,
    REDACTIONS,
    REPORT,
    RUN,
    SHARDS,
    TAKEN_OVER,
    TRANSCRIPTS,
    WAIVERS,
    taken_over,
    taken_over_run,
)
from gateproof_evidence.format.tree import LIMITS, File, Limits
from gateproof_evidence.format.waiver import parse_waivers
from gateproof_evidence.model import RECORD, Bound, Compaction, Digest, Record, Run, Waiver
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.model.problem import first_problem
from gateproof_evidence.verification.takeover import compare_taken_over

T = TypeVar("T")

_PARSE = RECORD.validator.validate_json
_OF_ANY_SHARD = b'{"writer":"shard'
_OF_SHARD = re.compile(rb'\{"writer":"shard([1-9][0-9]{0,5})-')
"""The beginning of a line of a shard, as every writer makes it; another spelling counts for none,
which `gateproof_evidence.verification.shard` reports."""

_RECORDS = (CATALOGUE, JOURNAL, REDACTIONS, REPORT, RUN, WAIVERS, *NOT_COMPARED)
"""The files of the payload that have a fixed name."""


@dataclass(frozen=True, kw_only=True)
class ShardLines:
    """The lines of one shard in a merged journal: together they are its own journal."""

    count: int
    digest: Digest


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The parsed files of a bundle; None for a file that cannot be read."""

    run: Run | None
    catalogue: Catalogue | None
    waivers: tuple[Waiver, ...] | None
    records: Sequence[Record] | None
    """The journal, compact: see `gateproof_evidence.model.Compaction`."""
    shards: Mapping[int, ShardLines]
    """The lines of each shard in a merged journal, by its number."""
    findings: tuple[Finding, ...]
    """The reasons why files could not be read."""


def is_read(path: str) -> bool:
    """Return whether the content of a file is compared, and not only its digest.

    Captures are excluded: they may contain any bytes, such as JSON with duplicate keys.
    """
    return path in (RUN, CATALOGUE, WAIVERS) or (
        path.startswith((TAKEN_OVER, SHARDS)) and path.endswith((".json", ".pem"))
    )


def read(files: Mapping[str, File], journal: JournalReader) -> Contents:
    """Parse the files.

    Args:
        files: by path; those that `is_read` selects have their content.
        journal: a reader that has read the journal.

    """
    findings: list[Finding] = []
    records, problems = journal.end()
    if JOURNAL not in files:
        records = None
        problems = [Finding(code=Code.FILE_MISSING, path=JOURNAL, message="the file is missing")]
    return Contents(
        run=_read(files, RUN, _parse_run, findings),
        catalogue=_read(files, CATALOGUE, parse_catalogue, findings),
        waivers=_read(files, WAIVERS, parse_waivers, findings),
        records=records,
        shards=journal.shards(),
        findings=(*findings, *problems),
    )


def compare(
    contents: Contents,
    files: Mapping[str, File],
    predicate: Predicate | None,
    key: Ed25519PublicKey | None,
) -> Iterator[Finding]:
    """Compare the contents of the files with each other and with the statement.

    Args:
        contents: what `read` returned.
        files: by path.
        predicate: the attested statement, or None if it could not be read.
        key: the signer's key, if it was given.

    """
    yield from contents.findings
    if contents.run is not None and predicate is not None:
        yield from _compare_run(contents.run, predicate)
    if contents.run is not None:
        yield from compare_taken_over(contents.run, files, key)
    if predicate is not None:
        yield from _compare_catalogue(contents.catalogue, files, predicate)
        yield from _unknown(contents, {file.path for file in predicate.files} & files.keys())


def _unknown(contents: Contents, attested: set[str]) -> Iterator[Finding]:
    """Yield a finding for each attested file that the run did not record and no step compares.

    A signer could add a page that looks like a report, and it would be as signed as the others.
    Exports, transcripts and the files of shards are compared one by one elsewhere.
    """
    if contents.run is None or contents.records is None:
        return
    reused = {one.taken_over for one in contents.run.criteria}
    reused |= {proof.taken_over for one in contents.run.criteria for proof in one.proofs}
    earlier = {place(one) for one in reused if one for place in (taken_over, taken_over_run)}
    for path in attested - earlier - {*_RECORDS}:
        if path.startswith(PAYLOAD) and not path.startswith(
            (TRANSCRIPTS, ANSWERS, EXPORT_FOLDER, SHARDS)
        ):
            message = "got a file that no record names, expected none; read it as the signer's word"
            yield Finding(code=Code.FILE_UNKNOWN, path=path, message=message)


def parse(file: File, parser: Callable[[bytes], T]) -> T | Finding:
    """Parse a file, or return a finding with the reason why that fails."""
    code = Code.JSON_MALFORMED
    if file.content is None:
        return Finding(code=code, path=file.path, message="too large to read")
    try:
        return parser(file.content)
    except DuplicateKeyError as error:
        return Finding(code=Code.JSON_DUPLICATE_KEY, path=file.path, message=str(error))
    except EvidenceError as error:
        return Finding(code=code, path=file.path, message=str(error))
    except ValidationError as error:
        problem = first_problem(error)
        return Finding(code=code, path=file.path, message=f"{problem}")


def _parse_run(content: bytes) -> Run:
    return Run.model_validate(read_json(content))


def _read(
    files: Mapping[str, File],
    path: str,
    parser: Callable[[bytes], T],
    findings: list[Finding],
) -> T | None:
    file = files.get(path)
    if file is None:
        findings.append(Finding(code=Code.FILE_MISSING, path=path, message="the file is missing"))
        return None
    found = parse(file, parser)
    if isinstance(found, Finding):
        findings.append(found)
        return None
    return found


class JournalReader:
    """Reads a journal line by line while it is hashed, because it may be larger than memory.

    Every line is read, even after a bad one, up to a limit: records are kept in memory.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        """Take the longest length of a line in bytes, and the highest number of lines."""
        self._longest = limits.kept
        self._most = limits.records
        self._rest = bytearray()
        self._lines = 0
        self._records: list[Record] = []
        self._compact = Compaction().compact
        self._findings: list[Finding] = []
        self._shards: dict[int, tuple[int, Any]] = {}

    def feed(self, chunk: bytes) -> None:
        """Read the next part of the file."""
        self._rest += chunk
        if b"\n" in chunk:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest[:] = rest
            for line in lines:
                self._take(line)
        if len(self._rest) > self._longest:
            self._add(Code.JSON_MALFORMED, f"line {self._lines + 1}: too long to read")
            self._rest.clear()

    def end(self) -> tuple[Sequence[Record] | None, Sequence[Finding]]:
        """Return the records, or None unless all lines are valid; and the findings."""
        if self._rest:
            self._add(Code.JSON_MALFORMED, "the last line is truncated")
        return (None if self._findings else self._records), self._findings

    def shards(self) -> Mapping[int, ShardLines]:
        """Return number and digest of the lines of each shard."""
        return {
            number: ShardLines(count=count, digest=f"sha256:{digest.hexdigest()}")
            for number, (count, digest) in self._shards.items()
        }

    def _take(self, line: bytes) -> None:
        self._lines += 1
        if self._lines > self._most:
            if self._lines == self._most + 1:
                message = f"got more than {self._most} lines, expected fewer; the rest was not read"
                self._add(Code.LIMIT_EXCEEDED, message)
            return
        self._count_for_shard(line)
        record = _parse_own(line) or self._parse_other(line)
        if record is not None:
            self._records.append(self._compact(record))

    def _parse_other(self, line: bytes) -> Record | None:
        """Return the record of a line in another spelling than ours, or note why it is none."""
        file = File(path=JOURNAL, size=len(line), digest="", content=line)
        found = parse(file, _parse_record)
        if isinstance(found, Finding):
            self._add(found.code, f"line {self._lines}: {found.message}")
            return None
        return found

    def _count_for_shard(self, line: bytes) -> None:
        if not line.startswith(_OF_ANY_SHARD):
            return
        found = _OF_SHARD.match(line)
        if found:
            count, digest = self._shards.get(int(found[1]), (0, hashlib.sha256()))
            digest.update(line + b"\n")
            self._shards[int(found[1])] = count + 1, digest

    def _add(self, code: Code, message: str) -> None:
        self._findings.append(Finding(code=code, path=JOURNAL, message=message))


def _parse_own(line: bytes) -> Record | None:
    """Return the record of a line in the spelling of our writers; None for any other line.

    A line that is what its record is written as has each key once, so that no search for keys that
    occur twice is needed.
    """
    try:
        record: Record = _PARSE(line)
        return record if record.to_line() == line else None
    except (ValidationError, PydanticSerializationError, UnicodeEncodeError):
        return None


def _parse_record(line: bytes) -> Record:
    return RECORD.validate_python(read_json(line))


def _compare_run(run: Run, predicate: Predicate) -> Iterator[Finding]:
    ids = tuple(verdict.id for verdict in run.criteria)
    for field, got, expected in (
        ("criteria", ids, predicate.criteria),
        ("result", run.result, predicate.result),
        ("exit_status", run.exit_status, predicate.exit_status),
        ("catalogue_digest", run.catalogue_digest, predicate.catalogue_digest),
        ("commit", run.bindings.commit, predicate.commit),
        ("dirty", run.bindings.dirty, predicate.dirty),
        ("bound", _titles(run.bindings.bound), _titles(predicate.bound)),
        ("nonce", run.bindings.nonce, predicate.nonce),
        ("previous", run.bindings.previous, predicate.previous),
        ("started", run.started, predicate.started),
        ("ended", run.ended, predicate.ended),
    ):
        if got != expected:
            message = f"{field}: got {_short(got)}, expected {_short(expected)} as attested"
            yield Finding(code=Code.RUN_MISMATCH, path=RUN, message=message)
    if predicate.sealed < run.ended:
        message = f"ended: got {run.ended}, expected no later than sealing, {predicate.sealed}"
        yield Finding(code=Code.RUN_MISMATCH, path=RUN, message=message)


def _compare_catalogue(
    catalogue: Catalogue | None, files: Mapping[str, File], predicate: Predicate
) -> Iterator[Finding]:
    file = files.get(CATALOGUE)
    if file is not None and file.digest != predicate.catalogue_digest:
        message = f"got {file.digest}, expected {predicate.catalogue_digest} as attested"
        yield Finding(code=Code.CATALOGUE_MISMATCH, path=CATALOGUE, message=message)
    if catalogue is not None and catalogue.ids != predicate.criteria:
        message = "ids: got other ids than those of the attested criteria"
        yield Finding(code=Code.CATALOGUE_MISMATCH, path=CATALOGUE, message=message)


def _titles(bound: Sequence[Bound]) -> tuple[str, ...]:
    return tuple(one.model_dump_json() for one in bound)


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
