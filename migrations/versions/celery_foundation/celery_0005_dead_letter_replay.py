"""Add columns and functions for the replay, the retention and the gauge of dead letters.

The worker's role inserts rows and cannot update them, but a replay ends in a worker. So the worker
calls functions that run as the table's owner, which gets a policy (row-level security stays
forced). Each function refuses a session with a tenant, takes ids that only the replay knows, or
returns totals only: none of them shows a tenant a row of another.

- `sealed`: the original arguments, encrypted; null if none was sensitive, or no key was set;
- `replayable`: whether the original arguments are known; if not, `notes` has the reason;
- `replay_task_id`, `replay_until`: the current replay, and when its claim expires;
- `due_at`: the task that replays due rows leaves the row alone until then.
"""

from alembic import op

revision = "celery_0005"
down_revision = "celery_0004"
branch_labels = None
depends_on = None

_COLUMNS = """
ALTER TABLE worker_failed_jobs
    ADD COLUMN sealed text,
    ADD COLUMN replayable boolean NOT NULL DEFAULT true,
    ADD COLUMN replay_task_id text,
    ADD COLUMN replay_until timestamptz,
    ADD COLUMN due_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX ix_worker_failed_jobs_due_at ON worker_failed_jobs (due_at)
    WHERE status IN ('pending', 'in_progress');
CREATE POLICY owner_keeps ON worker_failed_jobs TO CURRENT_USER USING (true) WITH CHECK (true);
"""

# Earlier rows lost their masked values: nothing was encrypted.
_MASKED_BEFORE = r"""
UPDATE worker_failed_jobs SET replayable = false, notes = concat_ws(
    E'\n', notes, 'cannot be replayed: written when sensitive values were masked and not encrypted'
)
WHERE args::text LIKE '%"[masked]"%' OR kwargs::text LIKE '%"[masked]"%'
"""

_AS_OWNER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

_REFUSE_TENANTS = """
CREATE FUNCTION refuse_tenants() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF nullif(current_setting('app.current_tenant_id', true), '') IS NOT NULL THEN
        RAISE EXCEPTION 'dead letters of all tenants: got a session of one, expected none'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;
"""

# The claim of a replay without an end expires: the row gets the status of the stored result, or is
# pending again.
_CLAIM = f"""
CREATE FUNCTION claim_dead_letters(
    ids uuid[], name text, tenant uuid, kind text, not_before timestamptz, not_after timestamptz,
    only_due boolean, untried_since timestamptz, most integer, lease interval
) RETURNS SETOF public.worker_failed_jobs
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    PERFORM public.refuse_tenants();
    UPDATE public.worker_failed_jobs w
    SET status = CASE WHEN o.succeeded THEN 'resolved' ELSE 'pending' END,
        resolved_at = CASE WHEN o.succeeded THEN now() END, replay_until = NULL
    FROM (
        SELECT l.id, EXISTS (
            SELECT FROM public.celery_taskmeta r
            WHERE r.task_id = l.replay_task_id AND r.status = 'SUCCESS'
        ) AS succeeded
        FROM public.worker_failed_jobs l
        WHERE l.status = 'in_progress' AND l.replay_until < now()
        FOR UPDATE OF l SKIP LOCKED
    ) o
    WHERE w.id = o.id;
    RETURN QUERY
    UPDATE public.worker_failed_jobs w
    SET status = 'in_progress', replay_task_id = concat('replay-', w.id, '-', gen_random_uuid()),
        replay_until = now() + lease, last_retry_at = now()
    WHERE w.id IN (
        SELECT o.id FROM public.worker_failed_jobs o
        WHERE o.status = 'pending' AND o.replayable
            AND (ids IS NULL OR o.id = ANY (ids))
            AND (name IS NULL OR o.task_name = name)
            AND (tenant IS NULL OR o.tenant_id = tenant)
            AND (kind IS NULL OR o.error_kind = kind)
            AND (not_before IS NULL OR o.failed_at >= not_before)
            AND (not_after IS NULL OR o.failed_at < not_after)
            AND (NOT only_due OR o.due_at <= now())
            AND (o.last_retry_at IS NULL OR o.last_retry_at < untried_since)
        ORDER BY o.failed_at, o.id
        LIMIT most
        FOR UPDATE SKIP LOCKED
    )
    RETURNING w.*;
END
$$;
"""

# Idempotent. Returns whether the row names this replay.
_SETTLE = f"""
CREATE FUNCTION settle_dead_letter(
    dead_letter uuid, replay text, verdict text, class text, message text, trace text, kind text,
    base interval, longest interval, most integer
) RETURNS boolean
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    PERFORM public.refuse_tenants();
    IF verdict = 'succeeded' THEN
        UPDATE public.worker_failed_jobs
        SET status = 'resolved', resolved_at = now(), replay_until = NULL
        -- Pending: the claim had expired, and the replay ended all the same.
        WHERE id = dead_letter AND replay_task_id = replay AND status IN ('in_progress', 'pending');
    ELSIF verdict = 'failed' THEN
        UPDATE public.worker_failed_jobs
        SET status = CASE WHEN retry_count + 1 < most THEN 'pending' ELSE 'abandoned' END,
            retry_count = retry_count + 1, replay_until = NULL,
            exception_class = class, error_message = message, traceback = trace,
            error_kind = kind, last_retry_at = now(),
            due_at = now() + least(longest, base * (2 ^ least(retry_count, 30)))
        WHERE id = dead_letter AND replay_task_id = replay AND status = 'in_progress';
    ELSIF verdict = 'not sent' THEN
        UPDATE public.worker_failed_jobs
        -- Due later: rows that can never be sent must not block the others.
        SET status = 'pending', replay_until = NULL, due_at = now() + base
        WHERE id = dead_letter AND replay_task_id = replay AND status = 'in_progress';
    ELSE
        RAISE EXCEPTION 'verdict: got %, expected succeeded, failed or not sent', verdict
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN EXISTS (
        SELECT FROM public.worker_failed_jobs WHERE id = dead_letter AND replay_task_id = replay
    );
END
$$;
"""

