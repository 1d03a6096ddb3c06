"""A writer: one pytest process that runs items, with its own environment and its own journal.

Without xdist there is one writer; with xdist, each worker process is one. At its end, a writer
passes a `WriterResult` to the run, if necessary to another process.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from gateproof.base.origin import Origins
from gateproof.base.stop import Stop
from gateproof.description.gates import described_folders, home_of, phase_order
from gateproof.description.need import unmet
from gateproof.description.sut import Sut
from gateproof.environments.interface import Environment
from gateproof.environments.resource import temporary_folder_problem
from gateproof.faults.falsifier import Falsifier
from gateproof.probes import canary as canaries
from gateproof.probes.recorder import CANARY, Recorder
from gateproof.run.binding import bound_code, loaded_code, plugin_distributions
from gateproof.run.choice import choose_environment
from gateproof.run.declaration import Declaration
from gateproof.run.dependence.digest import Dependencies
from gateproof.run.dependence.log import DependenceLog
from gateproof.run.option import Options
from gateproof.stack.bring_up import BringUp, Progress
from gateproof_evidence.errors import BadInputError, NotWritableError
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.layout import PAYLOAD, RUN, in_data
from gateproof_evidence.format.recording.journal import Journal
from gateproof_evidence.model import Bound, Digest, EnvironmentReport, RunEvent
from gateproof_evidence.redaction.canary import Canary
from gateproof_evidence.redaction.redactor import Redactor
from gateproof_evidence.verification.earlier import Earlier, read_earlier

MAIN = "main"
"""The name of the writer in a run without xdist."""
JOURNALS = "journals"
"""Folder in the staging folder with one journal file per writer, until they are merged."""


LISTS = ("defects", "durations", "plugins", "code")
"""The fields of a `WriterResult` that are sequences of texts."""


def now() -> dt.datetime:
    """Return the current time in UTC."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, kw_only=True)
class WriterResult:
    """The result of a writer; plain values only, because it is sent to another process."""

    writer: str
    bound: bool
    """Whether the checks were bound to the catalogue; otherwise there is nothing to judge."""
    refusal: str | None
    """Why the collected items were refused as bad input; None if they were not."""
    environment: dict[str, Any]
    images: dict[str, str]
    took_s: dict[str, float]
    secrets: dict[str, str]
    """Maps names to values; only for redacting files of pytest, and never written."""
    canary: str
    """The core of the canary that this writer wrote through every kind of capture."""
    ledger: tuple[tuple[str, str, int], ...]
    """Rule, place and count of the redactions in records without a capture."""
    defects: tuple[str, ...]
    durations: tuple[dict[str, Any], ...]
    """See `gateproof.stack.stopwatch.Stopwatch.taken`."""
    plugins: tuple[str, ...]
    """Names of the distributions whose plugins of pytest were loaded."""
    code: tuple[str, ...]
    """Paths of other files that were loaded, see `gateproof.run.binding.loaded_code`."""
    lost: bool = False
    """Whether evidence could not be written."""
    interrupted: bool = False
    """Whether a person interrupted it, by Ctrl-C or SIGTERM."""
    stopped: str = ""
    """Why pytest, a plugin or a check stopped it before its end; empty if none did."""

    def to_plain(self) -> dict[str, Any]:
        """Return the result as values that any serializer accepts."""
        lists = {name: list(getattr(self, name)) for name in LISTS}
        return {**asdict(self), **lists, "ledger": [list(one) for one in self.ledger]}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> WriterResult:
        """Create a result from the return value of `to_plain`."""
        ledger = tuple((rule, place, count) for rule, place, count in values["ledger"])
        tuples = {name: tuple(values[name]) for name in LISTS}
        return cls(**{**values, **tuples, "ledger": ledger})


