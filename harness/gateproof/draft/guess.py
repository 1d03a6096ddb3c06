"""Turns what was found about a system into the tables of a drafted description.

Owns which key gets which value, and the words of each origin. Leaves finding to the modules next to
it, and the form of the file to `gateproof.draft.document`. No value is a password: addresses of
databases never get here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateproof.description.celery import Broker, Promises
from gateproof.description.database import Migrations
from gateproof.draft.application import App
from gateproof.draft.database import Catalogue
from gateproof.draft.document import Table
from gateproof.draft.failures import chosen_table, dead_letters
from gateproof.draft.files import ProjectFiles
from gateproof.draft.watched.endpoint import Endpoints
from gateproof.draft.watched.rows import KeptRows
from gateproof.draft.watched.worker import Watched

PACK = "pack:celery-postgres"
INJECT = "inject"
WORKER_OPTIONS = ("--queues={queues}", "--pool={pool}", "--concurrency={concurrency}")
PORT = r"(METRICS|HEALTH|MONITORING|PROMETHEUS)_PORT$"
WEB_PORT = re.compile(r"(?<!METRICS)(?<!HEALTH)(?<!PROMETHEUS)_PORT$")
"""The name of a variable with the port of a process that answers requests."""
HEALTH_PATH = r"^/(health|healthz|livez|readyz|health_?check)/?$"
"""Names of the variable with the port of a worker's endpoints, and paths of its health report."""
POOLS = ("prefork", "solo", "threads")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that was found about a system."""

    root: Path
    files: ProjectFiles
    target: str
    """``module:attribute`` of the app; empty without an app."""
    app: App | None
    app_problem: str
    """Why the app could not be imported; empty if it could, or if there is none."""
    catalogue: Catalogue | None
    catalogue_origin: str
    """Where the catalogue is from, in words."""
    catalogue_problem: str
    owner: str
    """The role that migrated the scratch database; empty if none was."""
    env: Mapping[str, str]
    """Variables that the caller gave."""
    place: str = "."
    """The folder of the system, relative to the file."""
    python: str = ""
    """The interpreter that the caller named; empty for the project's."""
    heads: tuple[str, ...] = ()
    """The newest revisions of the migrations, one a branch, each with its label if it has one."""
    branch_of: Mapping[str, str] = field(default_factory=dict)
    """Maps tables to the head of the branch that made them, where there are several."""
    former_names: Mapping[str, str] = field(default_factory=dict)
    """Maps tables that a migration renamed to their names before."""
    watched: Watched | None = None
    """The findings about a worker that was watched; None if none was."""
    logs: Mapping[str, str] = field(default_factory=dict)
    """The keys of ``[logs]``."""
    report: Mapping[str, str] = field(default_factory=dict)
    """The keys of ``[worker.report]``."""
    worker_problem: str = ""
    """Why no worker could be watched; empty if one was, or if none was started."""

    @property
    def kept(self) -> KeptRows:
        """The findings about the rows of failed tasks; empty if no worker was watched."""
        return self.watched.kept if self.watched else KeptRows()


def tables_of(found: Findings, *, with_values: bool = False) -> list[Table]:
    """Return the tables of the description, in the order of the file.

    Args:
        found: what was found.
        with_values: whether it has the values of the variables that the caller gave. They can be
            secret, so a file has their names only.

    """
    return [
        _top(found, with_values=with_values),
        _database(found),
        _migrations(found),
        _celery(found),
        _broker(found),
        _promises(found),
        _worker(found),
        _report(found),
        _tasks(found),
        *_tenancy(found),
        _dead_letters(found),
        *_monitoring(found),
        *_processes(found),
        _image(found),
        _absences(found),
    ]


def _top(found: Findings, *, with_values: bool) -> Table:
    table = Table("")
    table.add("version", 2, "")
    table.add("name", found.root.name or "system", "the name of the folder")
    table.add("root", found.place, "" if found.place == "." else "relative to this file")
    if found.python:
        table.add("python", found.python, "--python")
    elif found.files.python:
        table.add("python", found.files.python.value, "a virtual environment in the project")
    else:
        table.suggest("python", ".venv/bin/python", "no virtual environment was found")
    if found.env and with_values:
        table.add("env", dict(found.env), "")
    elif found.env:
        table.suggest("env", dict.fromkeys(found.env, "..."), "the variables of --env")
    table.add("gates", [PACK], "the gates for Celery with PostgreSQL")
    return table