_MISSING = f"""
CREATE FUNCTION failures_without_letter(settled interval, most integer)
RETURNS TABLE (task_id text, name text, result bytea, traceback text, failed_at timestamptz)
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    PERFORM public.refuse_tenants();
    RETURN QUERY
    SELECT r.task_id::text, r.name::text, r.result, r.traceback,
        r.date_done AT TIME ZONE 'UTC'
    FROM public.celery_taskmeta r
    WHERE r.status = 'FAILURE' AND r.date_done AT TIME ZONE 'UTC' < now() - settled
        -- The failure of a replay is recorded in the row that it replays.
        AND NOT starts_with(r.task_id, 'replay-')
        AND NOT EXISTS (SELECT FROM public.worker_failed_jobs w WHERE w.task_id = r.task_id)
    ORDER BY r.id
    LIMIT most;
END
$$;
"""

# Counts pending rows, and replays whose claim has expired.
_BACKLOG = f"""
CREATE FUNCTION dead_letter_backlog(OUT pending bigint, OUT oldest timestamptz)
LANGUAGE plpgsql STABLE {_AS_OWNER} AS $$
BEGIN
    PERFORM public.refuse_tenants();
    SELECT count(*), min(failed_at) INTO pending, oldest
    FROM public.worker_failed_jobs
    WHERE status = 'pending' OR status = 'in_progress' AND replay_until < now();
END
$$;
"""

# Deletes the stored failure too: without its row, it would be reconciled again.
_RETIRE = f"""
CREATE FUNCTION delete_old_dead_letters(age interval, most integer) RETURNS bigint
LANGUAGE plpgsql {_AS_OWNER} AS $$
DECLARE
    deleted bigint;
BEGIN
    PERFORM public.refuse_tenants();
    IF age < interval '1 day' THEN
        RAISE EXCEPTION 'age: got %, expected a day or more', age
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    WITH gone AS (
        DELETE FROM public.worker_failed_jobs WHERE id IN (
            SELECT o.id FROM public.worker_failed_jobs o
            WHERE o.status IN ('resolved', 'abandoned')
                AND coalesce(o.resolved_at, o.last_retry_at, o.failed_at) < now() - age
            LIMIT most
            FOR UPDATE SKIP LOCKED
        )
        RETURNING task_id
    ), results AS (
        DELETE FROM public.celery_taskmeta r USING gone g
        WHERE r.task_id = g.task_id AND r.status = 'FAILURE'
    )
    SELECT count(*) INTO deleted FROM gone;
    RETURN deleted;
END
$$;
"""

_CLAIM_TAKES = (
    "uuid[], text, uuid, text, timestamptz, timestamptz, boolean, timestamptz, integer, interval"
)
FUNCTIONS = (
    f"claim_dead_letters({_CLAIM_TAKES})",
    "settle_dead_letter(uuid, text, text, text, text, text, text, interval, interval, integer)",
    "failures_without_letter(interval, integer)",
    "dead_letter_backlog()",
    "delete_old_dead_letters(interval, integer)",
)
OF_OPERATORS = FUNCTIONS[:2]

# An operator replays by publishing, and gets the privileges of a publisher only: no reading of
# messages.
_PUBLISH = """
GRANT SELECT ON kombu_queue TO app_rw;
GRANT INSERT ON kombu_message TO app_rw;
GRANT USAGE ON SEQUENCE message_id_sequence TO app_rw;
"""
_PUBLISH_NO_MORE = """
REVOKE ALL ON kombu_queue, kombu_message FROM app_rw;
REVOKE ALL ON SEQUENCE message_id_sequence FROM app_rw;
"""


def upgrade() -> None:
    for statement in (
        _COLUMNS,
        _MASKED_BEFORE,
        _REFUSE_TENANTS,
        *(_CLAIM, _SETTLE, _MISSING, _BACKLOG, _RETIRE),
        _PUBLISH,
    ):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION refuse_tenants() FROM PUBLIC")
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO app_user")
    for function in OF_OPERATORS:
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO app_rw")


def downgrade() -> None:
    """Undo all of it; encrypted arguments are lost with their column, and stay masked."""
    op.execute(_PUBLISH_NO_MORE)
    for function in (*FUNCTIONS, "refuse_tenants()"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP POLICY owner_keeps ON worker_failed_jobs")
    op.execute("DROP INDEX ix_worker_failed_jobs_due_at")
    op.execute(
        "ALTER TABLE worker_failed_jobs DROP COLUMN sealed, DROP COLUMN replayable,"
        " DROP COLUMN replay_task_id, DROP COLUMN replay_until, DROP COLUMN due_at"
    )
