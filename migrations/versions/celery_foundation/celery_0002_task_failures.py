"""Create the table of dead letters: one row for each failed task; a trigger checks status moves.

Policies: the worker's role reads and writes its tenant's rows. In a session without a tenant it
writes rows without a tenant, which it cannot read. The operators' roles read every row. `args` and
`kwargs` are `json`, not `jsonb`, which would refuse NUL and rewrite numbers: a replay must send the
original values.
"""

from alembic import op

revision = "celery_0002"
down_revision = "celery_0001"
branch_labels = None
depends_on = None

_TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"

_TABLE = """
CREATE TABLE celery_task_failures (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    task_id text NOT NULL,
    task_name text NOT NULL,
    queue text,
    tenant_id uuid,
    args json NOT NULL DEFAULT '[]',
    kwargs json NOT NULL DEFAULT '{}',
    exception_class text NOT NULL,
    error_message text NOT NULL DEFAULT '',
    traceback text,
    error_kind text NOT NULL DEFAULT 'permanent',
    retry_count integer NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'pending',
    correlation_id text,
    failed_at timestamptz NOT NULL DEFAULT now(),
    last_retry_at timestamptz,
    resolved_at timestamptz,
    notes text,
    CONSTRAINT celery_task_failures_pkey PRIMARY KEY (id),
    CONSTRAINT celery_task_failures_task_id_key UNIQUE (task_id),
    CONSTRAINT celery_task_failures_error_kind_check
        CHECK (error_kind IN ('transient', 'permanent')),
    CONSTRAINT celery_task_failures_retry_count_check CHECK (retry_count >= 0),
    CONSTRAINT celery_task_failures_status_check
        CHECK (status IN ('pending', 'in_progress', 'resolved', 'abandoned'))
);
CREATE INDEX ix_celery_task_failures_status_failed_at ON celery_task_failures (status, failed_at);
CREATE INDEX ix_celery_task_failures_tenant_id ON celery_task_failures (tenant_id);
CREATE INDEX ix_celery_task_failures_task_name ON celery_task_failures (task_name);
CREATE INDEX ix_celery_task_failures_correlation_id ON celery_task_failures (correlation_id);
"""

_ACCESS = f"""
ALTER TABLE celery_task_failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE celery_task_failures FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_read ON celery_task_failures FOR SELECT TO app_user
    USING (tenant_id = {_TENANT});
CREATE POLICY tenant_write ON celery_task_failures FOR INSERT TO app_user
    WITH CHECK (tenant_id IS NOT DISTINCT FROM {_TENANT});
CREATE POLICY operator_read ON celery_task_failures FOR SELECT TO app_rw, app_ro
    USING (true);
CREATE POLICY operator_move ON celery_task_failures FOR UPDATE TO app_rw
    USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON celery_task_failures TO app_user;
GRANT SELECT, UPDATE ON celery_task_failures TO app_rw;
GRANT SELECT ON celery_task_failures TO app_ro;
"""

# The operators may update the whole table. They must change statuses only, and not give a row to
# another tenant or task.
_MOVES = """
CREATE FUNCTION enforce_dead_letter_moves() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.id IS DISTINCT FROM OLD.id OR NEW.task_id IS DISTINCT FROM OLD.task_id
        OR NEW.tenant_id IS DISTINCT FROM OLD.tenant_id
    THEN
        RAISE EXCEPTION 'dead-letter row %: id, task_id and tenant_id do not change', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status IS DISTINCT FROM OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('pending', 'in_progress'), ('pending', 'resolved'), ('pending', 'abandoned'),
        ('in_progress', 'resolved'), ('in_progress', 'pending'), ('in_progress', 'abandoned')
    ) THEN
        RAISE EXCEPTION 'dead-letter row %: status cannot move from % to %',
            OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION enforce_dead_letter_moves() FROM PUBLIC;
CREATE TRIGGER dead_letter_moves BEFORE UPDATE ON celery_task_failures
    FOR EACH ROW EXECUTE FUNCTION enforce_dead_letter_moves();
"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(_ACCESS)
    op.execute(_MOVES)


def downgrade() -> None:
    op.execute("DROP TABLE celery_task_failures")
    op.execute("DROP FUNCTION enforce_dead_letter_moves()")
