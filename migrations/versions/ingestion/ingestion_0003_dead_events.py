"""Create the table of dead events: signed events that could not be stored.

Every role sees its own tenant's rows only, the operators' roles too. What works on the rows of all
tenants (the retries and the operators' command) calls functions that run as the owner and refuse a
session with a tenant.

- `payload` is `json`, masked; `sealed` is the original, encrypted, where a part is masked;
- `replayable`: whether the original is known; if not, `remediation_notes` has the reason;
- `claim`, `claimed_until`: which retry holds the row, and until when;
- `next_retry_at`: when the row is due; null if it is retried only by an operator.

An event has at most one open row: a vendor repeats a delivery that was refused for days.
"""

from alembic import op

revision = "ingestion_0003"
down_revision = "ingestion_0002"
branch_labels = None
depends_on = None

_TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"
_AS_OWNER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

_TABLE = f"""
CREATE TABLE dead_events (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    vendor text NOT NULL,
    event_type text NOT NULL,
    event_id text NOT NULL,
    occurred_at timestamptz,
    error_type text NOT NULL,
    error_kind text NOT NULL DEFAULT 'permanent',
    error_message text NOT NULL DEFAULT '',
    error_traceback text,
    payload json NOT NULL DEFAULT '{{}}',
    sealed text,
    replayable boolean NOT NULL DEFAULT true,
    correlation_id text,
    retry_count integer NOT NULL DEFAULT 0,
    last_retry_at timestamptz,
    next_retry_at timestamptz,
    claim uuid,
    claimed_until timestamptz,
    remediation_status text NOT NULL DEFAULT 'pending',
    remediation_notes text,
    resolved_at timestamptz,
    failed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dead_events_pkey PRIMARY KEY (id),
    CONSTRAINT dead_events_error_kind_check CHECK (error_kind IN ('transient', 'permanent')),
    CONSTRAINT dead_events_retry_count_check CHECK (retry_count >= 0),
    CONSTRAINT dead_events_remediation_status_check
        CHECK (remediation_status IN ('pending', 'in_progress', 'resolved', 'ignored'))
);
CREATE INDEX ix_dead_events_tenant_id_failed_at ON dead_events (tenant_id, failed_at);
CREATE UNIQUE INDEX uq_dead_events_open ON dead_events (tenant_id, vendor, event_id)
    WHERE remediation_status IN ('pending', 'in_progress');
CREATE INDEX ix_dead_events_next_retry_at ON dead_events (next_retry_at)
    WHERE remediation_status = 'pending';
ALTER TABLE dead_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE dead_events FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON dead_events FOR ALL TO app_user, app_rw, app_ro, app_ingest
    USING (tenant_id = {_TENANT}) WITH CHECK (tenant_id = {_TENANT});
CREATE POLICY owner_keeps ON dead_events TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT ON dead_events TO app_user, app_rw, app_ro;
GRANT SELECT, INSERT ON dead_events TO app_ingest;
"""

_MOVES = """
CREATE FUNCTION enforce_dead_event_moves() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.tenant_id, NEW.vendor, NEW.event_id)
        IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.vendor, OLD.event_id)
    THEN
        RAISE EXCEPTION 'dead event %: id, tenant_id, vendor and event_id do not change', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.remediation_status IS DISTINCT FROM OLD.remediation_status
        AND (OLD.remediation_status, NEW.remediation_status) NOT IN (
            ('pending', 'in_progress'), ('pending', 'ignored'),
            ('in_progress', 'pending'), ('in_progress', 'resolved'), ('in_progress', 'ignored')
        )
    THEN
        RAISE EXCEPTION 'dead event %: remediation_status cannot move from % to %',
            OLD.id, OLD.remediation_status, NEW.remediation_status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION enforce_dead_event_moves() FROM PUBLIC;
CREATE TRIGGER dead_event_moves BEFORE UPDATE ON dead_events
    FOR EACH ROW EXECUTE FUNCTION enforce_dead_event_moves();
"""

_FILTER = """
            (ids IS NULL OR o.id = ANY (ids))
            AND (of_tenant IS NULL OR o.tenant_id = of_tenant)
            AND (of_vendor IS NULL OR o.vendor = of_vendor)
            AND (kind IS NULL OR o.error_kind = kind)
            AND (not_before IS NULL OR o.failed_at >= not_before)
            AND (not_after IS NULL OR o.failed_at < not_after)
"""
_FILTER_TAKES = """
    ids uuid[], of_tenant uuid, of_vendor text, kind text, not_before timestamptz,
    not_after timestamptz
"""

