"""The signed statement about a bundle: its files, its criteria and its result.

Owns the in-toto Statement and our predicate in it. Leaves its envelope to
`gateproof_evidence.format.envelope` and the comparison with a bundle's files to
`gateproof_evidence.verification.bundle`.

Source: in-toto Statement v1; docs/reference/bundle.md describes the predicate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.canonical import canonical_json, read_json
from gateproof_evidence.format.layout import PAYLOAD_MANIFEST, TAG_MANIFEST
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Bound, CriterionId, Digest, Result, Value
from gateproof_evidence.model.problem import first_problem

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://gateproof.dev/attestation/bundle/v2"


class StatementError(EvidenceError):
    """The signed payload is not a statement about a bundle."""


class AttestedFile(Value):
    """A file at the time of sealing."""

    path: str
    size: Annotated[int, Field(ge=0)]
    digest: Digest


class AttestedKey(Value):
    """The key that signed, as claimed by the statement."""

    keyid: Digest
    ephemeral: bool
    """Whether it was generated for this run, so that the signature shows integrity, not origin."""


class Predicate(Value):
    """The claims about the bundle."""

    result: Result
    exit_status: int
    commit: str | None
    dirty: bool | None
    nonce: str
    previous: Digest | None
    """Digest of the attestation of the bundle before this one."""
    started: AwareDatetime
    ended: AwareDatetime
    sealed: AwareDatetime
    key: AttestedKey
    catalogue_digest: Digest
    bound: tuple[Bound, ...] = ()
    """All files that a verdict depends on; empty in bundles before version 0.3.0."""
    criteria: tuple[CriterionId, ...]
    """Every criterion of the catalogue, judged or not."""
    files: tuple[AttestedFile, ...]
    """Every file of the bundle but the attestation itself, sorted by path."""


class _Sha256(Value):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Subject(Value):
    name: str
    digest: _Sha256


class _Statement(Value):
    model_config = ConfigDict(populate_by_name=True)

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[_Subject, ...]
    predicate_type: Literal["https://gateproof.dev/attestation/bundle/v2"] = Field(
        alias="predicateType"
    )
    predicate: Predicate


def format_statement(predicate: Predicate) -> bytes:
    """Return the statement over both manifests, whose digests are in the predicate."""
    digests = {file.path: file.digest.removeprefix("sha256:") for file in predicate.files}
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {"sha256": digests[name]}}
                for name in (PAYLOAD_MANIFEST, TAG_MANIFEST)
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": _plain(predicate),
        }
    )


def _plain(predicate: Predicate) -> dict[str, Any]:
    """Return the fields; without `bound` if it is empty, as versions before 0.3.0 sealed them."""
    return predicate.model_dump(mode="json", exclude=None if predicate.bound else {"bound"})


def parse_statement(payload: bytes) -> Predicate:
    """Read a statement; refuse every form but the canonical one of `format_statement`.

    Raises:
        EvidenceError: JSON with duplicate keys, unknown or missing fields, subjects other than
            both manifests with the digests of the predicate, a file twice, or bytes that differ.

    """
    try:
        predicate = _Statement.model_validate(read_json(payload)).predicate
    except ValidationError as error:
        problem = first_problem(error)
        raise StatementError(f"statement: {problem}") from error
    paths = [file.path for file in predicate.files]
    if paths != sorted(set(paths)):
        raise StatementError("statement: files: got an order or a repetition, expected each once")
    if not {PAYLOAD_MANIFEST, TAG_MANIFEST} <= set(paths):
        raise StatementError("statement: files: got no manifests, expected both")
    if format_statement(predicate) != payload:
        raise StatementError(
            "statement: bytes: got another form or subject, expected the canonical one"
        )
    return predicate


def attested(files: Iterable[File]) -> tuple[AttestedFile, ...]:
    """Return files in the form of the predicate."""
    found = (AttestedFile(path=f.path, size=f.size, digest=f.digest) for f in files)
    return tuple(sorted(found, key=lambda file: file.path))
