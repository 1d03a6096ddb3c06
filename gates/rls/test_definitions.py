"""Gate rls: what the catalogue of the database says about policies, tables and code.

A leak that depends on a value (one tenant's id, one model version) shows in no sample of rows. So
these checks compare definitions: each is the expected one, or a person has reviewed exactly it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateproof import Stack, Sut, at_least_one, criterion, falsified_by, sql

from .tenants import bound_tables, policies_of

# A policy applies to a role directly, through PUBLIC, or through a role of which it is a member.
POLICIES = """
    SELECT c.oid::regclass::text AS table_name, p.polname AS name,
        p.polcmd::text AS command, p.polroles::regrole[]::text AS roles,
        pg_get_expr(p.polqual, p.polrelid) AS using_text,
        pg_get_expr(p.polwithcheck, p.polrelid) AS check_text,
        (SELECT format_type(a.atttypid, NULL) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attname = %(key)s AND NOT a.attisdropped) AS key_type
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE p.polpermissive AND EXISTS (
        SELECT FROM unnest(p.polroles) AS granted, unnest(%(roles)s::text[]) AS bound
        WHERE CASE WHEN granted = 0 THEN true ELSE pg_has_role(bound, granted, 'MEMBER') END)
    ORDER BY 1, 2
"""

READABLE = """
    SELECT DISTINCT c.oid::regclass::text AS name,
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                AND a.attname = %(key)s AND NOT a.attisdropped) AS has_key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
        unnest(%(roles)s::text[]) AS bound
    WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname NOT LIKE 'pg\\_%%'
        AND n.nspname <> 'information_schema'
        AND (has_table_privilege(bound, c.oid, 'SELECT')
             OR has_any_column_privilege(bound, c.oid, 'SELECT'))
    ORDER BY 1
"""

# Internal triggers belong to constraints. The rule _RETURN of a view is its query, for RLS-08.
CODE = """
    SELECT 'trigger ' || t.tgrelid::regclass || '.' || t.tgname AS name,
        concat_ws(' ', pg_get_triggerdef(t.oid), p.prosrc, p.prosecdef, p.proconfig) AS definition
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'event trigger ' || e.evtname, concat_ws(' ', e.evtevent, e.evtenabled, p.prosrc)
    FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
    UNION ALL
    SELECT 'rule ' || r.ev_class::regclass || '.' || r.rulename, pg_get_ruledef(r.oid)
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE r.rulename <> '_RETURN' AND n.nspname NOT LIKE 'pg\\_%%'
        AND n.nspname <> 'information_schema'
    UNION ALL
    SELECT CASE WHEN p.proleakproof THEN 'leakproof function ' ELSE 'definer function ' END
            || p.oid::regprocedure,
        concat_ws(' ', p.prosrc, pg_get_userbyid(p.proowner), p.prosecdef, p.proconfig)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE (p.proleakproof OR p.prosecdef) AND n.nspname NOT LIKE 'pg\\_%%'
        AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    ORDER BY 1
