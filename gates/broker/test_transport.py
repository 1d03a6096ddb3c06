"""Gate broker: options of the transport, and declarations of several processes at once."""

from __future__ import annotations

import json

from gateproof import Ids, Stack, claim, criterion, falsified_by, inject, sql

from ..control import run_with_app

DECLARERS, QUEUES = 8, 5

MISSPELT, OPTION = "poling_interval", "polling_interval"
ANSWER, REFUSED = "answer to the transport option", "declarations that were refused"
"""Names of claims that falsifiers predict."""

_CONNECT = """
app.conf.broker_transport_options = {sys.argv[1]: 1.0}
try:
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
else:
    print("accepted")
"""

# All processes connect first, and then declare each queue at the same moment.
_DECLARE = """
import json, multiprocessing
from kombu import Queue

def declare(barrier, results, names):
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
        channel = connection.channel()
        for name in names:
            barrier.wait(60)
            try:
                Queue(name, routing_key=name, channel=channel).declare()
            except Exception as error:
                results.put(f"{name}: {type(error).__name__}")
    results.put("")

fork = multiprocessing.get_context("fork")
count, names = int(sys.argv[1]), sys.argv[2:]
barrier, results = fork.Barrier(count), fork.Queue()
started = [fork.Process(target=declare, args=(barrier, results, names)) for _ in range(count)]
for process in started:
    process.start()
refused, ended = [], 0
while ended < count:
    refusal = results.get(timeout=120)
    refused += [refusal] if refusal else []
    ended += not refusal
print(json.dumps(refused))
"""


@criterion(
    "BRK-06",
    needs=("database", "celery", "broker.kind=sqla", "broker.promises.checks_options", "worker"),
)
@falsified_by(
    inject("stock-broker", "use-transport"),
    expect=(ANSWER, MISSPELT, "got accepted"),
)
@falsified_by(
    inject("refused-without-a-name", "hide-reasons"),
    expect=(ANSWER, MISSPELT, "got RuntimeError: the connection failed"),
)
def test_unknown_transport_option_is_refused_by_name(stack: Stack) -> None:
    """A misspelt option is refused with its name and the known ones; a known one is accepted."""
    answer, known = _connect_with(stack, MISSPELT), f", {OPTION}"
    claim(ANSWER, on=MISSPELT, got=answer, relation="contains", expected=f"{MISSPELT}, expected")
    claim(
        "known options in the answer", on=MISSPELT, got=answer, relation="contains", expected=known
    )
    claim(ANSWER, on=OPTION, got=_connect_with(stack, OPTION), expected="accepted")


def _connect_with(stack: Stack, option: str) -> str:
    """Connect with one transport option, and return `accepted` or the error."""
    done = run_with_app(stack, _CONNECT, option)
    return done.output.strip().splitlines()[-1] if done.output.strip() else "nothing"


@criterion(
    "BRK-07",
    needs=("database", "celery", "broker.kind=sqla", "broker.promises.declares_at_once", "worker"),
)
@falsified_by(
    sql(
        "names-not-unique",
        "ALTER TABLE kombu_queue DROP CONSTRAINT kombu_queue_name_key",
        landing="""SELECT conname FROM pg_constraint WHERE conrelid = 'kombu_queue'::regclass
            ORDER BY 1""",
    ),
    expect=(REFUSED, "", "ProgrammingError"),
)
@falsified_by(
    inject("stock-broker", "use-transport"),
    expect=(REFUSED, "", "IntegrityError"),
)
def test_processes_declare_one_queue_at_once(own_stack: Stack, ids: Ids) -> None:
    """Eight processes that declare the same new queues at the same time all succeed."""
    stack, names = own_stack, [ids.slug("queue") for _ in range(QUEUES)]
    done = run_with_app(stack, _DECLARE, str(DECLARERS), *names)
    if not claim("exit status of the declaring processes", got=done.exit_status, expected=0):
        return
    refused = json.loads(done.output.splitlines()[-1])
    claim(REFUSED, got=refused, expected=[])
    declared = stack.sql.query(
        "SELECT name FROM kombu_queue WHERE name = ANY(%s) ORDER BY name", (names,)
    ).column()
    claim("queues that were declared", got=declared, expected=sorted(names))
