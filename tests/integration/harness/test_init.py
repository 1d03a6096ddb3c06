"""``gateproof init`` on a small system of another shape: its files, app and database are real."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from gateproof.description.reading import load_sut
from gateproof.draft.command import init
from gateproof.environments.embedded import Embedded
from gateproof_evidence.errors import BadInputError

ROOT = Path(__file__).parents[3]
DEPOT = ROOT / "docs/examples/depot"
MIGRATE_DEPOT = """
import runpy, sys

sys.argv = ["depot.migrate", "up"]
runpy.run_module("depot.migrate", run_name="__main__")
"""
COPIED = ("table", "columns", "statuses", "path", "started", "success", "failure", "duration")
"""The keys that a draft of the depot can have."""

APP = """
import os
from celery import Celery

print("a line on standard output at import")
if os.environ.get("SHOP_RECORD"):
    with open(os.environ["SHOP_RECORD"], "w") as file:
        file.write(os.environ["SHOP_DATABASE_URL"])
clock = Celery("shop", broker="sqla+" + os.environ["SHOP_DATABASE_URL"])
clock.conf.task_routes = {"shop.mail.*": {"queue": "mail"}}
clock.conf.beat_schedule = {"nightly": {"task": "shop.mail.digest", "schedule": 60.0}}
clock.conf.broker_password_like = os.environ["SHOP_TOKEN"]

@clock.task(name="shop.mail.digest")
def digest(org: str, token: str = "hunter2-hunter2"):
    return org

@clock.task(name="shop.stock.count")
def count(*items):
    return len(items)
"""
MIGRATE = """
import os, sys
import psycopg

assert sys.argv[1:] == ["migrate", "--noinput"], sys.argv
with psycopg.connect(os.environ["SHOP_DATABASE_URL"]) as connection:
    connection.execute('''
        CREATE SCHEMA shop;
        CREATE TABLE shop.orders (id serial PRIMARY KEY, org text NOT NULL);
        ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON shop.orders TO shop_worker
            USING (org = current_setting('shop.org', true));
        GRANT USAGE ON SCHEMA shop TO shop_worker;
        GRANT SELECT, INSERT ON shop.orders TO shop_worker;
        CREATE TABLE shop.failed_tasks (task_id text, task_name text, state text, org text);
    ''')
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a small system."""
    files = {
        "shop/app.py": APP,
        "shop/__init__.py": "",
        "manage.py": MIGRATE,
        "sql/roles.sql": "CREATE ROLE shop_worker LOGIN; CREATE ROLE shop_owner LOGIN;",
    }
    for name, text in files.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text, encoding="utf-8")
    return tmp_path / "project"


def run(*arguments: str | Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(init, [str(one) for one in arguments])


def test_init_drafts_a_description_from_files_app_and_database(root: Path) -> None:
    """Tasks, queues, owner, tenancy and failed tasks of a system of another shape are found."""
    done = run(root, "--env", "SHOP_TOKEN=hunter2-hunter2", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["features"] == [
        "database",
        "migrations",
        "celery",
        "broker",
        "worker",
        "task",
        "tenancy",
        "dead_letters",
    ]
    text = (root / "sut.toml").read_text(encoding="utf-8")
    assert "hunter2" not in text
    described = tomllib.loads(text)
    assert described["celery"] == {
        "app": "shop.app:clock",
        "worker_module": "shop.app",
        "task_prefix": "shop.",
    }
    assert described["broker"]["kind"] == "sqla"
    assert described["task"] == {
        "shop.mail.digest": {"queue": "mail"},
        "shop.stock.count": {"queue": "celery"},
    }
    assert described["database"]["owner"] == "shop_owner"
    assert described["database"]["provision"] == {"server": ["sql/roles.sql"]}
    assert described["migrations"]["dsn"] == {"SHOP_DATABASE_URL": "postgresql"}
    assert described["worker"]["role"] == "shop_worker"
    assert described["tenancy"]["guc"] == "shop.org"
    assert described["database"]["schemas"] == ["shop"]
    assert described["tenancy"]["tables"] == ["failed_tasks", "orders"]
    assert described["dead_letters"]["columns"] == {"status": "state"}
    assert "scheduled as nightly" in text
    assert "digest(org: str, token: str = ...)" in text
    for step in ("reading the files", "starting a PostgreSQL", "migrating it", "importing", "its"):
        assert step in done.stderr


def test_init_never_overwrites(root: Path) -> None:
    """A description that exists stays as it is."""
    (root / "sut.toml").write_text("mine", encoding="utf-8")
    done = run(root)
    assert isinstance(done.exception, BadInputError)
    assert "expected none: init never overwrites" in str(done.exception)
    assert (root / "sut.toml").read_text(encoding="utf-8") == "mine"


def test_init_reports_an_app_that_does_not_import(root: Path) -> None:
    """The cause and its place in the system's code are shown, and the rest is drafted."""
    done = run(root)
    assert done.exit_code == 0, done.output
    cause = "got KeyError: 'SHOP_TOKEN' at File \"shop/app.py\", line 12"
    assert cause in done.stderr
    text = (root / "sut.toml").read_text(encoding="utf-8")
    assert "the app did not import" in text
    assert "tenancy" in tomllib.loads(text)


