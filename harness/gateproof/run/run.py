"""One run of the gates, from its options to its bundle.

Owns the order of its steps: options and files are checked before anything starts; at the end the
journals of the writers are merged and the run is sealed. Leaves running items to
`gateproof.run.writer`, and deriving the run from its journal to `gateproof_evidence.sealing.seal`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateproof.base.compiled import drop_compiled
from gateproof.base.errors import EnvironmentProblemError, HarnessError
from gateproof.base.git import git
from gateproof.base.option import PASSPHRASE_VARIABLE
from gateproof.base.origin import Origins
from gateproof.description.gates import catalogue_of, described_ids
from gateproof.description.need import refuse_unknown_criteria
from gateproof.description.sut import Sut
from gateproof.probes import canary as canaries
from gateproof.run.binding import BoundPath, bind, bound_code, bound_digests, bound_files
from gateproof.run.option import Options
from gateproof.run.writer import JOURNALS, WriterResult, earlier_of, now, report_of
from gateproof_evidence.errors import EvidenceError, NotWritableError, not_writable
from gateproof_evidence.format.archive.archive import ENDING
from gateproof_evidence.format.archive.writer import archive_of, write_archive
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.layout import (
    ANSWERS,
    JOURNAL,
    LATEST,
    LATEST_ARCHIVE,
    PAYLOAD,
    REDACTIONS,
    TESTS,
    TRANSCRIPTS,
    in_data,
)
from gateproof_evidence.format.recording.journal import Salvage, merge, writer_in_shard
from gateproof_evidence.format.recording.transcript import remove_unrecorded
from gateproof_evidence.format.waiver import load_all_waivers
from gateproof_evidence.judging.judgement import Context, Ending
from gateproof_evidence.judging.result import ENVIRONMENT, HARNESS
from gateproof_evidence.judging.verdict import CHECK
from gateproof_evidence.model import (
    Baseline,
    Bound,
    CheckTakenOverEvent,
    PhaseEvent,
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
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from gateproof_evidence.verification.baseline import read_baseline
from gateproof_evidence.verification.earlier import Earlier

UNSEALED = "UNSEALED.txt"
"""The note in a staging folder, for the person who finds the folder later."""

_BAD_FIRST = (int(pytest.ExitCode.USAGE_ERROR), HARNESS, ENVIRONMENT)

WHOLE_RUN = "run"
"""The writer of the record of the run's end; every other writer has closed its journal by then."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a process could not start, or did not take what it collected."""

    status: int
    """The exit status that it means."""
    message: str

    @classmethod
    def of(cls, error: EvidenceError | HarnessError) -> Problem:
        """Return the problem of an error: bad input, the environment, or the harness."""
        status = HARNESS
        if isinstance(error, EnvironmentProblemError):
            status = ENVIRONMENT
        elif isinstance(error, EvidenceError) and not isinstance(error, NotWritableError):
            status = int(pytest.ExitCode.USAGE_ERROR)
        return cls(status=status, message=str(error))


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
    """The verdicts of a bundle; the run must not regress from them."""
    bound_at_start: Mapping[BoundPath, Bound]
    """The files that the verdicts depend on, as they are at the start."""
    ledger: tuple[LedgerEntry, ...] = ()
    """Redactions in the files of other plugins."""
    results: list[WriterResult] = field(default_factory=list)
    """The results of the writers that have ended."""
    defects: list[str] = field(default_factory=list)
    """Harness defects that belong to no criterion and no writer."""
    problems: list[Problem] = field(default_factory=list)
    """Why xdist workers could not start."""
    code: set[str] = field(default_factory=set)
    """Other code that this process loaded; the writers report that of theirs."""
    ended: bool = False
    """Whether the session ended, so that the records were sealed, kept or discarded."""
    bundle: Path | None = None
    """The sealed bundle; None until there is one."""
    packing_s: float = 0.0
    """The time that writing the bundle as one file took."""
    stopped: str = ""
    """Why pytest stopped before the end; empty if it did not."""

    @classmethod
    def open(cls, options: Options) -> GateRun:
        """Check every file that the options name, then make the staging folder.

        Raises:
            BadInputError: a file is invalid; nothing has been started or written.
            NotWritableError: the staging folder cannot be made; nothing of it is left.

        """
        # Here, since an xdist worker seals nothing; and before any check, since a run is bound to
        # the code that it has loaded.
        importlib.import_module("gateproof_evidence.sealing.seal")
        catalogue = catalogue_of(options.sut, options.gates)
        if options.sut.left_out or options.sut.replaced:
            refuse_unknown_criteria(options.sut, {*catalogue.ids, *described_ids(options.sut)})
        waivers = load_all_waivers(options.waivers, catalogue)
        key = _load_key(options)
        earlier = earlier_of(options)
        baseline = _baseline_of(options)
        staging = options.evidence_out / f".unsealed-{now():%Y%m%dT%H%M%SZ}-{os.getpid()}"
        _make_staging(staging)
        sut = options.sut
        drop_compiled([*options.gates, *(sut.folder / source for source in sut.sources)])
        bound = bound_files(sut, options.judges)
        return cls(
            options, catalogue, waivers, options.sut, key, staging, now(), earlier, baseline, bound
        )

    @property
    def problem(self) -> Problem | None:
        """Why nothing was judged: bad input, or no writer could start; None if checks were."""
        bad = int(pytest.ExitCode.USAGE_ERROR)
        refused = [one.refusal for one in self.results if one.refusal]
        found = [*(Problem(status=bad, message=one) for one in refused), *self.problems]
        worst = min(found, key=lambda one: _BAD_FIRST.index(one.status), default=None)
        return worst if worst is None or worst.status == bad or not self.bound else None

    @property
    def lost(self) -> bool:
        """Whether a writer could not write evidence."""
        return any(result.lost for result in self.results)

    @property
    def bound(self) -> bool:
        """Whether checks were collected that can be judged."""
        return any(result.bound for result in self.results) or any(map(_is_bound, self._silent()))

    @property
    def interrupted(self) -> bool:
        """Whether a person interrupted a writer; pytest then reports a stop of its own as well."""
        return any(result.interrupted for result in self.results)

    @property
    def took_s(self) -> dict[str, float]:
        """Steps of the bring-up and their wall time; writers bring up at the same time."""
        steps: dict[str, float] = {}
        for result in self.results:
            for step, seconds in result.took_s.items():
                steps[step] = max(seconds, steps.get(step, 0.0))
        return steps

    def finish(self, pytest_status: int) -> tuple[Run, Path, float]:
        """Merge the journals, write the files that follow from them, and seal.

        Returns:
            The run as sealing derived it, its bundle, and the time that sealing took, in seconds.

        Raises:
            EvidenceError: the bundle could not be written, or a canary was not redacted: then a
                secret of the run may not have been, either. The staging folder stays, with readable
                journals.

        """
        try:
            return self._finish(pytest_status)
        except OSError as error:
            raise not_writable(
                Path(error.filename or self.staging), error, what="bundle"
            ) from error

    def explain(self, reason: str) -> None:
        """Write into the staging folder why it was not sealed, if that can be written."""
        with contextlib.suppress(OSError):
            (self.staging / UNSEALED).write_text(_note(reason), encoding="utf-8")

    def _finish(self, pytest_status: int) -> tuple[Run, Path, float]:
        self._redact_reports()
        self._compare_bound()
        self._merge_journals(pytest_status)
        journal = read_staged_journal(self.staging, data=False)
        self._write_earlier(journal.records)
        self._write_ledger(journal.records)
        remove_unrecorded(self.staging / PAYLOAD, journal.records)
        _drop_empty(self.staging / PAYLOAD)
        context = self._context(journal.records)
        from gateproof_evidence.sealing.seal import seal  # see `open`

        (self.staging / UNSEALED).unlink(missing_ok=True)
        began = time.monotonic()
        sealed = seal(
            self.staging,
            self._destination(),
            journal=journal,
            catalogue=self.catalogue,
            waivers=self.waivers,
            context=context,
            key=self.key,
            clock=now,
            canaries=self._canaries(),
        )
        self.bundle = sealed.bundle
        sealing_s = time.monotonic() - began
        _point(LATEST, sealed.bundle)
        _point(LATEST_ARCHIVE, write_archive(sealed.bundle, archive_of(sealed.bundle)))
        self.packing_s = time.monotonic() - began - sealing_s
        return sealed.run, sealed.bundle, sealing_s

    def report_silent_writers(self) -> None:
        """Report the writers that ended without a result, and of which xdist reported no end."""
        self.defects += [
            f"the xdist worker {name} ended without a result"
            for name, path in ((writer_in_shard(path.stem), path) for path in self._silent())
            if _is_bound(path) and not any(name in defect.split() for defect in self.defects)
        ]

    def _silent(self) -> list[Path]:
        """Return the journals of the writers without a result."""
        known = {result.writer for result in self.results}
        journals = sorted((self.staging / JOURNALS).glob("*.jsonl"))
        return [path for path in journals if path.stem not in known]

    def drop_reports(self) -> None:
        """Remove the files of other plugins, where they cannot be redacted.

        Raises:
            OSError: one cannot be removed, and may contain secrets.

        """
        for path in (self.staging / TESTS).glob("*"):
            path.unlink()

    def discard(self) -> None:
        """Remove the staging folder: no check ran, so it contains no evidence."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def _merge_journals(self, pytest_status: int) -> None:
        """Write one journal from the writers' files, with the record of the run's end."""
        folder = self.staging / JOURNALS
        part, last = self.staging / f"{JOURNAL}.part", self.started
        paths = sorted(folder.iterdir())
        try:
            with part.open("w", encoding="utf-8") as file:
                for record in self._salvaged(paths):
                    file.write(f"{record.model_dump_json()}\n")
                    last = max(last, record.at)
                file.write(f"{self._ending(last, pytest_status).model_dump_json()}\n")
        except OSError as error:
            needed = sum(path.stat().st_size for path in paths)
            raise not_writable(part, error, what="merged journal", needed=needed) from error
        part.rename(self.staging / JOURNAL)  # a merge that failed leaves no journal of this name
        shutil.rmtree(folder)

    def _salvaged(self, paths: list[Path]) -> Iterator[Record]:
        """Yield the records of all writers by time; report what is damaged or missing."""
        found = [Salvage(path, at=self.started) for path in paths]
        yield from merge(one.read() for one in found)
        self.defects += [line for one in found for line in one.spoiled]
        missing = {result.writer for result in self.results} - {path.stem for path in paths}
        self.defects += [f"the journal of {name} is missing" for name in sorted(missing)]

    def _ending(self, last: dt.datetime, pytest_status: int) -> RunEvent:
        defects = [*self.defects, *(one for result in self.results for one in result.defects)]
        defects += [f"an xdist worker could not start: {one.message}" for one in self.problems]
        redactor = self._redactor()
        ending = Ending(
            pytest_status=pytest_status,
            stopped="" if self.interrupted else redactor.redact(self.stopped).text,
            falsify=self.options.falsify.extent,
            defects=tuple(redactor.redact(defect).text for defect in defects),
            baseline=self.baseline,
            shard=self.options.shard,
        )
        # Even if the clock was set back, the run ends after its last record.
        data = ending.model_dump(mode="json")
        writer = self.options.writer(WHOLE_RUN)
        return RunEvent(writer=writer, seq=0, at=max(now(), last), event="ended", data=data)

    def _context(self, records: tuple[Record, ...]) -> Context:
        images: dict[str, str] = {}
        for result in self.results:
            images.update(result.images)
        origins = Origins()
        return Context(
            started=self.started,
            environment=report_of(self.results),
            bindings=bind(
                self.sut,
                bound=(*self.bound_at_start.values(), *self._bound_code(origins)),
                previous=self.options.evidence_out / LATEST,
                images=images,
                origins=origins,
                nonce=self.options.nonce,
            ),
            timing=self._timing(records),
        )

    def _compare_bound(self) -> None:
        """Report files that changed during the run: no one content was judged then."""
        at_start = {place: one.digest for place, one in self.bound_at_start.items()}
        at_end = bound_digests(self.sut, self.options.judges)
        for part, path in sorted(at_start.keys() | at_end.keys()):
            before, after = at_start.get((part, path)), at_end.get((part, path))
            if before != after:
                known = self.bound_at_start.get((part, path))
                self.defects.append(
                    f"{known.title if known else f'{part} {path.name}'}: changed during the run: "
                    f"got {after} at the end, expected {before}; leave these files alone and "
                    "repeat the run"
                )

    def _bound_code(self, origins: Origins) -> tuple[Bound, ...]:
        plugins = {name for result in self.results for name in result.plugins}
        code = {path for result in self.results for path in result.code}
        return bound_code(plugins, code | self.code, origins)

    def _timing(self, records: tuple[Record, ...]) -> Timing:
        phases = [record for record in records if isinstance(record, PhaseEvent)]
        checks = sum(phase.duration_s for phase in phases if phase.part == CHECK)
        return Timing(
            start_up_s=round(sum(self.took_s.values()), 3),
            checks_s=round(checks, 3),
            proofs_s=round(sum(phase.duration_s for phase in phases) - checks, 3),
        )

    def _write_earlier(self, records: tuple[Record, ...]) -> None:
        """Write the parts of the earlier bundle with which what was taken over is compared."""
        taken = [one for one in records if isinstance(one, TakenOverEvent | CheckTakenOverEvent)]
        if self.earlier is None or not taken:
            return
        path = self.staging / self.earlier.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.earlier.attestation)
        (self.staging / self.earlier.run_name).write_bytes(self.earlier.run)

    def _redact_reports(self) -> None:
        """Redact every writer's secrets in the files of other plugins.

        The secrets of a writer without a result are unknown: then no such file is kept.
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
        """Write rule, place and count of every redaction."""
        reported = [one for result in self.results for one in result.ledger]
        entries = [*observed(records), *self.ledger, *counted(reported)]
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
        free = (name for name in names if not taken & {name, f"{name}{ENDING}"})
        return self.options.evidence_out / next(free)


