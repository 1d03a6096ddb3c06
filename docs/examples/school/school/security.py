"""Row-level security, as operations of migrations."""

from __future__ import annotations

from django.db import migrations

OF_SCHOOL = "school_id = nullif(current_setting('school.id', true), '')::uuid"


def secured(table: str) -> migrations.RunSQL:
    """Return the operation that lets a transaction see the rows of the school that it names."""
    return migrations.RunSQL(
        f"""
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY of_school ON {table} TO school_app
            USING ({OF_SCHOOL}) WITH CHECK ({OF_SCHOOL});
        """,
        f"""
        DROP POLICY of_school ON {table};
        ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;
        """,
    )
