"""Gate rls: no view and no function gets around the policies.

The check compares results: whatever a tenant can read or call must return the same before and
after other tenants get rows. This also finds leaks through totals, which name no tenant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

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
    claim,
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

from .tenants import (
    OTHERS,
    bound_tables,
    falsified_on_tables,
    is_dead_letters,
    refusal,
    tables_of,
    two_tenants,
)

DEFINER = "definer function "
"""How the names of reviewed functions begin in the description."""

SHOWN = "tenants other than its own of which a view shows rows"
SHOWN_WITHOUT = "rows that a view shows without a tenant"
PROBED = "error of a view that depends on rows of others"
READS = "rows of a view that change with rows of other tenants"
CHANGED = "number of views and functions whose answers change with rows of other tenants"
CALLS = "answer of a function that changes with rows of other tenants"
MAY_CALL = "reviews of a SECURITY DEFINER function that the role may call"
SEARCH_PATH = "fixed search_path of a SECURITY DEFINER function"
UNBOUND = "owner of a SECURITY DEFINER function that no policy binds"

Answer = tuple[str, str]
"""The name of the claim about an answer, and the view or function that gives it."""

Answers = Mapping[Answer, object]

DIGITS = 12
"""The digits of a digest that tell two answers apart."""

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


def open_search_path(sut: Sut, name: str) -> tuple[Fault, tuple[str, str, str]]:
    """Return the fault that a reviewed function uses the search_path of its caller."""
    oid = f"to_regprocedure('{name}')"
    fault = sql(
        slug_of("open-search-path", name),
        f"ALTER ROUTINE {name} RESET search_path; GRANT EXECUTE ON ROUTINE {name} TO"
        f" {identifier(sut.role_names['role'])}",
        landing=f"SELECT proname, proconfig, proacl FROM pg_proc WHERE oid = {oid}",
        role="superuser",
    )
    return fault, (SEARCH_PATH, f"{sut.role_names['role']}/{name}", "got none")


@criterion("RLS-08", needs=("database", "tenancy"))
@falsified_on_tables(
    {
        "view-without-invoker": (READS, "{role}/{schema}gateproof_view/A"),
        "view-without-barrier": (PROBED, "{role}/{schema}gateproof_view/A", "got 22012"),
        "view-without-filter": (SHOWN, "{role}/{schema}gateproof_view/A", "got B"),
        "materialized-view": (SHOWN, "{role}/{schema}gateproof_copy/A", "got B"),
        "function-without-review": (MAY_CALL, "{role}/{schema}gateproof_rows()", "got 0"),
        "function-that-counts-all-rows": (CALLS, "{role}/{schema}gateproof_rows()/A"),
    }
)
@falsified_by_each(reviewed_functions, open_search_path)
def test_no_view_or_function_leaks_past_the_policies(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Everything that tenant A can read or call returns the same after other tenants get rows."""
    bound = bound_tables(own_stack.sql, sut)
    tables = tables_of(bound)
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
        reviews = int(f"{DEFINER}{one.name}" in sut.tenancy.reviewed)
        claim(MAY_CALL, on=on, got=reviews, expected=1)
        path = [one.search_path] if one.search_path else []
        claim(SEARCH_PATH, on=on, got=path, relation="differs", expected=[])
        claim(UNBOUND, on=on, got=[one.owner] if one.unbound else [], expected=[])


def _judge_view_shows_its_tenant(
    stack: Stack, sut: Sut, role: str, view: View, tenants: Sequence[Tenant]
) -> None:
    """Judge that a view with the key shows a tenant no row of another one, and without one none."""
    query = f"SELECT DISTINCT {identifier(sut.tenancy.key)}::text FROM {view.sql}"
    names = {one.id: one.name for one in tenants}
    for tenant in tenants:
        seen = _as_tenant(stack, sut, role, tenant, query)
        shown = set(seen.column()) if isinstance(seen, Rows) else set()
        others = {names.get(one, OTHERS) for one in shown - {tenant.id}}
        claim(SHOWN, on=f"{role}/{view.name}/{tenant.name}", got=others, expected=[])
    seen = stack.sql.attempt(query, role=role)
    count = seen.count if isinstance(seen, Rows) else 0
    claim(SHOWN_WITHOUT, on=f"{role}/{view.name}", got=count, expected=0)


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
        got = refusal(seen) if isinstance(seen, Refused) else "no error"
        claim(PROBED, on=f"{role}/{view.name}/A", got=got, expected="no error")


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
    tables = tables_of(bound)
    domain = [one for one in tables if not is_dead_letters(sut, one.name)]
    rest = [one for one in tables if is_dead_letters(sut, one.name)]
    narrow = [role for role, own in bound.items() if set(rest) & set(own)]
    for grown, roles in ((domain, list(bound)), (rest, narrow)):
        before = {role: _answers(stack, sut, role, a) for role in roles}
        _grow(stack, sut, grown, others)
        for role in roles:
            after = _answers(stack, sut, role, a)
            same = [
                _judge_answer(name, f"{role}/{what}/A", before[role], after, (name, what))
                for name, what in after
            ]
            # Also of a role with neither view nor function: the check has read that it has none.
            claim(CHANGED, on=f"{role}/A", got=same.count(False), expected=0)


def _judge_answer(name: str, on: str, before: Answers, after: Answers, which: Answer) -> bool:
    """Judge that an answer is the same, by its number of rows and a digest: it may be long."""
    return claim(name, on=on, got=_summary(after[which]), expected=_summary(before.get(which)))


def _summary(answer: object) -> object:
    """Return an answer in short: its number of rows and a digest, or the refusal."""
    if not isinstance(answer, tuple):
        return refusal(answer) if isinstance(answer, Refused) else "no answer"
    digest = hashlib.sha256(repr(answer).encode("utf-8")).hexdigest()[:DIGITS]
    return {"rows": len(answer), "digest": digest}


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


def _answers(stack: Stack, sut: Sut, role: str, tenant: Tenant) -> Answers:
    """Return what a role reads, as a tenant, from each view and from each reviewed function."""
    statements = {
        (READS, view.name): f"SELECT * FROM {view.sql} AS t ORDER BY t::text"
        for view in views(stack.sql, sut, role=role)
    }
    for one in definers(stack.sql, role=role):
        if one.kind == "f":
            statements[CALLS, one.name] = f"SELECT {one.call}"
    answers: dict[Answer, object] = {}
    for which, statement in statements.items():
        seen = _as_tenant(stack, sut, role, tenant, statement)
        answers[which] = seen.rows if isinstance(seen, Rows) else seen
    return answers


def _as_tenant(stack: Stack, sut: Sut, role: str, tenant: Tenant, statement: str) -> Rows | Refused:
    with stack.sql.session(role) as session:
        act_as(session, sut, tenant.id)
        seen = session.attempt(statement)
        session.commit()
        return seen
