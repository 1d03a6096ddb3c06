"""The draft of a description: its form, and what is read from the files of a project."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateproof.description.celery import Promises
from gateproof.draft.application import App, AppTask
from gateproof.draft.database import KEY, Catalogue, Listed, Policy, Relation, Role, recognised
from gateproof.draft.document import Table, document, toml_value
from gateproof.draft.failures import COLUMNS
from gateproof.draft.files import read_project
from gateproof.draft.guess import Findings, common_prefix, tables_of
from gateproof.draft.scratch import heads_in
from gateproof.draft.watched.backlog import Backlog
from gateproof.draft.watched.endpoint import Endpoints
from gateproof.draft.watched.lines import Lines, log_fields, report_fields
from gateproof.draft.watched.metrics import Names
from gateproof.draft.watched.rows import KeptRows
from gateproof.draft.watched.worker import Watched

APP = """
import os
from celery import Celery

queue = Celery("shop", broker=os.environ["SHOP_BROKER_URL"])
"""
FACTORY = """
from celery import Celery

def build() -> Celery:
    return Celery("shop")

app = build()
"""
WORKER = """
import os
from shop.tasks import queue

PORT = int(os.environ.get("SHOP_METRICS_PORT", "9000"))
if __name__ == "__main__":
    queue.worker_main(["worker"])
"""
CHECK = """
import os
from gateproof import criterion

os.environ["OF_A_CHECK_URL"]
"""


def project(root: Path) -> Path:
    """Write the files of a small project, and return its folder."""
    files = {
        "shop/tasks.py": APP,
        "shop/other.py": FACTORY,
        "shop/worker.py": WORKER,
        "shop/broken.py": "def (",
        "checks/test_a.py": CHECK,
        "tests/app.py": APP,
        "db/alembic.ini": "",
        "sql/roles.sql": "CREATE ROLE shop_worker;",
        "sql/extensions.sql": "create extension citext;",
        "sql/report.sql": "SELECT 1",
        "odd/pyvenv.cfg": "",
        "odd/lib/app.py": APP,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_project_is_read_from_its_files(tmp_path: Path) -> None:
    """Apps, workers, migrations, SQL files and variables are found with the file of each."""
    found = read_project(project(tmp_path))
    assert [(one.value, one.origin) for one in found.apps] == [
        ("shop.other:app", "shop/other.py"),
        ("shop.tasks:queue", "shop/tasks.py"),
    ]
    assert [one.value for one in found.worker_modules] == ["shop.worker"]
    assert found.alembic is not None
    assert found.alembic.value == "db/alembic.ini"
    assert (found.server_sql, found.database_sql) == (("sql/roles.sql",), ("sql/extensions.sql",))
    assert [one.value for one in found.variables] == ["SHOP_BROKER_URL", "SHOP_METRICS_PORT"]
    assert found.python is None


def test_files_that_are_not_read_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app is found next to a folder of reports with more files than the draft reads."""
    (tmp_path / "reports").mkdir()
    for number in range(5):
        (tmp_path / f"reports/{number}.txt").touch()
    module = "from celery import Celery\napp = Celery()\n"
    (tmp_path / "shop.py").write_text(module, encoding="utf-8")
    monkeypatch.setattr("gateproof.draft.files.MOST_FILES", 1)
    assert [one.value for one in read_project(tmp_path).apps] == ["shop:app"]


def test_interpreter_of_the_project_is_preferred(tmp_path: Path) -> None:
    """A virtual environment in the project has the system's packages."""
    program = tmp_path / ".venv/bin/python"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    found = read_project(tmp_path)
    assert found.python is not None
    assert found.python.value == ".venv/bin/python"