def earlier_of(options: Options, *, verified: Digest | None = None) -> Earlier | None:
    """Return the earlier bundle whose checks and proofs are reused, or None.

    Args:
        options: name the bundle and the key.
        verified: the digest of its attestation, if another process of this run has verified it.

    Raises:
        BadInputError: the bundle does not verify with the key.

    """
    if options.proofs_from is None or options.proofs_key is None:
        return None
    key = options.proofs_key.read_bytes()
    return read_earlier(options.proofs_from, key, verified=verified)


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
    """A generated secret that must not appear in the bundle."""
    dependencies: Dependencies
    dependence_log: DependenceLog
    earlier: Earlier | None
    """An earlier bundle whose proofs are reused."""
    defects: list[str] = field(default_factory=list)
    """Harness defects that belong to no criterion."""
    declared: tuple[tuple[str, Declaration], ...] | None = None
    """Node id and declaration of every collected check; None until all have been read."""
    shards: Mapping[str, int] = field(default_factory=dict)
    """The shard that each check is assigned to, by node id; empty in a whole run."""
    bound: bool = False
    refusal: str | None = None
    stop: Stop = field(default_factory=Stop)
    """How the session of this process ended."""

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
        """Open the journal of the writer; start nothing yet.

        Raises:
            NotWritableError: the journal cannot be written.
            EnvironmentProblemError: the temporary folder cannot hold the files of the run.

        """
        redactor = Redactor()
        secrets: dict[str, str] = {}

        def learn_secret(label: str, value: str) -> None:
            label = label if name == MAIN else f"{label}-{name}"
            redactor.add_secret(label, value)
            secrets[label] = value

        canary = Canary.make()
        learn_secret(CANARY, canary.value)
        for label, value in sut.secrets.items():
            learn_secret(label, value)
        writer = options.writer(name)
        journal = Journal(staging / JOURNALS / f"{writer}.jsonl", writer=writer, clock=now)
        keep = options.mutation is None
        recorder = Recorder(journal, redactor, staging / PAYLOAD, keep=keep)
        bring_up = BringUp(
            environment=_environment(options, sut, learn_secret),
            sut=sut,
            recorder=recorder,
            ready_deadline_s=options.ready_deadline_s,
            progress=progress,
            learn_secret=learn_secret,
            watch=options.watch,
        )
        absent = [one.model_dump() for one in sut.absences] + _decisions(sut)
        started, _ = redactor.redact_json(
            {"sut": sut.name, "absent": absent, "phases": phase_order(sut)}, place=in_data(RUN)
        )
        journal.append(RunEvent, event="started", data=started)
        dependencies = Dependencies(sut, catalogue, options.gates, bring_up.identity)
        return cls(
            writer,
            options,
            catalogue,
            recorder,
            bring_up,
            secrets,
            canary,
            dependencies=dependencies,
            dependence_log=DependenceLog(journal, dependencies.sources),
            earlier=earlier,
        )

    @cached_property
    def kind(self) -> str:
        """The kind of the environment of this run."""
        return self.bring_up.report().kind

    @cached_property
    def built_on(self) -> frozenset[str]:
        """The needs of checks that other criteria judge."""
        return frozenset(one.basis_of for one in self.catalogue.criteria if one.basis_of)

    def gate_of(self, criterion: str) -> str:
        """Return the gate of a criterion."""
        return self.catalogue.by_id(criterion).gate

    def selected_falsifiers(self, declaration: Declaration) -> tuple[Falsifier, ...]:
        """Return the falsifiers of a check that are to be run.

        They are selected, and supported by the environment. A check that cannot judge this system
        has none.
        """
        criterion = self.catalogue.get(declaration.criterion)
        if criterion is None or self.unmet(declaration):  # an unknown one is refused later
            return ()
        return tuple(
            one
            for one in declaration.within(self.kind).falsifiers
            if self.options.falsify.selects(criterion, one.fault.name)
        )

    def unmet(self, declaration: Declaration) -> BaseException | None:
        """Return why a check cannot judge this system; None if it can."""
        return unmet(self.bring_up.sut, declaration.criterion, declaration.needs)

    def is_replaced(self, declaration: Declaration, path: Path) -> bool:
        """Return whether another check is to judge a criterion instead of the one in a file.

        Of the two, the one next to the catalogue is replaced until the decision expires.
        """
        sut, name = self.options.sut, declaration.criterion
        if name not in {one.criterion for one in sut.replaced}:
            return False
        counts = name in {one.criterion for one in sut.replaced_now}
        home = home_of(name, self.options.gates)
        return (home is not None and path.is_relative_to(home)) == counts

    def bind_checks(self, selected: set[str], *, whole: bool) -> None:
        """Record which check judges which criterion, and which checks are selected.

        Args:
            selected: node ids of the items that run.
            whole: whether every folder of the run was collected as a whole.

        Raises:
            BadInputError: a criterion is unknown, has two checks, or has none; or the system has a
                falsifier of one that no described folder has.

        """
        bound: dict[str, tuple[str, Declaration]] = {}
        known = {criterion.id for criterion in self.catalogue.criteria}
        for item, declaration in self.declared or ():
            self._refuse_unbound(item, declaration, bound, known)
            bound[declaration.criterion] = (item, declaration.within(self.kind))
        missing = sorted(known - set(bound))
        if missing and whole:
            raise BadInputError(
                f"{self._catalogues}: criterion: got no check for {', '.join(missing)}, "
                "expected one each; write the check or remove the criterion"
            )
        if whole and set(described_folders(self.options.sut)) <= set(self.options.gates):
            self.options.own.refuse_unknown_criteria(known)
        names = [
            name
            for _, declaration in bound.values()
            for one in declaration.falsifiers
            for name in (one.fault.name, f"{declaration.criterion}:{one.fault.name}")
        ]
        self.options.falsify.refuse_unknown(self.catalogue.criteria, names)
        bindings = {
            criterion.id: _describe(bound.get(criterion.id), selected, self.shards)
            for criterion in self.catalogue.criteria
        }
        self.recorder.journal.append(RunEvent, event="collected", data=bindings)
        self.bound = True

    @property
    def _catalogues(self) -> str:
        return ", ".join(map(str, self.options.catalogues))

    def close(self, *, plugins: Iterable[str], code: Iterable[str]) -> WriterResult:
        """Stop everything that this writer started, close the journal, and return the result.

        Args:
            plugins: see `WriterResult.plugins`.
            code: see `WriterResult.code`.

        """
        try:
            self.bring_up.dispose()
        except Exception as error:  # noqa: BLE001 (the bundle must report it)
            self.defects.append(
                f"stopping the writer {self.name} failed: {type(error).__name__}: {error}"
            )
        with suppress(NotWritableError):  # the recorder keeps it
            canaries.plant(self.recorder, self.canary)
        self._close_journal()
        redactor = self.recorder.redactor
        # Its reason may quote a message of the engine, and no probe redacts it for run.json.
        report = self.bring_up.report().model_dump(mode="json")
        environment, _ = redactor.redact_json(report, place=in_data(RUN))
        return WriterResult(
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
            durations=tuple(self.bring_up.stopwatch.taken),
            plugins=tuple(plugins),
            code=tuple(code),
            lost=bool(self.recorder.lost),
            interrupted=self.stop.interrupted,
            stopped=self.stop.reason,
        )

    def _close_journal(self) -> None:
        try:
            self.recorder.journal.close()
        except NotWritableError as error:
            self.defects.append(str(error))
        if self.recorder.lost:
            self.defects.append(self.recorder.lost)

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
                f"{item}: criterion: got {name}, expected an id of {self._catalogues}; "
                "add it there or correct the id"
            )
        if name in bound:
            raise BadInputError(
                f"{item}: criterion: {name} already has a check ({bound[name][0]}), expected one; "
                "take one of them out, or name the criterion with a reason in [[replaced]] of "
                f"{self.options.sut.path.name} to judge by the check outside of its catalogue"
            )


