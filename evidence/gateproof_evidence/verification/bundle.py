"""Verification of a bundle: its integrity and its signer, without trust in its own claims.

Owns the steps of verification. Leaves the agreement of the files inside to
`gateproof_evidence.verification.consistency`, and the derivation of its verdicts to
`gateproof_evidence.verification.derivation`. Imports no private key and no probe. Not checked:
whether the commit exists, and when the bundle was really made.

Source: design, "Verification"; docs/reference/verification.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gateproof_evidence.additions import timestamp
from gateproof_evidence.additions.addition import AdditionLimit, in_folder, is_addition
from gateproof_evidence.additions.reviewer import Policy, Review, review
from gateproof_evidence.additions.sign_off import Subject
from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format import public_key as publickey
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.envelope import Envelope
from gateproof_evidence.format.layout import (
    ATTESTATION,
    BAG_INFO,
    BAGIT,
    JOURNAL,
    PAYLOAD_MANIFEST,
    PUBLIC_KEY,
    REPORT,
    SIGNOFFS,
    TAG_MANIFEST,
    TIMESTAMPS,
)
from gateproof_evidence.format.tree import LIMITS, File, Limits, Reading, Tree
from gateproof_evidence.model import Digest, Merged, Result, Run
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.verification import consistency
from gateproof_evidence.verification.derivation import derive_again
from gateproof_evidence.verification.expectation import (
    Expectation,
    answer,
    answer_takeovers,
    answer_thorough,
)
from gateproof_evidence.verification.integrity.authenticity import (
    UNKNOWN,
    Authenticity,
    Signature,
)
from gateproof_evidence.verification.integrity.closed_world import (
    compare_attested,
    compare_bag,
    compare_manifests,
    compare_tree,
)
from gateproof_evidence.verification.integrity.transcript import TranscriptReader
from gateproof_evidence.verification.rerendering import compare_rendered, other_version
from gateproof_evidence.verification.shard import compare_shards

__all__ = ["UNKNOWN", "Signature", "Verification", "verify"]

_KEPT = (ATTESTATION, PUBLIC_KEY, BAGIT, BAG_INFO, PAYLOAD_MANIFEST, TAG_MANIFEST)
_OF_A_FILE = (Code.FILE_MISSING, Code.FILE_UNLISTED, Code.DIGEST_MISMATCH, Code.KEY_MISMATCH)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of verification."""

    findings: tuple[Finding, ...]
    signer: str
    """The id of the given key if it signed, or ``unknown``: then the signature shows integrity, not
    origin."""
    predicate: Predicate | None
    """The attested statement; None unless its signature is valid."""
    signature: Signature = Signature.NOT_CHECKED
    """The result of checking the signature of the attestation."""
    review: Review = field(default_factory=Review)
    """The result for the sign-offs."""
    stamped: timestamp.Stamped = field(default_factory=timestamp.Stamped)
    """The result for the timestamps."""
    report: str = "report not verified: more than the limits allow, so nothing was compared"
    """The result of rendering report and exports again, as one line."""
    report_verified: bool = False
    """Whether the report has the bytes that are rendered from signed data."""
    merged: Merged | None = None
    """The shards that the run was merged from, as it states; None if it was not merged."""
    contents: consistency.Contents | None = field(default=None, repr=False)
    """The parsed files, as they were verified; None if the bundle was not read as a whole."""
    made_by: str | None = None
    """The other version of gateproof that the run claims; None if it is this one or unknown."""

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.findings

    @property
    def run_keys(self) -> frozenset[Digest]:
        """The ids of the keys that signed the run and its shards; empty if that is not known."""
        return _keys_of(self.predicate, self.merged)

    @property
    def result(self) -> Result | None:
        """The attested result of the run; None unless the signature is valid."""
        return self.predicate.result if self.predicate else None


