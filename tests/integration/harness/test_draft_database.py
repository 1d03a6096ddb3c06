"""A draft finds lists of values, former names, rows and their moves in a real database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from gateproof.draft.database import Relation, read_catalogue
from gateproof.draft.history import table_names
from gateproof.draft.watched.backlog import Backlog, backlog_of
from gateproof.draft.watched.rows import Failed, KeptRows, kept_rows, tried_moves
from gateproof.environments.embedded import Embedded

TABLES = """
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN size AS text CHECK (VALUE IN ('small', 'large'));
    CREATE TABLE jobs (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        job varchar(40) NOT NULL,
        title text,
        state varchar(20) NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'seen', 'it''s done')),
        mood mood NOT NULL DEFAULT 'sad',
        size size,
        pieces int CHECK (pieces IN (1, 2)),
        other text CHECK (other IN ('a', 'b') OR length(other) > 3),
        kept_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE every_job (job text, result text);
"""
GUARD = """
    CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (OLD.state, NEW.state) IN (('new', 'seen'), ('seen', 'new'), ('seen', 'it''s done'))
        THEN RETURN NEW; END IF;
        IF NEW.state = 'it''s done' THEN RETURN OLD; END IF;  -- silently
        RAISE EXCEPTION 'no';
    END $$;
    CREATE TRIGGER guard BEFORE UPDATE OF state ON jobs FOR EACH ROW EXECUTE FUNCTION guard();
"""
FAILED = Failed(
    task_id="0a1b",
    task="ping",
    queue="desk",
    kwargs={},
    error="ProbeFailureError",
    message="asked to",
    tenant="",
    others=("2c3d",),
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The DSN of a server for this module, up to the name of the database."""
    environment = Embedded(reason="test", learn_secret=lambda _name, _value: None)
    made = environment.new_server("main")
    yield made.superuser.dsn(made.outside, "")
    environment.dispose()