def test_init_reports_migrations_that_fail(root: Path) -> None:
    """A migration that fails names its cause, and the draft says so."""
    (root / "manage.py").write_text("raise SystemExit('no such table: orders')", encoding="utf-8")
    done = run(root, "--env", "SHOP_TOKEN=x")
    assert done.exit_code == 0, done.output
    assert "migrations: exit 1: no such table: orders" in done.stderr
    text = (root / "sut.toml").read_text(encoding="utf-8")
    assert "although migrations: exit 1" in text
    assert "tenancy" not in tomllib.loads(text)


@pytest.fixture
def database() -> Iterator[str]:
    """The DSN of a database that exists, with one table of tenants."""
    environment = Embedded(reason="test", learn_secret=lambda _name, _value: None)
    server = environment.new_server("main")
    dsn = server.superuser.dsn(server.outside, "postgres")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader; CREATE TABLE notes (id int, team bigint)")
        connection.execute(
            "CREATE POLICY own ON notes TO reader"
            " USING (team = current_setting('app.team')::bigint)"
        )
    yield dsn
    environment.dispose()


def test_init_reads_a_database_that_exists_and_changes_nothing(root: Path, database: str) -> None:
    """With --from-db nothing is migrated, and neither address nor password is written."""
    record = root.parent / "record.txt"
    more = ("--env", "SHOP_TOKEN=x", "--env", f"SHOP_RECORD={record}", "--out", root / "other.toml")
    done = run(root, "--from-db", database, *more)
    assert done.exit_code == 0, done.output
    text = (root / "other.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["tenancy"]["key"] == "team"
    assert database not in text
    assert database.partition("@")[2].partition("/")[0] not in text
    assert "migrating it" not in done.stderr
    assert record.read_text(encoding="utf-8") == "postgresql://none@127.0.0.1:9/none"
    with psycopg.connect(database) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchone() == (1,)


def test_init_refuses_a_database_that_does_not_answer(root: Path) -> None:
    """The error names the option and has no password."""
    dsn = "postgresql://someone:hunter2-hunter2@127.0.0.1:9/none"
    done = run(root, "--from-db", dsn, "--env", "SHOP_TOKEN=x")
    assert isinstance(done.exception, BadInputError)
    assert str(done.exception).startswith("--from-db: database: got ")
    assert "hunter2" not in str(done.exception)
    assert not (root / "sut.toml").exists()


@pytest.fixture
def depot(tmp_path: Path) -> Path:
    """A copy of an example without its description, with a command that a draft knows."""
    folder = tmp_path / "depot"
    shutil.copytree(DEPOT, folder, ignore=shutil.ignore_patterns("__pycache__", "sut.toml"))
    (folder / "manage.py").write_text(MIGRATE_DEPOT, encoding="utf-8")
    return folder


def test_init_watches_a_worker_for_metrics_and_failed_tasks(depot: Path) -> None:
    """Table, columns and metrics of a system with names of its own are those of a person."""
    done = run(depot)
    assert done.exit_code == 0, done.output
    assert "watching a worker run tasks" in done.stderr
    assert "killing a worker" not in done.stderr  # a transport of Kombu loses its message
    text = (depot / "sut.toml").read_text(encoding="utf-8")
    drafted = tomllib.loads(text)
    finished = tomllib.loads((DEPOT / "sut.toml").read_text(encoding="utf-8"))
    absent = {one["feature"] for one in finished["absent"]}
    for name in ("dead_letters", "metrics"):
        found = {key: value for key, value in drafted[name].items() if key in COPIED}
        assert found == {key: value for key, value in finished[name].items() if key in COPIED}
        assert not [key for key in drafted[name] if f"{name}.{key}" in absent]
    assert drafted["metrics"]["task_label"] == finished["metrics"]["task_label"]
    assert drafted["celery"] == finished["celery"]
    assert not {"health", "logs"} & set(drafted)
    assert not {"lease_s", "promises"} & set(drafted["broker"])
    assert "# health" not in text.split("# Keys that were not found")[1]
    assert "# dead_letters.replay: DLQ-10" in text


def test_draft_in_another_folder_finds_its_system(depot: Path) -> None:
    """The root is relative to the file."""
    (depot / "described").mkdir()
    (depot / "manage.py").unlink()
    done = run(depot, "--out", depot / "described/sut.toml")
    assert done.exit_code == 0, done.output
    drafted = tomllib.loads((depot / "described/sut.toml").read_text(encoding="utf-8"))
    assert drafted["root"] == ".."
    assert load_sut(depot / "described/sut.toml").folder == depot
