"""Gate rls: no view and no function gets around the policies.

The check compares results: whatever a tenant can read or call must return the same before and
after other tenants get rows. This also finds leaks through totals, which name no tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateproof import Ids, Refused, Rows, Stack, Sut, criterion, falsified_by, premise, sql

from .tenants import Tenant, bound_tables, give_rows, outcome, two_tenants

REFRESH = "refresh_all_materialized_views()"
REVIEWED = {
    REFRESH: REFRESH,
    "claim_dead_letters(uuid[],text,uuid,text,timestamp with time zone,timestamp with time zone,"
    "boolean,timestamp with time zone,integer,interval)": "claim_dead_letters(NULL, NULL, NULL,"
    " NULL, NULL, NULL, false, NULL, 100, '1 hour')",
    "settle_dead_letter(uuid,text,text,text,text,text,text,interval,interval,integer)": (
        "settle_dead_letter(NULL, '', 'succeeded', '', '', '', '', '0', '0', 1)"
    ),
    "failures_without_letter(interval,integer)": "failures_without_letter('0', 100)",
    "dead_letter_backlog()": "dead_letter_backlog()",
    "delete_old_dead_letters(interval,integer)": "delete_old_dead_letters('1 day', 100)",
}
"""SECURITY DEFINER functions that were reviewed and leak nothing to a tenant, each with a call.

The functions for dead-letter rows work on the rows of all tenants, and refuse a session that has a
tenant.
"""

TENANT_VIEW = "attribution_daily_current"
BEHIND_IT = "attribution_daily"

DERIVED = """
    SELECT c.oid::regclass::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%%'
        AND n.nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'USAGE')
        AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'))
    ORDER BY 1
"""

DEFINERS = """
    SELECT p.oid::regprocedure::text AS name, owner.rolname AS owner,
        owner.rolsuper OR owner.rolbypassrls AS unbound,
        coalesce((SELECT setting FROM unnest(p.proconfig) AS setting
                  WHERE setting LIKE 'search\\_path=%%'), '') AS search_path
    FROM pg_proc p JOIN pg_roles owner ON owner.oid = p.proowner
        JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prosecdef AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
        AND has_function_privilege(p.oid, 'EXECUTE')
    ORDER BY 1
"""

WITHOUT_INDEXES = """
    SELECT set_config(name, 'off', true)
    FROM unnest(ARRAY['enable_indexscan', 'enable_bitmapscan', 'enable_indexonlyscan']) AS name
