"""Gate broker: children that come and go share no socket with their parent."""

from __future__ import annotations

from collections import Counter

from harness import criterion, falsified_by, source
from harness.stack import POOL_PREFORK, Stack
from harness.sut import Sut
from harness.wait import wait_until

CHILDREN, PINGS = 2, 6
DEADLINE_S = 30.0
RESULTS = "celery_taskmeta"
ENDS = "ends of tasks that publish, with a child for each"


@criterion("BRK-08")
@falsified_by(
    source(
        "sockets-inherited",
        "system/transport/engines.py",
        "os.register_at_fork(after_in_child=_forget_inherited)",
        "",
    ),
    expect=f"{ENDS}: got",
)
def test_tasks_publish_from_children_of_one_task(own_stack: Stack, sut: Sut) -> None:
    """Pings that ask to be run again, which their child publishes, all succeed."""
    stack, ping = own_stack, sut.ping
    with stack.running_worker(
        pool=POOL_PREFORK, concurrency=CHILDREN, options=("--max-tasks-per-child=1",)
    ) as worker:
        stack.wait_ready(worker)
        before = set(worker.children())
        arguments = {**ping.arguments, **ping.retry}
        published = [stack.tasks.publish(ping.task, (), arguments) for _ in range(PINGS)]
        ended = wait_until(
            lambda: stack.sql.query(
                f"SELECT status FROM {RESULTS} WHERE task_id = ANY(%s)", (published,)
            ).column(),
            lambda states: states.count("SUCCESS") + states.count("FAILURE") == PINGS,
            deadline_s=DEADLINE_S,
            interval_s=0.2,
        )
        states = dict(Counter(ended))
        assert states == {"SUCCESS": PINGS}, f"{ENDS}: got {states}, expected SUCCESS: {PINGS}"
        kept = before & set(worker.children())
        assert not kept, f"premise: children that outlived their task: got {len(kept)}, expected 0"
