"""What a migration command must come to, and why it did not."""

from __future__ import annotations

from gateproof import Completed

_TELLING = ("psycopg2.", "Error", "FAILED")
"""What the line that names the cause has in it, in Alembic's and SQLAlchemy's output."""


def assert_done(done: Completed, what: str) -> None:
    """Assert that a migration command exited well, or say what it said last."""
    lines = done.output.strip().splitlines() or ["it printed nothing"]
    telling = [line for line in lines if any(word in line for word in _TELLING)]
    said = (telling or lines)[-1].strip()
    status = done.exit_status
    assert status == 0, f"{what}: got exit {status}, expected 0: {said[:300]}"
