"""Gate process: a health report is truthful, and every answer comes in time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from gateproof import (
    Fault,
    Stack,
    Sut,
    SystemProcess,
    claim,
    criterion,
    falsified_by_each,
    http,
    premise,
    slug_of,
)

from ..route import interrupted, separate_route
from .described import SLACK_S, endpoints, failing_without, text, with_health
from .outage import (
    ACTS,
    HEALTH,
    HEALTHY,
    RECOVERY_S,
    UNHEALTHY,
    expect_health,
    shown,
)

BEFORE = "with all parts"
ANSWERED = "answer while the database is away"
SECONDS = "seconds until the answer"
"""Names of claims and objects that falsifiers predict."""

NOTICED_S, WORKER_S = 30.0, 60.0
"""How long a report may be wrong after a worker has been killed, and after another has started."""
NO_SUCH_PATH = "/gateproof-no-such-path"
LATE_S = 60.0

Prediction = tuple[Fault, tuple[str, str, str]]


def with_database(sut: Sut) -> list[str]:
    """Return the processes that must not report as healthy without the database."""
    return failing_without(sut, "database")


def with_worker(sut: Sut) -> list[str]:
    """Return the processes that must not report as healthy without a worker."""
    return failing_without(sut, "worker")


def _constant(sut: Sut, name: str, when: str) -> Prediction:
    path = sut.process_named(name).health
    fault = http(
        slug_of("always-healthy", name), path, status=HEALTHY, when_status=UNHEALTHY, sample="ok"
    )
    return fault, (HEALTH, f"{name}/{when}", f"got {HEALTHY}")


def _remembered(sut: Sut, name: str, when: str) -> Prediction:
    path = sut.process_named(name).health
    fault = http(
        slug_of("failure-remembered", name), path, stale=True, when_status=UNHEALTHY, sample="ok"
    )
    return fault, (HEALTH, f"{name}/{when}", f"got {UNHEALTHY}")


def healthy_without_database(sut: Sut, name: str) -> Prediction:
    """Return a fault that reports as healthy while the database is away."""
    return _constant(sut, name, "database away")


def unhealthy_for_ever(sut: Sut, name: str) -> Prediction:
    """Return a fault that repeats a bad report after the database is back."""
    return _remembered(sut, name, "database back after away")


def healthy_without_worker(sut: Sut, name: str) -> Prediction:
    """Return a fault that reports as healthy without a worker."""
    return _constant(sut, name, "worker killed")


def unhealthy_with_a_new_worker(sut: Sut, name: str) -> Prediction:
    """Return a fault that repeats a bad report after another worker has started."""
    return _remembered(sut, name, "another worker")


def late_health(sut: Sut, name: str) -> Prediction:
    """Return a fault that makes bad health reports late."""
    path = sut.process_named(name).health
    fault = http(slug_of("late-report", name), path, delay_s=LATE_S, when_status=5, sample="ok")
    return fault, (ANSWERED, f"{name}/{path}/away", "got no answer (ReadTimeout)")


def late_errors(_: Sut, name: str) -> Prediction:
    """Return a fault that makes answers about unknown paths late."""
    fault = http(slug_of("late-error", name), NO_SUCH_PATH, delay_s=LATE_S, sample="none")
    return fault, (ANSWERED, f"{name}/{NO_SUCH_PATH}/away", "got no answer (ReadTimeout)")


@criterion("PRC-02", needs=("database", "process.health", "process.must_fail_without=database"))
@falsified_by_each(with_database, healthy_without_database)
@falsified_by_each(with_database, unhealthy_for_ever)
def test_health_needs_the_database(own_stack: Stack, sut: Sut) -> None:
    """Health is 200, 503 while the database is away or silent, and 200 again afterwards."""
    for name in with_database(sut):
        with (
            separate_route(own_stack) as relay,
            _worker_of(own_stack, name, with_worker(sut)),
            own_stack.running_process(name, through=relay.address) as process,
        ):
            right = expect_health(process, BEFORE, HEALTHY, within_s=RECOVERY_S)
            for act in ACTS if right else ():
                deadline_s = process.described.deadline_s
                with interrupted(relay, act):
                    expect_health(process, f"database {act}", UNHEALTHY, within_s=deadline_s)
                when = f"database back after {act}"
                expect_health(process, when, HEALTHY, within_s=RECOVERY_S)


@contextmanager
def _worker_of(stack: Stack, name: str, needing: Collection[str]) -> Iterator[None]:
    """Run a worker for a process that is not healthy without one."""
    if name not in needing:
        yield
        return
    with stack.running_worker() as worker:
        stack.wait_ready(worker)
        yield


@criterion(
    "PRC-03",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "process.health",
        "process.must_fail_without=worker",
    ),
)
@falsified_by_each(with_worker, healthy_without_worker)
@falsified_by_each(with_worker, unhealthy_with_a_new_worker)
def test_health_needs_a_worker(own_stack: Stack, sut: Sut) -> None:
    """Health is 200 with a worker, 503 after its end, and 200 again with another."""
    for name in with_worker(sut):
        with ExitStack() as running:
            worker = running.enter_context(own_stack.running_worker())
            # Before the process is asked for the first time: its first report is then a good one.
            own_stack.wait_ready(worker)
            process = running.enter_context(own_stack.running_process(name))
            right = expect_health(process, BEFORE, HEALTHY, within_s=WORKER_S)
            worker.kill()
            if right and expect_health(process, "worker killed", UNHEALTHY, within_s=NOTICED_S):
                with own_stack.running_worker() as another:
                    own_stack.wait_ready(another)
                    expect_health(process, "another worker", HEALTHY, within_s=WORKER_S)


@criterion("PRC-04", needs=("database", "process"))
@falsified_by_each(with_health, late_health)
@falsified_by_each(endpoints, late_errors)
def test_every_answer_comes_in_time_without_the_database(own_stack: Stack, sut: Sut) -> None:
    """While the database is away or silent, each path answers within the described deadline."""
    for name in endpoints(sut):
        with (
            separate_route(own_stack) as relay,
            own_stack.running_process(name, through=relay.address) as process,
        ):
            for act in ACTS:
                with interrupted(relay, act):
                    for path in paths_of(process):
                        expect_in_time(process, path, act)
    premise("processes with endpoints", got=len(endpoints(sut)), relation="at_least", expected=1)


def paths_of(process: SystemProcess) -> list[str]:
    """Return the described paths that anything may ask, and one that does not exist."""
    keys = ("ready", "health", "metrics")
    described = [found for key in keys if (found := text(process.described, key))]
    return [*dict.fromkeys(described), NO_SUCH_PATH]


def expect_in_time(process: SystemProcess, path: str, act: str) -> None:
    """Judge that a path answers within the deadline, whatever the status."""
    deadline_s = process.described.deadline_s
    answer = process.get(path, timeout_s=deadline_s + SLACK_S)
    got = "an answer" if answer.status else shown(answer)
    if claim(ANSWERED, on=f"{process.name}/{path}/{act}", got=got, expected="an answer"):
        claim(
            SECONDS,
            on=f"{process.name}/{path}/{act}",
            got=answer.duration_s,
            relation="at_most",
            expected=deadline_s + SLACK_S,
        )
