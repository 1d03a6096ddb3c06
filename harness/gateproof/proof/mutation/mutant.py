"""A mutant: one small defect of the system, and what the gates made of it.

Owns the values that the processes of a mutation run exchange and that its result contains. Leaves
making mutants to `gateproof.proof.mutation.generation`, and judging them to
`gateproof.proof.mutation.judging.item`.

Source: docs/decisions/0037; the terms are those of Y. Jia and M. Harman, "An analysis and survey of
the development of mutation testing", 2011.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gateproof.faults.interface import Scope

Kind = Literal["schema", "code", "setting"]
KINDS: tuple[Kind, ...] = ("schema", "code", "setting")


class Value(BaseModel):
    """A value that is read from a file: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Mutant(Value):
    """One small defect of the system."""

    id: str
    """Kind, operator and place, in a form that stays the same while the place does."""
    kind: Kind
    operator: str
    """A slug, such as ``boundary`` or ``drop-policy``."""
    where: str
    """The object of the schema, ``file:line``, or the variable."""
    change: str
    """The change for people: a statement, a unified diff, or a variable with its value."""
    excluded: str = ""
    """The reason with which a comment in the code excludes it; it then counts as a survivor."""
    statement: str = ""
    """For the schema: the statements that superuser runs."""
    scope: Scope = "database"
    """For the schema: ``server`` if all databases of the server have it."""
    file: str = ""
    """For code: the path from the root of the system."""
    function: str = ""
    """For code: the qualified name of the innermost function; empty outside of functions."""
    start: int = 0
    """For code: the changed part of the text, in characters; `end` is exclusive."""
    end: int = 0
    after: str = ""
    """For code: the text that replaces this part."""
    variables: tuple[tuple[str, str], ...] = ()
    """For settings: variables with their values."""

    @property
    def group(self) -> str:
        """Mutants of one group are often killed by the same criterion."""
        return f"{self.kind}:{self.file or self.operator}"


class Candidate(Value):
    """A check that may kill mutants."""

    criterion: str
    item: str
    """Its node id."""
    stack: bool
    """Whether it works on a database that is migrated before it."""
    units: tuple[tuple[str, str], ...] = ()
    """File and unit of the system in which falsifiers of it make their change, see `unit_at`."""
    words: frozenset[str] = frozenset()
    """The words of its criterion, its code and its falsifiers."""
    faults: tuple[str, ...] = ()
    """The kinds of the faults of its falsifiers."""
    basis: bool = False
    """Whether other checks cannot judge where its claim is false: the system does not start."""


class Status(StrEnum):
    """The result of one mutant."""

    KILLED = "killed"
    """A claim of a check does not hold, which holds without the mutant."""
    SURVIVED = "survived"
    """No claim of a check that depends on it is false, or it is excluded."""
    VOID = "void"
    """The system does not start with it, or the mutant cannot be made."""
    EQUIVALENT = "equivalent"
    """The compiled code or the catalogue of the database is the same with it."""


class Tried(Value):
    """One check that ran with a mutant."""

    criterion: str
    outcome: str
    """``pass``, ``fail``, ``unusable`` for a check that fails without the mutant too, or the
    category of the error that ended it."""
    duration_s: float
    message: str = ""
    """The finding or the error, in one line; empty after a pass."""


class Outcome(Value):
    """The result of one mutant, and how it was found."""

    mutant: str
    """The id."""
    status: Status
    criterion: str = ""
    """The criterion whose check killed it."""
    claim: str = ""
    """The false claim, in words."""
    why: str = ""
    """Why it is void or survived, where that is not plain."""
    tried: tuple[Tried, ...] = ()
    left: tuple[str, ...] = ()
    """The criteria that depend on it and did not run, because its time was over."""
    duration_s: float

    @property
    def unsettled(self) -> tuple[Tried, ...]:
        """The checks that ended without a verdict: a run of the gates would not be green either."""
        return tuple(one for one in self.tried if one.outcome not in ("pass", "fail"))
