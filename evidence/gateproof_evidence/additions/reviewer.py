"""The policy for sign-offs: the persons who may sign, and how many must.

Owns the policy, the check of each sign-off by it, and the count of persons. Keys and persons come
from outside the bundle. Leaves the content of a sign-off to
`gateproof_evidence.additions.sign_off`. Not checked: when a reviewer really signed. The time is the
reviewer's claim, and must only be between sealing and now.

Source: design, "Sign-off"; docs/reference/sign-off.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateproof_evidence.additions.sign_off import (
    NAMESPACE,
    SignOff,
    Subject,
    compare_signoff,
    read_signoffs,
    result_of,
)
from gateproof_evidence.clients.allowed_signers import (
    check_allowed,
    key_node,
    name_node,
    ties_of,
)
from gateproof_evidence.clients.revocation_list import check_revoked
from gateproof_evidence.clients.ssh_keygen import Checker
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.layout import RUN, SIGNOFFS
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Digest, Result
from gateproof_evidence.model.finding import Code, Finding

_EXPIRED = ("has expired", "is not yet valid")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The requirements for a bundle's sign-offs."""

    required: int = 0
    """The number of persons who must have signed."""
    allowed_signers: bytes | None = None
    """Content of an ``allowed_signers`` file (ssh-keygen(1)), from outside the bundle."""
    revoked: bytes | None = None
    """Content of a KRL, or of a list of public keys, from outside the bundle."""
    phase: str | None = None
    """The phase that must be signed off, or None for the whole run."""
    released: bool = False
    """Whether the phase must be released; for the whole run
    `gateproof_evidence.verification.expectation` asks this."""

    def __post_init__(self) -> None:
        if self.allowed_signers is None and (self.required or self.revoked is not None):
            raise BadInputError(
                "--allowed-signers: got none, expected the file that lists who may sign; without "
                "it no person can be counted and no key can be checked"
            )
        if self.allowed_signers is not None:
            check_allowed(self.allowed_signers, name="--allowed-signers")
        if self.revoked is not None:
            check_revoked(self.revoked, name="--revoked")


@dataclass(frozen=True, kw_only=True)
class Review:
    """The result of checking the sign-offs of a bundle."""

    findings: tuple[Finding, ...] = ()
    signoffs: tuple[SignOff, ...] = ()
    """The sign-offs without findings."""
    persons: int | None = None
    """The number of different persons who signed; None without a list of allowed signers."""
    result: Result | None = None
    """The result of the phase that is asked for, or of the run; None if the run is unreadable."""

    @property
    def is_checked(self) -> bool:
        """Whether keys and names were compared with a list of allowed signers."""
        return self.persons is not None


def review(
    files: Iterable[File],
    subject: Subject,
    policy: Policy,
    *,
    own_keys: frozenset[Digest],
    now: dt.datetime,
) -> Review:
    """Check every sign-off in a bundle, and count those that the policy requires.

    1. ``signoffs/`` contains only pairs of a statement in canonical form and a signature.
    2. Each is about this bundle, states the result of its phase, and is not by the run's own key.
    3. Each signature is for sign-offs, is valid for its statement, and is by a strong key.
    4. With allowed signers: each is by a key that the list allows for this person at that time,
       and that is not revoked.
    5. Enough different persons have signed, by different keys, and the phase that is asked for is
       released where the policy requires it.

    Args:
        files: the files in ``signoffs/``.
        subject: the bundle.
        policy: who may sign, and how many must.
        own_keys: ids of keys that never count.
        now: the time by the verifier's clock.

    Raises:
        BadInputError: the run has no phase with the name that is asked for.

    """
    # 1
    read, malformed = read_signoffs(files)
    findings = [*malformed]
    good: list[SignOff] = []
    # 2, 3, 4
    for one, wrong in _signatures(read, policy):
        wrong += compare_signoff(one, subject, own_keys, now)
        findings += wrong
        if not wrong:
            good.append(one)
    # 5
    findings += _released(subject, policy)
    result = result_of(subject.run, policy.phase) if subject.run else None
    if policy.allowed_signers is None:
        return Review(findings=tuple(findings), signoffs=tuple(good), result=result)
    counted = count_persons(
        [one for one in good if one.statement.covers(policy.phase)], policy.allowed_signers
    )
    if counted < policy.required:
        findings.append(_missing(counted, policy))
    return Review(findings=tuple(findings), signoffs=tuple(good), persons=counted, result=result)


