"""Gate rls: what the catalogue of the database says about policies, tables and code.

A leak that depends on a value (one tenant's id, one model version) shows in no sample of rows. So
these checks compare definitions: each is the expected one, or a person has reviewed exactly it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateproof import (
    Fault,
    Stack,
    Sut,
    Table,
    at_least_one,
    children_without_key,
    claim,
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


EXPRESSION = "expression of the policy"
REVIEW = "digest in [tenancy.reviewed] of the definition that the database has"
SHARED = "entry in [tenancy.shared] for a readable table without the key"
STALE_SHARED = "entries of [tenancy.shared] without such a table that an application role may read"
STALE_REVIEWS = "entries of [tenancy.reviewed] without such code in the database"

NO_ENTRY = "no entry"

POLICY, DEFINER = "policy ", "definer function "
"""How the names of reviewed policies and functions begin in the description."""


def reviewed(sut: Sut, start: str) -> list[str]:
    """Return the reviewed objects of the description whose names begin with a text."""
    return [name.removeprefix(start) for name in sut.tenancy.reviewed if name.startswith(start)]


def policy_for_everyone(_: Sut, name: str) -> tuple[Fault, tuple[str, str]]:
    """Return the fault that a reviewed policy applies to every role."""
    table, _dot, policy = name.rpartition(".")
    fault = sql(
        slug_of("reviewed-policy-for-everyone", name),
        f"ALTER POLICY {identifier(policy)} ON {table} TO PUBLIC",
        landing=f"SELECT polname, polroles FROM pg_policy WHERE polrelid = '{table}'::regclass",
        role="superuser",
        target=table,
    )
    return fault, (EXPRESSION, f"{table}/{policy}/*")


def function_changed(_: Sut, name: str) -> tuple[Fault, tuple[str, str, str]]:
    """Return the fault that a reviewed function runs with another setting."""
    fault = sql(
        slug_of("reviewed-function-changed", name),
        f"ALTER ROUTINE {name} SET work_mem = '5MB'",
        landing=f"SELECT proname, proconfig FROM pg_proc WHERE oid = to_regprocedure('{name}')",
        role="superuser",
    )
    return fault, (REVIEW, f"{DEFINER}{name}", "got sha256:")


@criterion("RLS-09", needs=("database", "tenancy"))
@falsified_on_tables(
    {
        "one-tenant-for-all": (EXPRESSION, "{table}/*"),
        "debug-setting": (EXPRESSION, "{table}/*", "gateproof.debug"),
        "unset-sees-all": (EXPRESSION, "{table}/*", "IS NULL"),
        "open-policy": (EXPRESSION, "{table}/gateproof_open/USING", "got true"),
        "write-open": (EXPRESSION, "{table}/gateproof_open/WITH CHECK", "got true"),
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
    for row in rows:
        expected = known.get(row["table_name"], ["a review: the table has no key"])
        _judge_policy(sut, row, expected)


def _judge_policy(sut: Sut, row: Mapping[str, Any], expected: Sequence[str]) -> None:
    """Judge the expressions of a policy: each is an expected one, or the policy was reviewed."""
    definition = Definition(
        name=f"{POLICY}{row['table_name']}.{row['name']}", text=" ".join(map(str, row.values()))
    )
    is_reviewed = _review_of(sut, definition) == definition.digest
    wrong = False
    for word, text in (("USING", row["using_text"]), ("WITH CHECK", row["check_text"])):
        if text is None:
            continue
        accepted = is_reviewed or text in expected
        wrong |= not claim(
            EXPRESSION,
            on=f"{row['table_name']}/{row['name']}/{word}",
            got=_one_line(text),
            expected=_one_line(text if accepted else expected[0]),
        )
    if wrong:  # the finding has the digest with which a review accepts it
        _judge_review(sut, definition)


@criterion("RLS-10", needs=("database", "tenancy"))
@falsified_on_tables(
    {
        "readable-table-without-key": (SHARED, "{schema}gateproof_notes"),
        "readable-column-without-key": (SHARED, "{schema}gateproof_names"),
        "readable-table-in-another-schema": (SHARED, "gateproof_exports.gateproof_rows"),
        "child-without-key": (SHARED, "{schema}gateproof_children"),
    }
)
def test_readable_tables_have_the_key_or_are_shared(stack: Stack, sut: Sut) -> None:
    """Every table that an application role may read has the key, or is declared as shared.

    So has every table that references a table with the key: its rows belong to a tenant too.
    """
    roles = list(bound_tables(stack.sql, sut))
    readable = stack.sql.query(READABLE, {"key": sut.tenancy.key, "roles": roles}).rows
    at_least_one(f"tables that {', '.join(roles)} may read", readable)
    names = {name for name, has_key in readable if not has_key}
    names |= {child.name for child in children_without_key(stack.sql, sut)}
    for name in sorted(names):
        got = sut.tenancy.shared.get(name, NO_ENTRY)
        claim(SHARED, on=name, got=got, relation="differs", expected=NO_ENTRY)
    stale = [name for name in sut.tenancy.shared if name not in names]
    claim(STALE_SHARED, got=stale, expected=[], over=readable)


@criterion("RLS-11", needs=("database", "tenancy"))
@falsified_on_tables(
    {
        "copying-trigger": (REVIEW, "trigger {table}.gateproof_copy", "got no entry"),
        "copying-rule": (REVIEW, "rule {table}.gateproof_copy", "got no entry"),
        "leakproof-function": (REVIEW, "leakproof function {schema}gateproof_quiet(text)"),
        "definer-function": (REVIEW, "definer function {schema}gateproof_rows()"),
    }
)
@falsified_by_each(lambda sut: reviewed(sut, DEFINER)[:2], function_changed)
def test_code_in_the_database_is_reviewed(stack: Stack, sut: Sut) -> None:
    """Triggers, rules, LEAKPROOF and SECURITY DEFINER functions are those that were reviewed."""
    found = [
        Definition(name=row["name"], text=row["definition"])
        for row in stack.sql.query(CODE).dicts()
    ]
    for one in found:
        _judge_review(sut, one)
    names = {one.name for one in found}
    code = [name for name in sut.tenancy.reviewed if not name.startswith(POLICY)]
    claim(STALE_REVIEWS, got=[name for name in code if name not in names], expected=[])


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


def _judge_review(sut: Sut, definition: Definition) -> None:
    """Judge that a person has reviewed exactly this definition: correct it, or add its digest."""
    got = _review_of(sut, definition)
    claim(REVIEW, on=definition.name, got=got, expected=definition.digest)


def _review_of(sut: Sut, definition: Definition) -> str:
    """Return the digest of the definition that was reviewed."""
    review = sut.tenancy.reviewed.get(definition.name)
    return review.digest if review is not None else NO_ENTRY


def _one_line(text: str) -> str:
    return " ".join(text.split())
