"""The tables of a ``sut.toml`` about the database: roles, migrations, tenants, dead letters."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import BeforeValidator, WithJsonSchema

from gateproof.description.section import (
    Command,
    DsnForm,
    Section,
    Words,
    mapping,
    optional,
    required,
)

DISCOVER: Final = "discover"
"""The value of `Tenancy.tables` that has the tables found in the catalogue of the database."""


class Provision(Section):
    """SQL files to run as superuser before the migrations, relative to `Sut.root`."""

    server: Words = ()
    """Run once per server: roles."""
    database: Words = ()
    """Run in every database, clones included: a clone loses database-level privileges."""


class Database(Section):
    """The database, its owner, and the roles that connect to it."""

    owner: str = required("app_owner")
    """The role that owns the schema and runs the migrations."""
    roles: Words = ()
    """Further roles with a login that the system's processes use, besides those of other keys."""
    schemas: Words = ()
    """The schemas in which the harness looks up names of tables without one: those of the
    `search_path` of the system's own sessions, in their order. Without any, each session has the
    `search_path` that the server gives its role."""
    view_owner: str = optional("app_views")
    """The role that owns the materialized views; it has no login."""
    extensions: Words = ()
    """Extensions that are created, as superuser, in every database."""
    provision: Provision = Provision()


class Migrations(Section):
    """How to run the migrations, as the role `database.owner`."""

    up: Command = required(["{python}", "-m", "alembic", "upgrade", "{revision}"])
    """``{revision}`` is filled in. A revision of several words, such as ``"orders 0002"``, becomes
    several words of the command, and an empty one none."""
    down: Command = optional(["{python}", "-m", "alembic", "downgrade", "{revision}"])
    """``{revision}`` is filled in, as in `up`."""
    dsn: dict[str, DsnForm] = mapping()
    """Maps environment variables to the form of their DSN."""
    all: str = "heads"
    """The revision that applies all migrations."""
    branches: Words = optional(["core@head"])
    """Revisions that must apply on their own to an empty database, one a branch. The first is that
    of the dead-letter table; one of them creates the tables of Celery."""
    base: str = "base"
    """The revision that removes all migrations."""
    version_table: str = "alembic_version"
    """The table in which the migrations are recorded. It may stay after the removal of all."""


class Reviewed(Section):
    """An object of the database that a person has reviewed."""

    digest: str
    """The digest of its definition, as the finding prints it; a changed definition has another."""
    reason: str
    """Why it leaks no rows of another tenant."""


def _listed(value: Any) -> Any:
    return (DISCOVER,) if value == DISCOVER else value


Tables = Annotated[
    Words,
    BeforeValidator(_listed),
    WithJsonSchema(
        {"anyOf": [{"const": DISCOVER}, {"type": "array", "items": {"type": "string"}}]}
    ),
]


class Tenancy(Section):
    """How tenants are separated."""

    guc: str = required("app.tenant_id")
    """The setting that names the current tenant."""
    key: str = required("tenant_id")
    """The column that names the tenant."""
    tables: Tables = (DISCOVER,)
    """Tables that hold rows of tenants, as SQL names them (`orders`, `sales."Order"`); or
    ``"discover"``: every table that has the key column."""
    context: dict[str, str] = mapping()
    """Further settings of a session that acts as a tenant, with their values. In a value,
    ``{tenant}`` is the tenant's id, and ``{uuid}`` a UUID that was never used."""
    exceptions: Words = ()
    """Tables that have the key column but need no policy."""
    shared: dict[str, str] = mapping()
    """Maps each table that application roles may read, and that has no key column, to the reason
    why its rows belong to no tenant."""
    reviewed: dict[str, Reviewed] = mapping()
    """Maps policies, triggers, rules and functions to the review that accepted them."""
    seed: dict[str, dict[str, str]] = mapping()
    """Maps tables to columns and the SQL expression of their value in seeded rows, for tables whose
    constraints no synthesised row meets. The number `n` is another one in every row."""

    @property
    def listed(self) -> Words:
        """The listed tables; none if they are discovered."""
        return () if self.discovers else self.tables

    @property
    def discovers(self) -> bool:
        """Whether the tables are to be found in the database."""
        return self.tables == (DISCOVER,)


class DeadLetters(Section):
    """Where failed tasks are stored."""

    named_by_default: ClassVar[frozenset[str]] = frozenset({"columns"})

    table: str = required("failed_jobs")
    """The table of dead-letter rows."""
    columns: dict[str, str] = mapping()
    """Maps names of columns, as checks use them (`task_id`, `task_name`, `args`, `kwargs`,
    `status`, `exception_class`, ...), to the names in the table. A name that is not there is the
    name in the table; a column that the table lacks is declared in ``[[absent]]``, such as
    `dead_letters.columns.notes`."""
    statuses: Words = optional(["new", "replayed"])
    """The statuses that a row can have; a new row has the first."""
    moves: dict[str, Words] = optional({"new": ["replayed"]})
    """Maps each status to those that it may change to."""
    resolved: str = optional("replayed")
    """The status of a row whose replay succeeded."""
    replay: Command = optional(["{python}", "-m", "app.replay"])
    """Command that the operator's role runs to replay all dead-letter rows that can be replayed. It
    prints, among other lines, one JSON object per replayed row with its `task_id`."""
    operator: str = optional("app_operator")
    """The role that reads and moves every dead-letter row."""
    reader: str = optional("app_reader")
    """The role that reads every dead-letter row."""
    former_table: str = optional("failed_tasks")
    """The name of the table before a migration that renamed it."""

    def column(self, name: str) -> str:
        """Return the column of the table for a name that checks use."""
        return self.columns.get(name, name)

    @property
    def new(self) -> str:
        """The status of a new row."""
        return self.statuses[0]
