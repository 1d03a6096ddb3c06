"""A claim that a migration command succeeds, with the cause of a failure."""

from __future__ import annotations

from gateproof import Completed, claim

DONE = "end of the migration command"


def claim_done(done: Completed, what: str) -> bool:
    """Claim that a migration command exits with 0; the value names the cause of a failure."""
    status = done.exit_status
    cause = f": {done.cause[:300]}" if status else ""
    return claim(DONE, on=what, got=f"exit {status}{cause}", expected="exit 0")