def _database(found: Findings) -> Table:
    table = Table("database", comment=_catalogue_words(found))
    catalogue, files = found.catalogue, found.files
    if catalogue is None:
        table.suggest("owner", "app_owner", "the role that owns the schema")
        return table
    owner = found.owner or catalogue.owner
    if owner:
        table.add("owner", owner, "the owner of most tables")
    if catalogue.schemas != ("public",) and catalogue.schemas:
        table.add("schemas", list(catalogue.schemas), "they have the tables")
    views = sorted({one.owner for one in catalogue.relations if one.kind == "m"} - {owner})
    if views:
        table.add("view_owner", views[0], "the owner of the materialized views")
    if catalogue.extensions:
        table.add("extensions", list(catalogue.extensions), "pg_extension")
    provision = {"server": list(files.server_sql), "database": list(files.database_sql)}
    if any(provision.values()):
        known = {name: paths for name, paths in provision.items() if paths}
        table.add("provision", known, "SQL files that create roles, or set up a database")
    if not owner:
        table.comment_out("the database has no table, so its owner is not known: add it")
    return table


def _catalogue_words(found: Findings) -> str:
    if found.catalogue_problem:
        return f"read from {found.catalogue_origin}, although {found.catalogue_problem}"
    return f"read from {found.catalogue_origin}" if found.catalogue else "no database was read"


def _migrations(found: Findings) -> Table:
    table = Table("migrations")
    command = migration_command(found.files)
    variables = [one.value for one in found.files.database_variables]
    if command is None:
        table.comment = "neither alembic.ini nor manage.py was found"
        table.suggest("up", ["{python}", "migrate.py"], "the command that migrates a database")
        return table
    table.add("up", command.up, command.origin)
    if command.down:
        table.add("down", command.down, command.origin)
    else:
        words = "a command of your own that takes all migrations back"
        table.suggest("down", ["{python}", "manage.py", "unmigrate"], words)
    if command.all != Migrations.model_fields["all"].default:
        table.add("all", command.all, "without a revision, it applies all")
    if variables:
        table.add("dsn", {variables[0]: "postgresql"}, _variable_words(found, variables[0]))
    else:
        table.suggest("dsn", {"DATABASE_URL": "postgresql"}, "no variable with a DSN was found")
    if found.heads:
        table.add("branches", *_branches(found))
    elif command.branch:
        table.suggest("branches", [command.branch], "revisions that apply on their own")
    versions = found.catalogue.version_table if found.catalogue else None
    if versions and versions.name != Migrations.model_fields["version_table"].default:
        table.add("version_table", versions.name, "the migrations are recorded in it")
    return table


def _branches(found: Findings) -> tuple[list[str], str]:
    """Return the heads of the migrations, that of the table of failed tasks first, and why."""
    chosen = chosen_table(found.catalogue, found.kept)
    first = found.branch_of.get(chosen[0].label, "") if chosen else ""
    heads = sorted(found.heads, key=lambda head: head != first)
    more = f"; the first makes {chosen[0].label}" if chosen and first else ""
    return heads, f"the heads of the migrations{more}"


@dataclass(frozen=True, kw_only=True)
class MigrationCommand:
    """The commands of a migration tool, and the file that they are from."""

    up: list[str]
    down: list[str]
    """Empty if the tool has no command that takes all migrations back."""
    all: str
    """The revision that applies all."""
    branch: str
    """A revision as the tool names one; empty if its heads can be listed."""
    origin: str


def migration_command(files: ProjectFiles) -> MigrationCommand | None:
    """Return the commands of the project's migration tool; None if none is known."""
    if files.alembic:
        words = ["{python}", "-m", "alembic", "-c", files.alembic.value]
        return MigrationCommand(
            up=[*words, "upgrade", "{revision}"],
            down=[*words, "downgrade", "{revision}"],
            all="heads",
            branch="",
            origin=files.alembic.origin,
        )
    if files.manage:
        return MigrationCommand(
            up=["{python}", files.manage.value, "migrate", "--noinput", "{revision}"],
            down=[],
            all="",
            branch="app 0001",
            origin=files.manage.origin,
        )
    return None


def _variable_words(found: Findings, name: str) -> str:
    origin = next(one.origin for one in found.files.variables if one.value == name)
    return f"read by {origin}"


