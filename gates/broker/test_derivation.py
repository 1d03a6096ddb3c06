"""Gate broker: one DSN in any form gives broker and result backend, and is never printed."""

from __future__ import annotations

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
    logs,
    premise,
    wait_until,
)

from ..secrecy import redaction_sees_a_printed_dsn, removed_secrets
from .forms import Form, publish_each

FORMS = (
    Form(driver="postgresql+asyncpg", query="ssl=prefer&prepared_statement_cache_size=0"),
    Form(driver="postgresql", query="sslmode=prefer&channel_binding=prefer"),
    Form(driver="postgresql+psycopg2", query="sslmode=prefer&connect_timeout=10"),
    Form(driver="postgresql+psycopg", query="sslmode=prefer&channel_binding=prefer"),
)
"""Every accepted form, with parameters that its own driver accepts."""

TLS_DEMANDED = (
    Form(driver="postgresql", query="sslmode=require", awaited=False),
    Form(driver="postgresql+asyncpg", query="ssl=require", awaited=False),
)

PUBLISHED, REFUSED = "publication of the ping", "refusal by a client that demands TLS"
STATE, SECRETS = "state of the ping", "secrets in the output"
MIGRATION, NO_PORT = "migration", "migration whose DSN has no port"
WORKER_NO_PORT = "worker whose DSN has no port"
"""Names and objects of claims that falsifiers predict."""


@criterion("BRK-04", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task"))
def test_every_form_of_dsn_gives_broker_and_backend(own_stack: Stack) -> None:
    """Each form publishes and reads results, a worker runs with one, and none drops TLS."""
    forms = (*FORMS, *TLS_DEMANDED)
    with own_stack.running_worker(concurrency=1, env=FORMS[0].environment(own_stack)):
        results = publish_each(own_stack, forms)
    refusals = dict(zip(forms, results.refusals, strict=True))
    done = {form: refusal or "a message" for form, refusal in refusals.items()}
    published = [
        claim(PUBLISHED, on=str(form), got=done[form], expected="a message") for form in FORMS
    ]
    server_offers_tls = own_stack.sql.query("SHOW ssl").scalar() == "on"
    for form in () if server_offers_tls else TLS_DEMANDED:
        claim(REFUSED, on=str(form), got=done[form], relation="contains", expected="SSL")
    if all(published):  # otherwise no result was awaited
        for form, state in zip(FORMS, results.states, strict=True):
            claim(STATE, on=str(form), got=state, expected="SUCCESS")


@criterion(
    "BRK-05",
    needs=("database", "migrations", "celery", "broker.kind=sqla", "worker", "ping.fail", "task"),
)
@falsified_by(
    logs("printed-dsn", "insert", text="starting with {dsn}"),
    expect=(SECRETS, WORKER_NO_PORT),
)
def test_no_password_is_printed(own_stack: Stack, sut: Sut) -> None:
    """Workers, migrations and errors about the DSN print no password."""
    seen = redaction_sees_a_printed_dsn(own_stack)
    premise("redaction removes a password that is printed", got=seen, expected=True)
    done = own_stack.migrate(sut.migrations.all)
    expect_no_secret(MIGRATION, done.output, own_stack.process.last_redactions)
    claim("exit status of the command", on=MIGRATION, got=done.exit_status, expected=0)
    port = own_stack.server.inside.port

    def unreadable(dsn: str) -> str:
        return dsn.replace(f":{port}/", ":port/")

    refused = own_stack.process.run(
        sut.fill(sut.migrations.up, revision=sut.migrations.all),
        env={
            name: unreadable(own_stack.inner_dsn(sut.database.owner, form=form))
            for name, form in sut.migrations.dsn.items()
        },
        folder=sut.folder,
    )
    expect_no_secret(NO_PORT, refused.output, own_stack.process.last_redactions)
    claim(
        "exit status of the command",
        on=NO_PORT,
        got=refused.exit_status,
        relation="differs",
        expected=0,
    )
    right = own_stack.inner_dsn(sut.worker.role)
    mistyped = dict.fromkeys(sut.worker.dsn, right.replace("@", "-mistyped@"))
    with (
        own_stack.running_worker(
            pool=POOL_SOLO, env=dict.fromkeys(sut.worker.dsn, unreadable(right))
        ) as refusing,
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
        expect_no_secret_in_log("worker that runs", working)


def expect_no_secret_in_log(process: str, worker: Worker) -> None:
    """Judge that the output of a worker so far had no secret."""
    log = worker.log()
    expect_no_secret(process, "\n".join(log.lines), log.redactions)


def expect_no_secret(process: str, output: str, redactions: tuple[Redaction, ...]) -> None:
    """Judge that the output of one process had no secret."""
    at_least_one(f"characters of the output: {process}", output.strip())
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
