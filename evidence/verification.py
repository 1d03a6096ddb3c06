"""Says whether a bundle is whole, and who signed it, trusting nothing that it says of itself.

Owns the steps of verification. Leaves the agreement of the files inside to
`evidence.consistency`, and whether its verdicts follow to `evidence.derivation`. Imports no private
key and no probe. Not checked: whether the commit exists, and when the bundle was really made.

Source: design, "Verification"; docs/reference/verification.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evidence import consistency, publickey, timestamp
from evidence.attestation import Predicate, parse_statement
from evidence.canonical import DuplicateKeyError
from evidence.derivation import derive_again
from evidence.envelope import Envelope, pae
from evidence.errors import BadInputError, EvidenceError
from evidence.expectation import Expectation, answer
from evidence.finding import Code, Finding
from evidence.late import SIGNOFFS, TIMESTAMPS, Late, in_folder, is_late
from evidence.manifest import (
    ATTESTATION,
    BAG_INFO,
    BAGIT,
    BAGIT_CONTENT,
    PAYLOAD,
    PAYLOAD_MANIFEST,
    PUBLIC_KEY,
    TAG_MANIFEST,
    ManifestError,
    parse_manifest,
    payload_oxum,
)
from evidence.model import Digest, Result, Run
from evidence.reviewers import Policy, Review, review
from evidence.signoff import Subject
from evidence.tree import LARGEST_KEPT, File, Oddity, Tree, read_tree

UNKNOWN = "unknown"
REPORT = "data/report.html"

_KEPT = (ATTESTATION, PUBLIC_KEY, BAGIT, BAG_INFO, PAYLOAD_MANIFEST, TAG_MANIFEST)
_OF_A_FILE = (Code.FILE_MISSING, Code.FILE_UNLISTED, Code.DIGEST_MISMATCH, Code.KEY_MISMATCH)
_CODES: Mapping[Oddity, Code] = {
    "link": Code.LINK,
    "special": Code.SPECIAL_FILE,
    "empty-folder": Code.EMPTY_FOLDER,
    "name": Code.BAD_NAME,
    "lookalike": Code.LOOKALIKE,
    "unreadable": Code.UNREADABLE,
}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found."""

    findings: tuple[Finding, ...]
    signer: str
    """The id of the key that was given and that signed, or ``unknown``: then the signature shows
    that the bundle is whole, and not who made it."""
    predicate: Predicate | None
    """What was attested; None unless the signature over it holds."""
    review: Review
    """What the sign-offs come to."""
    stamped: timestamp.Stamped
    """What the timestamps come to."""

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
) -> Verification:
    """Verify a bundle as a closed world and report all that is wrong, not only the first.

    0. The bundle is a folder, and the key that was given is one.
    1. Every file is read once; links, special files, empty folders, unsafe names and look-alikes
       are findings.
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

    Args:
        bundle: the folder; the path to it may be a link, nothing inside may be.
        key: the signer's public key (PEM or OpenSSH), from outside the bundle. Without it the
            bundle's own key is used, which shows integrity and no signer.
        expect: what is asked of the bundle beyond being whole.
        policy: who may sign the run off, and how many must; nobody is asked for without one.
        timestamp_ca: certificates (PEM) of the authority that must have stamped the bundle, from
            outside it; without them timestamps are read and nobody is believed.
        now: the present moment, against which ages are held; the clock's by default.

    Raises:
        BadInputError: the bundle is no folder, or the key is none.

    """
    # 0
    if not bundle.is_dir():
        raise BadInputError(
            f"{bundle}: bundle: got no folder, expected the folder of one run; name "
            "reports/latest or another bundle"
        )
    given = publickey.load_public_key(key, name="--key") if key is not None else None
    # 1
    late = Late()
    tree = read_tree(bundle, keep=lambda path: late.limit(path) or _limit(path))
    files = {file.path: file for file in tree.files if not is_late(file.path)}
    findings = [*_oddities(tree)]
    # 2, 3, 4
    attestation = _Attestation(files, given)
    findings += attestation.findings
    # 5, 6, 7
    findings += _closed_world(files, attestation.claimed)
    findings += _manifests(files)
    findings += _bag(files)
    # 8
    contents = consistency.read(files)
    findings += consistency.compare(contents, files, attestation.claimed, given)
    # 9
    findings += derive_again(contents, files, attestation.claimed)
    # 10
    moment = now or datetime.now(UTC)
    findings += answer(expect or Expectation(), attestation.trusted, now=moment)
    # 11
    subject = _subject(files, attestation.trusted, contents.run)
    reviewed = _review(tree, subject, given, policy or Policy(), now=moment)
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
    return Verification(
        findings=_once(findings),
        signer=attestation.signer,
        predicate=attestation.trusted,
        review=reviewed,
        stamped=stamped,
    )


