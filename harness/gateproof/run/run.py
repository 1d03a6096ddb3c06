"""One run of the gates, from its options to the sealed bundle.

Owns the order of the steps: options and files are checked before anything starts; at the end the
journals are merged, verdicts are derived from them, and the bundle is sealed. Leaves running items
to `gateproof.run.writer`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateproof.base.git import git
from gateproof.base.option import PASSPHRASE_VARIABLE
from gateproof.base.sut import Sut, load_sut
from gateproof.probes import canary as canaries
from gateproof.run.binding import bind
from gateproof.run.option import Options
from gateproof.run.writer import JOURNALS, WriterResult, earlier_of, now, report_of
from gateproof_evidence.format.catalogue import Catalogue, load_catalogue
from gateproof_evidence.format.journal import read_journal
from gateproof_evidence.format.layout import (
    CAPTURES,
    JOURNAL,
    LATEST,
    PAYLOAD,
    PROOFS,
    REDACTIONS,
    TESTS,
    in_data,
    proof_record,
)
from gateproof_evidence.format.waiver import load_waivers
from gateproof_evidence.judging.judgement import Ending, judge
from gateproof_evidence.judging.verdict import CHECK
from gateproof_evidence.model import (
    Baseline,
    PhaseEvent,
    ProofEvent,
    Record,
    Run,
    RunEvent,
    TakenOverEvent,
    Timing,
    Waiver,
)
from gateproof_evidence.redaction.canary import Canary, search
from gateproof_evidence.redaction.ledger import counted, format_ledger, observed
from gateproof_evidence.redaction.redactor import LedgerEntry, Redactor
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.verification.baseline import read_baseline
from gateproof_evidence.verification.earlier import Earlier

WHOLE_RUN = "run"
"""The writer name of records that are added after all other writers have closed their journals."""


@dataclass
class GateRun:
    """One run of the gates."""

    options: Options
    catalogue: Catalogue
    waivers: tuple[Waiver, ...]
    sut: Sut
    key: RunKey
    staging: Path
    started: dt.datetime
    earlier: Earlier | None
    """An earlier bundle whose proofs are reused."""
    baseline: Baseline | None
    """An earlier bundle that the run is compared with."""
    ledger: tuple[LedgerEntry, ...] = ()
    """The redactions in the files of other plugins."""
    results: list[WriterResult] = field(default_factory=list)
    """The results of the writers that have ended."""
    defects: list[str] = field(default_factory=list)
    """Harness defects that belong to no criterion and no writer."""

    @classmethod
    def open(cls, options: Options) -> GateRun:
        """Check all input files, and then create the staging folder.

        Raises:
            BadInputError: a file is invalid; nothing has been started or written.

        """
        catalogue = load_catalogue(options.catalogue)
        waivers = load_waivers(options.waivers, catalogue)
        sut = load_sut(options.sut)
        key = _load_key(options)
        earlier = earlier_of(options)
        baseline = _baseline_of(options)
        staging = options.evidence_out / f".unsealed-{now():%Y%m%dT%H%M%SZ}-{os.getpid()}"
        for name in (JOURNALS, CAPTURES, PROOFS, TESTS):
            (staging / name).mkdir(parents=True)
        return cls(options, catalogue, waivers, sut, key, staging, now(), earlier, baseline)

    @property
    def refusal(self) -> str | None:
        """Why a writer refused the collected items, or None."""
        return next((one.refusal for one in self.results if one.refusal), None)

    @property
    def bound(self) -> bool:
        """Whether checks were collected that can be judged."""
        return any(result.bound for result in self.results)

    @property
    def took_s(self) -> dict[str, float]:
        """Maps each step of the bring-up to its wall time in seconds, in the slowest writer."""
        steps: dict[str, float] = {}
        for result in self.results:
            for step, seconds in result.took_s.items():
                steps[step] = max(seconds, steps.get(step, 0.0))
        return steps

    def finish(self, pytest_status: int) -> tuple[Run, Path, float]:
        """Judge, write the files that go with the journal, and seal the bundle.

        Returns:
            The run, the path of its sealed bundle, and the duration of sealing in seconds.

        Raises:
            EvidenceError: the bundle could not be written, or a canary was not redacted, so that
                secrets of the run may be in it too. The staging folder is kept with readable
                journals.

        """
        self._redact_reports()
        records = self._merge_journals(pytest_status)
        run = self._judge(records)
        self._write_proofs(records)
        self._write_ledger(records)
        _drop_empty(self.staging / PAYLOAD)
        began = time.monotonic()
        bundle = seal(
            self.staging,
            self._destination(),
            run=run,
            catalogue=self.catalogue,
            waivers=self.waivers,
            key=self.key,
            clock=now,
            canaries=self._canaries(),
        )
        _point_latest(bundle)
        return run, bundle, time.monotonic() - began

    def drop_reports(self) -> None:
        """Delete the files of other plugins, because they could not be redacted."""
        for path in (self.staging / TESTS).glob("*"):
            path.unlink()

    def discard(self) -> None:
        """Delete the staging folder: nothing was judged, so there is nothing to keep."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def _merge_journals(self, pytest_status: int) -> tuple[Record, ...]:
        """Merge the journals of the writers into one, and add the record of the run's end."""
        folder = self.staging / JOURNALS
        records = read_journal(sorted(folder.iterdir()))
        records = (*records, self._ending(records, pytest_status))
        lines = "".join(f"{record.model_dump_json()}\n" for record in records)
        (self.staging / JOURNAL).write_text(lines, encoding="utf-8")
        shutil.rmtree(folder)
        return records

    def _ending(self, records: tuple[Record, ...], pytest_status: int) -> RunEvent:
        defects = [*self.defects, *(one for result in self.results for one in result.defects)]
        redactor = self._redactor()
        ending = Ending(
            pytest_status=pytest_status,
            falsify=self.options.falsify.extent,
            defects=tuple(redactor.redact(defect).text for defect in defects),
            baseline=self.baseline,
        )
        # The end of the run must not be before its last record, even if the clock was set back.
        last = max((record.at for record in records), default=self.started)
        data = ending.model_dump(mode="json")
        return RunEvent(writer=WHOLE_RUN, seq=0, at=max(now(), last), event="ended", data=data)

    def _judge(self, records: tuple[Record, ...]) -> Run:
        judged = judge(self.catalogue.criteria, records, self.waivers)
        return Run(
            **vars(judged),
            started=self.started,
            environment=report_of(self.results),
            bindings=bind(
                self.sut,
                previous=self.options.evidence_out / LATEST,
                images={
                    name: digest for one in self.results for name, digest in one.images.items()
                },
            ),
            catalogue_digest=self.catalogue.digest,
            timing=self._timing(records),
        )

    def _timing(self, records: tuple[Record, ...]) -> Timing:
        phases = [record for record in records if isinstance(record, PhaseEvent)]
        checks = sum(phase.duration_s for phase in phases if phase.part == CHECK)
        return Timing(
            start_up_s=round(sum(self.took_s.values()), 3),
            checks_s=round(checks, 3),
            proofs_s=round(sum(phase.duration_s for phase in phases) - checks, 3),
        )

    def _write_proofs(self, records: tuple[Record, ...]) -> None:
        for record in records:
            if isinstance(record, ProofEvent | TakenOverEvent):
                path = self.staging / proof_record(record.criterion, record.falsifier)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._proof_record(record))

    def _proof_record(self, record: ProofEvent | TakenOverEvent) -> bytes:
        """Return the record of a proof; the record of a reused proof is copied unchanged."""
        if isinstance(record, ProofEvent):
            return f"{record.model_dump_json(indent=2)}\n".encode()
        assert self.earlier is not None
        assert record.story.depends is not None
        path = self.staging / self.earlier.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.earlier.attestation)
        key = record.criterion, record.falsifier, record.story.depends
        return self.earlier.proofs[key].record

    def _redact_reports(self) -> None:
        """Redact the secrets of all writers in the files of other plugins.

        The secrets of a writer without a result are not known; the files are deleted then.
        """
        if self.defects:
            self.drop_reports()
            return
        redactor = self._redactor()
        folder = self.staging / TESTS
        planted = canaries.plant_in_report(folder, self._canaries())
        for path in sorted(folder.iterdir()):
            redactor.redact_file(path, place=f"{in_data(TESTS)}{path.name}")
        search([planted], self._canaries())
        planted.unlink()
        self.ledger = tuple(
            one for one in redactor.ledger if one.place != f"{in_data(TESTS)}{planted.name}"
        )

    def _canaries(self) -> list[Canary]:
        return [Canary(core=result.canary) for result in self.results]

    def _write_ledger(self, records: tuple[Record, ...]) -> None:
        """Write the ledger of redactions: rule, place and count."""
        rows = [one for result in self.results for one in result.ledger]
        entries = [*observed(records), *self.ledger, *counted(rows)]
        (self.staging / REDACTIONS).write_bytes(format_ledger(entries))

    def _redactor(self) -> Redactor:
        redactor = Redactor()
        for result in self.results:
            for name, value in result.secrets.items():
                redactor.add_secret(name, value)
        return redactor

    def _destination(self) -> Path:
        commit = (git(self.sut.folder, "rev-parse", "HEAD") or "nocommit")[:12]
        name = f"{self.started:%Y%m%dT%H%M%SZ}-{commit}"
        taken = {path.name for path in self.options.evidence_out.iterdir()}
        names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
        return self.options.evidence_out / next(free for free in names if free not in taken)


def _baseline_of(options: Options) -> Baseline | None:
    if options.baseline is None or options.baseline_key is None:
        return None
    return read_baseline(options.baseline, options.baseline_key.read_bytes())


def _load_key(options: Options) -> RunKey:
    if options.signing_key is None:
        return RunKey.ephemeral()
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    return RunKey.load(options.signing_key, passphrase.encode() if passphrase else None)


def _drop_empty(folder: Path) -> None:
    """Remove empty folders: a bundle has only files."""
    for top, _, files in os.walk(folder, topdown=False):
        if not files:
            with contextlib.suppress(OSError):  # it has subfolders with files
                Path(top).rmdir()


def _point_latest(bundle: Path) -> None:
    """Point the link ``latest`` to the bundle, atomically."""
    link = bundle.parent / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(bundle.name)
    link.replace(bundle.parent / LATEST)


RUN: pytest.StashKey[GateRun] = pytest.StashKey()