@pytest.mark.parametrize(
    "value",
    [
        "text",
        'with "quotes", a \\ and a\nline',
        "\x7f \x01 \u00e9",
        True,
        3,
        2.5,
        ["a", ["b"]],
        ["x" * 60, "y" * 60],
        {"plain": 1, "with a space": {"a.b": []}},
        {},
    ],
)
def test_value_is_read_back_as_it_was(value: Any) -> None:
    """Every kind of value of a draft is valid TOML and keeps its content."""
    assert tomllib.loads(f"key = {toml_value(value)}")["key"] == value


def test_value_that_toml_lacks_is_refused() -> None:
    """A missing value must not be written as a text."""
    with pytest.raises(TypeError, match="got NoneType"):
        toml_value(None)


def test_document_keeps_origins_and_comments_out_empty_tables() -> None:
    """A key has its origin, a suggestion is a comment, a table of suggestions only is one too."""
    first, second = Table("a", comment="why\nso"), Table("b.c")
    first.add("key", "x", "from\na file")
    second.suggest("long", ["y" * 90, "z" * 90], "decide")
    text = document([first, second])
    assert text.startswith('# why so\n[a]\nkey = "x"  # from a file\n\n# [b.c]\n# long = [\n')
    assert tomllib.loads(text) == {"a": {"key": "x"}}


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["shop.tasks.a", "shop.tasks.b"], "shop.tasks."),
        (["shop.tasks.one"], "shop.tasks."),
        (["shop.a", "ship.a"], ""),
        (["shop.tasks.pay", "shop.tasks.pay_later"], "shop.tasks."),
        ([], ""),
    ],
)
def test_prefix_of_tasks_ends_with_a_dot(names: list[str], prefix: str) -> None:
    """The prefix is common to all names and never cuts a word."""
    assert common_prefix(names) == prefix


@pytest.mark.parametrize(
    "text",
    [
        "(tenant_id = (NULLIF(current_setting('app.t'::text, true), ''::text))::uuid)",
        "(tenant_id = (current_setting('app.t'::text))::bigint)",
        "((tenant_id)::text = current_setting('app.t'::text, true))",
        "(\"tenant_id\" = current_setting('app.t'::text))",
        "(tenant_id = COALESCE(current_setting('app.t'::text), ''::text))",
    ],
)
def test_key_is_read_from_the_expression_of_a_policy(text: str) -> None:
    """The column that is compared with a setting is found in each usual form."""
    assert KEY.findall(text) == ["tenant_id"]


def test_columns_of_failed_tasks_are_recognised() -> None:
    """Columns under other names are mapped to the names that checks use."""
    assert recognised(["id", "job_id", "job_name", "arguments", "state", "note"]) == {
        "task_id": "job_id",
        "task_name": "job_name",
        "args": "arguments",
        "status": "state",
    }


def relation(name: str, columns: list[str], privileges: list[str]) -> Relation:
    """Return a table of the owner `boss`."""
    return Relation(
        schema="public",
        name=name,
        kind="r",
        owner="boss",
        secured=True,
        columns=columns,
        privileges=privileges,
    )


CATALOGUE = Catalogue(
    relations=(
        relation("orders", ["id", "org"], ["runner", "runner", "viewer"]),
        relation("countries", ["code"], ["runner"]),
        relation("failed_jobs", ["job_id", "job_name", "state", "org"], ["runner", "ops", "ops"]),
        relation("kombu_message", ["id"], ["runner", "runner", "runner"]),
    ),
    policies=(
        Policy(
            schema="public",
            table="orders",
            name="p",
            roles=["runner"],
            command="ALL",
            text="(org = current_setting('shop.org'::text))",
        ),
    ),
    roles=tuple(
        Role(name=name, login=True, unbound=False, member_of=[])
        for name in ("boss", "runner", "viewer", "ops")
    ),
    definers=("secret()",),
    extensions=("citext",),
)


def findings(tmp_path: Path, catalogue: Catalogue | None) -> Findings:
    """Return what was found about a project."""
    return Findings(
        root=tmp_path,
        files=read_project(project(tmp_path)),
        target="shop.tasks:queue",
        app=None,
        app_problem="got KeyError: 'SHOP_BROKER_URL'",
        catalogue=catalogue,
        catalogue_origin="a database",
        catalogue_problem="",
        owner="",
        env={"SHOP_TOKEN": "hunter2-hunter2"},
    )