class _Attestation:
    """Steps 2 to 4: what was claimed, what of it can be trusted, and by whose key."""

    def __init__(self, files: Mapping[str, File], given: Ed25519PublicKey | None) -> None:
        self.findings: list[Finding] = []
        self.claimed: Predicate | None = None
        self.trusted: Predicate | None = None
        self.signer = UNKNOWN
        envelope = self._envelope(files)
        own = self._own_key(files)
        if envelope is not None:
            signed = self._signature(envelope, given, own)
            self._statement(envelope, given or own, trusted=signed)
            if signed and given is not None and own is not None:
                self._compare_keyid(publickey.keyid(own), publickey.keyid(given), path=PUBLIC_KEY)

    def _add(self, code: Code, path: str, message: str) -> None:
        self.findings.append(Finding(code=code, path=path, message=message))

    def _envelope(self, files: Mapping[str, File]) -> Envelope | None:
        file = files.get(ATTESTATION)
        if file is None or file.content is None:
            self._add(Code.ATTESTATION_MISSING, ATTESTATION, "no attestation, nothing is vouched")
            return None
        try:
            return Envelope.from_bytes(file.content)
        except DuplicateKeyError as error:
            self._add(Code.JSON_DUPLICATE_KEY, ATTESTATION, str(error))
        except EvidenceError as error:
            self._add(Code.ATTESTATION_MALFORMED, ATTESTATION, str(error))
        return None

    def _own_key(self, files: Mapping[str, File]) -> Ed25519PublicKey | None:
        file = files.get(PUBLIC_KEY)
        content = (file.content if file else None) or b""
        try:
            key = publickey.load_public_key(content, name=PUBLIC_KEY)
        except BadInputError as error:
            self._add(Code.KEY_UNREADABLE, PUBLIC_KEY, str(error).removeprefix(f"{PUBLIC_KEY}: "))
            return None
        if publickey.to_pem(key) != content:
            self._add(Code.KEY_UNREADABLE, PUBLIC_KEY, "got another spelling, expected plain PEM")
        return key

    def _signature(
        self, envelope: Envelope, given: Ed25519PublicKey | None, own: Ed25519PublicKey | None
    ) -> bool:
        key = given or own
        if key is None:
            self._add(Code.SIGNATURE_INVALID, ATTESTATION, "no key to check the signature with")
            return False
        if _holds(envelope, key):
            self.signer = publickey.keyid(given) if given else UNKNOWN
            return True
        if own is not None and _holds(envelope, own):
            message = f"signed by {publickey.keyid(own)}, expected {publickey.keyid(key)}"
            self._add(Code.WRONG_SIGNER, ATTESTATION, message)
        else:
            self._add(Code.SIGNATURE_INVALID, ATTESTATION, "the signature does not hold")
        return False

    def _statement(
        self, envelope: Envelope, key: Ed25519PublicKey | None, *, trusted: bool
    ) -> None:
        try:
            self.claimed = parse_statement(envelope.payload)
        except DuplicateKeyError as error:
            self._add(Code.JSON_DUPLICATE_KEY, ATTESTATION, str(error))
        except EvidenceError as error:
            self._add(Code.ATTESTATION_MALFORMED, ATTESTATION, str(error))
        if not trusted or self.claimed is None or key is None:
            return
        self.trusted = self.claimed
        for keyid in (envelope.keyid, self.claimed.key.keyid):
            self._compare_keyid(keyid, publickey.keyid(key))

    def _compare_keyid(self, got: Digest, expected: Digest, *, path: str = ATTESTATION) -> None:
        if got != expected:
            message = f"key id: got {got}, expected {expected}, the key that signed"
            self._add(Code.KEY_MISMATCH, path, message)


