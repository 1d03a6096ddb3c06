"""The check of a merged run: it has what the bundle of each of its shards attested.

A merged bundle keeps the attestation and the public key of each shard's bundle. The journals and
the files of the shards are in it unchanged, so that they still have the attested digests; the
``run.json`` of a shard is derived again from its lines of the journal. Not kept, and not compared,
are the report, the exports and the tag files of a shard.

Owns this comparison. Leaves the verdicts on the whole run to
`gateproof_evidence.verification.derivation`. Not checked: who signed a shard. The signature is
checked by the key in the merged bundle, and the signer of the merge states who verified it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cryptography.exceptions import InvalidSignature

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format import public_key as publickey
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.layout import (
    ANSWERS,
    ATTESTATION,
    CATALOGUE,
    EXPORT_FOLDER,
    JOURNAL,
    JUNIT,
    PAYLOAD,
    PAYLOAD_MANIFEST,
    PUBLIC_KEY,
    PYTEST_PAGE,
    REDACTIONS,
    REPORT,
    RUN,
    SHARDS,
    TAG_MANIFEST,
    TAKEN_OVER,
    TRANSCRIPTS,
    WAIVERS,
    of_shard,
)
from gateproof_evidence.format.manifest import format_manifest
from gateproof_evidence.format.tree import File
from gateproof_evidence.judging.judgement import Ending, by_shard, derive_run, read_ending
from gateproof_evidence.judging.shard import context_of_shard, merge_contexts, merge_endings
from gateproof_evidence.model import Merged, MergedShard, Run
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.verification.consistency import Contents, ShardLines

SHARED = (CATALOGUE, WAIVERS)
"""The files that all shards and the merged bundle have with the same content."""
UNITED = (TRANSCRIPTS, ANSWERS, TAKEN_OVER)
"""The folders whose files a merged bundle has under the paths that they have in a shard."""
KEPT = (PUBLIC_KEY, REDACTIONS, JUNIT, PYTEST_PAGE)
"""The files that each shard has by the same name: a merged bundle has them in a folder of each."""
_DERIVED = (JOURNAL, RUN)

_NONE = ShardLines(count=0, digest=digest_of(b""))


def is_left_out(path: str) -> bool:
    """Return whether a file of a shard's bundle is not in a merged bundle: it is made again."""
    tag = not path.startswith(PAYLOAD) and path != PUBLIC_KEY
    return tag or path == REPORT or path.startswith(EXPORT_FOLDER)


def place_of(number: int, path: str) -> str:
    """Return the path in a merged bundle of a file of a shard, which is not left out or derived."""
    return of_shard(number, path) if path in KEPT else path


def compare_shards(contents: Contents, files: Mapping[str, File]) -> Iterator[Finding]:
    """Compare a merged bundle with what its shards attested; yield nothing for any other bundle.

    1. Every record belongs to a shard, except the end of the whole run.
    2. Each shard has an attestation with a valid signature, about this run.
    3. All that a shard attested is here: its journal, its files, and its run as derived again.
    4. There is no observation, no proof and no file of a shard that none of them attested.
    5. The end of the run, its start, environment and bindings follow from those of its shards.

    Args:
        contents: the parsed files.
        files: by path; those of shards have their content.

    """
    run, records = contents.run, contents.records
    if run is None or records is None or contents.catalogue is None or contents.waivers is None:
        return  # there is a finding already
    if run.merged is None:
        yield from _none_expected(contents, files)
        return
    check = _Check(contents, files, run, run.merged)
    # 1
    yield from check.compare_lines()
    # 2, 3
    for one in run.merged.shards:
        yield from check.compare_shard(one)
    # 4
    yield from check.compare_rest()
    # 5
    yield from check.compare_whole()


