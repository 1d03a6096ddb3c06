"""Alembic branches of the reference system; imports nothing of the harness and nothing of gates."""
