"""Gate rls: a tenant writes its own rows only.

The SELECT policies also apply to statements with WHERE or RETURNING, and would hide a defect in the
other policies. So the attacks on whole tables use neither.
"""

from __future__ import annotations

from typing import Any

from gateproof import Ids, Refused, Rows, Session, Stack, Sut, criterion, falsified_by, sql

from .tenants import SEEDS, Tenant, bound_tables, empty, outcome, policies_of, two_tenants

FORBIDDEN = "42501"
"""SQLSTATE insufficient_privilege, for refusals by policies and by missing privileges."""

BY_POLICY = "row-level security"
"""A text that only the refusal of a policy has, not that of a missing privilege."""

PRIVILEGES = """
    SELECT privilege FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE has_table_privilege(%s, privilege)
"""

TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'attribution_events'::regclass"

TOUCHED = {
    "attribution_events": "event_type",
    "attribution_recompute_jobs": "status",
    "worker_failed_jobs": "notes",
}
"""Table to a column that an attack overwrites."""


@criterion(
    "RLS-05",
    needs=("database", "worker", "tenancy", "dead_letters.operator", "dead_letters.reader"),
)
@falsified_by(
    sql(
        "tenant-follows-the-row",
        "CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM set_config('app.current_tenant_id', NEW.tenant_id::text, true);"
        " RETURN NEW; END $$;"
        " CREATE TRIGGER follow BEFORE INSERT ON attribution_events"
        " FOR EACH ROW EXECUTE FUNCTION follow()",
        landing=TRIGGERS,
    ),
    expect="app_user as tenant A inserts a row of tenant B into attribution_events: got 1 rows",
)
@falsified_by(
    sql(
        "update-any",
        "CREATE POLICY open_update ON attribution_recompute_jobs FOR UPDATE TO app_user"
        " USING (true) WITH CHECK (true)",
        landing=policies_of("attribution_recompute_jobs"),
    ),
    expect="app_user as tenant A overwrites attribution_recompute_jobs without WHERE: got 5",
)
@falsified_by(
    sql(
        "move-anywhere",
        "CREATE POLICY open_move ON attribution_events FOR UPDATE TO app_user USING"
        " (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)"
        " WITH CHECK (true)",
        landing=policies_of("attribution_events"),
    ),
    expect="app_user as tenant A moves its rows of attribution_events to tenant B: got 3 rows",
)
@falsified_by(
    sql(
        "purged-along",
        "CREATE FUNCTION purge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = public, pg_temp AS $$ BEGIN IF EXISTS (SELECT FROM gone) THEN"
        " DELETE FROM attribution_events WHERE occurred_at < clock_timestamp();"
        " END IF; RETURN NULL; END $$;"
        " CREATE TRIGGER purge AFTER DELETE ON attribution_events"
        " REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION purge()",
        landing=TRIGGERS,
        role="superuser",
    ),
    expect="rows of tenant B in attribution_events after app_user as tenant A: got []",
)
@falsified_by(
    sql(
        "dead-letters-open",
        "ALTER TABLE worker_failed_jobs DISABLE ROW LEVEL SECURITY",
        landing="SELECT relrowsecurity FROM pg_class WHERE relname = 'worker_failed_jobs'",
    ),
    expect="app_user as tenant A inserts a row of tenant B into worker_failed_jobs: got 1 rows",
)
@falsified_by(
    sql(
        "grant-truncate",
        "GRANT TRUNCATE ON attribution_events TO app_user",
        landing="SELECT relacl FROM pg_class WHERE relname = 'attribution_events'",
    ),
    expect="app_user as tenant A truncates attribution_events: got 0 rows",
)
def test_a_tenant_writes_its_own_rows_only(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A tenant cannot insert, change or delete rows of another tenant, nor move its own rows."""
    for role, tables in bound_tables(sut).items():
        for table in tables:
            empty(own_stack.sql, [table])
            a, b = two_tenants(own_stack.sql, sut, ids, tables=(table,))
            before = _contents(own_stack, sut, table, b)
            with own_stack.sql.session(role) as session:
                session.set_local(sut.tenancy.guc, str(a.id))
                _Attack(session, sut, f"{role} as tenant A", table, a, b, before).run()
                session.commit()
            after = _contents(own_stack, sut, table, b)
            assert after == before, (
                f"rows of tenant B in {table} after {role} as tenant A: got {after},"
                f" expected them unchanged: {before}"
            )


def _contents(stack: Stack, sut: Sut, table: str, tenant: Tenant) -> list[dict[str, Any]]:
    """Return a tenant's rows, read as superuser."""
    where = f"WHERE {sut.tenancy.key} = %s ORDER BY id"
    return stack.sql.query(f"SELECT * FROM {table} {where}", (tenant.id,)).dicts()


class _Attack:
    """All attacks of tenant A on tenant B's rows of one table, in one transaction."""

    def __init__(
        self,
        session: Session,
        sut: Sut,
        who: str,
        table: str,
        a: Tenant,
        b: Tenant,
        rows_of_b: list[dict[str, Any]],
    ) -> None:
        self.session, self.who, self.table, self.a, self.b = session, who, table, a, b
        self.key, self.column = sut.tenancy.key, TOUCHED[table]
        self.victim = rows_of_b[0]["id"]
        self.privileges = session.query(PRIVILEGES, (table,)).column()

    def run(self) -> None:
        """Run each attack under its own savepoint."""
        self._insert()
        self._take_over()
        self._reach_by_id()
        self._overwrite_all()
        self._move()
        self._truncate()
        self._delete_all()

    def _insert(self) -> None:
        seen = self.session.attempt(SEEDS[self.table], {"tenant": self.b.id, "rows": 1})
        allowed = self._may("INSERT")
        self._assert_refused(
            f"inserts a row of tenant B into {self.table}", seen, by_policy=allowed
        )

    def _take_over(self) -> None:
        """Upsert with the key of B's row, which must not change that row."""
        if not self._may("INSERT") or not self._may("UPDATE"):
            return
        seed = SEEDS[self.table].replace(f"({self.key}", f"(id, {self.key}")
        seed = seed.replace("SELECT %(tenant)s", "SELECT %(id)s, %(tenant)s")
        seen = self.session.attempt(
            f"{seed} ON CONFLICT (id) DO UPDATE SET {self.key} = excluded.{self.key}",
            {"id": self.victim, "tenant": self.a.id, "rows": 1},
        )
        self._assert_refused(f"takes over a row of tenant B in {self.table}", seen, by_policy=True)

    def _reach_by_id(self) -> None:
        for verb, statement in (
            ("updates", f"UPDATE {self.table} SET {self.column} = 'touched' WHERE id = %s"),
            ("deletes", f"DELETE FROM {self.table} WHERE id = %s"),
        ):
            seen = self.session.attempt(statement, (self.victim,))
            where = f"{self.who} {verb} a row of tenant B in {self.table} by its id"
            got = outcome(seen)
            assert _forbidden(seen) or got == "0 rows", f"{where}: got {got}, expected 0 rows"

    def _overwrite_all(self) -> None:
        seen = self.session.attempt(f"UPDATE {self.table} SET {self.column} = 'touched'")
        self._assert_own_rows_only("overwrites", "UPDATE", seen)

    def _move(self) -> None:
        for target, tenant in (("tenant B", self.b.id), ("no tenant", None)):
            seen = self.session.attempt(f"UPDATE {self.table} SET {self.key} = %s", (tenant,))
            what = f"moves its rows of {self.table} to {target}"
            if tenant is None and isinstance(seen, Refused) and seen.sqlstate == "23502":
                continue  # the column is NOT NULL, which is enforced before any policy
            self._assert_refused(what, seen, by_policy=self._may("UPDATE"))

    def _truncate(self) -> None:
        """Truncate the table: no policy applies to this, so only a missing privilege refuses it."""
        seen = self.session.attempt(f"TRUNCATE {self.table}")
        self._assert_refused(f"truncates {self.table}", seen, by_policy=False)

    def _delete_all(self) -> None:
        seen = self.session.attempt(f"DELETE FROM {self.table}")
        self._assert_own_rows_only("deletes from", "DELETE", seen)

    def _assert_own_rows_only(self, verb: str, privilege: str, seen: Rows | Refused) -> None:
        """Assert that a role with the privilege changes exactly its tenant's rows."""
        where = f"{self.who} {verb} {self.table} without WHERE"
        got, own = outcome(seen), self.a.rows
        expected = f"{own} rows" if self._may(privilege) else "a refusal"
        ok = got == expected if self._may(privilege) else _forbidden(seen)
        assert ok, f"{where}: got {got}, expected {expected}"

    def _assert_refused(self, what: str, seen: Rows | Refused, *, by_policy: bool) -> None:
        by = "by a policy" if by_policy else "for a missing privilege"
        ok = _forbidden(seen) and (not by_policy or BY_POLICY in outcome(seen))
        assert ok, f"{self.who} {what}: got {outcome(seen)}, expected a refusal {by}"

    def _may(self, privilege: str) -> bool:
        return privilege in self.privileges


def _forbidden(seen: Rows | Refused) -> bool:
    return isinstance(seen, Refused) and seen.sqlstate == FORBIDDEN
