"""An assertion that a migration command succeeded, with the cause of a failure."""

from __future__ import annotations

from gateproof import Completed

_CAUSES = ("psycopg2.", "Error", "FAILED")
"""Texts of the line that names the cause, in the output of Alembic and SQLAlchemy."""


def assert_done(done: Completed, what: str) -> None:
    """Assert that a migration command exited with 0; the message names the cause."""
    lines = done.output.strip().splitlines() or ["it printed nothing"]
    causes = [line for line in lines if any(text in line for text in _CAUSES)]
    cause = (causes or lines)[-1].strip()
    status = done.exit_status
    assert status == 0, f"{what}: got exit {status}, expected 0: {cause[:300]}"
