"""A database that is away for one process alone, and health reports during it."""

from __future__ import annotations

from gateproof import Exchange, SystemProcess, claim, wait_until

from .described import SLACK_S

HEALTH = "status of the health report"
"""The name of the claim that falsifiers predict; its object is process and moment."""
ACTS = ("away", "silent")
"""Connections are refused and reset, or get no answer."""
HEALTHY, UNHEALTHY = 200, 503
RECOVERY_S = 20.0


def ask_health(process: SystemProcess) -> Exchange:
    """Request the health report of a process, with a timeout a little longer than its deadline."""
    described = process.described
    return process.get(described.health, timeout_s=described.deadline_s + SLACK_S)


def shown(answer: Exchange) -> int | str:
    """Return the status of an answer, or why there is none."""
    return answer.status or f"no answer ({answer.error.partition(':')[0]})"


def expect_health(process: SystemProcess, when: str, status: int, *, within_s: float) -> bool:
    """Judge that the health report has a status within some seconds.

    Args:
        process: the process.
        when: the moment, for the object of the claim.
        status: the expected status.
        within_s: how long it may have another one, in seconds.

    """
    answer = wait_until(
        lambda: ask_health(process),
        lambda seen: seen.status == status,
        deadline_s=within_s,
        interval_s=0.1,
    )
    return claim(HEALTH, on=f"{process.name}/{when}", got=shown(answer), expected=status)
