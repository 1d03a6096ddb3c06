"""Gate process: a request is one row however often it comes, and none without the database."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from gateproof import (
    Fault,
    Request,
    Sample,
    Stack,
    Sut,
    SystemProcess,
    claim,
    criterion,
    falsified_by_each,
    http,
    network,
    slug_of,
    sql,
    wait_until,
)

from ..route import interrupted, separate_route
from .described import SLACK_S, each_request, request_named, requests, rows
from .outage import ACTS, shown

AT_ONCE = 16
TIMEOUT_S = 30.0
"""For requests that wait for each other."""
RETURN_S = 20.0
SETTLED_S = 10.0
FEW, MANY = 10, 40
"""Requests before and after an outage, and during it."""

STATUSES, ROWS = "statuses of equal requests", "rows of equal requests"
STATUS, SECONDS = "status while the database is away", "seconds until the answer"
RETURNED = "status after the database is back"
SESSIONS = "sessions of the process"
IN_TURN, TOGETHER = "one after another", "sixteen at once"
"""Names of claims and objects that falsifiers predict."""

ANY_PATH = "/*"
SERVER_ERROR = 500

_SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = %s"
)
_TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = '{table}'::regclass ORDER BY 1"
_LOSE = """
    CREATE FUNCTION gateproof_lose() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RETURN NULL; END $$;
    CREATE TRIGGER a_gateproof_lose BEFORE INSERT ON {table}
        FOR EACH ROW EXECUTE FUNCTION gateproof_lose()