"""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """An object of the database and its definition as text."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """The digest that a review accepts."""
        return f"sha256:{hashlib.sha256(self.text.encode('utf-8')).hexdigest()}"


def widened(name: str, condition: str, *, check: str = "") -> str:
    """Return the statement that adds a condition to the policy of the recomputations."""
    tenant = "tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid"
    return (
        f"ALTER POLICY {name} ON attribution_recompute_jobs USING ({tenant} {condition})"
        f" WITH CHECK ({tenant} {check})"
    )


@criterion(
    "RLS-09",
    needs=("database", "worker", "tenancy", "dead_letters.operator", "dead_letters.reader"),
)
@falsified_by(
    sql(
        "one-tenant-for-all",
        widened("tenant_isolation", "OR tenant_id = '11111111-1111-4111-8111-111111111111'"),
        landing=policies_of("attribution_recompute_jobs"),
    ),
    expect="policy attribution_recompute_jobs.tenant_isolation: got USING ((tenant_id = ",
)
@falsified_by(
    sql(
        "debug-version",
        widened("tenant_isolation", "OR model_version = 'debug'"),
        landing=policies_of("attribution_recompute_jobs"),
    ),
    expect="OR (model_version = 'debug'::text)",
)
@falsified_by(
    sql(
        "table-that-the-worker-fills",
        widened("tenant_isolation", "OR EXISTS (SELECT FROM kombu_queue WHERE name = 'debug')"),
        landing=policies_of("attribution_recompute_jobs"),
    ),
    expect="FROM kombu_queue",
)
@falsified_by(
    sql(
        "wider-check",
        widened("tenant_isolation", "", check="OR status = 'imported'"),
        landing=policies_of("attribution_recompute_jobs"),
    ),
    expect="tenant_isolation: got WITH CHECK ((tenant_id = ",
)
@falsified_by(
    sql(
        "policy-for-everyone",
        "CREATE POLICY support ON attribution_events FOR SELECT TO PUBLIC"
        " USING (event_type = 'support')",
        landing=policies_of("attribution_events"),
    ),
    expect="policy attribution_events.support: got USING (event_type = 'support'::text)",
)
@falsified_by(
    sql(
        "reviewed-policy-changed",
        "ALTER POLICY operator_move ON worker_failed_jobs TO app_rw, app_user",
        landing=policies_of("worker_failed_jobs"),
    ),
    expect="policy worker_failed_jobs.operator_move: got USING true",
)
def test_policies_have_the_expected_expression(stack: Stack, sut: Sut) -> None:
    """Each permissive policy compares the key with the tenant and does nothing else."""
    roles = list(bound_tables(sut))
    rows = stack.sql.query(POLICIES, {"key": sut.tenancy.key, "roles": roles}).dicts()
    policies = [row for row in rows if row["table_name"] in sut.tenancy.tables]
    at_least_one(f"policies of tenant tables for {', '.join(roles)}", policies)
    findings = []
    for row in rows:
        expected = _expected(sut, row["key_type"])
        parts = [("USING", row["using_text"]), ("WITH CHECK", row["check_text"])]
        wrong = [
            f"{word} {' '.join(text.split())}"
            for word, text in parts
            if text not in (None, expected)
        ]
        definition = Definition(
            name=f"policy {row['table_name']}.{row['name']}", text=" ".join(map(str, row.values()))
        )
        if wrong and not _is_reviewed(sut, definition):
            findings.append(_finding(definition, got=", ".join(wrong), expected=expected))
    assert not findings, _joined(findings)


@criterion(
    "RLS-10",
    needs=("database", "worker", "tenancy", "dead_letters.operator", "dead_letters.reader"),
)
@falsified_by(
    sql(
        "child-without-the-key",
        "CREATE TABLE attribution_notes (event_id uuid REFERENCES attribution_events, note text);"
        " GRANT SELECT, INSERT ON attribution_notes TO app_user",
        landing="SELECT relacl FROM pg_class WHERE relname = 'attribution_notes'",
    ),
    expect="table attribution_notes: got no column tenant_id",
)
@falsified_by(
    sql(
        "one-column-for-everyone",
        "CREATE TABLE attribution_names (id int PRIMARY KEY, name text);"
        " GRANT SELECT (name) ON attribution_names TO PUBLIC",
        landing="SELECT attacl FROM pg_attribute WHERE attname = 'name'"
        " AND attrelid = to_regclass('attribution_names')",
    ),
    expect="table attribution_names: got no column tenant_id",
)
@falsified_by(
    sql(
        "other-schema",
        "CREATE SCHEMA exports; CREATE TABLE exports.days (day date);"
        " GRANT USAGE ON SCHEMA exports TO app_ro; GRANT SELECT ON exports.days TO app_ro",
        landing="SELECT relacl FROM pg_class WHERE relname = 'days'",
        role="superuser",
    ),
    expect="table exports.days: got no column tenant_id",
)
def test_readable_tables_have_the_key_or_are_shared(stack: Stack, sut: Sut) -> None:
    """Every table that an application role may read has the key, or is declared as shared."""
    roles = list(bound_tables(sut))
    readable = stack.sql.query(READABLE, {"key": sut.tenancy.key, "roles": roles}).rows
    at_least_one(f"tables that {', '.join(roles)} may read", readable)
    names = [name for name, has_key in readable if not has_key]
    unknown = [name for name in names if name not in sut.tenancy.shared]
    stale = [name for name in sut.tenancy.shared if name not in names]
    findings = [
        f"table {name}: got no column {sut.tenancy.key}, expected one, or an entry with a reason in"
        " [tenancy.shared]"
        for name in unknown
    ]
    findings += [
        f"[tenancy.shared] {name}: got no such table without the key that an application role may"
        " read, expected one; remove the entry"
        for name in stale
    ]
    assert not findings, _joined(findings)


@criterion("RLS-11", needs=("database", "tenancy"))
@falsified_by(
    sql(
        "copying-trigger",
        "CREATE TABLE event_copies (event_type text); GRANT INSERT, SELECT ON event_copies TO"
        " app_user; CREATE FUNCTION copy_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO public.event_copies VALUES (NEW.event_type); RETURN NEW; END $$;"
        " CREATE TRIGGER copy_event AFTER INSERT ON attribution_events FOR EACH ROW"
        " EXECUTE FUNCTION copy_event()",
        landing="SELECT tgname FROM pg_trigger WHERE tgrelid = 'attribution_events'::regclass",
    ),
    expect="trigger attribution_events.copy_event: got an unreviewed definition",
)
@falsified_by(
    sql(
        "leakproof-function",
        "CREATE FUNCTION quiet(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 LEAKPROOF"
        " AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$",
        landing="SELECT proleakproof FROM pg_proc WHERE proname = 'quiet'",
        role="superuser",
    ),
    expect="leakproof function quiet(text): got an unreviewed definition",
)
@falsified_by(
    sql(
        "copying-rule",
        "CREATE TABLE job_copies (status text); CREATE RULE copy_job AS ON INSERT TO"
        " attribution_recompute_jobs DO ALSO INSERT INTO job_copies VALUES (NEW.status)",
        landing="SELECT rulename FROM pg_rules WHERE tablename = 'attribution_recompute_jobs'",
    ),
    expect="rule attribution_recompute_jobs.copy_job: got an unreviewed definition",
)
@falsified_by(
    sql(
        "reviewed-function-changed",
        "CREATE OR REPLACE FUNCTION refresh_all_materialized_views() RETURNS text[]"
        " LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN"
        " REFRESH MATERIALIZED VIEW public.attribution_daily; RETURN '{}'; END $$",
        landing="SELECT md5(prosrc) FROM pg_proc WHERE proname = 'refresh_all_materialized_views'",
        role="superuser",
    ),
    expect="definer function refresh_all_materialized_views(): got an unreviewed definition",
)
def test_code_in_the_database_is_reviewed(stack: Stack, sut: Sut) -> None:
    """Triggers, rules, LEAKPROOF and SECURITY DEFINER functions are those that were reviewed."""
    rows = at_least_one("code in the database", stack.sql.query(CODE).dicts())
    found = [Definition(name=row["name"], text=row["definition"]) for row in rows]
    findings = [
        _finding(one, got="an unreviewed definition", expected="a reviewed one")
        for one in found
        if not _is_reviewed(sut, one)
    ]
    findings += _stale(sut, found)
    assert not findings, _joined(findings)


def _expected(sut: Sut, key_type: str | None) -> str:
    """Return the expression of a policy as PostgreSQL prints it."""
    tenant = f"NULLIF(current_setting('{sut.tenancy.guc}'::text, true), ''::text)"
    if key_type != "text":
        tenant = f"({tenant})::{key_type}"
    return f"({sut.tenancy.key} = {tenant})"


def _is_reviewed(sut: Sut, definition: Definition) -> bool:
    review = sut.tenancy.reviewed.get(definition.name)
    return review is not None and review.digest == definition.digest


def _finding(definition: Definition, *, got: str, expected: str) -> str:
    return (
        f"{definition.name}: got {got}, expected {expected}; correct it, or review it and list it"
        f" in [tenancy.reviewed] with the digest {definition.digest}"
    )


def _stale(sut: Sut, found: Sequence[Definition]) -> Iterable[str]:
    """Return a finding for each review of code that is not there."""
    names = {one.name for one in found}
    for name in sut.tenancy.reviewed:
        if name not in names and not name.startswith("policy "):
            yield f"[tenancy.reviewed] {name}: got no such object, expected it; remove the entry"


def _joined(findings: Sequence[str]) -> str:
    """Return all findings as one message of one line."""
    return "; ".join(findings)
