"""Gate broker: one DSN in any form gives broker and result backend, and is never printed."""

from __future__ import annotations

import json

from gateproof import (
    POOL_SOLO,
    Redaction,
    Stack,
    Sut,
    Worker,
    at_least_one,
    claim,
    criterion,
    falsified_by,
    inject,
    logs,
    premise,
    wait_until,
)

from ..control import run_with_app
from ..secrecy import redaction_sees_a_printed_dsn, removed_secrets
from .forms import DESCRIBED, TLS, accepted_forms, forms_with_tls, publish_each, state_with

PUBLISHED, REFUSED = "publication of the ping", "refusal by a client that demands TLS"
STATE, SECRETS = "state of the ping", "secrets in the output"
ASYNCPG_FORM = "postgresql+asyncpg://...?ssl=prefer&prepared_statement_cache_size=0"
MIGRATION, NO_PORT = "migration", "migration whose DSN has no port"
WORKER_NO_PORT, RUNNING = "worker whose DSN has no port", "worker that runs"
PUBLISHER, REPORT = "publisher at debug level", "celery report"
"""Names and objects of claims that falsifiers predict."""

# Every logger of the process is at debug level, as a developer sets it to find a defect.
_PUBLISH = """
import json, logging
logging.basicConfig(level=logging.DEBUG, force=True)
for logger in list(logging.root.manager.loggerDict.values()):
    if isinstance(logger, logging.Logger):
        logger.setLevel(logging.NOTSET)
app.loader.import_default_modules()
sent = app.send_task(sys.argv[1], kwargs=json.loads(sys.argv[2]))
logging.info("sent %s", sent.id)
"""
_REPORT = """
print(app.bugreport())
"""
_PRINTS_AT_DEBUG = """
import logging, os
from celery import signals

def show(**_):
    logging.getLogger("publisher").debug("publishing with %s", dict(os.environ))

signals.before_task_publish.connect(show, weak=False)
"""
_REPORTS_IN_CLEAR = """
from celery.app import utils

utils.filter_hidden_settings = dict
utils.maybe_sanitize_url = lambda url, **_: url
"""