def _none_expected(contents: Contents, files: Mapping[str, File]) -> Iterator[Finding]:
    """Yield a finding for files of shards, or for records of another shard than the run's own."""
    for path in files:
        if path.startswith(SHARDS):
            yield _finding(path, "got a file of a shard, expected none: the run is not merged")
    assert contents.run is not None
    own = contents.run.shard.number if contents.run.shard else None
    for number in contents.shards:
        if number != own:
            whose = f"shard {own} only" if own else "no record of a shard"
            yield _finding(JOURNAL, f"got records of shard {number}, expected {whose}")
    if contents.run.shard and contents.run.shard.nonce != contents.run.bindings.nonce:
        yield _finding(RUN, "shard.nonce: got another one than that of the run")


class _Check:
    """The comparison of one merged bundle."""

    def __init__(
        self, contents: Contents, files: Mapping[str, File], run: Run, merged: Merged
    ) -> None:
        assert contents.records is not None
        self._contents, self._files, self._run, self._merged = contents, files, run, merged
        self._records = contents.records
        self._by_shard = by_shard(contents.records)
        self._attested: set[str] = set()
        self._endings: dict[int, Ending] = {}

    def compare_lines(self) -> Iterator[Finding]:
        numbers = [one.number for one in self._merged.shards]
        if numbers != sorted(set(numbers)) or not numbers or max(numbers) > self._merged.of:
            message = (
                f"merged.shards: got {numbers}, expected each of {self._merged.of} once at most"
            )
            yield _finding(RUN, message)
        counts = {number: len(own) for number, own in self._by_shard.items()}
        if counts.pop(None, 0) != 1:
            yield _finding(JOURNAL, "got records of no shard, expected only the end of the run")
        for number in sorted({one for one in (*counts, *self._contents.shards) if one}):
            lines = self._contents.shards.get(number, _NONE).count if number in numbers else 0
            if counts.get(number, 0) != lines:
                message = f"got {counts.get(number, 0)} records of shard {number}, expected {lines}"
                yield _finding(JOURNAL, message)

    def compare_shard(self, one: MergedShard) -> Iterator[Finding]:
        path = of_shard(one.number, ATTESTATION)
        found = self._statement(one, path)
        if isinstance(found, str):
            yield _finding(path, found)
            return
        yield from (_finding(path, problem) for problem in _claims(one, found, self._run))
        yield from self._compare_files(one.number, found)
        yield from self._compare_derived(one, {file.path: file.digest for file in found.files})

    def _statement(self, one: MergedShard, path: str) -> Predicate | str:
        """Return the statement of a shard, or why it cannot be trusted."""
        file, key = self._files.get(path), self._files.get(of_shard(one.number, PUBLIC_KEY))
        if file is None or file.content is None or key is None or key.content is None:
            return f"the attestation of shard {one.number}, or its public key, is missing"
        if file.digest != one.attestation:
            return f"attestation: got {file.digest}, expected {one.attestation}"
        try:
            envelope = Envelope.from_bytes(file.content)
            predicate = parse_statement(envelope.payload)
            public = publickey.load_public_key(key.content, name=PUBLIC_KEY)
            public.verify(envelope.signature, pae(envelope.payload))
        except EvidenceError as error:
            return f"attestation: {str(error).splitlines()[0]}"
        except InvalidSignature:
            return "attestation: not signed by the public key next to it"
        if not publickey.keyid(public) == one.signer == predicate.key.keyid == envelope.keyid:
            return f"attestation: signed by {publickey.keyid(public)}, expected {one.signer}"
        return predicate

    def _compare_files(self, number: int, predicate: Predicate) -> Iterator[Finding]:
        manifests = {
            PAYLOAD_MANIFEST: [f for f in predicate.files if f.path.startswith(PAYLOAD)],
            TAG_MANIFEST: [
                f
                for f in predicate.files
                if not f.path.startswith(PAYLOAD) and f.path != TAG_MANIFEST
            ],
        }
        for file in predicate.files:
            if file.path in manifests:
                listed = [_as_file(one.path, one.digest) for one in manifests[file.path]]
                got, place = digest_of(format_manifest(listed)), of_shard(number, ATTESTATION)
            elif is_left_out(file.path) or file.path in _DERIVED:
                continue
            else:
                place = place_of(number, file.path)
                got = self._files[place].digest if place in self._files else "no such file"
                self._attested.add(place)
            if got != file.digest:
                message = f"{file.path} of shard {number}: got {got}, expected {file.digest}"
                yield _finding(place, f"{message} as attested")

    def _compare_derived(self, one: MergedShard, digests: Mapping[str, str]) -> Iterator[Finding]:
        """Compare the journal of a shard, and its run as it is derived from that journal."""
        lines = self._contents.shards.get(one.number, _NONE)
        if lines.digest != digests.get(JOURNAL):
            message = f"the records of shard {one.number}: got {lines.digest}, expected "
            yield _finding(JOURNAL, f"{message}{digests.get(JOURNAL)} as attested")
            return
        own = self._by_shard[one.number]
        catalogue, waivers = self._contents.catalogue, self._contents.waivers
        assert catalogue is not None
        assert waivers is not None
        try:
            run = derive_run(catalogue, own, waivers, context_of_shard(one))
            self._endings[one.number] = read_ending(own)[1]
        except EvidenceError as error:
            yield _finding(JOURNAL, f"shard {one.number}: {error}")
            return
        if digest_of(run.content) != digests.get(RUN):
            message = f"the run of shard {one.number}: got {digest_of(run.content)}, expected "
            yield _finding(RUN, f"{message}{digests.get(RUN)} as attested")
        expected = (one.number, self._merged.of, self._run.bindings.nonce)
        shard = run.shard
        if (
            shard is None
            or (shard.number, shard.of, shard.nonce) != expected
            or run.ended != one.ended
        ):
            message = f"shard {one.number}: got {shard or 'a whole run'}, expected that shard"
            yield _finding(RUN, f"{message}, of run {self._run.bindings.nonce}, ended {one.ended}")

    def compare_rest(self) -> Iterator[Finding]:
        known = {of_shard(one.number, ATTESTATION) for one in self._merged.shards}
        for path in sorted(self._files.keys() - self._attested - known):
            if path.startswith((*UNITED, SHARDS)):
                yield _finding(path, "got a file that no shard attested, expected none")

    def compare_whole(self) -> Iterator[Finding]:
        if len(self._endings) < len(self._merged.shards) or not self._endings:
            return  # there is a finding already
        try:
            at, ending = read_ending(self._records)
        except EvidenceError:
            return  # there is a finding already
        wanted = merge_endings(self._endings, self._merged)
        if ending != wanted:
            yield _finding(
                JOURNAL, "the end of the run does not follow from the ends of its shards"
            )
        if at != max(one.ended for one in self._merged.shards):
            yield _finding(
                JOURNAL, f"the end of the run: got {at}, expected that of its last shard"
            )
        context = merge_contexts(self._merged, renderer=self._run.bindings.renderer)
        for field, expected in vars(context).items():
            if getattr(self._run, field) != expected:
                yield _finding(RUN, f"{field}: it does not follow from the shards")


def _claims(one: MergedShard, predicate: Predicate, run: Run) -> Iterator[str]:
    """Yield each field in which a shard's statement is about something else."""
    for field, got, expected in (
        ("nonce", predicate.nonce, run.bindings.nonce),
        ("commit", predicate.commit, run.bindings.commit),
        ("dirty", predicate.dirty, run.bindings.dirty),
        ("catalogue", predicate.catalogue_digest, run.catalogue_digest),
        ("started", predicate.started, one.started),
        ("ended", predicate.ended, one.ended),
        ("bound", predicate.bound, one.bindings.bound),
        ("previous", predicate.previous, one.bindings.previous),
    ):
        if got != expected:
            yield f"{field}: shard {one.number} attested another one than the merged run has"


def _as_file(path: str, digest: str) -> File:
    return File(path=path, size=0, digest=digest, content=None)


def _finding(path: str, message: str) -> Finding:
    return Finding(code=Code.SHARD_MISMATCH, path=path, message=message)