def _celery(found: Findings) -> Table:
    table = Table("celery")
    if not found.target:
        table.comment = "no Celery app was found"
        table.suggest("app", "app.celery:app", "name it with --app")
        return table
    others = [one.value for one in found.files.apps if one.value != found.target]
    table.add("app", found.target, f"other candidates: {', '.join(others)}" if others else "")
    modules = found.files.worker_modules
    if modules:
        table.add("worker_module", modules[0].value, f"a program in {modules[0].origin}")
    elif found.app:
        module = found.target.partition(":")[0]
        table.add("worker_module", module, "the module that Celery's own command imports")
    if found.app_problem:
        table.comment = f"the app did not import: {found.app_problem}"
    if found.app:
        prefix = common_prefix(list(found.app.tasks))
        if prefix:
            table.add("task_prefix", prefix, "common to all tasks")
    return table


def common_prefix(names: Sequence[str]) -> str:
    """Return the longest prefix of dotted names that ends with a dot."""
    if not names:
        return ""
    first, last = min(names), max(names)
    same = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]),
                min(len(first), len(last)))  # fmt: skip
    return first[: first.rfind(".", 0, same) + 1]


def _broker(found: Findings) -> Table:
    table = Table("broker")
    kinds = {"sqla": "sqla", "sqlalchemy": "sqla", "redis": "redis", "rediss": "redis"}
    kinds |= {"amqp": "amqp", "amqps": "amqp", "pyamqp": "amqp"}
    scheme = found.app.broker.partition("+")[0] if found.app else ""
    tables = found.catalogue.broker_tables if found.catalogue else ()
    if scheme in kinds:
        table.add("kind", kinds[scheme], "the broker URL of the app")
    elif tables:
        table.add("kind", "sqla", "the database has the tables of kombu's transport")
    else:
        table.suggest("kind", "redis", f"the app's broker URL begins with {scheme or 'nothing'}")
    if tables:
        table.add("tables", list(tables), "in the database")
    results = found.catalogue.results if found.catalogue else ()
    if results and results[0] != Broker.model_fields["results"].default:
        others = f"; other candidates: {', '.join(results[1:])}" if results[1:] else ""
        table.add("results", results[0], f"it has the columns of results{others}")
    _add_lease(table, found)
    limit = found.files.variable(r"(^|_)(MAX_DELIVERIES|DELIVERY_LIMIT)$")
    if limit:
        table.add("max_deliveries_env", limit.value, f"read by {limit.origin}")
    table.suggest("max_deliveries", 20, "how often a message is delivered whose workers die")
    return table


def _add_lease(table: Table, found: Findings) -> None:
    """Add the seconds until a message of a killed worker comes back: as measured, else as set."""
    measured = found.watched.lease_s if found.watched else None
    timeout_s = found.app.visibility_timeout_s if found.app else None
    if measured:
        table.add("lease_s", measured, "measured: a killed worker's message came back within it")
    elif timeout_s:
        table.add("lease_s", timeout_s, "visibility_timeout of the app's transport")
    else:
        table.suggest("lease_s", 3600.0, "seconds until a message of a killed worker comes back")
    named = found.files.variable(r"(^|_)(VISIBILITY_TIMEOUT|LEASE)(_S|_SECONDS)?$")
    name, words = (named.value, f"read by {named.origin}") if named else ("", "")
    more = f"{words}: confirm that it shortens it, in seconds" if words else ""
    table.suggest("lease_env", name or "...", more or "a variable that shortens it")


def _promises(found: Findings) -> Table:
    """Return the promises of a transport: a person confirms those of one that is not Kombu's."""
    table = Table("broker.promises")
    transport = found.app.transport if found.app else ""
    of_kombu = transport.startswith("kombu.")
    for number, name in enumerate(Promises.model_fields):
        if transport and not of_kombu:
            words = f"the transport is {transport}: remove what it does not promise"
            table.add(name, True, "" if number else words)
        else:
            table.suggest(name, True, "" if number else "Kombu's own transports keep few of these")
    return table


