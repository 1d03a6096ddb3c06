"""Create the table of recomputations: one row for each tenant, window and model version."""

from alembic import op

revision = "core_0002"
down_revision = "core_0001"
branch_labels = None
depends_on = None

_TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"

_UPGRADE = f"""
CREATE TABLE attribution_recompute_jobs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    model_version text NOT NULL,
    status text NOT NULL DEFAULT 'accepted',
    run_count integer NOT NULL DEFAULT 1,
    request_id text NOT NULL,
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT attribution_recompute_jobs_pkey PRIMARY KEY (id),
    CONSTRAINT uq_attribution_recompute_jobs_window
        UNIQUE (tenant_id, window_start, window_end, model_version),
    CONSTRAINT attribution_recompute_jobs_window_check CHECK (window_end > window_start)
);
ALTER TABLE attribution_recompute_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE attribution_recompute_jobs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON attribution_recompute_jobs FOR ALL TO app_user, app_rw, app_ro
    USING (tenant_id = {_TENANT}) WITH CHECK (tenant_id = {_TENANT});
GRANT SELECT, INSERT, UPDATE, DELETE ON attribution_recompute_jobs TO app_user, app_rw;
GRANT SELECT ON attribution_recompute_jobs TO app_ro;
"""


def upgrade() -> None:
    op.execute(_UPGRADE)


def downgrade() -> None:
    op.execute("DROP TABLE attribution_recompute_jobs")
