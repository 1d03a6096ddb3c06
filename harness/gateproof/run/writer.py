"""A writer: one pytest process that runs items, with its own environment and its own journal.

Without xdist there is one writer; with xdist each worker process is one. At its end a writer
returns an `Account` to the run, across the process boundary.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from gateproof.base.sut import Sut
from gateproof.probes import canary as canaries
from gateproof.probes.recorder import CANARY, Recorder
from gateproof.run.choice import choose_environment
from gateproof.run.declaration import Declaration, Falsifier
from gateproof.run.dependency import Dependence
from gateproof.run.option import Options
from gateproof.stack.bring_up import BringUp, Progress
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.journal import Journal
from gateproof_evidence.format.layout import PAYLOAD, RUN, in_data
from gateproof_evidence.model import EnvironmentReport, RunEvent
from gateproof_evidence.redaction.canary import Canary
from gateproof_evidence.redaction.redactor import Redactor
from gateproof_evidence.verification.earlier import Earlier, read_earlier

MAIN = "main"
"""The name of the only writer of a run without xdist."""
JOURNALS = "journals"
"""Folder of the staging area with one journal file for each writer, until they are merged."""


def now() -> dt.datetime:
    """Return the current time in UTC."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, kw_only=True)
class Account:
    """The report of a writer to the run; plain values, since it crosses a process boundary."""

    writer: str
    bound: bool
    """Whether the checks were bound to the catalogue; otherwise there is nothing to judge."""
    refusal: str | None
    """The reason why the collection was refused as bad input."""
    environment: dict[str, Any]
    images: dict[str, str]
    took_s: dict[str, float]
    secrets: dict[str, str]
    """Name to value; known to this run's processes only, to redact the files of other plugins."""
    canary: str
    """Core of the canary that this writer passed through every kind of capture."""
    ledger: tuple[tuple[str, str, int], ...]
    """Rule, place and count of the redactions in records without a capture."""
    defects: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """Return the account as values that every serializer accepts."""
        ledger = [list(one) for one in self.ledger]
        return {**asdict(self), "ledger": ledger, "defects": list(self.defects)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Account:
        """Return the account from the values of `to_plain`."""
        ledger = tuple((rule, place, count) for rule, place, count in plain["ledger"])
        return cls(**{**plain, "ledger": ledger, "defects": tuple(plain["defects"])})


def earlier_of(options: Options) -> Earlier | None:
    """Return the earlier bundle from which proofs are taken over, or None.

    Raises:
        BadInputError: the bundle does not verify with the key.

    """
    if options.proofs_from is None or options.proofs_key is None:
        return None
    return read_earlier(options.proofs_from, options.proofs_key.read_bytes())


@dataclass
class Writer:
    """The state of one process while it runs items."""

    name: str
    options: Options
    catalogue: Catalogue
    recorder: Recorder
    bring_up: BringUp
    secrets: dict[str, str]
    canary: Canary
    """A secret that must not be found in the bundle."""
    dependence: Dependence
    earlier: Earlier | None
    """A bundle whose proofs need not be repeated."""
    defects: list[str] = field(default_factory=list)
    """Harness defects that belong to no criterion."""
    declared: tuple[tuple[str, Declaration], ...] | None = None
    """Node id and declaration of every collected check; None until all have been read."""
    bound: bool = False
    refusal: str | None = None

    @classmethod
    def open(
        cls,
        name: str,
        options: Options,
        *,
        catalogue: Catalogue,
        sut: Sut,
        staging: Path,
        progress: Progress,
        earlier: Earlier | None,
    ) -> Writer:
        """Open the writer's journal, and start nothing."""
        redactor = Redactor()
        secrets: dict[str, str] = {}

        def learn_secret(label: str, value: str) -> None:
            label = label if name == MAIN else f"{label}-{name}"
            redactor.add_secret(label, value)
            secrets[label] = value

        canary = Canary.make()
        learn_secret(CANARY, canary.value)
        journal = Journal(staging / JOURNALS / f"{name}.jsonl", writer=name, clock=now)
        recorder = Recorder(journal, redactor, staging / PAYLOAD)
        bring_up = BringUp(
            environment=choose_environment(options, sut, learn_secret=learn_secret),
            sut=sut,
            recorder=recorder,
            ready_deadline_s=options.ready_deadline_s,
            progress=progress,
            learn_secret=learn_secret,
        )
        journal.append(RunEvent, event="started", data={"sut": sut.name})
        return cls(
            name,
            options,
            catalogue,
            recorder,
            bring_up,
            secrets,
            canary,
            dependence=Dependence(bring_up, catalogue, options.gates),
            earlier=earlier,
        )

    @cached_property
    def kind(self) -> str:
        """The kind of this run's environment."""
        return self.bring_up.report().kind

    def gate_of(self, criterion: str) -> str:
        """Return the gate of a criterion."""
        return self.catalogue.by_id(criterion).gate

    def wanted(self, declaration: Declaration) -> tuple[Falsifier, ...]:
        """Return the falsifiers of a check that this run applies."""
        criterion = self.catalogue.get(declaration.criterion)
        if criterion is None:  # bind_checks refuses it later
            return ()
        return tuple(
            one
            for one in declaration.within(self.kind).falsifiers
            if self.options.falsify.wants(criterion, one.fault.name)
        )

    def bind_checks(self, selected: set[str], *, whole: bool) -> None:
        """Record the check of each criterion, and whether it runs.

        Args:
            selected: node ids of the checks that run.
            whole: whether the whole gates folder was collected.

        Raises:
            BadInputError: a check has an unknown criterion, or a criterion has two checks or none.

        """
        bound: dict[str, tuple[str, Declaration]] = {}
        known = {criterion.id for criterion in self.catalogue.criteria}
        for item, declaration in self.declared or ():
            self._refuse_unbound(item, declaration, bound, known)
            bound[declaration.criterion] = (item, declaration.within(self.kind))
        missing = sorted(known - set(bound))
        if missing and whole:
            raise BadInputError(
                f"{self.options.catalogue}: criterion: got no check for {', '.join(missing)}, "
                "expected one each; write it or remove the criterion"
            )
        names = [
            name
            for _, declaration in bound.values()
            for one in declaration.falsifiers
            for name in (one.fault.name, f"{declaration.criterion}:{one.fault.name}")
        ]
        self.options.falsify.refuse_unknown(self.catalogue.criteria, names)
        collected = {
            criterion.id: _binding(bound.get(criterion.id), selected)
            for criterion in self.catalogue.criteria
        }
        self.recorder.journal.append(RunEvent, event="collected", data=collected)
        self.bound = True

    def end(self) -> Account:
        """Stop everything that this writer started, close the journal, and return the account."""
        try:
            self.bring_up.dispose()
        except Exception as error:  # noqa: BLE001 (a defect is in the bundle; an exception is not)
            self.defects.append(
                f"the teardown of {self.name} failed: {type(error).__name__}: {error}"
            )
        redactor = self.recorder.redactor
        canaries.release(self.recorder, self.canary)
        self.recorder.journal.close()
        # The reason can quote an engine's answer, and no probe redacts run.json.
        report = self.bring_up.report().model_dump(mode="json")
        environment, _ = redactor.redact_json(report, place=in_data(RUN))
        return Account(
            writer=self.name,
            bound=self.bound,
            refusal=self.refusal,
            environment=environment,
            images=dict(self.bring_up.environment.images),
            took_s=dict(self.bring_up.took_s),
            secrets=dict(self.secrets),
            canary=self.canary.core,
            ledger=tuple((one.rule, one.place, one.count) for one in redactor.ledger),
            defects=tuple(self.defects),
        )

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
                "add it there or correct the id"
            )
        if name in bound:
            raise BadInputError(
                f"{item}: criterion: {name} has a check already ({bound[name][0]}), expected one"
            )


def report_of(accounts: list[Account]) -> EnvironmentReport | None:
    """Return the environment of the first writer: all writers of a run have the same."""
    return EnvironmentReport.model_validate(accounts[0].environment) if accounts else None


def _binding(bound: tuple[str, Declaration] | None, selected: set[str]) -> dict[str, object]:
    if bound is None:
        return {"item": "", "selected": False, "falsifiers": []}
    item, declaration = bound
    names = [falsifier.fault.name for falsifier in declaration.falsifiers]
    return {"item": item, "selected": item in selected, "falsifiers": names}


WRITER: pytest.StashKey[Writer] = pytest.StashKey()
