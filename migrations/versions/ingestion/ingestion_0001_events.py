"""Let the role `app_ingest` store the events of vendors, each once, and publish with them.

An event of a vendor is one row of `attribution_events`: its constraint decides, so that two
deliveries at once cannot make two rows. Rows of before have no vendor, and stay as they are.

The role inserts and reads its own tenant's rows. It publishes like an operator's replay, and may
declare a queue, so that events are taken before a worker has ever started.
"""

from alembic import op

revision = "ingestion_0001"
down_revision = None
branch_labels = ("ingestion",)
depends_on = ("core_0003", "celery_0008")

_COLUMNS = """
ALTER TABLE attribution_events
    ADD COLUMN vendor text,
    ADD COLUMN event_id text,
    ADD COLUMN correlation_id text,
    ADD COLUMN received_at timestamptz NOT NULL DEFAULT now(),
    ADD CONSTRAINT uq_attribution_events_vendor_event UNIQUE (tenant_id, vendor, event_id);
"""

_ACCESS = """
ALTER POLICY tenant_isolation ON attribution_events TO app_user, app_rw, app_ro, app_ingest;
ALTER POLICY tenant_isolation ON attribution_recompute_jobs
    TO app_user, app_rw, app_ro, app_ingest;
GRANT SELECT, INSERT ON attribution_events TO app_ingest;
GRANT SELECT ON attribution_recompute_jobs TO app_ingest;
GRANT SELECT, INSERT ON kombu_queue TO app_ingest;
GRANT INSERT ON kombu_message TO app_ingest;
GRANT USAGE ON SEQUENCE queue_id_sequence, message_id_sequence TO app_ingest;
"""

_UNDO = """
REVOKE ALL ON SEQUENCE queue_id_sequence, message_id_sequence FROM app_ingest;
REVOKE ALL ON kombu_queue, kombu_message FROM app_ingest;
REVOKE ALL ON attribution_events, attribution_recompute_jobs FROM app_ingest;
ALTER POLICY tenant_isolation ON attribution_recompute_jobs TO app_user, app_rw, app_ro;
ALTER POLICY tenant_isolation ON attribution_events TO app_user, app_rw, app_ro;
ALTER TABLE attribution_events
    DROP CONSTRAINT uq_attribution_events_vendor_event,
    DROP COLUMN vendor, DROP COLUMN event_id, DROP COLUMN correlation_id, DROP COLUMN received_at;
"""


def upgrade() -> None:
    op.execute(_COLUMNS)
    op.execute(_ACCESS)


def downgrade() -> None:
    op.execute(_UNDO)
