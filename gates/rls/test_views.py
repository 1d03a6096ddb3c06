"""Gate rls: no view and no function gets around the policies.

The check compares results: whatever a tenant can read or call must return the same before and
after other tenants get rows. This also finds leaks through totals, which name no tenant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateproof import (
    Fault,
    Ids,
    Refused,
    RowMaker,
    Rows,
    Stack,
    Sut,
    Table,
    Tenant,
    View,
    act_as,
    criterion,
    definers,
    falsified_by_each,
    identifier,
    literal,
    new_tenant,
    slug_of,
    sql,
    views,
)

from .tenants import bound_tables, falsified_on_tables, judge, outcome, two_tenants

DEFINER = "definer function "
"""How the names of reviewed functions begin in the description."""

SHOWN = "rows that a view shows"
PROBED = "errors of a view that depend on rows of others"
ANSWER = "answer that rows of other tenants do not change"
MAY_CALL = "review of a SECURITY DEFINER function that the role may call"
SEARCH_PATH = "fixed search_path of a SECURITY DEFINER function"

WITHOUT_INDEXES = """
    SELECT set_config(name, 'off', true)
    FROM unnest(ARRAY['enable_indexscan', 'enable_bitmapscan', 'enable_indexonlyscan']) AS name
"""

MATERIALIZED = """
    SELECT format('%I.%I', schemaname, matviewname) FROM pg_matviews
    WHERE schemaname NOT LIKE 'pg\\_%' ORDER BY 1
"""


def reviewed_functions(sut: Sut) -> list[str]:
    """Return the first two reviewed functions of the description, with their arguments."""
    names = [name for name in sut.tenancy.reviewed if name.startswith(DEFINER)]
    return [name.removeprefix(DEFINER) for name in names][:2]


def open_search_path(sut: Sut, name: str) -> tuple[Fault, str]:
    """Return the fault that a reviewed function uses the search_path of its caller."""
    oid = f"to_regprocedure('{name}')"
    fault = sql(
        slug_of("open-search-path", name),
        f"ALTER ROUTINE {name} RESET search_path; GRANT EXECUTE ON ROUTINE {name} TO"
        f" {identifier(sut.role_names['role'])}",
        landing=f"SELECT proname, proconfig, proacl FROM pg_proc WHERE oid = {oid}",
        role="superuser",
    )
    return fault, f"{SEARCH_PATH}: {sut.role_names['role']}/{name}: got ''"


@criterion("RLS-08")
@falsified_on_tables(
    {
        "view-without-invoker": "gateproof_view/A: got another answer",
        "view-without-barrier": "gateproof_view/A: got 22012",
        "view-without-filter": "gateproof_view/A: got rows of others",
        "materialized-view": "gateproof_copy/A: got rows of others",
        "definer-function": "gateproof_rows()/A: got none",
    }
)
@falsified_by_each(reviewed_functions, open_search_path)
def test_no_view_or_function_leaks_past_the_policies(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Everything that tenant A can read or call returns the same after other tenants get rows."""
    bound = bound_tables(own_stack.sql, sut)
    tables = bound[sut.role_names["role"]]
    a, b = two_tenants(own_stack.sql, sut, ids, tables=tables)
    _refresh(own_stack)
    for role in bound:
        _judge_definers(own_stack, sut, role)
        shown = views(own_stack.sql, sut, role=role)
        for view in shown:
            if view.has_key:
                _judge_view_shows_its_tenant(own_stack, sut, role, view, (a, b))
                _judge_errors_of_the_view_leak_nothing(own_stack, sut, role, view, a, b)
    newcomer = new_tenant(ids, tables, name="C", rows=0)
    _judge_other_tenants_change_nothing(own_stack, sut, bound, a, others=(b, newcomer))


def _refresh(stack: Stack) -> None:
    for name in stack.sql.query(MATERIALIZED).column():
        stack.sql.execute(f"REFRESH MATERIALIZED VIEW {name}")


def _judge_definers(stack: Stack, sut: Sut, role: str) -> None:
    """Judge that every function that runs with its owner's privileges has been reviewed."""
    for one in definers(stack.sql, role=role):
        on = f"{role}/{one.name}"
        known = f"{DEFINER}{one.name}" in sut.tenancy.reviewed
        judge(MAY_CALL, on=f"{on}/A", got="one" if known else "none", expected="one")
        judge(
            SEARCH_PATH,
            on=on,
            got=repr(one.search_path),
            expected="a fixed one",
            holds=bool(one.search_path),
        )
        judge("owner that no policy binds", on=on, got=one.unbound, expected=False)