"""

VIEW_OPTIONS = f"SELECT reloptions FROM pg_class WHERE relname = '{TENANT_VIEW}'"
VIEW_TEXT = f"SELECT pg_get_viewdef('{TENANT_VIEW}'::regclass)"


@criterion(
    "RLS-08",
    needs=("database", "worker", "tenancy", "dead_letters.operator", "dead_letters.reader"),
)
@falsified_by(
    sql(
        "owners-view",
        "CREATE VIEW event_totals AS SELECT count(*) FROM attribution_events;"
        " GRANT SELECT ON event_totals TO app_user",
        landing="SELECT relacl FROM pg_class WHERE relname = 'event_totals'",
        role="superuser",
    ),
    expect="app_user as tenant A reads event_totals: got another answer",
)
@falsified_by(
    sql(
        "readable-materialized-view",
        "GRANT SELECT ON attribution_daily TO app_user",
        landing="SELECT relacl FROM pg_class WHERE relname = 'attribution_daily'",
    ),
    expect="app_user as tenant A reads attribution_daily: got another answer",
)
@falsified_by(
    sql(
        "unfiltered-view",
        "CREATE OR REPLACE VIEW attribution_daily_current WITH (security_barrier = true) AS"
        " SELECT tenant_id, day, event_type, events FROM attribution_daily",
        landing=VIEW_TEXT,
        role="superuser",
    ),
    expect="app_user as tenant A reads attribution_daily_current: got 3 of A and 2 of B",
)
@falsified_by(
    sql(
        "no-barrier",
        "ALTER VIEW attribution_daily_current RESET (security_barrier)",
        landing=VIEW_OPTIONS,
    ),
    expect="app_user as tenant A probes attribution_daily_current for tenant B: got 22012",
)
@falsified_by(
    sql(
        "definer-function",
        "CREATE FUNCTION events_of(uuid) RETURNS bigint LANGUAGE sql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp"
        " AS 'SELECT count(*) FROM public.attribution_events WHERE tenant_id = $1'",
        landing="SELECT prosecdef FROM pg_proc WHERE proname = 'events_of'",
        role="superuser",
    ),
    expect="SECURITY DEFINER functions that app_user may call: got events_of(uuid)",
)
@falsified_by(
    sql(
        "open-search-path",
        "ALTER FUNCTION refresh_all_materialized_views() RESET search_path",
        landing="SELECT proconfig FROM pg_proc WHERE proname = 'refresh_all_materialized_views'",
    ),
    expect="search_path of refresh_all_materialized_views(): got ''",
)
@falsified_by(
    sql(
        "telling-function",
        "CREATE OR REPLACE FUNCTION refresh_all_materialized_views() RETURNS text[]"
        " LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN"
        " REFRESH MATERIALIZED VIEW public.attribution_daily;"
        " RETURN (SELECT array_agg(DISTINCT tenant_id::text) FROM public.attribution_daily);"
        " END $$",
        landing="SELECT md5(prosrc) FROM pg_proc WHERE proname = 'refresh_all_materialized_views'",
    ),
    expect="app_user as tenant A calls refresh_all_materialized_views(): got another answer",
)
@falsified_by(
    sql(
        "letters-for-tenants",
        "CREATE OR REPLACE FUNCTION refuse_tenants() RETURNS void LANGUAGE plpgsql"
        " SET search_path = pg_catalog, pg_temp AS $$ BEGIN END $$",
        landing="SELECT md5(prosrc) FROM pg_proc WHERE proname = 'refuse_tenants'",
    ),
    expect="app_user as tenant A calls claim_dead_letters(",
)
def test_no_view_or_function_leaks_past_the_policies(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Everything that tenant A can read or call returns the same after other tenants get rows."""
    a, b = two_tenants(own_stack.sql, sut, ids, tables=sut.tenancy.tables)
    for role in bound_tables(sut):
        _assert_definers_are_reviewed(own_stack, role)
    own_stack.sql.query(f"SELECT {REFRESH}", role=sut.worker.role)
    _assert_the_view_shows_its_tenant(own_stack, sut, a, b)
    _assert_errors_of_the_view_leak_nothing(own_stack, sut, a, b)
    newcomer = Tenant(name="C", id=ids.uuid(), rows=0)
    _assert_other_tenants_change_nothing(own_stack, sut, a, others=(b, newcomer))


def _assert_definers_are_reviewed(stack: Stack, role: str) -> None:
    """Assert that every function that runs with its owner's privileges has been reviewed."""
    found = stack.sql.query(DEFINERS, role=role).dicts()
    unknown = ", ".join(row["name"] for row in found if row["name"] not in REVIEWED)
    assert not unknown, (
        f"SECURITY DEFINER functions that {role} may call: got {unknown}, expected none but"
        f" {', '.join(REVIEWED)}; review it, then list it in gates/rls"
    )
    for row in found:
        got, owner = row["search_path"], row["owner"]
        assert got, f"search_path of {row['name']}: got {got!r}, expected a fixed one"
        assert not row["unbound"], (
            f"owner of {row['name']}: got {owner}, which no policy binds, expected another"
        )