def _baseline_of(options: Options) -> Baseline | None:
    if options.baseline is None or options.baseline_key is None:
        return None
    return read_baseline(options.baseline, options.baseline_key.read_bytes())


def _load_key(options: Options) -> RunKey:
    if options.signing_key is None:
        return RunKey.ephemeral()
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    return RunKey.load(options.signing_key, passphrase.encode() if passphrase else None)


def _make_staging(staging: Path) -> None:
    """Make the staging folder with its note, or nothing."""
    try:
        for name in (JOURNALS, TRANSCRIPTS, ANSWERS, TESTS):
            (staging / name).mkdir(parents=True)
        note = _note(f"process {os.getpid()} on {platform.node()} still runs, or was ended")
        (staging / UNSEALED).write_text(note, encoding="utf-8")
    except OSError as error:
        problem = not_writable(staging, error, what="evidence folder")
        shutil.rmtree(staging, ignore_errors=True)
        raise problem from error


def _note(reason: str) -> str:
    return (
        f"This folder belongs to a run of gates without a bundle: {reason}.\n\n"
        f"{JOURNALS}/*.jsonl (or {JOURNAL}) has every record up to the end, one JSON object\n"
        f"a line; {TRANSCRIPTS} has what was observed. Both are redacted; files in\n"
        f"{TESTS} may not be. No verdict follows from this folder, and it cannot be sealed\n"
        "later: run the gates again. Delete the folder when you have read it.\n"
    )


def _is_bound(journal: Path) -> bool:
    """Return whether a writer recorded the collection of its checks."""
    try:
        with journal.open("rb") as file:
            return any(b'"event":"collected"' in line for line in file)
    except OSError:
        return True  # an unreadable file may be evidence: it is not discarded


def _drop_empty(folder: Path) -> None:
    """Remove empty folders: a bundle contains files only."""
    for top, _, files in os.walk(folder, topdown=False):
        if not files:
            with contextlib.suppress(OSError):  # its subfolders contain files
                Path(top).rmdir()


def _point(name: str, target: Path) -> None:
    """Point a link next to a bundle or its archive to it; it is replaced at once, never missing."""
    link = target.parent / f".{name}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    link.replace(target.parent / name)


RUN: pytest.StashKey[GateRun] = pytest.StashKey()