@criterion("BRK-04", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task"))
@falsified_by(
    inject("parameters-ignored", "ignore-dsn-parameters"),
    expect=(REFUSED, TLS, "got a message"),
)
@falsified_by(
    inject("results-elsewhere", "use-urls", results="cache+memory://"),
    expect=(STATE, DESCRIBED, "got PENDING"),
)
@falsified_by(
    inject("messages-elsewhere", "use-urls", broker="memory://"),
    expect=(STATE, DESCRIBED, "got PENDING"),
)
def test_every_form_of_dsn_gives_broker_and_backend(own_stack: Stack, sut: Sut) -> None:
    """Each form publishes and reads results, a worker runs with one, and none drops TLS."""
    stack = own_stack
    forms = at_least_one(f"{sut.path.name}: worker.dsn", accepted_forms(sut))
    demanding = forms_with_tls(sut)
    # The worker gets another form than that in which it is started elsewhere, if there is one.
    with stack.running_worker(concurrency=1, env=forms[:2][-1].environment(stack)):
        task_ids, refusals = publish_each(stack, [*forms, *demanding])
        done = [refusal or "a message" for refusal in refusals]
        published = [
            claim(PUBLISHED, on=str(form), got=got, expected="a message")
            for form, got in zip(forms, done, strict=False)
        ]
        server_offers_tls = stack.sql.query("SHOW ssl").scalar() == "on"
        for form, got in zip(demanding, done[len(forms) :], strict=True):
            if not server_offers_tls:
                claim(REFUSED, on=str(form), got=got, relation="contains", expected="SSL")
        for form, task_id in zip(forms if all(published) else (), task_ids, strict=False):
            state = state_with(stack, form, task_id)
            if not claim(STATE, on=str(form), got=state, expected="SUCCESS"):
                return  # each of the others would be awaited as long


@criterion(
    "BRK-05",
    needs=("database", "migrations", "celery", "broker.kind=sqla", "worker", "ping.fail", "task"),
)
@falsified_by(
    logs("printed-dsn", "insert", text="starting with {dsn}"),
    expect=(SECRETS, WORKER_NO_PORT),
)
@falsified_by(
    inject("variables-printed", "print-variables"),
    expect=(SECRETS, RUNNING),
)
@falsified_by(
    inject("publisher-prints-at-debug-level", code=_PRINTS_AT_DEBUG),
    expect=(SECRETS, PUBLISHER),
)
@falsified_by(
    inject("settings-reported-in-clear", code=_REPORTS_IN_CLEAR), expect=(SECRETS, REPORT)
)
def test_no_password_is_printed(own_stack: Stack, sut: Sut) -> None:
    """Workers, publishers, migrations, reports and errors about the DSN print no password."""
    seen = redaction_sees_a_printed_dsn(own_stack)
    premise("redaction removes a password that is printed", got=seen, expected=True)
    # An empty database: a system may refuse to migrate twice.
    empty = own_stack.empty_database()
    done = own_stack.migrate(sut.migrations.all, database=empty)
    expect_no_secret(MIGRATION, own_stack.process.last_redactions)
    claim("exit status of the command", on=MIGRATION, got=done.exit_status, expected=0)
    expect_no_secret_in_programs(own_stack, sut)
    port = own_stack.server.inside.port

    def unreadable(dsn: str) -> str:
        return dsn.replace(f":{port}/", ":port/")

    refused = own_stack.process.run(
        sut.fill_migration(sut.migrations.all),
        env={
            name: unreadable(own_stack.inner_dsn(sut.database.owner, form=form))
            for name, form in sut.migrations.dsn.items()
        },
        folder=sut.folder,
    )
    expect_no_secret(NO_PORT, own_stack.process.last_redactions)
    claim(
        "exit status of the command",
        on=NO_PORT,
        got=refused.exit_status,
        relation="differs",
        expected=0,
    )
    right = {
        name: own_stack.inner_dsn(sut.worker.role, form=form)
        for name, form in sut.worker.dsn.items()
    }
    mistyped = {name: dsn.replace("@", "-mistyped@") for name, dsn in right.items()}
    no_port = {name: unreadable(dsn) for name, dsn in right.items()}
    with (
        own_stack.running_worker(pool=POOL_SOLO, env=no_port) as refusing,
        own_stack.running_worker(pool=POOL_SOLO, env=mistyped) as locked_out,
        own_stack.running_worker(concurrency=1) as working,
    ):
        status = refusing.wait_exit()
        expect_no_secret_in_log(WORKER_NO_PORT, refusing)
        failed = status not in (None, 0)
        claim("the worker ends with a failure", on=WORKER_NO_PORT, got=failed, expected=True)
        wait_for_a_refused_login(locked_out)
        expect_no_secret_in_log("worker with a wrong password", locked_out)
        work_and_stop(own_stack, working)
        expect_no_secret_in_log(RUNNING, working)


def expect_no_secret_in_programs(stack: Stack, sut: Sut) -> None:
    """Judge a publisher that logs everything, and Celery's report of the app's settings."""
    sent = run_with_app(stack, _PUBLISH, sut.ping.task, json.dumps(sut.ping.arguments))
    expect_no_secret(PUBLISHER, stack.process.last_redactions)
    claim("exit status of the command", on=PUBLISHER, got=sent.exit_status, expected=0)
    shown = run_with_app(stack, _REPORT)
    expect_no_secret(REPORT, stack.process.last_redactions)
    claim("exit status of the command", on=REPORT, got=shown.exit_status, expected=0)


def expect_no_secret_in_log(process: str, worker: Worker) -> None:
    """Judge that the output of a worker so far had no secret."""
    log = worker.log()
    at_least_one(f"lines of the output: {process}", log.lines)
    expect_no_secret(process, log.redactions)


def expect_no_secret(process: str, redactions: tuple[Redaction, ...]) -> None:
    """Judge that the output of one process had no secret."""
    claim(SECRETS, on=process, got=removed_secrets(redactions), expected=[])


def work_and_stop(stack: Stack, worker: Worker) -> None:
    """Let a worker run a failing ping, and stop it."""
    ping = stack.sut.ping
    stack.wait_ready(worker)
    stack.tasks.run(ping.task, {**ping.arguments, **ping.fail})
    worker.stop()


def wait_for_a_refused_login(worker: Worker) -> None:
    """Wait until a worker logs that PostgreSQL refused its login."""
    lines = wait_until(
        lambda: [line for line in worker.log().lines if "authentication failed" in line],
        deadline_s=20.0,
        interval_s=0.2,
    )
    premise("failed logins in the log", got=len(lines), relation="at_least", expected=1)
