"""Give the times of results a time zone.

Celery stores an aware time. In a column without a zone PostgreSQL keeps the local time of the
session, which is UTC only where the database's zone is. The conversion reads the stored times in
the zone of the migration's session: run it with the zone that the workers' sessions have.

Source: https://www.postgresql.org/docs/current/datatype-datetime.html
"""

from alembic import op

revision = "celery_0006"
down_revision = "celery_0005"
branch_labels = None
depends_on = None

_TABLES = ("celery_taskmeta", "celery_tasksetmeta")

_MISSING = """
CREATE OR REPLACE FUNCTION failures_without_letter(settled interval, most integer)
RETURNS TABLE (task_id text, name text, result bytea, traceback text, failed_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.refuse_tenants();
    RETURN QUERY
    SELECT r.task_id::text, r.name::text, r.result, r.traceback, {date_done}
    FROM public.celery_taskmeta r
    WHERE r.status = 'FAILURE' AND {date_done} < now() - settled
        -- The failure of a replay is recorded in the row that it replays.
        AND NOT starts_with(r.task_id, 'replay-')
        AND NOT EXISTS (SELECT FROM public.worker_failed_jobs w WHERE w.task_id = r.task_id)
    ORDER BY r.id
    LIMIT most;
END
$$;
"""


def _convert(kind: str, date_done: str) -> None:
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN date_done TYPE {kind}")
    op.execute(_MISSING.format(date_done=date_done))


def upgrade() -> None:
    _convert("timestamptz", "r.date_done")


def downgrade() -> None:
    _convert("timestamp", "r.date_done AT TIME ZONE 'UTC'")
