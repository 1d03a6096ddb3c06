"""Transactions that see the rows of one school."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, transaction


@contextmanager
def of_school(school_id: str) -> Iterator[UUID]:
    """Open a transaction that sees the rows of one school only, and yield its id."""
    school = UUID(school_id)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('school.id', %s, true)", [str(school)])
        yield school