def count_persons(signoffs: Sequence[SignOff], allowed_signers: bytes) -> int:
    """Count the different persons behind sign-offs.

    A person is all names and keys that are tied to each other: by a sign-off, or by a line of the
    allowed signers, which ties its names and its key. So it makes no difference whether two names
    of a key stand on one line or on two.
    """
    signed = [
        frozenset({name_node(one.statement.signer), key_node(one.signature.keyid)})
        for one in signoffs
    ]
    groups: list[frozenset[str]] = []
    for tie in (*signed, *ties_of(allowed_signers)):
        joined = [group for group in groups if group & tie]
        groups = [group for group in groups if not group & tie]
        groups.append(tie.union(*joined))
    return sum(any(tie <= group for tie in signed) for group in groups)


def _signatures(
    signoffs: Sequence[SignOff], policy: Policy
) -> Iterator[tuple[SignOff, list[Finding]]]:
    if not signoffs:
        return
    known, revoked = policy.allowed_signers, policy.revoked
    with Checker(namespace=NAMESPACE, allowed_signers=known, revoked=revoked) as checker:
        for one in signoffs:
            yield one, list(_signature(one, checker, is_known=known is not None))


def _signature(signoff: SignOff, checker: Checker, *, is_known: bool) -> Iterator[Finding]:
    path, signature, content = signoff.path, signoff.signature, signoff.content
    if signature.namespace != NAMESPACE:
        message = f"namespace: got {signature.namespace!a}, expected {NAMESPACE}"
        yield Finding(code=Code.SIGNOFF_NAMESPACE, path=path, message=message)
        return
    why = checker.invalid(signature, content)
    if why is not None:
        yield Finding(code=Code.SIGNOFF_INVALID, path=path, message=why)
        return
    if signature.key.weakness:
        message = f"key {signature.key.fingerprint} does not count: {signature.key.weakness}"
        yield Finding(code=Code.SIGNOFF_WEAK_KEY, path=path, message=message)
    if is_known:
        yield from _allowed(signoff, checker)
    if checker.is_revoked(signature, content):
        message = f"key {signature.key.fingerprint} of {signoff.statement.signer} is revoked"
        yield Finding(code=Code.SIGNOFF_KEY_REVOKED, path=path, message=message)


def _allowed(signoff: SignOff, checker: Checker) -> Iterator[Finding]:
    statement = signoff.statement
    refusal = checker.refusal(
        signoff.signature, signoff.content, who=statement.signer, at=statement.at
    )
    if refusal is None:
        return
    key = f"key {signoff.signature.key.fingerprint}"
    if any(words in refusal for words in _EXPIRED):
        code, message = Code.SIGNOFF_KEY_EXPIRED, f"{key} at {statement.at}: {refusal}"
    elif not refusal and checker.is_known(signoff.signature):
        code, message = (
            Code.SIGNOFF_WRONG_IDENTITY,
            f"{key} is known, but not for {statement.signer}",
        )
    else:
        why = f" ({refusal})" if refusal else ""
        code, message = Code.SIGNOFF_NOT_ALLOWED, f"{key} as {statement.signer} may not sign{why}"
    yield Finding(code=code, path=signoff.path, message=message)


def _released(subject: Subject, policy: Policy) -> Iterator[Finding]:
    """Check the phase that is asked for; an unreadable run has its own findings."""
    if policy.phase is None or subject.run is None:
        return
    result = result_of(subject.run, policy.phase)
    if policy.released and result is not Result.RELEASED:
        message = f"phase {policy.phase}: got {result}, expected released"
        yield Finding(code=Code.NOT_RELEASED, path=RUN, message=message)


def _missing(counted: int, policy: Policy) -> Finding:
    what = f"phase {policy.phase}" if policy.phase else "the whole run"
    message = f"persons who signed {what} off: got {counted}, expected {policy.required} or more"
    return Finding(code=Code.SIGNOFFS_MISSING, path=SIGNOFFS.rstrip("/"), message=message)