def _assert_the_view_shows_its_tenant(stack: Stack, sut: Sut, a: Tenant, b: Tenant) -> None:
    """Assert that the one view for tenants shows each tenant its own rows."""
    totals = "SELECT tenant_id, sum(events)::int FROM {} GROUP BY 1"
    behind = {row[0]: row[1] for row in stack.sql.query(totals.format(BEHIND_IT)).rows}
    counts = [behind.get(tenant.id) for tenant in (a, b)]
    seeded = [a.rows, b.rows]
    premise("rows of A and B that the superuser sees", on=BEHIND_IT, got=counts, expected=seeded)
    for role in bound_tables(sut):
        for tenant in (a, b):
            rows = _as_tenant(stack, sut, role, tenant, totals.format(TENANT_VIEW))
            assert isinstance(rows, Rows), f"{role} reads {TENANT_VIEW}: got {outcome(rows)}"
            seen = {row[0]: row[1] for row in rows.rows}
            got = f"{seen.get(a.id, 0)} of A and {seen.get(b.id, 0)} of B"
            expected = f"{a.rows} of A and 0 of B" if tenant is a else f"0 of A and {b.rows} of B"
            where = f"{role} as tenant {tenant.name} reads {TENANT_VIEW}"
            assert got == expected, f"{where}: got {got}, expected {expected}"
            others = len(set(seen) - {tenant.id})
            assert others == 0, f"{where}: got {others} further tenants, expected none"
        visible = stack.sql.query(f"SELECT * FROM {TENANT_VIEW}", role=role).count
        assert visible == 0, (
            f"{role} without a tenant reads {TENANT_VIEW}: got {visible} rows, expected 0"
        )


def _assert_errors_of_the_view_leak_nothing(stack: Stack, sut: Sut, a: Tenant, b: Tenant) -> None:
    """Assert that no condition of a query is evaluated on B's rows before the view's filter.

    The attacker can influence the plan: without indexes, the condition with the lower cost is
    evaluated first.
    """
    probe = f"SELECT count(*) FROM {TENANT_VIEW} WHERE 1 / (tenant_id <> %s)::int = 1"
    for role in bound_tables(sut):
        with stack.sql.session(role) as session:
            session.set_local(sut.tenancy.guc, str(a.id))
            session.query(WITHOUT_INDEXES)
            seen = session.attempt(probe, (b.id,))
            assert not isinstance(seen, Refused), (
                f"{role} as tenant A probes {TENANT_VIEW} for tenant B: got {outcome(seen)},"
                " expected an answer that does not depend on B's rows"
            )


def _assert_other_tenants_change_nothing(
    stack: Stack, sut: Sut, a: Tenant, *, others: tuple[Tenant, ...]
) -> None:
    """Insert rows of other tenants, and assert that everything A can see stays the same.

    First the domain's tables get rows, then the dead-letter table. The second comparison leaves out
    the operators' roles, because they read all dead-letter rows by contract.
    """
    bound = bound_tables(sut)
    dead_letters = sut.dead_letters.table
    domain = [table for table in sut.tenancy.tables if table != dead_letters]
    for grown, roles in ((domain, list(bound)), ([dead_letters], [sut.worker.role])):
        before = {role: _answers(stack, sut, role, a) for role in roles}
        for table in grown:
            for other in others:
                give_rows(stack.sql, table, other, rows=1)
        stack.sql.query(f"SELECT {REFRESH}", role=sut.worker.role)
        for role in roles:
            after = _answers(stack, sut, role, a)
            assert TENANT_VIEW in " ".join(after), (
                f"what {role} can read: got {sorted(after)}, expected {TENANT_VIEW} among them"
            )
            changed = sorted(name for name in after if after[name] != before[role].get(name))
            assert not changed, (
                f"{role} as tenant A {changed[0]}: got another answer after others got rows in"
                f" {', '.join(grown)}, expected the same"
            )


def _answers(stack: Stack, sut: Sut, role: str, tenant: Tenant) -> Mapping[str, Any]:
    """Return what a role reads, as a tenant, from each view and from each reviewed function."""
    names = stack.sql.query(DERIVED, role=role).column()
    statements = {f"reads {name}": f"SELECT * FROM {name} AS t ORDER BY t::text" for name in names}
    may = "SELECT has_function_privilege(%s, 'EXECUTE')"
    for function, call in REVIEWED.items():
        if stack.sql.query(may, (function,), role=role).scalar():
            statements[f"calls {function}"] = f"SELECT {call}"
    answers = {}
    for what, statement in statements.items():
        seen = _as_tenant(stack, sut, role, tenant, statement)
        answers[what] = seen.rows if isinstance(seen, Rows) else seen
    return answers


def _as_tenant(stack: Stack, sut: Sut, role: str, tenant: Tenant, statement: str) -> Rows | Refused:
    with stack.sql.session(role) as session:
        session.set_local(sut.tenancy.guc, str(tenant.id))
        seen = session.attempt(statement)
        session.commit()
        return seen
