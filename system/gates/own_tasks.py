"""The system's worker with more tasks, which do what no task of the system does."""

from __future__ import annotations

import json
from typing import Any

from gateproof import Stack, premise

WORKER_DEADLINE_S = 60.0

_BEFORE = """
import os, signal, socket, sys, threading
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    os.environ["CELERY_METRICS_PORT"] = str(free.getsockname()[1])
from celery import current_task, shared_task, signals
"""
# The worker ends when a number of tasks have ended, and after half a minute in any case.
_AFTER = """
left = [int(sys.argv[1])]

def stop():
    os.kill(os.getpid(), signal.SIGTERM)

@signals.task_postrun.connect(weak=False)
def ended(state=None, **_):
    left[0] -= state != "RETRY"
    if not left[0]:
        stop()

patience = threading.Timer(30, stop)
patience.daemon = True
patience.start()
from system.worker import main
os._exit(main(["--pool", "solo", "--queues", "housekeeping"]))
"""


def lines_of_a_worker(stack: Stack, tasks: str, count: int) -> list[dict[str, Any]]:
    """Run a worker of one process until some tasks have ended, and return what it logged.

    Args:
        stack: the stack of the system.
        tasks: Python source that defines tasks with `shared_task`, named after the queue
            `housekeeping`.
        count: the number of tasks that end.

    """
    done = stack.process.run(
        [*stack.sut.fill(["{python}", "-c"]), _BEFORE + tasks + _AFTER, str(count)],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
        deadline_s=WORKER_DEADLINE_S,
    )
    premise("exit status of a worker", got=done.exit_status, expected=0)
    parsed = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    premise("lines of a worker", got=len(parsed), expected=1, relation="at_least")
    return parsed
