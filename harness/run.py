"""One run of the gates: what it was asked, what it records into, and how it ends in a bundle.

Owns the order of things: options and files are checked before anything starts; checks are bound to
criteria at collection; at the end verdicts are derived from the journal and sealed.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evidence.catalogue import Catalogue, load_catalogue
from evidence.errors import BadInputError
from evidence.journal import Journal
from evidence.model import PhaseEvent, ProofEvent, Run, RunEvent, Timing, Waiver
from evidence.redaction import Redactor
from evidence.sealing import seal
from evidence.signing import RunKey
from evidence.verdict import CHECK, derive, roll_up
from evidence.waiver import load_waivers
from harness.binding import LATEST, bind, git
from harness.bringup import BringUp, Progress
from harness.declarations import Declaration
from harness.environments.embedded import Embedded
from harness.options import PASSPHRASE_VARIABLE, Options
from harness.probes.recorder import Recorder
from harness.sut import load_sut

JOURNAL = "journal.jsonl"


def now() -> dt.datetime:
    """Return the present moment in UTC."""
    return dt.datetime.now(dt.UTC)


@dataclass
class GateRun:
    """Everything that one run holds on to."""

    options: Options
    catalogue: Catalogue
    waivers: tuple[Waiver, ...]
    key: RunKey
    staging: Path
    recorder: Recorder
    bring_up: BringUp
    started: dt.datetime
    defects: list[str] = field(default_factory=list)
    """Harness defects that belong to no criterion."""
    declared: tuple[tuple[str, Declaration], ...] | None = None
    """Node id and declaration of every check that was collected; None until all could be read."""
    bound: bool = False
    """Whether the checks fit the catalogue; before that there is nothing to judge."""

    @classmethod
    def open(cls, options: Options, progress: Progress) -> GateRun:
        """Check every file that was named, then make the folder that evidence goes to.

        Raises:
            BadInputError: a file breaks its rule; nothing has been started or written.

        """
        catalogue = load_catalogue(options.catalogue)
        waivers = load_waivers(options.waivers, catalogue)
        sut = load_sut(options.sut)
        key = _load_key(options)
        redactor = Redactor()
        staging = options.evidence_out / f".unsealed-{now():%Y%m%dT%H%M%SZ}-{os.getpid()}"
        for name in ("captures", "proofs", "tests"):
            (staging / "data" / name).mkdir(parents=True)
        journal = Journal(staging / "data" / JOURNAL, writer="main", clock=now)
        recorder = Recorder(journal, redactor, staging / "data")
        environment = Embedded(
            reason=_reason(options),
            version=options.postgres_version,
            port=options.postgres_port,
            learn_secret=redactor.add_secret,
        )
        bring_up = BringUp(
            environment=environment,
            sut=sut,
            recorder=recorder,
            ready_deadline_s=options.ready_deadline_s,
            gates=str(options.gates),
            progress=progress,
        )
        journal.append(RunEvent, event="started", data={"sut": sut.name})
        return cls(
            options=options,
            catalogue=catalogue,
            waivers=waivers,
            key=key,
            staging=staging,
            recorder=recorder,
            bring_up=bring_up,
            started=now(),
        )

    def gate_of(self, criterion: str) -> str:
        """Return the gate of a criterion."""
        return self.catalogue.by_id(criterion).gate

    def bind_checks(self, selected: set[str], *, whole: bool) -> None:
        """Record which check judges which criterion, and which of them run.

        Args:
            selected: node ids of those that run.
            whole: whether the whole gates folder was collected.

        Raises:
            BadInputError: a check for an unknown criterion, two for one, or a criterion without.

        """
        bound: dict[str, tuple[str, Declaration]] = {}
        known = {criterion.id for criterion in self.catalogue.criteria}
        for item, declaration in self.declared or ():
            self._refuse_unbound(item, declaration, bound, known)
            bound[declaration.criterion] = (item, declaration)
        missing = sorted(known - set(bound))
        if missing and whole:
            raise BadInputError(
                f"{self.options.catalogue}: criterion: got no check for {', '.join(missing)}, "
                "expected one each; write it or take the criterion out"
            )
        told = {
            criterion.id: _told(bound.get(criterion.id), selected)
            for criterion in self.catalogue.criteria
        }
        self.recorder.journal.append(RunEvent, event="collected", data=told)
        self.bound = True

    def _refuse_unbound(
        self,
        item: str,
        declaration: Declaration,
        bound: dict[str, tuple[str, Declaration]],
        known: set[str],
    ) -> None:
        name = declaration.criterion
        if name not in known:
            raise BadInputError(
                f"{item}: criterion: got {name}, expected an id of {self.options.catalogue}; "
                "add it there or mend the id"
            )
        if name in bound:
            raise BadInputError(
                f"{item}: criterion: {name} has a check already ({bound[name][0]}), expected one"
            )

    def finish(self, pytest_status: int) -> tuple[Run, Path, float]:
        """Judge, write what belongs beside the journal, and seal.

        Returns:
            The run, its sealed bundle, and how long sealing took, in seconds.

        Raises:
            EvidenceError: the bundle could not be written; what there is stays in the staging
                folder, its journal readable.

        """
        self.recorder.journal.append(RunEvent, event="ended", data={"pytest": pytest_status})
        self.recorder.journal.close()
        run = self._judge(pytest_status)
        self._write_proofs()
        for path in sorted((self.staging / "data" / "tests").iterdir()):
            self.recorder.redactor.redact_file(path)
        _drop_empty(self.staging / "data")
        began = time.monotonic()
        bundle = seal(
            self.staging,
            self._destination(),
            run=run,
            catalogue=self.catalogue,
            key=self.key,
            clock=now,
        )
        _point_latest(bundle)
        return run, bundle, time.monotonic() - began

    def discard(self) -> None:
        """Throw away what was begun: nothing was judged, so there is nothing to keep."""
        self.recorder.journal.close()
        shutil.rmtree(self.staging, ignore_errors=True)

    def _judge(self, pytest_status: int) -> Run:
        records = self.recorder.journal.records
        today = now().date()
        verdicts = derive(self.catalogue.criteria, records, self.waivers, today=today)
        rolled = roll_up(
            verdicts,
            pytest_status=pytest_status,
            defects=self.defects,
            falsify=self.options.falsify,
        )
        return Run(
            result=rolled.result,
            exit_status=rolled.exit_status,
            reasons=rolled.reasons,
            started=self.started,
            ended=now(),
            environment=self.bring_up.report(),
            bindings=bind(self.bring_up.sut, previous=self.options.evidence_out / LATEST),
            catalogue_digest=self.catalogue.digest,
            timing=self._timing(),
            criteria=verdicts,
        )

    def _timing(self) -> Timing:
        phases = [r for r in self.recorder.journal.records if isinstance(r, PhaseEvent)]
        checks = sum(phase.duration_s for phase in phases if phase.part == CHECK)
        return Timing(
            start_up_s=round(sum(self.bring_up.took_s.values()), 3),
            checks_s=round(checks, 3),
            proofs_s=round(sum(phase.duration_s for phase in phases) - checks, 3),
        )

    def _write_proofs(self) -> None:
        for record in self.recorder.journal.records:
            if isinstance(record, ProofEvent):
                folder = self.staging / "data" / "proofs" / record.criterion
                folder.mkdir(parents=True, exist_ok=True)
                text = record.model_dump_json(indent=2) + "\n"
                (folder / f"{record.falsifier}.json").write_text(text, encoding="utf-8")

    def _destination(self) -> Path:
        commit = (git(self.bring_up.sut.folder, "rev-parse", "HEAD") or "nocommit")[:12]
        name = f"{self.started:%Y%m%dT%H%M%SZ}-{commit}"
        taken = {path.name for path in self.options.evidence_out.iterdir()}
        names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
        return self.options.evidence_out / next(free for free in names if free not in taken)


def _told(bound: tuple[str, Declaration] | None, selected: set[str]) -> dict[str, object]:
    if bound is None:
        return {"item": "", "selected": False, "falsifiers": []}
    item, declaration = bound
    names = [falsifier.fault.name for falsifier in declaration.falsifiers]
    return {"item": item, "selected": item in selected, "falsifiers": names}


def _reason(options: Options) -> str:
    if options.environment == "auto":
        return "chosen by default: needs neither root nor a container engine"
    return f"asked for with --environment {options.environment}"


def _load_key(options: Options) -> RunKey:
    if options.signing_key is None:
        return RunKey.ephemeral()
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    return RunKey.load(options.signing_key, passphrase.encode() if passphrase else None)


def _drop_empty(folder: Path) -> None:
    """Remove folders that nothing was put into: a bundle holds files only."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _point_latest(bundle: Path) -> None:
    """Have ``latest`` lead to the bundle, without a moment in which it leads nowhere."""
    link = bundle.parent / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(bundle.name)
    link.replace(bundle.parent / LATEST)


RUN: pytest.StashKey[GateRun] = pytest.StashKey()
