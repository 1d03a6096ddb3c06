"""A scratch database: a server that exists for a moment, with the migrations of the system.

Owns the order: roles, the database's own SQL, the migration command as the owner. Leaves starting
the server to `gateproof.environments.embedded`.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from gateproof.draft.application import KEPT
from gateproof.draft.history import table_names
from gateproof.environments.cause import cause_of
from gateproof.environments.embedded import Embedded
from gateproof.environments.interface import Login, Server
from gateproof.environments.resource import missing_extension

DATABASE = "scratch"
OWNER = "gateproof_owner"
"""The role that migrates if no file of the project creates one."""
MIGRATION_DEADLINE_S = 300
HEAD = re.compile(
    r"(?P<revision>\w+)(?: \((?P<label>[^),]+)[^)]*\))? \((?P<effective>effective )?head\)"
)
"""A line of ``alembic heads``: the revision and its first label. An effective head is one that
another branch depends on."""
_LAST_WORDS = re.compile(r"owner|migrat|admin|ddl", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Migrating:
    """How to migrate the scratch database."""

    command: Sequence[str]
    """The words of the command, with the interpreter filled in and the revision of all migrations
    as the last one where it takes a revision; empty for no migration."""
    variables: Sequence[str]
    """The variables that get the DSN."""
    env: Mapping[str, str]
    """Further variables."""
    server_sql: Sequence[Path]
    database_sql: Sequence[Path]


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """A scratch database after its migration."""

    dsn: str
    """As superuser."""
    owner: str
    problem: str
    """Why it could not be migrated; empty if it could."""
    heads: tuple[str, ...] = ()
    """The newest revisions, as Alembic lists them."""
    branch_of: Mapping[str, str] = field(default_factory=dict)
    """Maps tables, as SQL names them, to the head of the branch that made them, where there are
    several."""
    former_names: Mapping[str, str] = field(default_factory=dict)
    """Maps tables that a migration renamed to their names before."""


@contextmanager
def scratch_database(
    root: Path, how: Migrating, *, progress: Callable[[str], None]
) -> Iterator[Migrated]:
    """Start a server, migrate a database on it, and remove both at the end of the block.

    Args:
        root: the folder of the system.
        how: the provisioning files and the migration command.
        progress: called with a line at each step.

    Raises:
        HarnessError: the server could not be started.

    """
    environment = Embedded(reason="gateproof init", learn_secret=lambda _name, _value: None)
    try:
        progress("starting a PostgreSQL server of its own ...")
        server = environment.new_server("scratch")
        admin = server.superuser.dsn(server.outside, "postgres")
        problems = [_run_file(admin, path, root) for path in how.server_sql]
        owner = _prepare_owner(admin)
        _create_database(admin, owner)
        dsn = server.superuser.dsn(server.outside, DATABASE)
        problems += [_run_file(dsn, path, root) for path in how.database_sql]
        if not how.command:
            yield Migrated(dsn=dsn, owner=owner, problem=next(filter(None, problems), ""))
            return
        progress(f"migrating it: python {' '.join(how.command[1:])} ...")
        heads = _heads(root, how)
        with table_names(dsn) as former_names:
            migration = _Migration(root=root, how=how, server=server, owner=owner, admin=admin)
            branch_of = migration.run_branches(heads, dsn)
            problems.append(migration.run(how.command))
        yield Migrated(
            dsn=dsn,
            owner=owner,
            problem=next(filter(None, problems), ""),
            heads=heads,
            branch_of=branch_of,
            former_names=former_names,
        )
    finally:
        environment.dispose()


def _run_file(dsn: str, path: Path, root: Path) -> str:
    """Run an SQL file as superuser; return why it failed."""
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(path.read_text(encoding="utf-8"))
    except (psycopg.Error, OSError, UnicodeDecodeError) as error:
        return f"{path.relative_to(root)}: {str(error).strip().splitlines()[0]}"
    return ""


def _prepare_owner(admin: str) -> str:
    """Return the role that will own the schema: one whose name says so, else a new one."""
    query = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND NOT rolsuper ORDER BY 1"
    with psycopg.connect(admin, autocommit=True) as connection:
        names = [str(row[0]) for row in connection.execute(query)]
        owner = next((name for name in names if _LAST_WORDS.search(name)), "")
        if not owner:  # migrations that create roles themselves need the attribute
            owner = OWNER
            make = sql.SQL("CREATE ROLE {} CREATEROLE").format(sql.Identifier(owner))
            connection.execute(make)
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(owner)))
    return owner


def _create_database(admin: str, owner: str) -> None:
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(DATABASE), sql.Identifier(owner)
            )
        )


@dataclass(frozen=True, kw_only=True)
class _Migration:
    """Runs migration commands as the owner of the scratch database."""

    root: Path
    how: Migrating
    server: Server
    owner: str
    admin: str

    def run_branches(self, heads: Sequence[str], dsn: str) -> dict[str, str]:
        """Migrate one branch after the other, and return which tables each of them made.

        A branch that does not apply on its own makes none: the whole migration shows why.
        """
        found: dict[str, str] = {}
        for head in heads if len(heads) > 1 else ():
            self.run([*self.how.command[:-1], head])
            found = dict.fromkeys(_tables(dsn), head) | found
        return found

    def run(self, command: Sequence[str]) -> str:
        """Run a command as the owner; return why it failed."""
        password = secrets.token_urlsafe(18)
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(self.owner), sql.Literal(password)
                )
            )
        dsn = Login(role=self.owner, password=password).dsn(self.server.outside, DATABASE)
        env = {name: os.environ[name] for name in KEPT if name in os.environ}
        env |= dict.fromkeys(self.how.variables, dsn) | dict(self.how.env)
        try:
            done = subprocess.run(
                list(command),
                cwd=self.root,
                env=env,
                capture_output=True,
                text=True,
                timeout=MIGRATION_DEADLINE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"migrations: {type(error).__name__}: {error}".replace(password, "***")
        if done.returncode == 0:
            return ""
        output = f"{done.stdout}\n{done.stderr}".replace(password, "***")
        extension = missing_extension(output)
        if extension:
            return f"migrations: the extension {extension} is missing; use --from-db DSN instead"
        return f"migrations: exit {done.returncode}: {cause_of(output)}"


def _tables(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND relnamespace::regnamespace::text !~ '^(pg_|information_schema|gateproof_)'"
        )
        return [str(row[0]) for row in rows]


def _heads(root: Path, how: Migrating) -> tuple[str, ...]:
    """Return the heads that Alembic lists; none without Alembic."""
    if "alembic" not in how.command:
        return ()
    command = [*how.command[: how.command.index("upgrade")], "heads"]
    done = subprocess.run(
        command,
        cwd=root,
        env={name: os.environ[name] for name in KEPT if name in os.environ} | dict(how.env),
        capture_output=True,
        text=True,
        timeout=MIGRATION_DEADLINE_S,
        check=False,
    )
    return heads_in(done.stdout)


def heads_in(output: str) -> tuple[str, ...]:
    """Return the heads in the output of ``alembic heads``, by label where they have one.

    A head next to effective ones depends on them, as far as the output shows: it does not apply on
    its own, and is left out.
    """
    matches = [match for line in output.splitlines() if (match := HEAD.match(line))]
    found = [one for one in matches if one["effective"]] or matches
    return tuple(f"{one['label']}@head" if one["label"] else one["revision"] for one in found)
