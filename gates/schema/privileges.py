"""The privileges that roles really hold: granted directly, to PUBLIC, by a role, on a column."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateproof import SqlProbe, claim

MORE = "privileges that the role has and must not have"
LESS = "privileges that the role must have and lacks"
"""Names of the two claims about one role and one object, which are the object of both."""

EVERY = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
MAINTAIN = "MAINTAIN"
MAINTAIN_SINCE = 170000
"""PostgreSQL 17 added one privilege for vacuum, analyze, reindex, cluster and refresh."""

# A privilege on one column counts as the privilege: UPDATE of one column is an UPDATE too.
_HELD = """
    SELECT t.name, r.name, p.name || o.name
    FROM unnest(%(tables)s::text[]) t(name), unnest(%(roles)s::text[]) r(name),
         unnest(%(privileges)s::text[]) p(name),
         (VALUES (''), (' WITH GRANT OPTION')) o(name)
    WHERE CASE WHEN p.name IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
        THEN has_any_column_privilege(r.name, t.name, p.name || o.name)
        ELSE has_table_privilege(r.name, t.name, p.name || o.name) END
"""


def held(
    probe: SqlProbe, *, roles: Sequence[str], tables: Sequence[str]
) -> dict[tuple[str, str], frozenset[str]]:
    """Return what each role may do with each table, by table and role.

    A privilege with grant option appears a second time, such as ``SELECT WITH GRANT OPTION``.
    """
    version = int(probe.query("SHOW server_version_num").scalar())
    privileges = [*EVERY, MAINTAIN] if version >= MAINTAIN_SINCE else [*EVERY]
    rows = probe.query(
        _HELD, {"tables": list(tables), "roles": list(roles), "privileges": privileges}
    ).rows
    return {
        (table, role): frozenset(row[2] for row in rows if row[:2] == (table, role))
        for table in tables
        for role in roles
    }


def claim_exactly(
    role: str, thing: str, *, got: Collection[str], expected: Collection[str]
) -> None:
    """Claim that a role has exactly these privileges on one object; a finding names the others."""
    on = f"{role}/{thing}"
    claim(MORE, on=on, got=set(got) - set(expected), expected=[])
    claim(LESS, on=on, got=set(expected) - set(got), expected=[])
