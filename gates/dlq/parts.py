"""Name what falsifiers of this gate change, and the queries that show the change.

Names of the reference system's own files, functions and tables: a falsifier is about one system.
"""

from __future__ import annotations

TABLE = "worker_failed_jobs"

TRIGGERS = f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{TABLE}'::regclass ORDER BY 1"
CONSTRAINTS = f"""SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = '{TABLE}'::regclass ORDER BY 1"""
PRIVILEGES = f"SELECT relacl FROM pg_class WHERE relname = '{TABLE}'"
POLICIES = f"""SELECT polname, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
    FROM pg_policy WHERE polrelid = '{TABLE}'::regclass ORDER BY 1"""
READERS = f"SELECT policyname, roles::text FROM pg_policies WHERE tablename = '{TABLE}' ORDER BY 1"
VIEWS = "SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1"
TYPES = f"""SELECT column_name, data_type, column_default FROM information_schema.columns
    WHERE table_name = '{TABLE}' ORDER BY 1"""