def test_draft_describes_what_the_database_says(tmp_path: Path) -> None:
    """Owner, roles, tenancy and the table of failed tasks are in the draft, without a secret."""
    text = document(tables_of(findings(tmp_path, CATALOGUE)))
    described = tomllib.loads(text)
    assert described["database"]["owner"] == "boss"
    assert described["worker"]["role"] == "runner"
    assert described["tenancy"] == {
        "guc": "shop.org",
        "key": "org",
        "tables": ["orders", "failed_jobs"],
    }
    rows = described["dead_letters"]
    assert (rows["table"], rows["operator"]) == ("failed_jobs", "ops")
    assert rows["columns"]["task_id"] == "job_id"
    assert "# countries" in text
    assert "# definer function secret()" in text
    assert "hunter2" not in text
    assert "the app did not import: got KeyError" in text


def test_draft_describes_another_schema_and_another_table_of_results(tmp_path: Path) -> None:
    """Names need no schema once it is described; a table of results is known by its columns."""
    columns = ["id", "task_id", "status", "date_done"]
    found = replace(
        CATALOGUE,
        relations=tuple(
            replace(one, schema="shop")
            for one in (
                *CATALOGUE.relations,
                relation("stored_results", columns, ["runner"]),
                relation("django_migrations", ["app"], []),
            )
        ),
    )
    described = tomllib.loads(document(tables_of(findings(tmp_path, found))))
    assert described["database"]["schemas"] == ["shop"]
    assert described["broker"]["tables"] == ["kombu_message", "stored_results"]
    assert described["broker"]["results"] == "stored_results"
    assert described["tenancy"]["tables"] == ["orders", "failed_jobs"]
    assert described["migrations"]["version_table"] == "django_migrations"


def test_draft_has_the_values_of_variables_only_on_request(tmp_path: Path) -> None:
    """The worker that is watched needs them; the file never has them."""
    found = findings(tmp_path, CATALOGUE)
    assert "hunter2" not in document(tables_of(found))
    described = tomllib.loads(document(tables_of(found, with_values=True)))
    assert described["env"] == {"SHOP_TOKEN": "hunter2-hunter2"}


def test_draft_without_a_database_says_what_is_missing(tmp_path: Path) -> None:
    """Nothing is guessed about tenants and roles that no database shows."""
    described = tomllib.loads(document(tables_of(findings(tmp_path, None))))
    assert "tenancy" not in described
    assert "dead_letters" not in described
    assert "worker" not in described
    assert described["celery"]["app"] == "shop.tasks:queue"


def entries(*, ids: bool = True) -> tuple[dict[str, Any], ...]:
    """Return the JSON lines of a worker that names its fields in its own way."""
    start = {"at": "2026-11-29T10:00:00+00:00", "severity": "info", "msg": "up", "name": "boss"}
    report = {**start, "urls.broker": "sqla", "backend_kind": "db", "is_eager": False}

    def line(number: str, message: str, **more: str) -> dict[str, Any]:
        own = {"job": "ping", "request_correlation": number, "org": "acme", "msg": message}
        return {**start, **own, "job_id": number if ids else "?", **more}

    return (
        {**report, "listens_to": ["b", "a"]},
        line("1", "started"),
        line("1", "done"),
        line("2", "broken", cause="ProbeFailureError: asked to"),
        line("3", "started"),
        line("3", "will retry"),
        line("3", "done"),
    )


def lines(found: tuple[dict[str, Any], ...]) -> Lines:
    """Return these lines with the tasks that were published."""
    return Lines(
        entries=found,
        task="ping",
        succeeded="1",
        failed="2",
        retried="3",
        tenant="acme",
        error="ProbeFailureError",
        queues=("a", "b"),
    )


