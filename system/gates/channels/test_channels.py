"""Gate broker: channel, session and results do exactly what tables of steps say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateproof import Stack, claim, criterion, falsified_by, premise, source
from system.gates.tables.reading import ROWS, answer_of, cases_of, joined

FOLDER = Path(__file__).parent
TABLES = ("queues", "messages", "sessions", "ends")
PROGRAM, MODULES = FOLDER / "program.py", (ROWS, FOLDER / "scene.py", FOLDER / "ends.py")
BROKER, SESSION = "system/transport/broker.py", "system/transport/session.py"
ENDINGS = "system/transport/endings.py"
ASKED = ("of", "options", "extended", "retries", "fails", "queues", "messages")

STEP, MESSAGES, QUEUES = "result of the step", "messages after it", "queues after it"
RESULTS, LOG = "ends after it", "lines of the log"
"""Names of claims that falsifiers predict."""


@criterion("BRK-12", needs=("database", "celery", "broker.kind=sqla", "worker.broker"))
@falsified_by(
    source(
        "any-payload-is-an-envelope",
        BROKER,
        'readable = isinstance(envelope["properties"]["delivery_info"], dict)',
        'readable = bool(envelope["properties"]) or True',
    ),
    expect=(MESSAGES, "payloads that are no envelope"),
)
@falsified_by(
    source(
        "got-without-acknowledgement-kept",
        BROKER,
        "if no_ack and message is not None:",
        "if False:",
    ),
    expect=(MESSAGES, "a message that is got without acknowledgement is gone"),
)
@falsified_by(
    source(
        "deleted-own-queue-stays-own",
        BROKER,
        "        self._own.discard(queue)\n        self.transport.forget(queue)\n",
        "        self.transport.forget(queue)\n",
    ),
    expect=(QUEUES, "a deleted own queue is durable when it is declared so"),
)
@falsified_by(
    source(
        "next-one-before-the-acknowledged",
        BROKER,
        "        self.transport.delete_acknowledged()\n        for _, envelope",
        "        for _, envelope",
    ),
    expect=(MESSAGES, "an acknowledged message is deleted before the next one is got"),
)
@falsified_by(
    source(
        "retry-after-the-end",
        ENDINGS,
        "return sorted(states.READY_STATES) if state in states.UNREADY_STATES else [",
        "return [",
    ),
    expect=(RESULTS, "a failure stays before a state that is no end"),
)
@falsified_by(
    source(
        "child-closes-what-it-inherits",
        SESSION,
        "if self._process != os.getpid() or self._end < 0:",
        "if self._end < 0:",
    ),
    expect=(
        STEP,
        "a forked child does not close the session of its parent, 2: fork-and-close",
        "got 2",
    ),
)
@falsified_by(
    source(
        "one-delivery-fewer",
        BROKER,
        "deliveries > self.options.max_deliveries:",
        "deliveries >= self.options.max_deliveries:",
    ),
    expect=(STEP, "the last delivery, and one that is too many, 2: get q", "got nothing"),
)
@falsified_by(
    source(
        "claims-without-an-answer-kept",
        BROKER,
        "        if self._uncertain:\n",
        "        if False:\n",
    ),
    expect=(MESSAGES, "claims that did not arrive are returned after the connection was lost"),
)
@falsified_by(
    source(
        "success-finished-without-a-database",
        ENDINGS,
        "if not (failed and only_after_success):",
        "if True:",
    ),
    expect=(
        STEP,
        "a success that cannot be stored is none, 3: B: done t 1",
        "finish written=False",
    ),
)
def test_channels_do_what_the_tables_say(own_stack: Stack) -> None:
    """The result of each step is exact, and so is every row that a case leaves."""
    cases = all_cases()
    questions = json.dumps([asked(case) for case in cases])
    answer = answer_of(own_stack, joined(PROGRAM, *MODULES), questions)
    results = json.loads(bytes.fromhex(answer))
    premise("answers", got=len(results), expected=len(cases))
    for case, got in zip(cases, results, strict=True):
        for name, on, value, expected in judged(case, got):
            claim(name, on=on, got=value, expected=expected)


def all_cases() -> list[dict[str, Any]]:
    """Return the cases of all tables."""
    return [case for name in TABLES for case in cases_of(FOLDER / f"{name}.yaml")]


def asked(case: dict[str, Any]) -> dict[str, Any]:
    """Return what the program has to know of a case."""
    steps = [step.partition(" => ")[0] for step in case["steps"]]
    return {"steps": steps, **{key: case[key] for key in ASKED if key in case}}


def judged(case: dict[str, Any], got: dict[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """Return the name, object, value and expected value of each claim about a case."""
    on, results = case["case"], got["results"]
    for place, step in enumerate(case["steps"]):
        done, _, expected = step.partition(" => ")
        result = results[place] if place < len(results) else None
        yield STEP, f"{on}, {place + 1}: {done}", result, expected
    for name, kind in ((MESSAGES, "messages"), (QUEUES, "queues")):
        expected = case.get(f"{kind}_after", case.get(kind, []))
        if expected is not False:
            yield name, on, got.get(kind), expanded(expected)
    yield LOG, on, got.get("log"), case.get("log", [])
    if "ends" in case:
        yield RESULTS, on, got.get("ends"), case["ends"]


def expanded(lines: list[str]) -> list[str]:
    """Return rows as the program has them: `1-2 q` are two."""
    found = []
    for line in lines:
        numbers, _, rest = line.partition(" ")
        first, to, last = numbers.partition("-")
        several = to and first.isdigit() and last.isdigit()
        named = range(int(first), int(last) + 1) if several else [numbers]
        found += [f"{one} {rest}".strip() for one in named]
    return found
