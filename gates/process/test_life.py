"""Gate process: a process becomes ready, ends by its signal, and leaves nothing."""

from __future__ import annotations

import signal

from gateproof import (
    Fault,
    Stack,
    Sut,
    SystemProcess,
    claim,
    command,
    criterion,
    falsified_by_each,
    settings,
    slug_of,
    wait_until,
)

from .described import endpoints, with_port_variable
from .outage import shown

READY = "answer when it is ready"
STATE = "state after the signal"
ENDED, RUNS = "ended by the signal", "runs"
LEFT = "processes that it left"
PORT = "answer at its port after its end"
"""Names of claims and values that falsifiers predict."""

NO_PORT = "70000"
"""A number that is no port, so that most programs end at once."""
RUNS_FOR_S = 2.0
"""How long a process without endpoints must run before it counts as started."""
SIGNAL_BASE = 128
"""A shell reports a signal as its number above this."""

Prediction = tuple[Fault, tuple[str, str, str]]


def names(sut: Sut) -> list[str]:
    """Return the names of all processes."""
    return [one.name for one in sut.processes]


def other_port(sut: Sut, name: str) -> Prediction:
    """Return a fault that makes a process listen on another port than it was given."""
    variable = sut.process_named(name).port
    fault = settings(slug_of("port-not-read", name), {variable: NO_PORT})
    return fault, (READY, name, "got no answer")


def deaf(_: Sut, name: str) -> Prediction:
    """Return a fault that keeps the signal from a process."""
    script = 'trap "" TERM INT QUIT HUP; "$@" & wait; wait'
    return command(slug_of("signal-not-passed-on", name), script), (STATE, name, f"got {RUNS}")


def child(_: Sut, name: str) -> Prediction:
    """Return a fault that leaves a child behind."""
    script = '(trap "" TERM INT; exec sleep 600 </dev/null >/dev/null 2>&1) & exec "$@"'
    fault = command(slug_of("child-left-behind", name), script, only_embedded=True)
    return fault, (LEFT, name, "got 1")


@criterion("PRC-01", needs=("database", "process"))
@falsified_by_each(with_port_variable, other_port)
@falsified_by_each(names, deaf)
@falsified_by_each(names, child)
def test_process_becomes_ready_and_ends_by_its_signal(own_stack: Stack, sut: Sut) -> None:
    """Each process answers when it is ready, ends by its signal, and leaves nothing."""
    for name in names(sut):
        process = own_stack.start_process(name)
        if is_ready(process):
            process.signal()
            status = process.wait_exit()
            claim(STATE, on=name, got=end_of(process, status), expected=ENDED)
            claim(LEFT, on=name, got=len(process.remaining()), expected=0)
            if name in endpoints(sut):
                answer = own_stack.http.get(process.own_url + process.described.ready_path)
                claim(PORT, on=name, got=answer.status, expected=0)
        process.dispose()


def is_ready(process: SystemProcess) -> bool:
    """Judge that a process answers, or runs for a while if it has no endpoint."""
    if not process.described.has_endpoint:
        wait_until(lambda: not process.alive, deadline_s=RUNS_FOR_S)
        return claim("process runs", on=process.name, got=process.alive, expected=True)
    answer = process.first_answer()
    got = "an answer" if answer.status not in (0, 404) else shown(answer)
    return claim(READY, on=process.name, got=got, expected="an answer")


def end_of(process: SystemProcess, status: int | None) -> str:
    """Return how a process ended, in words."""
    number = signal.Signals[process.described.stop_signal].value
    if status is None:
        return RUNS
    return ENDED if status in (0, -number, SIGNAL_BASE + number) else f"exit {status}"
