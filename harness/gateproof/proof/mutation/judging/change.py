"""The fault of a mutant: makes its change to a copy of the system.

Owns how a mutant of each kind is made. Leaves copies to `gateproof.proof.mutation.judging.copies`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from gateproof.base.errors import HarnessError
from gateproof.faults.code.source import SourceFault
from gateproof.faults.code.text import Part
from gateproof.faults.interface import Fault
from gateproof.faults.setting import SettingsFault
from gateproof.proof.mutation.mutant import Mutant
from gateproof.proof.mutation.schema.generation import change_schema

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy

NAME = "mutant"
RUN_BY_PYTHON = "__main__.py"
"""The name of a file that Python runs instead of importing it."""


class VoidError(HarnessError):
    """A mutant cannot be made, or the system cannot start with it."""


class SameError(HarnessError):
    """The system is the same with a mutant."""


@dataclass(frozen=True, kw_only=True)
class SchemaFault(Fault):
    """Statements of superuser that change one fact of the schema."""

    kind = "schema"

    statement: str

    def describe(self) -> str:
        """Return the statement."""
        return self.statement

    def inject(self, copy: Copy) -> None:
        """Run the statement.

        Raises:
            VoidError: it was refused.
            SameError: the schema is the same afterwards.

        """
        stack = copy.stack
        dsn = stack.server.superuser.dsn(stack.server.outside, stack.database)
        try:
            changed = change_schema(dsn, self.statement)
        except psycopg.Error as error:
            raise VoidError(f"refused by PostgreSQL: {error}") from error
        if not changed:
            raise SameError("the system catalogues of the database are the same afterwards")


def fault_of(mutant: Mutant) -> Fault:
    """Return the fault that makes a mutant."""
    if mutant.kind == "code":
        change = Part(start=mutant.start, end=mutant.end, after=mutant.after)
        imports = not mutant.file.endswith(RUN_BY_PYTHON)
        return SourceFault(
            name=NAME, file=mutant.file, change=change, tree="project", imports=imports
        )
    if mutant.kind == "setting":
        return SettingsFault(name=NAME, variables=mutant.variables)
    return SchemaFault(name=NAME, statement=mutant.statement, scope=mutant.scope)
