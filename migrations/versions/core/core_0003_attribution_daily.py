"""Create a materialized view over all tenants, and restrict its use by app_user.

Materialized views have no row-level security, and only their owner can refresh them. So
`app_aggregator` (a role without login) owns `attribution_daily`. `app_user` refreshes it through a
SECURITY DEFINER function that takes no argument and returns names only, and reads it through a view
that filters by tenant. The view is a security barrier: otherwise a cheap function in a query's
WHERE would see the rows before the filter.
"""

from alembic import op

revision = "core_0003"
down_revision = "core_0002"
branch_labels = None
depends_on = None

_TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"

_VIEWS = f"""
GRANT SELECT ON attribution_events TO app_aggregator;
CREATE POLICY aggregator_read ON attribution_events FOR SELECT TO app_aggregator USING (true);
CREATE MATERIALIZED VIEW attribution_daily AS
    SELECT tenant_id, (occurred_at AT TIME ZONE 'UTC')::date AS day, event_type, count(*) AS events
    FROM attribution_events
    GROUP BY tenant_id, day, event_type
    WITH NO DATA;
CREATE UNIQUE INDEX ix_attribution_daily_tenant_id_day
    ON attribution_daily (tenant_id, day, event_type);
CREATE VIEW attribution_daily_current WITH (security_barrier = true) AS
    SELECT tenant_id, day, event_type, events FROM attribution_daily
    WHERE tenant_id = {_TENANT};
"""

_REFRESH = """
CREATE FUNCTION refresh_all_materialized_views() RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
    refreshed text[] := '{}';
BEGIN
    FOR found IN
        SELECT schemaname, matviewname FROM pg_catalog.pg_matviews
        WHERE matviewowner = current_user ORDER BY schemaname, matviewname
    LOOP
        EXECUTE format('REFRESH MATERIALIZED VIEW %I.%I', found.schemaname, found.matviewname);
        refreshed := refreshed || found.matviewname::text;
    END LOOP;
    RETURN refreshed;
END
$$;
REVOKE ALL ON FUNCTION refresh_all_materialized_views() FROM PUBLIC;
"""

# The new owner needs CREATE on the schema during the transfer, and only then.
_HAND_OVER = """
GRANT CREATE ON SCHEMA public TO app_aggregator;
ALTER MATERIALIZED VIEW attribution_daily OWNER TO app_aggregator;
ALTER VIEW attribution_daily_current OWNER TO app_aggregator;
ALTER FUNCTION refresh_all_materialized_views() OWNER TO app_aggregator;
REVOKE CREATE ON SCHEMA public FROM app_aggregator;
GRANT EXECUTE ON FUNCTION refresh_all_materialized_views() TO app_user;
GRANT SELECT ON attribution_daily_current TO app_user, app_rw, app_ro;
REFRESH MATERIALIZED VIEW attribution_daily;
"""


def upgrade() -> None:
    op.execute(_VIEWS)
    op.execute(_REFRESH)
    op.execute(_HAND_OVER)


def downgrade() -> None:
    op.execute("DROP FUNCTION refresh_all_materialized_views()")
    op.execute("DROP VIEW attribution_daily_current")
    op.execute("DROP MATERIALIZED VIEW attribution_daily")
    op.execute("DROP POLICY aggregator_read ON attribution_events")
    op.execute("REVOKE SELECT ON attribution_events FROM app_aggregator")