def verify(
    bundle: Path | Source,
    *,
    key: bytes | None = None,
    expect: Expectation | None = None,
    policy: Policy | None = None,
    timestamp_ca: bytes | None = None,
    now: datetime | None = None,
    limits: Limits = LIMITS,
) -> Verification:
    """Verify a bundle as a closed world and report all findings, not only the first.

    0. The bundle is a folder or a ZIP archive with at least one of the files that identify a
       bundle, and the given key can be read.
    1. Every file is read once, the transcripts after the journal, but a large one with another size
       than the attested one is not; links, special files, empty folders, unsafe names and
       look-alikes are findings. Above a limit nothing more is read, and no other step runs.
    2. The attestation is the canonical form of an envelope with one signature.
    3. The signature is valid: by the given key, or by the bundle's own.
    4. The statement is of our type, in canonical form, over both manifests.
    5. Every attested file exists with its size and digest, and there is no other file.
    6. Both manifests list exactly their files, so that other tools see the same bundle.
    7. The bag's own tag files follow RFC 8493.
    8. run.json, catalogue, journal and transcripts agree with each other and with the statement.
    9. Verdicts, roll-up and proofs follow from journal, catalogue and waivers; of a merged run,
       all that its shards attested is here unchanged, and nothing else.
    10. The statement meets the expectations: a release, a commit, a clean tree, an age, a chain;
        and the run that no proof shares a baseline, and that nothing was taken over, or not from
        too long ago.
    11. Sign-offs are the only files that were added, each is about this bundle and valid, and
        enough persons have signed if the policy requires it.
    12. Timestamps are valid for this attestation, and one is by the given authority.
    13. The exports have the bytes that rendering gives, and so has the report. If another renderer
        made the report, other bytes are a note that it is not verified, or a finding if the
        expectations include the report. This step is skipped if the data has findings.

    Args:
        bundle: the folder or the ZIP archive, or a folder that has one of them in it; the path to
            it may be a link, but there must be no link inside.
        key: the signer's public key (PEM or OpenSSH), from outside the bundle. Without it the
            bundle's own key is used, which shows integrity, not origin.
        expect: what the bundle must be, in addition to intact.
        policy: who may sign off the run, and how many must; no sign-off is required by default.
        timestamp_ca: certificates (PEM) of the authority that must have stamped the bundle, from
            outside it; without them timestamps are read, but not trusted.
        now: the present time, for ages; by default the clock's.
        limits: limits of what is read.

    Raises:
        BadInputError: the path is not a bundle, an archive can be read in two ways or has content
            that differs from its headers, or the key cannot be read.

    """
    # 0
    source = open_source(bundle, limits)
    given = publickey.load_public_key(key, name="--key") if key is not None else None
    # 1
    additions, journal = AdditionLimit(), consistency.JournalReader(limits)
    transcripts = TranscriptReader(lambda: journal.end()[0])
    tree = source.read_tree(
        Reading(
            keep=lambda path: additions.limit(path) or _limit(path, limits),
            feed={JOURNAL: journal.feed},
            limits=limits,
            sizes=attested_sizes(source, limits),
            last=transcripts.last,
        )
    )
    files = {file.path: file for file in tree.files if not is_addition(file.path)}
    findings = [*compare_tree(tree)]
    if not tree.complete:
        return Verification(findings=_once(findings), signer=UNKNOWN, predicate=None)
    # 2, 3, 4
    attestation = Authenticity(files, given)
    findings += attestation.findings
    # 5
    findings += compare_attested(files, attestation.claimed)
    # 6
    findings += compare_manifests(files)
    # 7
    findings += compare_bag(files)
    # 8
    contents = consistency.read(files, journal)
    findings += consistency.compare(contents, files, attestation.claimed, given)
    findings += transcripts.findings()
    # 9
    findings += derive_again(contents, attestation.claimed)
    findings += compare_shards(contents, files)
    whole = not findings
    # 10
    moment = now or datetime.now(UTC)
    findings += answer(expect or Expectation(), attestation.trusted, now=moment)
    findings += answer_thorough(expect or Expectation(), contents.run)
    findings += answer_takeovers(expect or Expectation(), contents.records, now=moment)
    # 11
    subject = _subject(files, attestation.trusted, contents.run)
    reviewed = _review(tree, subject, policy or Policy(), now=moment)
    findings += reviewed.findings
    # 12
    stamped = timestamp.check(
        in_folder(tree.files, TIMESTAMPS),
        attestation=subject.attestation,
        sealed=attestation.trusted.sealed if attestation.trusted else None,
        authority=timestamp_ca,
        now=moment,
    )
    findings += stamped.findings
    # 13
    rendered = compare_rendered(
        source,
        files,
        contents.run if whole else None,
        contents.records,
        attestation.trusted,
        required=bool(expect and expect.report),
    )
    findings += rendered.findings
    return Verification(
        findings=_once(findings),
        signer=attestation.signer,
        predicate=attestation.trusted,
        signature=attestation.signature,
        review=reviewed,
        stamped=stamped,
        report=rendered.note,
        report_verified=rendered.is_verified,
        merged=contents.run.merged if contents.run else None,
        contents=contents,
        made_by=other_version(contents.run.bindings) if contents.run else None,
    )


def attested_sizes(source: Source, limits: Limits) -> Mapping[str, int] | None:
    """Return the sizes in the statement, which is not verified yet; None if it cannot be read.

    They only save the reading of large files: the steps of verification report what differs.
    """
    try:
        content = source.read(ATTESTATION, limits.kept)
        predicate = parse_statement(Envelope.from_bytes(content).payload)
    except (OSError, EvidenceError):
        return None
    return {file.path: file.size for file in predicate.files}


def _limit(path: str, limits: Limits) -> int:
    return limits.kept if path in _KEPT or consistency.is_read(path) else 0


def _subject(files: Mapping[str, File], trusted: Predicate | None, run: Run | None) -> Subject:
    return Subject(
        attestation=files[ATTESTATION].digest if ATTESTATION in files else None,
        report=files[REPORT].digest if REPORT in files else None,
        predicate=trusted,
        run=run,
    )


def _review(
    tree: Tree,
    subject: Subject,
    policy: Policy,
    *,
    now: datetime,
) -> Review:
    # If this is not the id of the key that signed, step 4 has a finding.
    merged = subject.run.merged if subject.run else None
    return review(
        in_folder(tree.files, SIGNOFFS),
        subject,
        policy,
        own_keys=_keys_of(subject.predicate, merged),
        now=now,
    )


def _keys_of(predicate: Predicate | None, merged: Merged | None) -> frozenset[Digest]:
    """Return the keys that signed a run and its shards; none of them is a reviewer's."""
    own = {predicate.key.keyid} if predicate else set()
    return frozenset(own | {one.signer for one in (merged.shards if merged else ())})


def _once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort, and drop repeated findings of several steps on one file; others differ by message."""
    first: dict[tuple[str, Code, str], Finding] = {}
    for finding in findings:
        detail = "" if finding.code in _OF_A_FILE else finding.message
        first.setdefault((finding.path, finding.code, detail), finding)
    return tuple(sorted(first.values()))
