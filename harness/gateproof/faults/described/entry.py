"""The entries of a ``falsifiers.toml``: one model for each kind of fault.

Owns the keys and what they mean. Leaves the changes themselves to the kinds of fault, and reading
the file to `gateproof.faults.described.file`.

Source: docs/reference/falsifiers.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateproof.description.section import Section, required
from gateproof.faults.code.file import file
from gateproof.faults.code.migration import migration
from gateproof.faults.code.source import source
from gateproof.faults.falsifier import Falsifier, Prediction
from gateproof.faults.interface import Fault, Scope
from gateproof.faults.setting import settings
from gateproof.faults.sql import sql


class Expected(Section):
    """The finding that the change must cause: a claim that does not hold, or a message."""

    claim: str = ""
    """The name of the claim, as the report shows it. Empty for a check without claims."""
    on: str = ""
    """The object of the claim. `*` stands for any text, if the change has a target."""
    text: str = ""
    """A part of the claim's values in words, such as `got 0`; without a claim, a part of the
    message: ten characters or more, and a word that only this failure has."""


class Entry(Section):
    """The keys of every falsifier."""

    criterion: str = required("DLQ-03")
    """The id of the criterion whose claim it breaks."""
    name: str = required("error-swallowed")
    """A slug, unique among the falsifiers of the criterion."""
    expect: Expected = required(
        {"claim": "dead-letter rows of the task", "on": "orders.tasks.ping"}
    )
    """The finding that the change must cause."""

    def fault(self) -> Fault:
        """Return the fault.

        Raises:
            BadInputError: the change is none, or several at once; or the name is not a slug.

        """
        raise NotImplementedError

    def falsifier(self) -> Falsifier:
        """Return the fault and its prediction.

        Raises:
            BadInputError: see `fault`.

        """
        expect = Prediction(**self.expect.model_dump())
        return Falsifier(fault=self.fault(), expect=expect)


class Source(Entry):
    """A change to one file of the system's code: a replaced text, a new body, or more lines."""

    kind: Literal["source"]
    """The kind of change."""
    file: str = required("app/tasks.py")
    """Path with forward slashes, relative to the key `root` of `sut.toml`."""
    before: str = ""
    """A text that occurs exactly once in the file ..."""
    after: str = ""
    """... and its replacement; empty removes the text."""
    function: str = ""
    """Instead: the qualified name of a function, such as `Health.ask` ..."""
    body: str = ""
    """... and its new body; empty for one that does nothing."""
    append: str = ""
    """Instead: lines to add at the end of the file."""
    imports: bool = True
    """Whether the changed module must still be importable."""

    def fault(self) -> Fault:
        """Return the fault."""
        return source(
            self.name,
            self.file,
            self.before,
            self.after,
            function=self.function,
            body=self.body,
            append=self.append,
            imports=self.imports,
        )


class Migration(Entry):
    """A change to one file of the migrations, from which the database is then built again."""

    kind: Literal["migration"]
    """The kind of change."""
    file: str = required("db/versions/0001_tables.py")
    """Path with forward slashes, relative to the key `root` of `sut.toml`."""
    before: str = ""
    """A text that occurs exactly once in the file ..."""
    after: str = ""
    """... and its replacement; empty removes the text."""
    function: str = ""
    """Instead: `upgrade` or `downgrade` ..."""
    body: str = ""
    """... and its new body; empty for one that does nothing."""
    landing: str = ""
    """A query over the result of the migrations, whose rows must differ after the change. Empty
    only for a criterion whose check runs the migrations itself."""

    def fault(self) -> Fault:
        """Return the fault."""
        return migration(
            self.name,
            self.file,
            self.before,
            self.after,
            function=self.function,
            body=self.body,
            landing=self.landing,
        )


class File(Entry):
    """A change to one file of the project that is not code, such as a workflow."""

    kind: Literal["file"]
    """The kind of change."""
    file: str = required(".github/workflows/ci.yml")
    """Path with forward slashes, relative to the key `root` of `sut.toml`."""
    before: str = ""
    """A text that occurs exactly once in the file ..."""
    after: str = ""
    """... and its replacement; empty removes the text."""
    append: str = ""
    """Instead: lines to add at the end of the file."""

    def fault(self) -> Fault:
        """Return the fault."""
        return file(self.name, self.file, self.before, self.after, append=self.append)


class Sql(Entry):
    """Statements that change the database."""

    kind: Literal["sql"]
    """The kind of change."""
    statement: str = required("DROP POLICY by_tenant ON orders")
    """One or more statements, separated by semicolons."""
    landing: str = required("SELECT polname FROM pg_policy")
    """A query over the changed object, whose rows must differ after the statement."""
    role: str = ""
    """The role that runs the statement; empty for the owner of the database, or `superuser`."""
    scope: Scope = "database"
    """`server` for a change to what all databases of a server share, such as roles."""
    target: str = ""
    """The changed object, such as a table, if the object of the finding must name it."""
    in_new: bool = False
    """Whether it runs in each database that the check creates itself, before it migrates it."""

    def fault(self) -> Fault:
        """Return the fault."""
        return sql(
            self.name,
            self.statement,
            landing=self.landing,
            role=self.role or None,
            scope=self.scope,
            target=self.target,
            in_new=self.in_new,
        )


class Settings(Entry):
    """Environment variables of the system's processes."""

    kind: Literal["settings"]
    """The kind of change."""
    variables: Annotated[dict[str, str], Field(min_length=1)] = required({"APP_EAGER": "1"})
    """The variables and their values."""

    def fault(self) -> Fault:
        """Return the fault."""
        return settings(self.name, self.variables)


KINDS: dict[str, type[Entry]] = {
    "source": Source,
    "migration": Migration,
    "file": File,
    "sql": Sql,
    "settings": Settings,
}

AnyEntry = Annotated[Source | Migration | File | Sql | Settings, Field(discriminator="kind")]


class Content(Section):
    """The whole file."""

    falsifier: tuple[AnyEntry, ...] = ()
    """The falsifiers, each a table `[[falsifier]]`."""
