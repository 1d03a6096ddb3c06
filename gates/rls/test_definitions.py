"""Gate rls: what the catalogue of the database says about policies, tables and code.

A leak that depends on a value (one tenant's id, one model version) shows in no sample of rows. So
these checks compare definitions: each is the expected one, or a person has reviewed exactly it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateproof import (
    Fault,
    Stack,
    Sut,
    Table,
    at_least_one,
    children_without_key,
    criterion,
    falsified_by_each,
    identifier,
    literal,
    slug_of,
    sql,
    tables_with_key,
)

from .tenants import bound_tables, falsified_on_tables

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


EXPECTED = "expected or reviewed expression"
KEY = "key of the tenant, or an entry with a reason in [tenancy.shared]"
REVIEWED = "reviewed definition"

POLICY, DEFINER = "policy ", "definer function "
"""How the names of reviewed policies and functions begin in the description."""


def reviewed(sut: Sut, start: str) -> list[str]:
    """Return the reviewed objects of the description whose names begin with a text."""
    return [name.removeprefix(start) for name in sut.tenancy.reviewed if name.startswith(start)]


def policy_for_everyone(_: Sut, name: str) -> tuple[Fault, str]:
    """Return the fault that a reviewed policy applies to every role."""
    table, _dot, policy = name.rpartition(".")
    fault = sql(
        slug_of("reviewed-policy-for-everyone", name),
        f"ALTER POLICY {identifier(policy)} ON {table} TO PUBLIC",
        landing=f"SELECT polname, polroles FROM pg_policy WHERE polrelid = '{table}'::regclass",
        role="superuser",
    )
    return fault, f"{EXPECTED}: {POLICY}{name}: got "


def function_changed(_: Sut, name: str) -> tuple[Fault, str]:
    """Return the fault that a reviewed function runs with another setting."""
    fault = sql(
        slug_of("reviewed-function-changed", name),
        f"ALTER ROUTINE {name} SET work_mem = '5MB'",
        landing=f"SELECT proname, proconfig FROM pg_proc WHERE oid = to_regprocedure('{name}')",
        role="superuser",
    )
    return fault, f"{REVIEWED}: {DEFINER}{name}: got "


@criterion("RLS-09")
@falsified_on_tables(
    {
        "one-tenant-for-all": f"{EXPECTED}: {POLICY}{{table}}.",
        "debug-setting": f"{EXPECTED}: {POLICY}{{table}}.",
        "unset-sees-all": f"{EXPECTED}: {POLICY}{{table}}.",
        "open-policy": f"{EXPECTED}: {POLICY}{{table}}.gateproof_open: got USING true",
        "write-open": f"{EXPECTED}: {POLICY}{{table}}.gateproof_open: got WITH CHECK true",
    }
)
@falsified_by_each(lambda sut: reviewed(sut, POLICY)[:2], policy_for_everyone)
def test_policies_have_the_expected_expression(stack: Stack, sut: Sut) -> None:
    """Each permissive policy compares the key with the tenant and does nothing else."""
    bound = bound_tables(stack.sql, sut)
    roles = list(bound)
    rows = stack.sql.query(POLICIES, {"key": sut.tenancy.key, "roles": roles}).dicts()
    tables = {table.name: table for table in tables_with_key(stack.sql, sut)}
    policies = [row for row in rows if row["table_name"] in tables]
    at_least_one(f"policies of tenant tables for {', '.join(roles)}", policies)
    known = _expected(stack, sut, [tables[row["table_name"]] for row in policies])
    findings = []
    for row in rows:
        expected = known.get(row["table_name"], ["a review: the table has no key"])
        parts = [("USING", row["using_text"]), ("WITH CHECK", row["check_text"])]
        wrong = [
            f"{word} {' '.join(text.split())}"
            for word, text in parts
            if text not in (None, *expected)
        ]
        definition = Definition(
            name=f"policy {row['table_name']}.{row['name']}", text=" ".join(map(str, row.values()))
        )
        if wrong and not _is_reviewed(sut, definition):
            findings.append(
                _finding(EXPECTED, definition, got=", ".join(wrong), expected=expected[0])
            )
    assert not findings, _joined(findings)


@criterion("RLS-10")
@falsified_on_tables(
    {
        "readable-table-without-key": "gateproof_notes: got no column",
        "readable-column-without-key": "gateproof_names: got no column",
        "readable-table-in-another-schema": "gateproof_exports.gateproof_rows: got no column",
        "child-without-key": "gateproof_children: got no column",
    }
)
def test_readable_tables_have_the_key_or_are_shared(stack: Stack, sut: Sut) -> None:
    """Every table that an application role may read has the key, or is declared as shared."""
    roles = list(bound_tables(stack.sql, sut))
    readable = stack.sql.query(READABLE, {"key": sut.tenancy.key, "roles": roles}).rows
    at_least_one(f"tables that {', '.join(roles)} may read", readable)
    names = {name: "" for name, has_key in readable if not has_key}
    for child in children_without_key(stack.sql, sut):
        names[child.name] = f", though it references {child.parent}"
    findings = [
        f"{KEY}: {name}: got no column {sut.tenancy.key}{more}, expected one, or the entry"
        for name, more in names.items()
        if name not in sut.tenancy.shared
    ]
    findings += [
        f"[tenancy.shared] {name}: got no such table without the key that an application role may"
        " read, expected one; remove the entry"
        for name in sut.tenancy.shared
        if name not in names
    ]
    assert not findings, _joined(findings)


@criterion("RLS-11")
@falsified_on_tables(
    {
        "copying-trigger": f"{REVIEWED}: trigger {{table}}.gateproof_copy: got an unreviewed",
        "copying-rule": f"{REVIEWED}: rule {{table}}.gateproof_copy: got an unreviewed",
        "leakproof-function": f"{REVIEWED}: leakproof function ",
        "definer-function": f"{REVIEWED}: definer function ",
    }
)
@falsified_by_each(lambda sut: reviewed(sut, DEFINER)[:2], function_changed)
def test_code_in_the_database_is_reviewed(stack: Stack, sut: Sut) -> None:
    """Triggers, rules, LEAKPROOF and SECURITY DEFINER functions are those that were reviewed."""
    rows = at_least_one("code in the database", stack.sql.query(CODE).dicts())
    found = [Definition(name=row["name"], text=row["definition"]) for row in rows]
    findings = [
        _finding(REVIEWED, one, got="an unreviewed definition", expected="a reviewed one")
        for one in found
        if not _is_reviewed(sut, one)
    ]
    findings += _stale(sut, found)
    assert not findings, _joined(findings)


def _expected(stack: Stack, sut: Sut, tables: Iterable[Table]) -> dict[str, list[str]]:
    """Return the expressions that policies of tables may have, as PostgreSQL prints them.

    PostgreSQL prints them for the columns of a temporary table like the table: so the type and the
    name of the key can be any.
    """
    found = {}
    with stack.sql.session() as session:
        for table in dict.fromkeys(tables):
            session.query(f"CREATE TEMPORARY TABLE gateproof_like (LIKE {table.sql})")
            for number, condition in enumerate(_conditions(sut, table)):
                session.query(
                    f"CREATE POLICY p{number} ON pg_temp.gateproof_like USING ({condition})"
                )
            printed = session.query(
                "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy"
                " WHERE polrelid = 'pg_temp.gateproof_like'::regclass ORDER BY polname"
            )
            found[table.name] = printed.column()
            session.query("DROP TABLE pg_temp.gateproof_like")
        session.rollback()
    return found


def _conditions(sut: Sut, table: Table) -> Iterator[str]:
    """Yield the comparisons of key and tenant, also as a subquery, which is computed once."""
    key, guc = identifier(sut.tenancy.key), literal(sut.tenancy.guc)
    values = [f"nullif(current_setting({guc}, true), '')::{table.key_type}"]
    if table.key_type in ("text", "character varying"):  # no row has the empty tenant
        values.append(f"current_setting({guc}, true)")
    for value in values:
        yield f"{key} = {value}"
        yield f"{key} = (SELECT {value})"


def _is_reviewed(sut: Sut, definition: Definition) -> bool:
    review = sut.tenancy.reviewed.get(definition.name)
    return review is not None and review.digest == definition.digest


def _finding(what: str, definition: Definition, *, got: str, expected: str) -> str:
    return (
        f"{what}: {definition.name}: got {got}, expected {expected}; correct it, or review it and"
        f" list it in [tenancy.reviewed] with the digest {definition.digest}"
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