def test_fields_of_log_lines_are_found_by_their_values() -> None:
    """Each field is the one that has the value: the id, the name, the tenant, the exception."""
    assert log_fields(lines(entries())) == {
        "timestamp": "at",
        "level": "severity",
        "logger": "name",
        "message": "msg",
        "task_name": "job",
        "task_id": "job_id",
        "tenant_id": "org",
        "correlation_id": "request_correlation",
        "error": "cause",
        "success": "done",
        "failure": "broken",
        "retry": "will retry",
    }
    assert report_fields(lines(entries())) == {
        "message": "up",
        "broker": "urls.broker",
        "result_backend": "backend_kind",
        "eager": "is_eager",
        "queues": "listens_to",
    }


def test_lines_without_the_id_of_a_task_describe_nothing() -> None:
    """Fields are not guessed from names alone."""
    found = tuple({**one, "request_correlation": "?"} for one in entries(ids=False))
    assert log_fields(lines(found)) == {}
    assert report_fields(lines(found[1:])) == {}


@pytest.mark.parametrize(
    ("transport", "expected"),
    [
        ("shop.transport:Transport", set(Promises.model_fields)),
        ("kombu.transport.sqlalchemy:Transport", set()),
        ("", set()),
    ],
)
def test_promises_are_drafted_for_a_transport_of_its_own(
    tmp_path: Path, transport: str, expected: set[str]
) -> None:
    """Kombu's transports promise little; what another one promises is for a person to confirm."""
    found = replace(findings(tmp_path, None), app=declared(transport=transport))
    drafted = tomllib.loads(document(tables_of(found)))
    assert set(drafted.get("broker", {}).get("promises", {})) == expected


def declared(**more: Any) -> App:
    """Return what an app declares."""
    plain = {"broker": "sqla", "result_backend": "db", "pool": "prefork", "eager": False}
    return App.model_validate({**plain, "default_queue": "celery", "tasks": {}, **more})


def watched(**more: Any) -> Watched:
    """Return what a worker showed; by default nothing."""
    plain: dict[str, Any] = {
        "lines": lines(()),
        "endpoints": Endpoints(asked=True),
        "names": Names(),
        "kept": KeptRows(),
        "backlog": Backlog(),
        "lease_s": None,
    }
    return Watched(**{**plain, **more})


def drafted(found: Findings) -> dict[str, Any]:
    """Return the draft as its reader sees it."""
    return tomllib.loads(document(tables_of(found)))


def test_routing_key_is_drafted_if_it_is_not_the_name_of_the_queue(tmp_path: Path) -> None:
    """A description has no key of its own for a task whose messages have that of their queue."""
    tasks = {
        name: AppTask(queue="mail", key=key, signature="()", module="shop.tasks")
        for name, key in (("shop.send", "mail.task"), ("shop.count", "mail"), ("shop.old", ""))
    }
    found = replace(findings(tmp_path, None), app=declared(tasks=tasks))
    assert drafted(found)["task"] == {
        "shop.send": {"queue": "mail", "key": "mail.task"},
        "shop.count": {"queue": "mail"},
        "shop.old": {"queue": "mail"},
    }


@pytest.mark.parametrize(
    ("measured", "timeout_s", "expected"),
    [(4.0, None, 4.0), (4.0, 3600.0, 4.0), (None, 3600.0, 3600.0), (None, None, None)],
)
def test_lease_is_measured_or_set_or_left_to_a_person(
    tmp_path: Path, measured: float | None, timeout_s: float | None, expected: float | None
) -> None:
    """A measurement comes before a setting, and without either there is a comment only."""
    app = declared(visibility_timeout_s=timeout_s)
    found = replace(findings(tmp_path, None), app=app, watched=watched(lease_s=measured))
    assert drafted(found)["broker"].get("lease_s") == expected
    assert "lease_env" not in drafted(found)["broker"]


