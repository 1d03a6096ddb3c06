"""Name what falsifiers of this gate change, and the queries that show the change.

Names of the reference system's own files, functions and tables: a falsifier is about one system.
"""

from __future__ import annotations

TABLE = "worker_failed_jobs"

CAPTURE = "system/dead_letters/capture/__init__.py"
CONSUMER = "system/dead_letters/capture/consumer.py"
FAILURE = "system/dead_letters/capture/failure.py"
RESULT = "system/dead_letters/capture/result.py"
SIGNAL = "system/dead_letters/capture/signal.py"
KEEPER = "system/dead_letters/storage/keeper.py"
DRAIN = "system/dead_letters/storage/drain.py"
ROW = "system/dead_letters/row.py"
REPLAY = "system/dead_letters/replay.py"
IDENTITY = "system/identity.py"
PAYLOAD = "system/dead_letters/payload.py"
BORN = "migrations/versions/celery_foundation/celery_0002_task_failures.py"
"""The revision that makes the table, under its former name."""
RENAMED = "migrations/versions/celery_foundation/celery_0003_worker_failed_jobs.py"

TRIGGERS = f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{TABLE}'::regclass ORDER BY 1"
CONSTRAINTS = f"""SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = '{TABLE}'::regclass ORDER BY 1"""
INDEXES = f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '{TABLE}' ORDER BY 1"
PRIVILEGES = f"SELECT relacl FROM pg_class WHERE relname = '{TABLE}'"
POLICIES = f"""SELECT polname, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
    FROM pg_policy WHERE polrelid = '{TABLE}'::regclass ORDER BY 1"""
READERS = f"SELECT policyname, roles::text FROM pg_policies WHERE tablename = '{TABLE}' ORDER BY 1"
VIEWS = "SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1"
TYPES = f"""SELECT column_name, data_type, column_default FROM information_schema.columns
    WHERE table_name = '{TABLE}' ORDER BY 1"""
MOVES_IN_FUNCTION = "SELECT md5(prosrc) FROM pg_proc WHERE proname = 'enforce_dead_letter_moves'"
