"""An assertion that a migration command succeeded, with the cause of a failure."""

from __future__ import annotations

from gateproof import Completed


def assert_done(done: Completed, what: str) -> None:
    """Assert that a migration command exited with 0; the message names the cause."""
    status = done.exit_status
    assert status == 0, f"{what}: got exit {status}, expected 0: {done.cause[:300]}"
