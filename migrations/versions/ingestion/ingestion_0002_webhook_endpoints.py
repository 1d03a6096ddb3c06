"""Create the table of webhook registrations, and the function that finds one by its token.

A row has the digest of a token and the names of secrets, and neither a token nor a secret. A second
name is that of the next secret: both are valid during a rotation.

A request has no tenant before its token is resolved, so no policy can show it the row. The function
runs as the owner, and returns the registration of one digest: the digest of 128 random bits is
known only to a holder of the token.
"""

from alembic import op

revision = "ingestion_0002"
down_revision = "ingestion_0001"
branch_labels = None
depends_on = None

_TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"

_TABLE = f"""
CREATE TABLE webhook_endpoints (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    vendor text NOT NULL,
    token_digest text NOT NULL,
    secret_ref text NOT NULL,
    next_secret_ref text,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_endpoints_token_digest_key UNIQUE (token_digest)
);
CREATE INDEX ix_webhook_endpoints_tenant_id ON webhook_endpoints (tenant_id);
ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_endpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON webhook_endpoints FOR ALL
    TO app_user, app_rw, app_ro, app_ingest
    USING (tenant_id = {_TENANT}) WITH CHECK (tenant_id = {_TENANT});
CREATE POLICY owner_resolves ON webhook_endpoints FOR SELECT TO CURRENT_USER USING (true);
GRANT SELECT ON webhook_endpoints TO app_user, app_ro, app_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints TO app_rw;
"""

_RESOLVE = """
CREATE FUNCTION resolve_webhook_endpoint(digest text, of_vendor text)
RETURNS TABLE (tenant_id uuid, secret_ref text, next_secret_ref text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.tenant_id, e.secret_ref, e.next_secret_ref
    FROM public.webhook_endpoints e
    WHERE e.token_digest = digest AND e.vendor = of_vendor AND e.active
    LIMIT 1
$$;
REVOKE ALL ON FUNCTION resolve_webhook_endpoint(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION resolve_webhook_endpoint(text, text) TO app_ingest;
"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(_RESOLVE)


def downgrade() -> None:
    op.execute("DROP FUNCTION resolve_webhook_endpoint(text, text)")
    op.execute("DROP TABLE webhook_endpoints")