def _worker(found: Findings) -> Table:
    table = Table("worker")
    if not found.target:
        return table
    modules = found.files.worker_modules
    if modules:
        start, origin = ["{python}", "-m", modules[0].value], f"a program in {modules[0].origin}"
    else:
        start = ["{python}", "-m", "celery", "-A", found.target, "worker"]
        origin = "Celery's own command; correct it if workers start otherwise"
    table.add("command", [*start, *WORKER_OPTIONS], origin)
    if found.app and found.app.pool in POOLS:
        table.add("pool", found.app.pool, "worker_pool of the app")
    table.add("probe", INJECT, "the harness adds tasks of its own, to exercise the runtime")
    role, origin = _worker_role(found)
    if role:
        table.add("role", role, origin)
    else:
        table.suggest("role", "app_user", "the role that workers connect as")
    names = [one.value for one in found.files.database_variables]
    if names:
        form = found.files.dsn_form
        more = f"; the form of a default in {form.origin}" if form else ""
        value = {names[0]: form.value if form else "postgresql"}
        table.add("dsn", value, f"{_variable_words(found, names[0])}{more}")
    else:
        table.suggest("dsn", {"DATABASE_URL": "postgresql"}, "no variable with a DSN was found")
    _add_variables(table, found)
    if not role:
        table.comment_out("the role that workers connect as is not known: add it")
    return table


def _report(found: Findings) -> Table:
    table = Table("worker.report", comment=found.worker_problem)
    for key, value in found.report.items():
        table.add(key, value, "a line of a worker that was started" if key == "message" else "")
    return table


VARIABLES = (
    ("broker", r"BROKER(_URL)?$"),
    ("result_backend", r"RESULT_BACKEND"),
    ("port", PORT),
    ("eager", r"ALWAYS_EAGER$"),
)
"""Keys of the worker and the names of variables that seem to set them."""


def _add_variables(table: Table, found: Findings) -> None:
    for key, pattern in VARIABLES:
        variable = found.files.variable(pattern)
        if variable:
            table.add(key, variable.value, f"read by {variable.origin}")


def _worker_role(found: Findings) -> tuple[str, str]:
    """Return the role of workers: the one with most privileges on tables, and why."""
    catalogue = found.catalogue
    if catalogue is None:
        return "", ""
    owner = found.owner or catalogue.owner
    login = {one.name for one in catalogue.roles if one.login and not one.unbound} - {owner}
    broker = [one for one in catalogue.tables if one.name in catalogue.broker_tables]
    for tables, where in ((broker, "the broker's tables"), (catalogue.tables, "tables")):
        held = Counter(role for one in tables for role in one.privileges if role in login)
        if held:
            return held.most_common(1)[0][0], f"it has most privileges on {where}"
    bound = [name for name in catalogue.bound_roles if name in login]
    return (bound[0], "policies name it most often") if bound else ("", "")


def _tasks(found: Findings) -> Table:
    table = Table("task", comment="every task of the contract, with its queue")
    if found.app is None:
        table.suggest("orders.tasks.charge", {"queue": "celery"}, "the app was not imported")
        return table
    scheduled = {task: name for name, task in found.app.beat.items()}
    for name, task in found.app.tasks.items():
        words = f"{name.rpartition('.')[2]}{task.signature}"
        more = f"; scheduled as {scheduled[name]}" if name in scheduled else ""
        key = {"key": task.key} if task.key not in ("", task.queue) else {}
        table.add(name, {"queue": task.queue, **key}, f"{words}{more}")
    if not found.app.tasks:
        table.note("the app has no task of its own")
    return table


def _tenancy(found: Findings) -> list[Table]:
    table = Table("tenancy")
    catalogue = found.catalogue
    if catalogue is None or not catalogue.settings or catalogue.key is None:
        table.comment = "no policy that compares a column with a setting was found"
        table.suggest("guc", "app.tenant_id", "the setting that names the tenant")
        table.suggest("key", "tenant_id", "the column that names the tenant")
        return [table]
    guc, *others = catalogue.settings
    key = catalogue.key
    table.add("guc", guc, "in most expressions of policies")
    table.add("key", key, "the column that policies compare with it")
    names = [catalogue.label(one) for one in catalogue.tenant_tables(key)]
    table.add("tables", names, f'the tables with {key}; "discover" finds them in each run')
    for name in others:
        table.suggest("context", {name: "{tenant}"}, "further settings in policies")
    return [table, *_shared(found, catalogue, key), *_reviewed(catalogue)]


def _shared(found: Findings, catalogue: Catalogue, key: str) -> list[Table]:
    roles = [name for name in catalogue.bound_roles if name != found.owner]
    table = Table("tenancy.shared", comment="tables without the key that these roles may read")
    for one in catalogue.open_tables(key, roles):
        table.suggest(
            catalogue.label(one), "...", "state why its rows belong to no tenant, or restrict it"
        )
    return [table] if table.lines else []


def _reviewed(catalogue: Catalogue) -> list[Table]:
    table = Table("tenancy.reviewed", comment="what a person has to review: findings print digests")
    for name in catalogue.definers:
        table.note(f"definer function {name}")
    return [table] if table.lines else []


