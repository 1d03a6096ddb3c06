"""Gate runtime: a worker that is killed before its acknowledgement, and one that is cut off."""

from __future__ import annotations

from gateproof import (
    POOL_SOLO,
    Ids,
    Relay,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    premise,
    source,
    wait_until,
)

BROKER, SESSION = "system/transport/broker.py", "system/transport/session.py"
STATEMENTS, CONSUMER = "system/transport/statements.py", "system/dead_letters/capture/consumer.py"
MESSAGES, ELSEWHERE = "kombu_message", "llm"

BEGUN_S, RETURNED_S, HELD_S = 10.0, 30.0, 5.0
HEARTBEAT_S, CUT_OFF_S = 1.2, 1.5
"""A little longer than the pause between two heartbeats, and shorter than what is left after one
of a lease of 3 s."""
END_WAITING = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""
"""Ends the sessions that wait for a lock, and waits until they have ended."""
KEY_BITS = 40
"""Process ids, and numbers made of them, have fewer. A random key of 62 bits has fewer in one of
four million cases."""

RAN_AGAIN = "runs by the worker that got the message again"
KEPT = "the worker keeps the message that it runs"
KEYS = "bits of the keys of sessions"
"""Names of claims that falsifiers predict."""


@criterion(
    "RUN-13", needs=("database", "celery", "broker.lease_s", "worker", "ping", "task", "logs")
)
@falsified_by(
    source("run-whenever-it-comes", CONSUMER, function="has_ended", body="return False"),
    expect=(RAN_AGAIN, "killed between result and acknowledgement", "got 1"),
)
@falsified_by(
    source(
        "not-marked-as-delivered-before",
        BROKER,
        '                envelope["properties"]["delivery_info"]["redelivered"] = True\n',
        "                pass\n",
    ),
    expect=(RAN_AGAIN, "killed between result and acknowledgement", "got 1"),
)
@falsified_by(
    source(
        "looked-up-and-not-used", CONSUMER, "return ended or table.has_row(found)", "return False"
    ),
    expect=(RAN_AGAIN, "killed between result and acknowledgement", "got 1"),
)
def test_task_whose_result_is_stored_is_not_run_again(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A worker that gets the message of a task whose end is stored takes it off the queue."""
    stack, ping, task_id = own_stack, sut.ping, str(ids.uuid())
    forget_messages(stack)
    with stack.running_worker(pool=POOL_SOLO, name="victim") as victim:
        stack.wait_ready(victim)
        with stack.sql.session() as holding, stack.sql.session() as locking:
            # The run waits for the end of this transaction before it stores its result.
            holding.query("INSERT INTO celery_taskmeta (id, task_id) VALUES (-1, %s)", (task_id,))
            stack.tasks.publish(ping.task, (), ping.arguments, task_id=task_id)
            wait_for_claim(stack)
            locking.query(f"SELECT id FROM {MESSAGES} FOR UPDATE")  # so that no ack deletes it
            holding.rollback()
            state = stack.tasks.result(task_id).state
            premise("state of the task", got=state, expected="SUCCESS")
            victim.kill()
            # The server would still delete the message for a dead worker as soon as it is unlocked.
            stack.sql.query(END_WAITING)
    left = messages(stack)
    premise("messages that no acknowledgement deleted", got=left, expected=1)
    with stack.running_worker(pool=POOL_SOLO, name="other") as other:
        gone = wait_until(
            lambda: messages(stack), lambda number: number == 0, deadline_s=RETURNED_S
        )
        names = sut.logs
        ran = other.log().matching(**{names.message: names.success, names.task_id: task_id})
    on = "killed between result and acknowledgement"
    claim(RAN_AGAIN, on=on, got=len(ran), expected=0)
    claim("messages of the ended task", on=on, got=gone, expected=0)


@criterion(
    "RUN-14",
    needs=(
        "database",
        "celery",
        "broker.lease_s",
        "worker.broker",
        "worker.result_backend",
        "ping",
        "task",
    ),
)
@falsified_by(
    source(
        "lease-not-asked",
        STATEMENTS,
        "WHERE %(settled)s AND claimed_by <> %(me)s AND lease_until < now()\n",
        "WHERE %(settled)s AND claimed_by <> %(me)s\n",
    ),
    expect=(KEPT, "worker that was cut off", "got false"),
)
@falsified_by(
    source(
        "lease-as-short-as-a-heartbeat",
        SESSION,
        '                    "lease": self.lease_s,\n                    "channel"',
        '                    "lease": 0.6,\n                    "channel"',
    ),
    expect=(KEPT, "worker that was cut off", "got false"),
)
@falsified_by(
    source(
        "key-of-the-process", SESSION, "self.key = secrets.randbits(62)", "self.key = os.getpid()"
    ),
    expect=(KEYS, ""),
)
def test_worker_that_is_cut_off_keeps_what_it_runs(own_stack: Stack, sut: Sut) -> None:
    """While a worker reconnects within its lease, no other one gets its message."""
    stack, ping, on = own_stack, sut.ping, "worker that was cut off"
    forget_messages(stack)
    relay = stack.start_relay()
    try:
        env = settings_through(stack, relay)
        with (
            stack.running_worker(queues=(ELSEWHERE,), pool=POOL_SOLO, name="other") as other,
            stack.running_worker(
                pool=POOL_SOLO, env=env, options=("--hostname=cut-off@gate",), name="cut-off"
            ) as cut_off,
        ):
            stack.wait_ready(cut_off)
            wait_until(lambda: len(keys(stack)) == 2, deadline_s=BEGUN_S)
            bits = min((one.bit_length() for one in keys(stack)), default=0)
            claim(KEYS, got=bits, relation="at_least", expected=KEY_BITS)
            # A worker returns the claims of others when it has run for a lease itself.
            stack.sql.query("SELECT pg_sleep(%s)", (sut.broker.lease_s,))
            held = stack.tasks.publish(ping.task, (), {**ping.arguments, "hold_s": HELD_S})
            wait_for_claim(stack)
            holder = holders(stack)
            stack.sql.query("SELECT pg_sleep(%s)", (HEARTBEAT_S,))  # extends the lease
            relay.set_mode("away")
            stack.sql.query("SELECT pg_sleep(%s)", (CUT_OFF_S,))
            kept = holders(stack) == holder
            relay.set_mode("pass")
            premise("the other worker runs", got=other.alive, expected=True)
            if claim(KEPT, on=on, got=kept, expected=True):
                claim(
                    "state of the task", on=on, got=stack.tasks.result(held).end, expected="SUCCESS"
                )
    finally:
        relay.stop()


def forget_messages(stack: Stack) -> None:
    """Delete all messages: a baseline runs twice, and its first workers can leave some."""
    stack.sql.query(f"DELETE FROM {MESSAGES}")


def wait_for_claim(stack: Stack) -> None:
    """Wait until one message is claimed."""
    claimed = wait_until(
        lambda: len(holders(stack)), lambda seen: seen == 1, deadline_s=BEGUN_S, interval_s=0.05
    )
    premise("claimed messages", got=claimed, expected=1)


def messages(stack: Stack) -> int:
    """Return the number of all messages."""
    return int(stack.sql.query(f"SELECT count(*) FROM {MESSAGES}").scalar())


def holders(stack: Stack) -> list[int]:
    """Return the keys of the sessions that hold claimed messages, once for each message."""
    statement = f"SELECT claimed_by FROM {MESSAGES} WHERE claimed_by IS NOT NULL"
    return [int(one) for one in stack.sql.query(statement).column()]


def keys(stack: Stack) -> list[int]:
    """Return the keys of the sessions that own queues."""
    statement = "SELECT DISTINCT owner FROM kombu_queue WHERE owner IS NOT NULL"
    return [int(one) for one in stack.sql.query(statement).column()]


def settings_through(stack: Stack, relay: Relay) -> dict[str, str]:
    """Return variables with which a worker reaches its broker by a relay, and all else directly."""
    how = stack.sut.worker
    stack.route_through(relay.address)
    env = {how.broker: f"sqla+{stack.inner_dsn(how.role)}"}
    stack.route_through(stack.server.inside)  # (which stops the processes that run)
    return {**env, how.result_backend: f"db+{stack.inner_dsn(how.role)}"}
