"""The records of the journal, ``journal.jsonl``: one `Record` a line.

A run has tens of thousands of records, and verification keeps all of them. So they are dataclasses
with slots, which take a tenth of the memory of models, with the methods of a model that are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import SchemaSerializer

from gateproof_evidence.model.claim import Claim, Relation
from gateproof_evidence.model.value import CriterionId, Digest, Value

_STRICT = ConfigDict(extra="forbid")


class Redaction(Value):
    """The number of matches of one redaction rule in an observation."""

    rule: str
    """``secret:<name>``, ``dsn-userinfo``, ``header:<name>``, ``named``, or the kind of secret."""
    count: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Entry:
    """The fields of every journal record: its writer, its number and its time."""

    __pydantic_serializer__: ClassVar[SchemaSerializer]

    writer: str
    seq: Annotated[int, Field(ge=0)]
    """The number within one writer, without gaps; a gap means that evidence is missing."""
    at: AwareDatetime

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Return a record with other values, which are not validated."""
        made = object.__new__(type(self))
        for field in fields(self):
            name = field.name
            value = update[name] if name in update else getattr(self, name)
            object.__setattr__(made, name, value)
        return made

    def model_dump(
        self, *, include: set[str] | None = None, exclude: set[str] | None = None
    ) -> dict[str, Any]:
        """Return the fields by name."""
        found = self.__pydantic_serializer__.to_python(self, include=include, exclude=exclude)
        assert isinstance(found, dict)
        return found

    def model_dump_json(self) -> str:
        """Return the record as JSON, as a line of the journal has it."""
        return self.to_line().decode()

    def to_line(self) -> bytes:
        """Return its line of the journal, without the end.

        Raises:
            PydanticSerializationError: a text has a character that UTF-8 lacks.

        """
        return self.__pydantic_serializer__.to_json(self)


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Observation(Entry):
    """One timed, digested record of what a probe saw."""

    kind: Literal["observation"] = "observation"
    criterion: str | None
    """The criterion under judgement, or None for the whole run."""
    item: str | None
    """The pytest item that ran."""
    part: str
    """``check``, ``bring-up``, ``canary``, or ``proof:<falsifier>:<step>`` with one of the steps
    ``baseline``, ``control``, ``baseline-again``, ``landing`` and ``faulted``."""
    probe: Literal["http", "sql", "tasks", "worker", "logs", "process", "file", "environment"]
    summary: str
    """The request and the answer in one line."""
    data: dict[str, JsonValue]
    """The typed values, redacted, but for what its text has as it is: a body, a statement."""
    transcript: str
    """The path, relative to ``data/``, of the file with its readable text, the capture."""
    line: Annotated[int, Field(ge=1)]
    """The line of the heading of its entry there."""
    start: Annotated[int, Field(ge=0)]
    """The offset in bytes of the heading."""
    size: Annotated[int, Field(ge=0)]
    """The bytes of the text, which follows the heading."""
    digest: Digest
    """The digest of the text."""
    redactions: tuple[Redaction, ...] = ()

    @property
    def capture(self) -> str:
        """The place of its readable text: path, colon, line."""
        return f"{self.transcript}:{self.line}"


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Repeat(Entry):
    """An observation that saw the same as one before it, as a poll does."""

    kind: Literal["repeat"] = "repeat"
    repeats: Annotated[int, Field(ge=0)]
    """The number of that observation, of the same writer; it has the item and the text."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class PhaseEvent(Entry):
    """The result of one pytest stage of one item."""

    kind: Literal["phase"] = "phase"
    item: str
    criterion: str | None
    part: str
    when: Literal["setup", "call", "teardown"]
    result: Literal["passed", "raised"]
    category: Literal[
        "none",
        "assertion",
        "environment",
        "ability",
        "harness",
        "notready",
        "notapplicable",
        "notdescribed",
        "inconclusive",
        "premise",
        "limit",
        "other",
    ] = "none"
    """The kind of exception that ended the stage; ``none`` if it passed."""
    message: str = ""
    """First line of the exception's message, redacted."""
    duration_s: float


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class StateEvent(Entry):
    """The state of the environment right after a failure."""

    kind: Literal["state"] = "state"
    item: str
    part: str
    environment: Literal["answers", "away", "full", "unknown"]
    """Whether the environment's own server still answered, or the disk of its files was full."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class StatementEvent(Entry):
    """A recorded comparison of an observed value with an expected one."""

    item: str
    criterion: str | None
    part: str
    name: str
    """The observed property, such as ``rows that the role sees``."""
    on: str
    """The object that was observed; empty if the name says it."""
    got: str
    """The observed value as JSON, redacted."""
    relation: Relation
    expected: str
    """The expected value as JSON, redacted."""
    holds: bool
    """Whether the relation held between the values before they were redacted."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class PremiseEvent(StatementEvent):
    """A condition that must hold before a claim can be judged, and whether it held."""

    kind: Literal["premise"] = "premise"


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class ClaimEvent(StatementEvent):
    """A finding about the system, and whether it is as the criterion demands."""

    kind: Literal["claim"] = "claim"
    over: Annotated[int, Field(ge=1)] | None = None
    """The number of objects that it is about; None for one object."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Story(Entry):
    """The steps of a proof: baseline, fault, landing, failure."""

    item: str
    falsifier: str
    fault_kind: str
    fault: str
    """The change in readable form: the statement, the variable."""
    expected: str
    """The predicted part of the finding in words; empty if any will do."""
    expected_claim: str = ""
    """The name of the claim that must become false; empty if only a text is predicted."""
    expected_on: str = ""
    """The object of that claim; ``*`` stands for any text."""
    target: str = ""
    """The object that the fault changes, which the object of the finding must name, if any."""
    fingerprint_before: str | None = None
    fingerprint_after: str | None = None
    """The result of the landing query; None if the proof did not get that far."""
    refusal: str = ""
    """Why the fault could not be injected or checked; empty if it could."""
    baseline: str = "not run"
    """``pass``, or the outcome and message that the baseline had instead."""
    baseline_runs: Annotated[int, Field(ge=0)] = 0
    """How often the check ran on the copy before the fault, if it passed each time before."""
    baseline_of: str = ""
    """The falsifier of the same check whose baseline counts for this proof; empty for its own."""
    shape: str = ""
    """The kind of copy in words: its files, its server, the way to it, the start of processes."""
    control: str = ""
    """The change that does not matter, made before the last run of the baseline; empty if none."""
    faulted: str = "not run"
    """``pass``, or ``<category>: <message>`` of the check's failure under the fault."""
    faulted_category: str = "none"
    findings: tuple[Claim, ...] = ()
    """The claims that did not hold under the fault."""
    restoration: str = ""
    """How the copy was removed."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class ProofEvent(Story):
    """The steps of a proof of a check by one of its own falsifiers."""

    kind: Literal["proof"] = "proof"
    criterion: CriterionId
    depends: Digest | None = None
    """Digest over all that the proof depends on, but the contents of the system's files; None if
    that was not known."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class TakenOverEvent(Entry):
    """A proof that was reused from an earlier bundle, because nothing has changed since."""

    kind: Literal["taken-over"] = "taken-over"
    item: str
    criterion: CriterionId
    falsifier: str
    attestation: Digest
    """The digest of the earlier bundle's attestation."""
    story: ProofEvent


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class CheckTakenOverEvent(Entry):
    """A check that passed in an earlier bundle and was not run: nothing has changed since."""

    kind: Literal["check-taken-over"] = "check-taken-over"
    item: str
    criterion: CriterionId
    attestation: Digest
    """The digest of the earlier bundle's attestation."""
    ran: AwareDatetime
    """The start of the run in which the check itself ran, possibly one before that bundle's."""
    claims: tuple[Claim, ...]
    """The claims of the check in the earlier run; each held."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class DependenceEvent(Entry):
    """The record of everything that a check or a proof depends on."""

    kind: Literal["dependence"] = "dependence"
    item: str
    criterion: CriterionId
    falsifier: str = ""
    """The falsifier of a proof; empty for a check."""
    frame: dict[str, str]
    """Maps what it depends on, but the contents of the system's files, to a digest each: such as
    ``harness``, ``packages``, ``description``, ``check``, ``fault``."""
    uses: str
    """The set of the system's files, modules and functions that it used: the id of a record
    ``units`` of the same writer."""
    unknown: tuple[str, ...] = ()
    """Why it may have used more than is known, so that it depends on all files; empty if not."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class CellEvent(Story):
    """The steps of a check against a falsifier of another criterion of its gate."""

    kind: Literal["cell"] = "cell"
    criterion: CriterionId
    owner: CriterionId
    """The criterion that the falsifier belongs to."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class SelfProofEvent(Story):
    """The steps of a specimen: a check and a fault with a known result."""

    kind: Literal["self-proof"] = "self-proof"
    specimen: str
    criterion: None = None


class Loss(Value):
    """The data of the event ``lost``, which stands for a record that could not be read."""

    file: str
    """The name of the writer's journal."""
    line: Annotated[int, Field(ge=1)]
    """The first line, counted from 1, that was not the expected record."""
    reason: str
    """The content of the file there, in words."""
    items: tuple[str, ...]
    """The items that ran before and after it: the record may belong to either."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class RunEvent(Entry):
    """An event of the run itself."""

    kind: Literal["run"] = "run"
    event: Literal["started", "environment", "collected", "lost", "ended", "sources", "units"]
    """``sources`` has the digest of each file, module and function of the system that was used, and
    ``units`` the id of a set of these with their names, see `DependenceEvent`."""
    data: dict[str, JsonValue]


_SHARED: Mapping[type[Entry], tuple[str, ...]] = {
    Observation: ("item", "part", "transcript"),
    PhaseEvent: ("item", "part"),
    PremiseEvent: ("item", "part", "name", "on", "got", "expected"),
    ClaimEvent: ("item", "part", "name", "on", "got", "expected"),
}
"""The texts that many records have in common, by kind: a claim is stated once in each step."""


class Compaction:
    """Makes records small that are kept for judging.

    Removes what no verdict and no report depends on: the data of observations, and the names and
    digests by which a later run finds out what has changed. Equal texts become one object.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def compact(self, record: Record) -> Record:
        """Return the record, which is changed: nothing else may hold it."""
        named = isinstance(record, RunEvent) and record.event in ("sources", "units")
        if named or isinstance(record, Observation):
            object.__setattr__(record, "data", {})
        for name in _SHARED.get(type(record), ()):
            text = getattr(record, name)
            if text is not None:
                object.__setattr__(record, name, self._texts.setdefault(text, text))
        return record


Record = Annotated[
    Observation
    | Repeat
    | PhaseEvent
    | StateEvent
    | PremiseEvent
    | ClaimEvent
    | ProofEvent
    | TakenOverEvent
    | CheckTakenOverEvent
    | DependenceEvent
    | CellEvent
    | SelfProofEvent
    | RunEvent,
    Field(discriminator="kind"),
]

RECORD: TypeAdapter[Record] = TypeAdapter(Record, config=ConfigDict(defer_build=True))
"""Reads a record of any kind; most processes of a run only write records."""