def _dead_letters(found: Findings) -> Table:
    return dead_letters(
        found.catalogue,
        kept=found.kept,
        owner=found.owner,
        worker=_worker_role(found)[0],
        former_names=found.former_names,
    )


def _monitoring(found: Findings) -> list[Table]:
    metrics, health, logs = Table("metrics"), Table("health"), Table("logs")
    seen = found.watched.endpoints if found.watched else Endpoints()
    _add_path(metrics, found, seen, seen.metrics, r"^/metrics/?$", "/metrics")
    _add_path(health, found, seen, seen.health, HEALTH_PATH, "/health")
    _add_metrics(metrics, found)
    for key, value in found.logs.items():
        logs.add(key, value, "lines of a worker that ran tasks" if key == "message" else "")
    if not found.logs:
        logs.comment = "no JSON lines with the ids of tasks were seen"
        logs.suggest("message", "message", "the field of the message; the reference has all")
    return [metrics, health, logs]


def _processes(found: Findings) -> list[Table]:
    """Return the other processes as comments: whether one is a part of the system is not known."""
    tables = []
    for number, one in enumerate(found.files.web, start=1):
        table = Table(
            "[process]", comment="A process that seems to answer requests, to be confirmed:"
        )
        name = "web" if len(found.files.web) == 1 else f"web-{number}"
        table.suggest("name", name, "a name of your own")
        table.suggest("command", list(one.command), f"found in {one.origin}")
        if not any("{port}" in word for word in one.command):
            port = next((v for v in found.files.variables if WEB_PORT.search(v.value)), None)
            why = f"a variable in {port.origin}" if port else "the variable with its port"
            table.suggest("port", port.value if port else "PORT", why)
        health = found.files.path(HEALTH_PATH)
        if health:
            table.suggest("health", health.value, f"a text in {health.origin}")
            table.suggest("must_fail_without", ["database"], "the parts that its report is about")
        tables.append(table)
    return tables


def _add_path(
    table: Table, found: Findings, seen: Endpoints, answered: str, pattern: str, example: str
) -> None:
    """Add the path that a worker answered; without a watched worker, one that the sources have."""
    named = found.files.path(pattern)
    if answered:
        table.add("path", answered, "a worker answered it")
    elif seen.asked:
        table.suggest("path", example, "a worker that was started answered no such path")
    elif not found.files.variable(PORT):
        table.suggest("path", example, "no variable with the port of workers was found")
    elif named:
        table.add("path", named.value, f"a text in {named.origin}")
    else:
        table.suggest("path", example, "no such path was found in the sources")


def _add_metrics(table: Table, found: Findings) -> None:
    """Add the names of metrics that rose by the number of runs, and those about failed tasks."""
    if found.watched is None or not table.has_values:
        return
    names, backlog = found.watched.names, found.watched.backlog
    runs = "it alone rose by the number of"
    for key, value, words in (
        ("started", names.started, f"{runs} runs"),
        ("success", names.success, f"{runs} successes"),
        ("failure", names.failure, f"{runs} failures"),
        ("duration", names.duration, "the histogram of the seconds of runs"),
        ("dead_letters", backlog.number, "it alone rose to the number of rows"),
        ("dead_letters_age_s", backlog.age_s, "it alone followed a row that was made older"),
    ):
        if value:
            table.add(key, value, words)
        else:
            table.suggest(key, "...", "no metric, or more than one, behaved like it")
    if names.duration and names.task_label:
        table.add("task_label", names.task_label, "its value was the name of the task")
        table.add("buckets", list(names.buckets), "as the worker has them")


def _image(found: Findings) -> Table:
    table = Table("image")
    if found.files.dockerfile:
        table.suggest("dockerfile", found.files.dockerfile.value, "for --environment containers")
        table.suggest("context", ["."], "the files that the image is built from")
        table.suggest("folder", "/app", "the folder of the project inside the image")
    return table


def _absences(found: Findings) -> Table:
    table = Table("", comment="A feature that the system does not have is declared by a person:")
    has_rows = bool(found.catalogue and found.catalogue.dead_letter_candidates)
    table.note("[[absent]]")
    table.suggest("feature", "metrics" if has_rows else "dead_letters", "")
    table.suggest("reason", "failures are only logged; accepted by the owners", "")
    table.suggest("owner", "platform team", "")
    table.suggest("expires", "2027-06-30", "")
    return table
