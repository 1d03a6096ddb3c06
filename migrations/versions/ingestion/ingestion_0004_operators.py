"""Let operators move dead events to an end only, and declare the queue of what they retry.

An operator that moved a row to `in_progress` would hold it without a claim, so that no retry took
it again. A retry of an operator publishes, which needs the queue: before a worker has ever started
there is none.
"""

from alembic import op

revision = "ingestion_0004"
down_revision = "ingestion_0003"
branch_labels = None
depends_on = None

_REFUSE = """
    IF new_status NOT IN ('resolved', 'ignored') THEN
        RAISE EXCEPTION 'move_dead_events: got %, expected resolved or ignored', new_status
            USING ERRCODE = 'invalid_parameter_value';
    END IF;"""

# A row is resolved from `in_progress` only: an operator takes it first, as a retry does.
_MOVE = """
CREATE OR REPLACE FUNCTION move_dead_events(ids uuid[], new_status text, note text)
RETURNS SETOF public.dead_events
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.refuse_tenants();{refuse}
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

_GRANT = """
GRANT INSERT ON kombu_queue TO app_rw;
GRANT USAGE ON SEQUENCE queue_id_sequence TO app_rw;
"""
_REVOKE = """
REVOKE USAGE ON SEQUENCE queue_id_sequence FROM app_rw;
REVOKE INSERT ON kombu_queue FROM app_rw;
"""


def upgrade() -> None:
    op.execute(_MOVE.format(refuse=_REFUSE))
    op.execute(_GRANT)


def downgrade() -> None:
    op.execute(_REVOKE)
    op.execute(_MOVE.format(refuse=""))