def _holds(envelope: Envelope, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(envelope.signature, pae(envelope.payload))
    except InvalidSignature:
        return False
    return True


def _oddities(tree: Tree) -> Iterator[Finding]:
    for odd in tree.odd:
        yield Finding(code=_CODES[odd.kind], path=odd.path, message=odd.message)


def _closed_world(files: Mapping[str, File], predicate: Predicate | None) -> Iterator[Finding]:
    if predicate is None:
        return
    listed = {file.path: file for file in predicate.files}
    for path, expected in listed.items():
        got = files.get(path)
        if got is None:
            yield Finding(code=Code.FILE_MISSING, path=path, message="attested, but missing")
            continue
        if got.size != expected.size:
            message = f"got {got.size} bytes, expected {expected.size}"
            yield Finding(code=Code.SIZE_MISMATCH, path=path, message=message)
        yield from _digest(got, expected.digest)
    for path in files.keys() - listed.keys() - {ATTESTATION}:
        yield Finding(code=Code.FILE_UNLISTED, path=path, message="there, but not attested")


def _manifests(files: Mapping[str, File]) -> Iterator[Finding]:
    tags = {path for path in files if not path.startswith(PAYLOAD)} - {TAG_MANIFEST, ATTESTATION}
    payload = {path for path in files if path.startswith(PAYLOAD)}
    yield from _manifest(files, PAYLOAD_MANIFEST, payload)
    yield from _manifest(files, TAG_MANIFEST, tags)


def _manifest(files: Mapping[str, File], name: str, expected: set[str]) -> Iterator[Finding]:
    file = files.get(name)
    if file is None or file.content is None:
        yield Finding(code=Code.FILE_MISSING, path=name, message="the manifest is missing")
        return
    try:
        listed = parse_manifest(file.content)
    except ManifestError as error:
        yield Finding(code=Code.MANIFEST_MALFORMED, path=name, message=str(error))
        return
    for path in listed.keys() - expected:
        code = Code.MANIFEST_MISMATCH if path in files else Code.FILE_MISSING
        yield Finding(code=code, path=path, message=f"{name} lists it")
    for path in expected - listed.keys():
        yield Finding(code=Code.FILE_UNLISTED, path=path, message=f"{name} does not list it")
    for path in listed.keys() & expected:
        yield from _digest(files[path], listed[path])


def _digest(got: File, expected: Digest) -> Iterator[Finding]:
    if got.digest != expected:
        message = f"got {got.digest}, expected {expected}"
        yield Finding(code=Code.DIGEST_MISMATCH, path=got.path, message=message)


def _bag(files: Mapping[str, File]) -> Iterator[Finding]:
    bagit = files.get(BAGIT)
    if bagit is None or bagit.content != BAGIT_CONTENT:
        yield Finding(
            code=Code.BAG_MALFORMED, path=BAGIT, message="not the declaration of BagIt 1.0"
        )
    info = files.get(BAG_INFO)
    line = f"Payload-Oxum: {payload_oxum(files.values())}".encode("ascii")
    if info is None or line not in (info.content or b"").splitlines():
        message = f"got another payload, expected {line.decode('ascii')!r}"
        yield Finding(code=Code.BAG_MALFORMED, path=BAG_INFO, message=message)


def _limit(path: str) -> int:
    return LARGEST_KEPT if path in _KEPT or consistency.is_read(path) else 0


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
    given: Ed25519PublicKey | None,
    policy: Policy,
    *,
    now: datetime,
) -> Review:
    own = {subject.predicate.key.keyid} if subject.predicate else set()
    own |= {publickey.keyid(given)} if given else set()
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
