"""Create the tenant rows of the domain, under row-level security that also binds their owner.

`nullif` is needed: a GUC that was set locally before reads as an empty string, and ''::uuid
raises. The policy names its roles: the aggregator's own policy must not depend on a GUC.
"""

from alembic import op

revision = "core_0001"
down_revision = None
branch_labels = ("core",)
depends_on = None

_TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"

_UPGRADE = f"""
CREATE TABLE attribution_events (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    event_type text NOT NULL DEFAULT 'event',
    payload jsonb NOT NULL DEFAULT '{{}}',
    occurred_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT attribution_events_pkey PRIMARY KEY (id)
);
CREATE INDEX ix_attribution_events_tenant_id_occurred_at
    ON attribution_events (tenant_id, occurred_at);
ALTER TABLE attribution_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE attribution_events FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON attribution_events FOR ALL TO app_user, app_rw, app_ro
    USING (tenant_id = {_TENANT}) WITH CHECK (tenant_id = {_TENANT});
GRANT SELECT, INSERT, UPDATE, DELETE ON attribution_events TO app_user, app_rw;
GRANT SELECT ON attribution_events TO app_ro;
"""


def upgrade() -> None:
    op.execute(_UPGRADE)


def downgrade() -> None:
    op.execute("DROP TABLE attribution_events")
