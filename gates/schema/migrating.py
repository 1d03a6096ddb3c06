"""Judge the outcome of a migration command."""

from __future__ import annotations

from harness.environments.interface import Completed

_TELLING = ("psycopg2.", "Error", "FAILED")
"""Texts that mark the line with the cause in Alembic's and SQLAlchemy's output."""


def assert_done(done: Completed, what: str) -> None:
    """Judge that a migration command succeeded, and quote the cause if not."""
    lines = done.output.strip().splitlines() or ["it printed nothing"]
    telling = [line for line in lines if any(word in line for word in _TELLING)]
    said = (telling or lines)[-1].strip()
    status = done.exit_status
    assert status == 0, f"{what}: got exit {status}, expected 0: {said[:300]}"
