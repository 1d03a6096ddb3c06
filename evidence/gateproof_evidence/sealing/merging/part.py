"""One shard's bundle, verified, as a part of a merge.

Owns verifying it by the right key and reading what a merge needs of it. Leaves the comparison with
the other parts to `gateproof_evidence.sealing.merging.refusal`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.format import public_key as publickey
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.canonical import digest_of, read_json
from gateproof_evidence.format.envelope import Envelope
from gateproof_evidence.format.layout import ATTESTATION, JOURNAL, RUN
from gateproof_evidence.format.recording.journal import shard_of
from gateproof_evidence.format.tree import kind_of_path
from gateproof_evidence.judging.judgement import Ending
from gateproof_evidence.judging.verdict import Binding, read_bindings
from gateproof_evidence.model import RECORD, Digest, MergedShard, Run, RunEvent, Shard
from gateproof_evidence.verification.bundle import verify

Keys = Mapping[Digest, bytes]
"""Public keys from outside the bundles, by their ids."""

_OF_RUN = b'"kind":"run"'
"""A part of every line that records an event of the run itself, and of few others."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a journal, and what its place in a merged journal depends on."""

    at: datetime
    writer: str
    content: bytes
    """With its line end, as the shard's attestation covers it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A shard's bundle that verified."""

    source: Source
    shard: Shard
    record: MergedShard
    """The record that the merged run has of it."""
    predicate: Predicate
    attestation: bytes
    ending: Ending
    checks: Mapping[str, Binding]
    """The criteria of the run: the check of each, the shard that judges it, whether this did."""

    @property
    def bundle(self) -> Path:
        """The path that messages name."""
        return self.source.path

    @property
    def judged(self) -> tuple[str, ...]:
        """The criteria that this shard judged."""
        return tuple(name for name, one in self.checks.items() if one.selected)

    @cached_property
    def digests(self) -> Mapping[str, Digest]:
        """Its files with their attested digests; read once for each of thousands of files."""
        return {file.path: file.digest for file in self.predicate.files}

    def read(self, path: str) -> bytes:
        """Return the content of a file, which must still be the attested one.

        Raises:
            BadInputError: it changed since the bundle was verified.

        """
        content = self.source.read(path)
        if digest_of(content) != self.digests.get(path):
            raise BadInputError(f"{self.bundle / path}: merge: changed while it was read")
        return content

    def lines(self) -> Iterator[Line]:
        """Yield the lines of the journal, in its order."""
        for content in self.source.lines(JOURNAL):
            head = json.loads(content)
            at = datetime.fromisoformat(head["at"])
            yield Line(at=at, writer=head["writer"], content=content)


def read_keys(contents: Sequence[bytes]) -> Keys:
    """Return public keys by their ids.

    Raises:
        BadInputError: a file is not an Ed25519 public key.

    """
    return {
        publickey.keyid(publickey.load_public_key(content, name="--key")): content
        for content in contents
    }


def read_part(bundle: Path, keys: Keys) -> Part:
    """Verify the bundle of a shard and read it.

    Args:
        bundle: its folder or its ZIP archive.
        keys: one of these must have signed it; if there is none, the bundle's own key is used,
            which shows integrity, not origin.

    Raises:
        BadInputError: it is no bundle, does not verify, is signed by another key, or is the bundle
            of a whole run or of a merge.

    """
    source = _open(bundle)
    attestation = _attestation(source)
    found = verify(source, key=_key_of(bundle, attestation, keys))
    if not found.ok or found.predicate is None:
        raise BadInputError(
            f"{bundle}: bundle: got {next(iter(found.findings), 'no statement')}, expected one "
            "that verifies; gateproof verify reports more, and that shard has to be run again"
        )
    run = Run.model_validate(read_json(source.read(RUN)))
    if run.shard is None:
        what = "a merged bundle" if run.merged else "the bundle of a whole run"
        raise BadInputError(
            f"{bundle}: bundle: got {what}, expected the bundle of one shard (--shard K/N); name "
            "the bundles that the shards of one run sealed"
        )
    ending, checks = _read_events(source, run.shard)
    return Part(
        source=source,
        shard=run.shard,
        record=MergedShard(
            number=run.shard.number,
            attestation=digest_of(attestation),
            signer=found.predicate.key.keyid,
            known=bool(keys),
            started=run.started,
            ended=run.ended,
            environment=run.environment,
            bindings=run.bindings,
            timing=run.timing,
        ),
        predicate=found.predicate,
        attestation=attestation,
        ending=ending,
        checks=checks,
    )


def _open(bundle: Path) -> Source:
    if bundle.exists():
        return open_source(bundle)
    raise _no_bundle(bundle, kind_of_path(bundle))


def _attestation(source: Source) -> bytes:
    try:
        return source.read(ATTESTATION)
    except OSError as error:
        raise _no_bundle(source.path, f"a bundle without {ATTESTATION}") from error


def _no_bundle(bundle: Path, got: str) -> BadInputError:
    return BadInputError(
        f"{bundle}: bundle: got {got}, expected the one that a shard sealed; a shard that "
        "was killed leaves none: leave it out, or run it again"
    )


def _key_of(bundle: Path, attestation: bytes, keys: Keys) -> bytes | None:
    """Return the key among the given ones that the bundle names; None if none was given."""
    if not keys:
        return None
    try:
        keyid = parse_statement(Envelope.from_bytes(attestation).payload).key.keyid
    except EvidenceError:
        keyid = ""  # verification reports what is wrong with it
    if keyid and keyid not in keys:
        raise BadInputError(
            f"{bundle}: signer: got {keyid}, expected one of {', '.join(keys)}; name the public "
            "key of that shard's signer with --key, or sign the shards with --signing-key"
        )
    return keys.get(keyid) or next(iter(keys.values()))


def _read_events(source: Source, shard: Shard) -> tuple[Ending, Mapping[str, Binding]]:
    """Return the end of the shard's run and its records of collection; check its writers."""
    events: list[RunEvent] = []
    for content in source.lines(JOURNAL):
        if shard_of(json.loads(content)["writer"]) != shard.number:
            raise BadInputError(
                f"{source.path}: journal: got a record of another writer than those of {shard}, "
                "expected none; run that shard again with the gateproof of the others"
            )
        record = RECORD.validate_json(content) if _OF_RUN in content else None
        if isinstance(record, RunEvent):
            events.append(record)
    ending = Ending.model_validate(events[-1].data)
    return ending, read_bindings(events)