# The claim of a retry that did not end expires. The same event is stored once, however often.
_CLAIM = f"""
CREATE FUNCTION claim_dead_events({_FILTER_TAKES}, only_due boolean, untried_since timestamptz,
    most integer, lease interval)
RETURNS SETOF public.dead_events
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    PERFORM public.refuse_tenants();
    UPDATE public.dead_events SET remediation_status = 'pending', claim = NULL, claimed_until = NULL
    WHERE id IN (
        SELECT o.id FROM public.dead_events o
        WHERE o.remediation_status = 'in_progress' AND o.claimed_until < now()
        FOR UPDATE SKIP LOCKED
    );
    RETURN QUERY
    UPDATE public.dead_events w
    SET remediation_status = 'in_progress', claim = gen_random_uuid(),
        claimed_until = now() + lease, last_retry_at = now()
    WHERE w.id IN (
        SELECT o.id FROM public.dead_events o
        WHERE o.remediation_status = 'pending' AND o.replayable
            AND (NOT only_due OR o.next_retry_at <= now())
            AND (o.last_retry_at IS NULL OR o.last_retry_at < untried_since)
            AND {_FILTER}
        ORDER BY o.failed_at, o.id
        LIMIT most
        FOR UPDATE SKIP LOCKED
    )
    RETURNING w.*;
END
$$;
"""

# Returns whether the row knows this claim.
_SETTLE = f"""
CREATE FUNCTION settle_dead_event(
    dead_event uuid, claimed uuid, is_stored boolean, type text, message text, trace text,
    kind text, pause interval, most integer
) RETURNS boolean
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    PERFORM public.refuse_tenants();
    UPDATE public.dead_events SET
        remediation_status = CASE WHEN is_stored THEN 'resolved' ELSE 'pending' END,
        resolved_at = CASE WHEN is_stored THEN now() END,
        retry_count = retry_count + 1,
        next_retry_at = CASE
            WHEN is_stored OR kind = 'permanent' OR retry_count + 1 >= most THEN NULL
            ELSE now() + pause
        END,
        error_type = coalesce(type, error_type),
        error_message = coalesce(message, error_message),
        error_traceback = coalesce(trace, error_traceback),
        error_kind = coalesce(kind, error_kind),
        claim = NULL, claimed_until = NULL
    WHERE id = dead_event AND claim = claimed AND remediation_status = 'in_progress';
    RETURN FOUND;
END
$$;
"""

_FIND = f"""
CREATE FUNCTION find_dead_events({_FILTER_TAKES}, statuses text[], most integer)
RETURNS SETOF public.dead_events
LANGUAGE plpgsql STABLE {_AS_OWNER} AS $$
BEGIN
    PERFORM public.refuse_tenants();
    RETURN QUERY
    SELECT o.* FROM public.dead_events o
    WHERE (statuses IS NULL OR o.remediation_status = ANY (statuses)) AND {_FILTER}
    ORDER BY o.failed_at, o.id
    LIMIT most;
END
$$;
"""

# A row is resolved from `in_progress` only: an operator takes it first, as a retry does.
_MOVE = f"""
CREATE FUNCTION move_dead_events(ids uuid[], new_status text, note text)
RETURNS SETOF public.dead_events
LANGUAGE plpgsql {_AS_OWNER} AS $$
BEGIN
    PERFORM public.refuse_tenants();
    IF new_status = 'resolved' THEN
        UPDATE public.dead_events SET remediation_status = 'in_progress'
        WHERE id = ANY (ids) AND remediation_status = 'pending';
    END IF;
    RETURN QUERY
    UPDATE public.dead_events w
    SET remediation_status = new_status,
        remediation_notes = concat_ws(E'\\n', w.remediation_notes, note),
        resolved_at = CASE WHEN new_status = 'resolved' THEN now() END,
        next_retry_at = NULL, claim = NULL, claimed_until = NULL
    WHERE w.id = ANY (ids) AND w.remediation_status IN ('pending', 'in_progress')
    RETURNING w.*;
END
$$;
"""

_FILTER_TYPES = "uuid[], uuid, text, text, timestamptz, timestamptz"
FUNCTIONS = {
    f"claim_dead_events({_FILTER_TYPES}, boolean, timestamptz, integer, interval)": (
        "app_user, app_rw"
    ),
    "settle_dead_event(uuid, uuid, boolean, text, text, text, text, interval, integer)": (
        "app_user, app_rw"
    ),
    f"find_dead_events({_FILTER_TYPES}, text[], integer)": "app_rw, app_ro",
    "move_dead_events(uuid[], text, text)": "app_rw",
}
"""The functions, and the roles that may call each."""


def upgrade() -> None:
    for statement in (_TABLE, _MOVES, _CLAIM, _SETTLE, _FIND, _MOVE):
        op.execute(statement)
    for function, roles in FUNCTIONS.items():
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {roles}")


def downgrade() -> None:
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TABLE dead_events")
    op.execute("DROP FUNCTION enforce_dead_event_moves()")
