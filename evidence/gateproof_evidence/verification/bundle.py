"""Says whether a bundle is whole, and who signed it, trusting nothing that it says of itself.

Owns the steps of verification. Leaves the agreement of the files inside to
`gateproof_evidence.verification.consistency`, and whether its verdicts follow to
`gateproof_evidence.verification.derivation`. Imports no private key and no probe. Not checked:
whether the commit exists, and when the bundle was really made.

Source: design, "Verification"; docs/reference/verification.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gateproof_evidence.additions import timestamp
from gateproof_evidence.additions.addition import Late, in_folder, is_late
from gateproof_evidence.additions.reviewer import Policy, Review, review
from gateproof_evidence.additions.sign_off import Subject
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format import public_key as publickey
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.layout import (
    ATTESTATION,
    BAG_INFO,
    BAGIT,
    JOURNAL,
    LATEST,
    PAYLOAD_MANIFEST,
    PUBLIC_KEY,
    REPORT,
    SIGNOFFS,
    TAG_MANIFEST,
    TIMESTAMPS,
)
from gateproof_evidence.format.tree import LIMITS, File, Limits, Tree, read_tree
from gateproof_evidence.model import Result, Run
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.verification import consistency
from gateproof_evidence.verification.authenticity import UNKNOWN, Authenticity
from gateproof_evidence.verification.closed_world import (
    compare_attested,
    compare_bag,
    compare_manifests,
    compare_tree,
)
from gateproof_evidence.verification.derivation import derive_again
from gateproof_evidence.verification.expectation import Expectation, answer
from gateproof_evidence.verification.rerendering import compare_rendered

__all__ = ["UNKNOWN", "Verification", "verify"]

_KEPT = (ATTESTATION, PUBLIC_KEY, BAGIT, BAG_INFO, PAYLOAD_MANIFEST, TAG_MANIFEST)
_TELLING = (ATTESTATION, BAGIT, BAG_INFO, PAYLOAD_MANIFEST, TAG_MANIFEST)
"""Files that sealing writes into every bundle."""
_OF_A_FILE = (Code.FILE_MISSING, Code.FILE_UNLISTED, Code.DIGEST_MISMATCH, Code.KEY_MISMATCH)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found."""

    findings: tuple[Finding, ...]
    signer: str
    """The id of the key that was given and that signed, or ``unknown``: then the signature shows
    that the bundle is whole, and not who made it."""
    predicate: Predicate | None
    """What was attested; None unless the signature over it holds."""
    review: Review = field(default_factory=Review)
    """What the sign-offs come to."""
    stamped: timestamp.Stamped = field(default_factory=timestamp.Stamped)
    """What the timestamps come to."""
    report: str = ""
    """What came of rendering report and exports again; no finding where another renderer did."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def result(self) -> Result | None:
        """The attested result of the run; None unless the signature holds."""
        return self.predicate.result if self.predicate else None


def verify(
    bundle: Path,
    *,
    key: bytes | None = None,
    expect: Expectation | None = None,
    policy: Policy | None = None,
    timestamp_ca: bytes | None = None,
    now: datetime | None = None,
    limits: Limits = LIMITS,
) -> Verification:
    """Verify a bundle as a closed world and report all that is wrong, not only the first.

    0. The bundle is a folder that holds at least one of the files that make it a bundle, and the
       key that was given is a key.
    1. Every file is read once; links, special files, empty folders, unsafe names and look-alikes
       are findings. Past a limit nothing more is read, and no other step is taken.
    2. The attestation is the one spelling of an envelope with one signature.
    3. The signature over what was read holds: by the key given, or by the bundle's own.
    4. The statement is ours, in its one spelling, over both manifests.
    5. Every attested file is there with its size and digest, and no other file is.
    6. Both manifests list exactly their files, so that other tools see the same bundle.
    7. The bag's own tag files say what RFC 8493 asks.
    8. run.json, catalogue, journal and captures agree with each other and with the statement.
    9. Verdicts, roll-up and proofs follow from journal, catalogue and waivers.
    10. What was attested is what is asked for: a release, a commit, a clean tree, an age, a chain.
    11. Sign-offs are the only files that were added, each is about this bundle and holds, and
       enough persons have signed where that is asked.
    12. So are timestamps, over this attestation, and one is by the authority that is given.
    13. The report and the exports have the bytes that rendering gives, where this is the renderer
       that made them and nothing that they show has a finding; otherwise a note says why that was
       not looked at.

    Args:
        bundle: the folder; the path to it may be a link, nothing inside may be.
        key: the signer's public key (PEM or OpenSSH), from outside the bundle. Without it the
            bundle's own key is used, which shows integrity and no signer.
        expect: what is asked of the bundle beyond being whole.
        policy: who may sign the run off, and how many must; nobody is asked for without one.
        timestamp_ca: certificates (PEM) of the authority that must have stamped the bundle, from
            outside it; without them timestamps are read and nobody is believed.
        now: the present moment, against which ages are held; the clock's by default.
        limits: how much is read.

    Raises:
        BadInputError: there is no bundle where one was named, or the key is none.

    """
    # 0
    _refuse_no_bundle(bundle)
    given = publickey.load_public_key(key, name="--key") if key is not None else None
    # 1
    late, journal = Late(), consistency.JournalReader(limits)
    tree = read_tree(
        bundle,
        keep=lambda path: late.limit(path) or _limit(path, limits),
        feed={JOURNAL: journal.feed},
        limits=limits,
    )
    files = {file.path: file for file in tree.files if not is_late(file.path)}
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
    # 9
    findings += derive_again(contents, files, attestation.claimed)
    whole = not findings
    # 10
    moment = now or datetime.now(UTC)
    findings += answer(expect or Expectation(), attestation.trusted, now=moment)
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
        bundle, files, contents.run if whole else None, contents.records, attestation.trusted
    )
    findings += rendered.findings
    return Verification(
        findings=_once(findings),
        signer=attestation.signer,
        predicate=attestation.trusted,
        review=reviewed,
        stamped=stamped,
        report=rendered.note,
    )


def _refuse_no_bundle(bundle: Path) -> None:
    """Refuse what nobody sealed: to list every file of a home folder as unlisted tells nothing.

    One of the files that sealing writes is enough to look on, so that a bundle that was stripped
    of the others is still told what it lacks.
    """
    if not bundle.is_dir():
        got = "a file" if os.path.lexists(bundle) else "nothing of that name"
    elif not any(os.path.lexists(bundle / name) for name in _TELLING):
        got = f"a folder without {', '.join(_TELLING)}"
    else:
        return
    latest = bundle / LATEST
    there = latest if latest.is_dir() else Path("reports") / LATEST
    raise BadInputError(
        f"{bundle}: bundle: got {got}, expected the folder of one sealed run; name {there} or "
        "another folder that a run sealed"
    )


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
    # Where this is not the id of the key that signed, step 4 has found so.
    own = {subject.predicate.key.keyid} if subject.predicate else set()
    return review(
        in_folder(tree.files, SIGNOFFS),
        subject,
        policy,
        own_keys=frozenset(own),
        now=now,
    )


def _once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort, and say once of a file what several steps see: other findings differ by message."""
    first: dict[tuple[str, Code, str], Finding] = {}
    for finding in findings:
        words = "" if finding.code in _OF_A_FILE else finding.message
        first.setdefault((finding.path, finding.code, words), finding)
    return tuple(sorted(first.values()))