def test_variable_with_the_limit_of_deliveries_is_found_by_its_name(tmp_path: Path) -> None:
    """The limit itself is not known from that: it stays a comment."""
    found = replace(findings(tmp_path, None), app=declared())
    assert "max_deliveries_env" not in drafted(found)["broker"]
    source = "import os\nLIMIT = os.environ.get('SHOP_MAX_DELIVERIES', '5')\n"
    (tmp_path / "shop/limit.py").write_text(source, encoding="utf-8")
    broker = drafted(replace(found, files=read_project(tmp_path)))["broker"]
    assert broker["max_deliveries_env"] == "SHOP_MAX_DELIVERIES"
    assert "max_deliveries" not in broker


def test_endpoints_are_those_that_a_worker_answered(tmp_path: Path) -> None:
    """A path in the sources is no endpoint of a worker that does not answer it."""
    (tmp_path / "shop/web.py").parent.mkdir(exist_ok=True)
    (tmp_path / "shop/web.py").write_text("PATHS = ['/metrics', '/health']\n", encoding="utf-8")
    unwatched = findings(tmp_path, CATALOGUE)
    assert drafted(unwatched)["metrics"] == {"path": "/metrics"}
    silent = drafted(replace(unwatched, watched=watched()))
    assert "metrics" not in silent
    assert "health" not in silent
    seen = Endpoints(metrics="/numbers", asked=True)
    names = Names(started="begun_total", duration="took", task_label="job", buckets=("1.0",))
    found = drafted(replace(unwatched, watched=watched(endpoints=seen, names=names)))
    assert found["metrics"] == {
        "path": "/numbers",
        "started": "begun_total",
        "duration": "took",
        "task_label": "job",
        "buckets": ["1.0"],
    }


def test_path_without_a_variable_for_the_port_is_a_comment(tmp_path: Path) -> None:
    """A run has to give each worker a port of its own."""
    found = findings(tmp_path, CATALOGUE)
    (tmp_path / "shop/worker.py").unlink()
    (tmp_path / "shop/web.py").write_text("PATHS = ['/metrics', '/health']\n", encoding="utf-8")
    found = replace(found, files=read_project(tmp_path))
    assert "metrics" not in drafted(found)
    assert "health" not in drafted(found)


@pytest.mark.parametrize(
    ("name", "text", "command"),
    [
        (
            "shop/web.py",
            "from flask import Flask\nsite = Flask(__name__)\n",
            ["{python}", "-m", "flask", "--app", "shop.web:site", "run", "--port={port}"],
        ),
        (
            "shop/http/__init__.py",
            "import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI()\n",
            ["{python}", "-m", "uvicorn", "shop.http:api", "--port={port}"],
        ),
        (
            "shop/http/server.py",
            "def run():\n    import uvicorn\n\nPORT = os.environ['SHOP_PORT']\n",
            ["{python}", "-m", "shop.http"],
        ),
    ],
)
def test_process_that_answers_requests_is_drafted_as_a_comment(
    tmp_path: Path, name: str, text: str, command: list[str]
) -> None:
    """The comment is a process of a description once its signs are taken away."""
    (tmp_path / "shop/http").mkdir(parents=True)
    (tmp_path / "shop/http/__main__.py").write_text("from .server import run\n", encoding="utf-8")
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = findings(tmp_path, CATALOGUE)
    assert "process" not in drafted(found)
    tables = [one for one in tables_of(found) if one.name == "[process]"]
    lines = [line.removeprefix("# ") for one in tables for line in ("[[process]]", *one.lines)]
    [process] = tomllib.loads("\n".join(lines))["process"]
    assert (process["name"], process["command"]) == ("web", command)
    assert process.get("port") == (None if "--port={port}" in command else "SHOP_PORT")


def test_project_without_a_web_server_drafts_no_process(tmp_path: Path) -> None:
    """A worker that is a program, and a package that serves nothing, answer no requests."""
    (tmp_path / "shop/http").mkdir(parents=True)
    (tmp_path / "shop/http/__main__.py").write_text("import shop.tasks\n", encoding="utf-8")
    (tmp_path / "shop/api.py").write_text("api = make(Flask)\n", encoding="utf-8")
    found = findings(tmp_path, CATALOGUE)
    assert [one for one in tables_of(found) if one.name == "[process]"] == []