"""
# A child table is counted with its parent, and no unique constraint spans the two.
_DOUBLE = """
    CREATE TABLE gateproof_more (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    ALTER TABLE gateproof_more INHERIT {table};
    CREATE FUNCTION gateproof_double() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path FROM CURRENT AS
        $$ BEGIN INSERT INTO gateproof_more VALUES (NEW.*); RETURN NEW; END $$;
    CREATE TRIGGER z_gateproof_double AFTER INSERT ON {table}
        FOR EACH ROW EXECUTE FUNCTION gateproof_double()
"""

Prediction = tuple[Fault, tuple[str, str, str]]


def _trigger(sut: Sut, name: str, what: str, statement: str) -> Fault:
    table = request_named(sut, name).table
    return sql(
        slug_of(what, name),
        statement.format(table=table),
        landing=_TRIGGERS.format(table=table),
        role="superuser",
    )


def lost(sut: Sut, name: str) -> Prediction:
    """Return a fault that stores no row."""
    return _trigger(sut, name, "row-lost", _LOSE), (ROWS, f"{name}/{IN_TURN}", "got 0")


def doubled(sut: Sut, name: str) -> Prediction:
    """Return a fault that stores each row twice."""
    return _trigger(sut, name, "row-twice", _DOUBLE), (ROWS, f"{name}/{IN_TURN}", "got 2")


def differing(sut: Sut) -> list[str]:
    """Return the requests of which the first of equal ones has an answer of its own."""
    found = ((name, request_named(sut, name)) for name in requests(sut))
    return [name for name, one in found if one.accepted != one.again]


def accepted_again(sut: Sut, name: str) -> Prediction:
    """Return a fault that answers each of equal requests like the first."""
    one = request_named(sut, name)
    fault = http(
        slug_of("accepted-again", name),
        ANY_PATH,
        method=one.method,
        status=one.accepted,
        when_status=one.again,
        sample="accepted",
    )
    return fault, (STATUSES, f"{name}/{IN_TURN}", f"got {one.accepted}, {one.accepted}")


def acknowledged(sut: Sut, name: str) -> Prediction:
    """Return a fault that accepts what was not stored."""
    one = request_named(sut, name)
    fault = http(
        slug_of("acknowledged-without-a-row", name),
        ANY_PATH,
        method=one.method,
        status=one.accepted,
        when_status=5,
        sample="error",
    )
    return fault, (STATUS, f"{name}/database away", f"got {one.accepted}")


def refused_for_ever(sut: Sut, name: str) -> Prediction:
    """Return a fault that repeats a refusal after the database is back."""
    fault = http(
        slug_of("refusal-remembered", name),
        ANY_PATH,
        method=request_named(sut, name).method,
        stale=True,
        when_status=5,
        sample="error",
    )
    return fault, (RETURNED, f"{name}/database away", "got 5")


def too_late(sut: Sut, name: str) -> Prediction:
    """Return a fault that answers late while the database is away."""
    fault = http(
        slug_of("refused-late", name),
        ANY_PATH,
        method=request_named(sut, name).method,
        delay_s=60.0,
        when_status=5,
        sample="error",
    )
    return fault, (SECONDS, f"{name}/database away", "got ")


def sessions_kept(_: Sut, name: str) -> Prediction:
    """Return a fault that keeps sessions whose client has gone."""
    return network(slug_of("sessions-kept", name), "keep"), (SESSIONS, name, "got ")


@criterion("PRC-05", needs=("database", "process.request.table"))
@falsified_by_each(requests, sessions_kept)
def test_requests_without_the_database_leave_no_session(own_stack: Stack, sut: Sut) -> None:
    """After many requests while the database was away, it has no more sessions than before."""
    for name, process_name, request in each_request(sut):
        role = sut.role_of(sut.process_named(process_name))
        with (
            separate_route(own_stack) as relay,
            own_stack.running_process(process_name, through=relay.address) as process,
        ):
            send_many(process, [process.sample(request)] * FEW)
            before = sessions_of(own_stack, role)
            with interrupted(relay, "away"):
                send_many(process, [process.sample(request)] * MANY)
            if expect_return(process, process.sample(request), request, f"{name}/database away"):
                send_many(process, [process.sample(request)] * FEW)
                after = fewest_sessions(own_stack, role, before)
                claim(SESSIONS, on=name, got=after, relation="at_most", expected=before)


@criterion("PRC-06", needs=("database", "process.request.table"))
@falsified_by_each(requests, lost)
@falsified_by_each(requests, doubled)
@falsified_by_each(differing, accepted_again)
def test_equal_requests_are_one_row(own_stack: Stack, sut: Sut) -> None:
    """Equal requests, two in turn or sixteen at once, are one row; each has its status."""
    for name, process_name, request in each_request(sut):
        with own_stack.running_process(process_name) as process:
            for case, send in ((IN_TURN, in_turn), (TOGETHER, together)):
                sample, before = process.sample(request), rows(own_stack, request.table)
                got = send(process, sample)
                expected = sorted([request.accepted, *[request.again] * (len(got) - 1)])
                if case == IN_TURN:
                    expected = [request.accepted, request.again]
                claim(STATUSES, on=f"{name}/{case}", got=got, expected=expected)
                stored = rows(own_stack, request.table) - before
                claim(ROWS, on=f"{name}/{case}", got=stored, expected=1)


@criterion("PRC-07", needs=("database", "process.request.table"))
@falsified_by_each(requests, acknowledged)
@falsified_by_each(requests, refused_for_ever)
@falsified_by_each(requests, too_late)
def test_nothing_is_accepted_without_the_database(own_stack: Stack, sut: Sut) -> None:
    """Without the database a request is refused in time, with no row; later it is one row."""
    for name, process_name, request in each_request(sut):
        with (
            separate_route(own_stack) as relay,
            own_stack.running_process(process_name, through=relay.address) as process,
        ):
            for act in ACTS:
                sample, before = process.sample(request), rows(own_stack, request.table)
                on = f"{name}/database {act}"
                with interrupted(relay, act):
                    refused = expect_refusal(process, sample, on)
                    stored = rows(own_stack, request.table) - before
                    claim(ROWS, on=on, got=stored, expected=0)
                if refused and expect_return(process, sample, request, on):
                    stored = rows(own_stack, request.table) - before
                    claim(ROWS, on=f"{on} and back", got=stored, expected=1)


def in_turn(process: SystemProcess, sample: Sample) -> list[int | str]:
    """Send a request twice, and return what answered, in order; see `shown`."""
    return [shown(process.send(sample, timeout_s=TIMEOUT_S)) for _ in range(2)]


def together(process: SystemProcess, sample: Sample) -> list[int | str]:
    """Send a request sixteen times at once, and return what answered, sorted; see `shown`.

    A server whose queue of connections is shorter may reset one: that request has no answer.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sent = pool.map(lambda _: process.send(sample, timeout_s=TIMEOUT_S), range(AT_ONCE))
        return sorted((shown(one) for one in sent), key=str)


def send_many(process: SystemProcess, samples: Iterable[Sample]) -> None:
    """Send requests one after another, whatever the answers."""
    for sample in samples:
        process.send(sample)


def sessions_of(stack: Stack, role: str) -> int:
    """Return the number of sessions of a role in the stack's database."""
    return int(stack.sql.query(_SESSIONS, (role,)).scalar())


def fewest_sessions(stack: Stack, role: str, most: int) -> int:
    """Return the number of sessions once it is small enough, or at the deadline."""
    return wait_until(
        lambda: sessions_of(stack, role), lambda number: number <= most, deadline_s=SETTLED_S
    )


def expect_refusal(process: SystemProcess, sample: Sample, on: str) -> bool:
    """Judge that a request gets an error of the server, in time."""
    deadline_s = process.described.deadline_s + SLACK_S
    answer = process.send(sample, timeout_s=deadline_s)
    refused = claim(STATUS, on=on, got=answer.status, relation="at_least", expected=SERVER_ERROR)
    claim(SECONDS, on=on, got=answer.duration_s, relation="at_most", expected=deadline_s)
    return refused


def expect_return(process: SystemProcess, sample: Sample, request: Request, on: str) -> bool:
    """Judge that a refused request is accepted soon after the database is back.

    Its row may have been stored at the end of the outage: the answer was an error all the same, so
    that the client sends it again.
    """
    wanted = [request.accepted, request.again]
    answer = wait_until(
        lambda: process.send(sample, timeout_s=TIMEOUT_S),
        lambda seen: seen.status in wanted,
        deadline_s=RETURN_S,
        interval_s=0.1,
    )
    return claim(RETURNED, on=on, got=shown(answer), relation="one_of", expected=wanted)
