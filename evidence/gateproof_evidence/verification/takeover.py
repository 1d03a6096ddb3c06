"""The comparison of reused checks and proofs with the earlier bundle that they come from.

One is reused if nothing that it depends on has changed. The earlier bundle was verified with a key
from outside; its attestation and its ``run.json`` are copied to ``data/taken-over/``. The
attestation has the digest of that ``run.json``, which has the claims of each check and the digest
of the steps of each proof. So a verifier of the later bundle can check that a proof was signed
before and that a check passed there, and that the earlier run loaded no plugin or other code that
the later one did not load.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.canonical import read_json
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.layout import RUN, taken_over, taken_over_run
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Bound, Digest, Outcome, Proof, Run, Verdict, loaded
from gateproof_evidence.model.finding import Code, Finding


def compare_taken_over(
    run: Run, files: Mapping[str, File], key: Ed25519PublicKey | None
) -> Iterator[Finding]:
    """Compare every reused check and proof with the earlier bundle.

    Args:
        run: the run as claimed.
        files: by path; earlier attestations have their content.
        key: the signer's key, if given; it must have signed the earlier bundle too.

    """
    bundles = EarlierBundles(files, key, now=run.bindings.bound)
    for verdict in run.criteria:
        if verdict.taken_over is not None:
            problem = bundles.problem_of_check(verdict, verdict.taken_over)
            if problem:
                yield _finding(verdict.taken_over, f"{verdict.id}: {problem}")
        for proof in verdict.proofs:
            if proof.taken_over is not None:
                problem = bundles.problem_of_proof(verdict.id, proof, proof.taken_over)
                if problem:
                    yield _finding(proof.taken_over, f"{verdict.id}:{proof.falsifier}: {problem}")


def _finding(digest: Digest, message: str) -> Finding:
    return Finding(code=Code.TAKEOVER_MISMATCH, path=taken_over(digest), message=message)


class EarlierBundles:
    """The parts of earlier bundles in a later one; each attestation is read once.

    Args:
        files: those of the later bundle, by path.
        key: the key that must have signed the earlier bundles, if given.
        now: what the later run loaded.

    """

    def __init__(
        self, files: Mapping[str, File], key: Ed25519PublicKey | None, *, now: Sequence[Bound]
    ) -> None:
        self._files = files
        self._key = key
        self._now = now
        self._predicates: dict[Digest, Predicate | str] = {}
        self._listed: dict[Digest, Mapping[str, Digest]] = {}
        self._runs: dict[Digest, Run | str] = {}
        self._passed: dict[Digest, Mapping[str, Verdict]] = {}
        self._stories: dict[Digest, Mapping[tuple[str, str], Digest | None]] = {}

    def problem_of_file(self, digest: Digest, path: str, original: str, what: str) -> str:
        """Return why an earlier attestation does not cover a file; empty if it does.

        Args:
            digest: of the attestation.
            path: of the file in the later bundle.
            original: its path in the earlier bundle.
            what: the word for it.

        """
        predicate = self._predicate(digest)
        if isinstance(predicate, str):
            return predicate
        if digest not in self._listed:
            self._listed[digest] = {one.path: one.digest for one in predicate.files}
        listed, file = self._listed[digest], self._files.get(path)
        if file is None or listed.get(original) != file.digest:
            got = file.digest if file else f"no {what}"
            return f"{what}: got {got}, expected {listed.get(original, 'none')} as attested before"
        return ""

    def problem_of_check(self, verdict: Verdict, digest: Digest) -> str:
        """Return why an earlier bundle does not show that a check passed; empty if it does."""
        run = self._run(digest)
        if isinstance(run, str):
            return run
        if digest not in self._passed:
            self._passed[digest] = passed_checks(run)
        earlier = self._passed[digest].get(verdict.id)
        if earlier is None:
            return "check: got no pass in the earlier run, expected one"
        if (earlier.claims, earlier.ran) != (verdict.claims, verdict.ran):
            return "check: got other claims or another time than in the earlier run"
        return ""

    def problem_of_proof(self, criterion: str, proof: Proof, digest: Digest) -> str:
        """Return why an earlier bundle does not show the steps of a proof; empty if it does."""
        run = self._run(digest)
        if isinstance(run, str):
            return run
        if digest not in self._stories:
            self._stories[digest] = {
                (verdict.id, one.falsifier): one.story
                for verdict in run.criteria
                for one in verdict.proofs
            }
        earlier = self._stories[digest].get((criterion, proof.falsifier))
        if proof.story is None or proof.story != earlier:
            return f"record: got {proof.story}, expected {earlier} as attested before"
        return ""

    def _run(self, digest: Digest) -> Run | str:
        """Return the run of an earlier bundle, or why it cannot be trusted."""
        if digest not in self._runs:
            problem = self.problem_of_file(digest, taken_over_run(digest), RUN, "run.json")
            self._runs[digest] = problem or self._read_run(digest)
        return self._runs[digest]

    def _read_run(self, digest: Digest) -> Run | str:
        file = self._files[taken_over_run(digest)]
        if file.content is None:
            return "run.json of the earlier bundle: too large to read"
        try:
            return Run.model_validate(read_json(file.content))
        except (EvidenceError, ValidationError) as error:
            return f"run.json of the earlier bundle: {str(error).splitlines()[0]}"

    def _predicate(self, digest: Digest) -> Predicate | str:
        """Return the statement of an earlier attestation, or why it cannot be trusted."""
        if digest not in self._predicates:
            self._predicates[digest] = self._read_predicate(digest)
        return self._predicates[digest]

    def _read_predicate(self, digest: Digest) -> Predicate | str:
        file = self._files.get(taken_over(digest))
        if file is None or file.content is None:
            return "the attestation of the earlier bundle is missing"
        if file.digest != digest:
            return f"attestation: got {file.digest}, expected {digest}"
        try:
            envelope = Envelope.from_bytes(file.content)
            predicate = parse_statement(envelope.payload)
            if self._key is not None:
                self._key.verify(envelope.signature, pae(envelope.payload))
        except (EvidenceError, ValidationError) as error:
            return f"attestation: {str(error).splitlines()[0]}"
        except InvalidSignature:
            return "attestation: not signed by the given key"
        more = sorted(
            f"{part} {name}" for part, name, _ in loaded(predicate.bound) - loaded(self._now)
        )
        if more:
            return f"proven with {', '.join(more)}, which this run did not load"
        return predicate


def passed_checks(run: Run) -> Mapping[str, Verdict]:
    """Return the verdicts on the checks that passed in a run, each with the time of its own run."""
    return {
        one.id: one if one.ran else one.model_copy(update={"ran": run.started})
        for one in run.criteria
        if one.outcome is Outcome.PASS
    }