def with_statuses(*values: str, default: str, times: tuple[str, ...] = ()) -> Catalogue:
    """Return the catalogue with a list of values for the status, and columns of times."""
    orders, countries, failed, messages = CATALOGUE.relations
    failed = replace(failed, columns=[*failed.columns, *times])
    known = Listed(
        schema="public",
        table="failed_jobs",
        column="state",
        values=values,
        default=default,
        origin="a check of the column",
    )
    return replace(CATALOGUE, relations=(orders, countries, failed, messages), listed=(known,))


def test_statuses_begin_with_the_default(tmp_path: Path) -> None:
    """The first status is that of a new row; the one with a column of its time is the resolved."""
    catalogue = with_statuses("resolved", "new", "seen", default="new", times=("resolved_at",))
    rows = drafted(findings(tmp_path, catalogue))["dead_letters"]
    assert rows["statuses"] == ["new", "resolved", "seen"]
    assert rows["resolved"] == "resolved"


@pytest.mark.parametrize(
    "catalogue",
    [
        CATALOGUE,
        with_statuses("new", "resolved", default="", times=("resolved_at",)),
    ],
    ids=["no-list", "no-default"],
)
def test_statuses_without_a_list_or_a_default_are_a_comment(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """Which status a new row has is not guessed from names."""
    found = findings(tmp_path, catalogue)
    assert not {"statuses", "resolved"} & set(drafted(found)["dead_letters"])
    assert "# statuses = " in document(tables_of(found))


@pytest.mark.parametrize(
    ("values", "times"),
    [
        (("new", "resolved"), ()),
        (("new", "archived"), ("archived_at",)),
        (("new", "resolved", "replayed"), ("resolved_at", "replayed_at")),
        (("resolved", "new"), ("resolved_at",)),
    ],
    ids=["no-time", "another-word", "two", "the-default"],
)
def test_resolved_status_that_is_in_doubt_is_a_comment(
    tmp_path: Path, values: tuple[str, ...], times: tuple[str, ...]
) -> None:
    """It needs a word for success and a column with its time, and must be the only one."""
    catalogue = with_statuses(*values, default=values[0], times=times)
    assert "resolved" not in drafted(findings(tmp_path, catalogue))["dead_letters"]


def test_observed_table_of_failed_tasks_comes_before_the_likely_one(tmp_path: Path) -> None:
    """Columns, moves, the former name and the branch are those of the table with the row."""
    kept = KeptRows(table="orders", columns={"task_id": "id"}, moves={"a": ("b",), "b": ()})
    found = replace(
        findings(tmp_path, CATALOGUE),
        watched=watched(kept=kept),
        former_names={"orders": "old_orders", "failed_jobs": "older"},
        heads=("core@head", "jobs@head"),
        branch_of={"orders": "jobs@head", "failed_jobs": "core@head"},
    )
    rows = drafted(found)["dead_letters"]
    assert rows["table"] == "orders"
    assert rows["columns"] == {"task_id": "id"}
    assert rows["moves"] == {"a": ["b"], "b": []}
    assert rows["former_table"] == "old_orders"
    assert drafted(found)["migrations"]["branches"] == ["jobs@head", "core@head"]
    plain = drafted(replace(found, watched=None, former_names={}, branch_of={}))
    assert plain["dead_letters"]["table"] == "failed_jobs"
    assert not {"moves", "former_table"} & set(plain["dead_letters"])
    assert plain["migrations"]["branches"] == ["core@head", "jobs@head"]


def test_columns_that_the_table_lacks_are_named_in_a_comment(tmp_path: Path) -> None:
    """A check would look for each of them; a table that has all has no such comment."""
    text = document(tables_of(findings(tmp_path, CATALOGUE)))
    line = next(one for one in text.splitlines() if one.startswith("# not found: "))
    assert line.startswith("# not found: id, queue, tenant_id, args, kwargs, ")
    orders, countries, failed, messages = CATALOGUE.relations
    failed = replace(failed, columns=[*failed.columns, *COLUMNS])
    whole = replace(CATALOGUE, relations=(orders, countries, failed, messages))
    assert "# not found: " not in document(tables_of(findings(tmp_path, whole)))


def test_columns_are_those_of_the_checks() -> None:
    """The names are those of the contract in the pack."""
    source = (Path(__file__).parents[3] / "gates/dlq/contract.py").read_text(encoding="utf-8")
    contract = next(
        one.value
        for one in ast.parse(source).body
        if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == "COLUMNS"
    )
    assert isinstance(contract, ast.Dict)
    assert [ast.literal_eval(key) for key in contract.keys if key] == list(COLUMNS)


def test_module_of_the_app_is_that_of_a_worker_without_a_program(tmp_path: Path) -> None:
    """Celery's own command imports it; an app that was not imported shows nothing."""
    found = replace(findings(tmp_path, None), app=declared())
    assert drafted(found)["celery"]["worker_module"] == "shop.worker"
    (tmp_path / "shop/worker.py").unlink()
    found = replace(found, files=read_project(tmp_path))
    assert drafted(found)["celery"]["worker_module"] == "shop.tasks"
    assert "worker_module" not in drafted(replace(found, app=None))["celery"]


@pytest.mark.parametrize(
    ("sources", "form"),
    [
        (["URL = os.environ.get('SHOP_URL', 'postgresql+psycopg2://a:hunter2-hunter2@h/d')"],
         "postgresql+psycopg2"),
        (["A = 'postgresql+asyncpg://h/a'", "B = 'postgresql+asyncpg://h/b'"],
         "postgresql+asyncpg"),
        (["A = 'postgresql+psycopg2://h/a'", "B = 'postgresql://h/b'"], "postgresql"),
        (["A = 'mysql://h/a'"], "postgresql"),
    ],
    ids=["one", "the-same-twice", "two-forms", "another-database"],
)  # fmt: skip
def test_form_of_the_dsn_is_that_of_all_defaults_in_the_code(
    tmp_path: Path, sources: list[str], form: str
) -> None:
    """With two forms, the plain one is drafted, which a person corrects; no DSN is written."""
    found = findings(tmp_path, CATALOGUE)
    text = "\n".join(["import os", "NAME = 'SHOP_DATABASE_URL'", "os.environ", *sources])
    (tmp_path / "shop/database.py").write_text(text, encoding="utf-8")
    found = replace(found, files=read_project(tmp_path))
    assert drafted(found)["worker"]["dsn"] == {"SHOP_DATABASE_URL": form}
    assert "hunter2" not in document(tables_of(found))


def test_interpreter_and_place_that_the_caller_named_are_kept(tmp_path: Path) -> None:
    """A draft in another folder names the project's, and the interpreter that was asked for."""
    found = replace(findings(tmp_path, None), python="/opt/shop/bin/python", place="..")
    assert (drafted(found)["python"], drafted(found)["root"]) == ("/opt/shop/bin/python", "..")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("a1 (core) (head)\nb1 (jobs, more) (head)\n", ("core@head", "jobs@head")),
        ("0a1b (head)\n", ("0a1b",)),
        (
            "a1 (core) (effective head)\nb1 (jobs) (effective head)\nc1 (front) (head)\n",
            ("core@head", "jobs@head"),
        ),
        ("INFO  context\n", ()),
    ],
    ids=["labelled", "without a label", "one that depends on two", "none"],
)
def test_branches_that_depend_on_others_are_left_out(
    output: str, expected: tuple[str, ...]
) -> None:
    """Alembic marks heads that another branch depends on; a branch of migrations stands alone."""
    assert heads_in(output) == expected