def _judge_view_shows_its_tenant(
    stack: Stack, sut: Sut, role: str, view: View, tenants: Sequence[Tenant]
) -> None:
    """Judge that a view with the key shows a tenant no row of another one, and without one none."""
    query = f"SELECT DISTINCT {identifier(sut.tenancy.key)}::text FROM {view.sql}"
    for tenant in tenants:
        seen = _as_tenant(stack, sut, role, tenant, query)
        others = isinstance(seen, Rows) and bool(set(seen.column()) - {tenant.id})
        on = f"{role}/{view.name}/{tenant.name}"
        judge(SHOWN, on=on, got="rows of others" if others else "its own", expected="its own")
    seen = stack.sql.attempt(query, role=role)
    count = seen.count if isinstance(seen, Rows) else 0
    judge(
        "rows that a view shows without a tenant", on=f"{role}/{view.name}", got=count, expected=0
    )


def _judge_errors_of_the_view_leak_nothing(
    stack: Stack, sut: Sut, role: str, view: View, a: Tenant, b: Tenant
) -> None:
    """Judge that no condition of a query is evaluated on B's rows before the view's filter.

    The attacker can influence the plan: without indexes, the condition with the lower cost is
    evaluated first.
    """
    key = identifier(sut.tenancy.key)
    probe = f"SELECT count(*) FROM {view.sql} WHERE 1 / ({key} <> {literal(b.id)})::int = 1"
    with stack.sql.session(role) as session:
        act_as(session, sut, a.id)
        session.query(WITHOUT_INDEXES)
        seen = session.attempt(probe)
        got = outcome(seen)
        ok = not isinstance(seen, Refused)
        judge(PROBED, on=f"{role}/{view.name}/A", got=got, expected="an answer", holds=ok)


def _judge_other_tenants_change_nothing(
    stack: Stack,
    sut: Sut,
    bound: Mapping[str, Sequence[Table]],
    a: Tenant,
    *,
    others: tuple[Tenant, ...],
) -> None:
    """Insert rows of other tenants, and judge that everything A can see stays the same.

    First the domain's tables get rows, then the dead-letter table. The second comparison leaves out
    the operators' roles, because they read all dead-letter rows by contract.
    """
    worker = sut.role_names["role"]
    domain = [one for one in bound[worker] if one.name != sut.dead_letters.table]
    rest = [one for one in bound[worker] if one.name == sut.dead_letters.table]
    for grown, roles in ((domain, list(bound)), (rest, [worker])):
        before = {role: _answers(stack, sut, role, a) for role in roles}
        _grow(stack, sut, grown, others)
        for role in roles:
            for what, answer in _answers(stack, sut, role, a).items():
                same = answer == before[role].get(what)
                got = "the same" if same else "another answer"
                judge(ANSWER, on=f"{role}/{what}/A", got=got, expected="the same")


def _grow(stack: Stack, sut: Sut, tables: Sequence[Table], others: Sequence[Tenant]) -> None:
    """Insert a row of each other tenant, where it can have one more, and refresh all views."""
    with stack.sql.session() as session:
        maker = RowMaker(session, sut, tables)
        for table in tables:
            for other in others:
                if not table.single or other.rows == 0:
                    maker.insert(table, other.id, 1)
        session.commit()
    _refresh(stack)


def _answers(stack: Stack, sut: Sut, role: str, tenant: Tenant) -> Mapping[str, Any]:
    """Return what a role reads, as a tenant, from each view and from each reviewed function."""
    statements = {
        f"reads {view.name}": f"SELECT * FROM {view.sql} AS t ORDER BY t::text"
        for view in views(stack.sql, sut, role=role)
    }
    for one in definers(stack.sql, role=role):
        if one.kind == "f":
            statements[f"calls {one.name}"] = f"SELECT {one.call}"
    answers = {}
    for what, statement in statements.items():
        seen = _as_tenant(stack, sut, role, tenant, statement)
        answers[what] = seen.rows if isinstance(seen, Rows) else seen
    return answers


def _as_tenant(stack: Stack, sut: Sut, role: str, tenant: Tenant, statement: str) -> Rows | Refused:
    with stack.sql.session(role) as session:
        act_as(session, sut, tenant.id)
        seen = session.attempt(statement)
        session.commit()
        return seen