def _environment(
    options: Options, sut: Sut, learn_secret: Callable[[str, str], None]
) -> Environment:
    try:
        return choose_environment(options, sut, learn_secret=learn_secret)
    except OSError as error:
        raise temporary_folder_problem(error) from error


def report_of(results: list[WriterResult]) -> EnvironmentReport | None:
    """Return the environment of the first writer: all writers of a run have the same."""
    return EnvironmentReport.model_validate(results[0].environment) if results else None


def _describe(
    bound: tuple[str, Declaration] | None, selected: set[str], shards: Mapping[str, int]
) -> dict[str, object]:
    if bound is None:
        return {"item": "", "selected": False, "falsifiers": []}
    item, declaration = bound
    names = [falsifier.fault.name for falsifier in declaration.falsifiers]
    return {
        "item": item,
        "selected": item in selected,
        "falsifiers": names,
        "needs": [str(need) for need in declaration.needs],
        **({"shard": shards[item]} if item in shards else {}),
    }


WRITER: pytest.StashKey[Writer] = pytest.StashKey()

_LOADED: pytest.StashKey[tuple[Bound, ...]] = pytest.StashKey()


def loaded_now(config: pytest.Config) -> tuple[Bound, ...]:
    """Return the plugins and the other code that this process has loaded, read at the first use."""
    if _LOADED not in config.stash:
        writer = config.stash[WRITER]
        code = loaded_code(config, writer.options.judges, writer.bring_up.sut)
        config.stash[_LOADED] = bound_code(plugin_distributions(config), code, Origins())
    return config.stash[_LOADED]


def _decisions(sut: Sut) -> list[dict[str, Any]]:
    """Return the criteria that are left out and the checks that are replaced, as statements."""
    left_out = (("criterion {}", one) for one in sut.left_out_now)
    replaced = (("check of {} in its pack", one) for one in sut.replaced_now)
    found = []
    for words, one in (*left_out, *replaced):
        fields = one.model_dump()
        found.append({"feature": words.format(fields.pop("criterion")), **fields})
    return found
