"""Gate broker: one DSN gives broker and result backend, in every form, and stays unprinted."""

from __future__ import annotations

from evidence.model import Redaction
from gates.patching import patch
from gates.secrecy import redaction_sees_a_printed_dsn, taken_out
from harness import criterion, falsified_by
from harness.probes.tasks import TaskProbe
from harness.probes.worker import Worker
from harness.stack import Stack
from harness.sut import Sut
from harness.wait import wait_until

FORMS = (
    ("postgresql", "sslmode=prefer&channel_binding=prefer"),
    ("postgresql+psycopg2", "sslmode=prefer&connect_timeout=10"),
    ("postgresql+psycopg", "sslmode=prefer&channel_binding=prefer"),
    ("postgresql+asyncpg", "ssl=prefer&prepared_statement_cache_size=0"),
)
"""Every accepted form, with parameters that its own driver takes."""

TLS_DEMANDED = (("postgresql", "sslmode=require"), ("postgresql+asyncpg", "ssl=require"))


@criterion("BRK-04")
@falsified_by(
    patch("driver-kept", "broker/falsifiers/driver_kept.py"),
    # Which form fails first depends on the drivers that are installed beside the system's own.
    expect="publishing with a DSN postgresql",
)
@falsified_by(
    patch("parameters-dropped", "broker/falsifiers/parameters_dropped.py"),
    expect="publishing with sslmode=require: got a message, expected a refusal",
)
def test_every_form_of_dsn_gives_broker_and_backend(own_stack: Stack, sut: Sut) -> None:
    """Each form publishes and reads results, a worker runs with one, and TLS is insisted on."""
    publishers = {form: own_stack.publisher(environment(own_stack, *form)) for form in FORMS}
    demanding = {form: own_stack.publisher(environment(own_stack, *form)) for form in TLS_DEMANDED}
    published = {form: publish_ping(publisher, sut) for form, publisher in publishers.items()}
    for (name, query), (_, refusal) in published.items():
        assert not refusal, (
            f"publishing with a DSN {name}://...?{query}: got {refusal}, expected a message"
        )
    server_offers_tls = own_stack.sql.query("SHOW ssl").scalar() == "on"
    for (_, query), publisher in demanding.items():
        _, refusal = publish_ping(publisher, sut)
        assert server_offers_tls or "SSL" in refusal, (
            f"publishing with {query}: got {refusal or 'a message'}, expected a refusal by a "
            "client that insists on TLS, since the server offers none"
        )
    with own_stack.running_worker(env=environment(own_stack, *FORMS[-1])) as worker:
        for (name, query), (task_id, _) in published.items():
            state = publishers[name, query].result(task_id).state
            assert state == "SUCCESS", (
                f"ping published and awaited with a DSN {name}://...?{query}, run by "
                f"{worker.name} with {FORMS[-1][0]}: got {state}, expected SUCCESS"
            )


@criterion("BRK-05")
@falsified_by(
    patch("printed-dsn", "broker/falsifiers/printed_dsn.py"),
    expect="secrets in the output of a migration: got",
)
@falsified_by(
    patch("error-repeats-dsn", "broker/falsifiers/error_repeats_dsn.py"),
    expect="secrets in the output of a worker whose DSN has no port: got",
)
def test_no_password_is_printed(own_stack: Stack, sut: Sut) -> None:
    """Neither at work nor in migrations nor in errors about the DSN does a password show."""
    assert redaction_sees_a_printed_dsn(own_stack), (
        "redaction of a printed DSN: got nothing taken out, expected the password"
    )
    right, port = own_stack.inner_dsn(sut.worker.role), own_stack.server.inside.port
    mistyped = dict.fromkeys(sut.worker.dsn, right.replace("@", "-mistyped@"))
    unreadable = dict.fromkeys(sut.worker.dsn, right.replace(f":{port}/", ":port/"))
    with (
        own_stack.running_worker() as working,
        own_stack.running_worker(env=mistyped) as locked_out,
        own_stack.running_worker(env=unreadable) as refusing,
    ):
        done = own_stack.migrate(sut.migrations.all)
        expect_no_secret("a migration", own_stack.process.last_redactions)
        assert done.exit_status == 0, f"migration: got exit {done.exit_status}, expected 0"
        work_and_stop(own_stack, working)
        expect_no_secret("a worker that runs", working.log().redactions)
        wait_for_a_refused_login(locked_out)
        expect_no_secret("a worker with a wrong password", locked_out.log().redactions)
        status = refusing.wait_exit()
        assert status, f"worker whose DSN has no port: got exit {status}, expected a failure"
        expect_no_secret("a worker whose DSN has no port", refusing.log().redactions)


def environment(stack: Stack, form: str, query: str) -> dict[str, str]:
    """Return the DSN's variables in one form, with parameters."""
    how = stack.sut.worker
    return {name: f"{stack.inner_dsn(how.role, form=form)}?{query}" for name in how.dsn}


def publish_ping(publisher: TaskProbe, sut: Sut) -> tuple[str, str]:
    """Publish a ping; return its id, or why it was refused."""
    try:
        return publisher.publish(sut.ping.task, (), sut.ping.arguments), ""
    except AssertionError as refusal:
        return "", " ".join(str(refusal).split())


def expect_no_secret(whose: str, redactions: tuple[Redaction, ...]) -> None:
    """Judge one process's output."""
    leaks = taken_out(redactions)
    assert not leaks, f"secrets in the output of {whose}: got {leaks}, expected none"


def work_and_stop(stack: Stack, worker: Worker) -> None:
    """Have a worker run a ping and a failure, and end."""
    ping = stack.sut.ping
    stack.wait_ready(worker)
    stack.tasks.run(ping.task, {**ping.arguments, **ping.fail})
    worker.stop()


def wait_for_a_refused_login(worker: Worker) -> None:
    """Wait until a worker says that PostgreSQL does not let it in."""
    lines = wait_until(
        lambda: [line for line in worker.log().lines if "authentication failed" in line],
        deadline_s=20.0,
        interval_s=0.2,
    )
    assert lines, "log of a worker with a wrong password: got no failed login, expected one"