@pytest.fixture
def database(server: str, request: pytest.FixtureRequest) -> str:
    """The DSN of a new database with the tables."""
    name = f"db{abs(hash(request.node.name))}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(f"{server}{name}") as connection:
        connection.execute(TABLES)
    return f"{server}{name}"


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit."""
    with psycopg.connect(database, autocommit=True) as made:
        yield made


def table(database: str, name: str = "jobs") -> Relation:
    """Return a table of the catalogue."""
    return next(one for one in read_catalogue(database).tables if one.name == name)


def test_lists_of_values_are_read_as_postgresql_prints_them(database: str) -> None:
    """A check, an enum and a domain are lists; numbers and conditions are none."""
    found = {one.column: one for one in read_catalogue(database).listed}
    assert set(found) == {"state", "mood", "size"}
    assert (found["state"].values, found["state"].default) == (("new", "seen", "it's done"), "new")
    assert (found["mood"].values, found["mood"].default) == (("sad", "happy"), "sad")
    assert (found["size"].values, found["size"].default) == (("small", "large"), "")
    assert read_catalogue(database).values_of(table(database), "state") == found["state"]
    assert read_catalogue(database).values_of(table(database), "other") is None


def test_renamed_table_has_its_former_name(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    """A rename inside a block of code is seen, by any role; nothing of the recording stays."""
    connection.execute("CREATE ROLE mover; GRANT CREATE ON SCHEMA public TO mover")
    with table_names(database) as names:
        connection.execute("SET ROLE mover")
        connection.execute("CREATE TABLE broken (id int)")
        connection.execute("CREATE TABLE kept (id int)")
        connection.execute("DO $$ BEGIN ALTER TABLE broken RENAME TO failures; END $$")
        connection.execute("ALTER TABLE kept ADD COLUMN more int")
        connection.execute("RESET ROLE")
        assert names == {}
    assert names == {"failures": "broken"}
    schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ 'gateproof'")
    assert schemas.fetchall() == []
    assert connection.execute("SELECT count(*) FROM pg_event_trigger").fetchone() == (0,)


def test_role_that_cannot_record_names_finds_none(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    """Without the privilege for the trigger, nothing is claimed and the block runs."""
    connection.execute("CREATE ROLE plain LOGIN")
    user = database.partition("@")[2]
    with table_names(f"postgresql://plain@{user}") as names:
        connection.execute("ALTER TABLE every_job RENAME TO all_jobs")
    assert names == {}


def put(connection: psycopg.Connection[Any], *, job: str = "0a1b") -> None:
    """Keep a failed task."""
    connection.execute("INSERT INTO jobs (job, title) VALUES (%s, 'ping')", (job,))


def test_table_of_failed_tasks_is_the_one_with_failures_only(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    """A table that has tasks of all kinds is not it; renamed columns are mapped."""
    put(connection)
    connection.execute("INSERT INTO every_job VALUES ('0a1b', 'bad'), ('2c3d', 'good')")
    found = kept_rows(connection, read_catalogue(database), FAILED)
    assert found.table == "jobs"
    assert found.columns == {
        "id": "number",
        "task_id": "job",
        "task_name": "title",
        "status": "state",
        "failed_at": "kept_at",
    }
    assert found.moves == {}


def test_two_tables_with_the_failure_are_not_claimed(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    """Which of them is meant is for a person to say; without any row there is none either."""
    assert kept_rows(connection, read_catalogue(database), FAILED) == KeptRows()
    put(connection)
    connection.execute("INSERT INTO every_job VALUES ('0a1b', 'bad')")
    assert kept_rows(connection, read_catalogue(database), FAILED) == KeptRows()


def test_moves_of_a_status_are_those_that_the_database_allows(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    """A move that raises and one that is undone silently are refused; the row stays as it was."""
    connection.execute(GUARD)
    put(connection)
    found = kept_rows(connection, read_catalogue(database), FAILED)
    assert found.moves == {"new": ("seen",), "seen": ("new", "it's done"), "it's done": ()}
    assert connection.execute("SELECT state FROM jobs").fetchall() == [("new",)]


def test_moves_without_a_rule_are_not_claimed(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    """A database that refuses no move says nothing of which are meant."""
    put(connection)
    status = read_catalogue(database).values_of(table(database), "state")
    assert status is not None
    assert tried_moves(connection, table(database), "job", "0a1b", status) == {}


def test_moves_with_a_status_that_is_not_reached_are_not_claimed(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    """The moves from a status that no row gets to cannot be tried."""
    connection.execute(GUARD.replace(", ('seen', 'it''s done')", ""))
    put(connection)
    status = read_catalogue(database).values_of(table(database), "state")
    assert status is not None
    assert tried_moves(connection, table(database), "job", "0a1b", status) == {}


class Exporter:
    """Metrics that follow the table, with more gauges if there are any."""

    def __init__(self, connection: psycopg.Connection[Any], more: str = "") -> None:
        self.connection = connection
        self.more = more

    def scrape(self) -> str:
        """Return the metrics."""
        query = "SELECT count(*), coalesce(max(extract(epoch FROM now() - kept_at)), 0) FROM jobs"
        row = self.connection.execute(query).fetchone()
        assert row is not None
        return (
            f"# TYPE waiting gauge\nwaiting {row[0]}\n"
            f"# TYPE oldest_seconds gauge\noldest_seconds {row[1]}\n{self.more}"
        )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", Backlog(number="waiting", age_s="oldest_seconds")),
        ("# TYPE busy gauge\nbusy 2\n", Backlog()),
    ],
    ids=["one-gauge", "two-gauges"],
)
def test_gauges_of_failed_tasks_follow_the_rows(
    database: str,
    connection: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    more: str,
    expected: Backlog,
) -> None:
    """The number and the age are the gauges that alone changed with the rows."""
    monkeypatch.setattr("gateproof.draft.watched.backlog.UPDATED_WITHIN_S", 1.0)
    before = Exporter(connection).scrape()
    put(connection)
    put(connection, job="4e5f")
    catalogue = read_catalogue(database)
    kept = kept_rows(connection, catalogue, FAILED)
    scrape = Exporter(connection, more).scrape
    failed = ("0a1b", "4e5f")
    assert backlog_of(connection, catalogue, kept, failed, before, scrape) == expected
    assert backlog_of(connection, catalogue, kept, ("0a1b",), before, scrape) == Backlog()
