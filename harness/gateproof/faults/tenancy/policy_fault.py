"""Kinds of changes to the policies, the protection and the privileges of a table, and to roles.

Each reads policies, roles and types from the catalogue or the description when it is injected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateproof.base.errors import HarnessError
from gateproof.description.sut import Sut
from gateproof.faults.tenancy.fault import Change, Kind, Target
from gateproof.faults.tenancy.value import identifier, literal

_POLICIES = """
    SELECT p.polname AS name, p.polpermissive AS permissive, p.polcmd::text AS command,
        ARRAY(SELECT CASE WHEN role = 0 THEN 'public' ELSE pg_get_userbyid(role)::text END
              FROM unnest(p.polroles) AS role) AS roles,
        pg_get_expr(p.polqual, p.polrelid) AS using_text,
        pg_get_expr(p.polwithcheck, p.polrelid) AS check_text
    FROM pg_policy p WHERE p.polrelid = %s ORDER BY p.polname
"""

_ROLE = """
    SELECT rolname, rolsuper, rolbypassrls,
        ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid ORDER BY 1)
    FROM pg_roles r ORDER BY 1
"""

MISSPELT = "gateproof.misspelt_setting"
"""A setting that no session sets."""

Policy = dict[str, object]


def tenant_setting(sut: Sut) -> str:
    """Return the expression of the tenant's setting: NULL if it is unset or empty."""
    return f"nullif(current_setting({literal(sut.tenancy.guc)}, true), '')"


def own_rows(target: Target) -> str:
    """Return the condition that a row belongs to the tenant of the session."""
    key = identifier(target.sut.tenancy.key)
    return f"{key} = {tenant_setting(target.sut)}::{target.table.key_type}"


def policies(target: Target) -> Sequence[Policy]:
    """Return the policies of the table."""
    return target.sql.query(_POLICIES, (target.table.oid,)).dicts()


def _each(alter: Callable[[Target, Policy], str]) -> Callable[[Target], Change]:
    """Return the change that alters every policy of the table."""

    def build(target: Target) -> Change:
        found = policies(target)
        if not found:
            raise HarnessError(f"policies of {target.table.name}: got none, expected one or more")
        return Change(statement="; ".join(filter(None, (alter(target, one) for one in found))))

    return build


def _alter(target: Target, policy: Policy, using: str, check: str) -> str:
    name = identifier(str(policy["name"]))
    parts = [f" USING ({using})"] if policy["using_text"] is not None else []
    parts += [f" WITH CHECK ({check})"] if policy["check_text"] is not None else []
    return f"ALTER POLICY {name} ON {target.table.sql}{''.join(parts)}" if parts else ""


def _drop(target: Target, policy: Policy) -> str:
    return f"DROP POLICY {identifier(str(policy['name']))} ON {target.table.sql}"


def _rewrite(change: Callable[[Target, str], str]) -> Callable[[Target], Change]:
    """Return the change of the expressions of every permissive policy."""

    def alter(target: Target, policy: Policy) -> str:
        if not policy["permissive"]:
            return ""
        using, check = (str(policy[name]) for name in ("using_text", "check_text"))
        return _alter(target, policy, change(target, using), change(target, check))

    return _each(alter)


def _new_policy(command: str, using: str | None, check: str | None) -> Callable[[Target], Change]:
    def build(target: Target) -> Change:
        role = identifier(target.sut.role_names["role"])
        parts = [f" FOR {command} TO {role}"]
        parts += [f" USING ({using.format(own=own_rows(target))})"] if using else []
        parts += [f" WITH CHECK ({check})"] if check else []
        policy = f"CREATE POLICY gateproof_open ON {target.table.sql}{''.join(parts)}"
        grant = f"GRANT {command} ON {target.table.sql} TO {role}"
        return Change(statement=f"{policy}; {grant}")

    return build


def _alters_table(*clauses: str) -> Callable[[Target], Change]:
    def build(target: Target) -> Change:
        role = identifier(target.sut.role_names["role"])
        changes = [f"ALTER TABLE {target.table.sql} {one.format(role=role)}" for one in clauses]
        return Change(statement="; ".join(changes))

    return build


def _role_kind(name: str, statement: str) -> Kind:
    """Return the kind of change to a role, which is the same for every table."""

    def build(target: Target) -> Change:
        words = {name: identifier(role) for name, role in target.sut.role_names.items()}
        return Change(statement=statement.format(**words), landing=_ROLE)

    return Kind(name=name, build=build, scope="server", target="")


def _role_left_out(target: Target, policy: Policy) -> str:
    """Return the statement that leaves the last role out of a policy; PUBLIC becomes the others."""
    roles, last = target.sut.role_names, target.sut.role_names["last"]
    listed = policy["roles"]
    assert isinstance(listed, list)
    named = [roles["role"], roles["second"]] if "public" in listed else listed
    kept = [identifier(one) for one in dict.fromkeys(named) if one != last]
    name = identifier(str(policy["name"]))
    return f"ALTER POLICY {name} ON {target.table.sql} TO {', '.join(kept)}" if kept else ""


_KEY_IS_IN = """
    SELECT format('%%I', conname) FROM pg_constraint c JOIN pg_attribute a
        ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)
    WHERE c.conrelid = %s AND c.contype = 'p' AND a.attname = %s
"""


def _unowned_rows_visible(target: Target) -> Change:
    """Return the change that rows without a tenant are visible to all, and that there can be some.

    A primary key with the tenant's key in it allows none, so it is dropped.
    """
    table, key = target.table, identifier(target.sut.tenancy.key)
    constraints = target.sql.query(_KEY_IS_IN, (table.oid, target.sut.tenancy.key)).column()
    changes = [f"ALTER TABLE {table.sql} DROP CONSTRAINT {one} CASCADE" for one in constraints]
    changes.append(f"ALTER TABLE {table.sql} ALTER COLUMN {key} DROP NOT NULL")
    opened = _rewrite(lambda _, text: f"{key} IS NULL OR ({text})")(target).statement
    return Change(statement="; ".join([*changes, opened]))


def _privilege(statement: str) -> Callable[[Target], Change]:
    def build(target: Target) -> Change:
        words = {name: identifier(role) for name, role in target.sut.role_names.items()}
        return Change(statement=statement.format(table=target.table.sql, **words))

    return build


def _misspelt(target: Target, text: str) -> str:
    return text.replace(literal(target.sut.tenancy.guc), literal(MISSPELT))


def _unset_sees_all(target: Target, text: str) -> str:
    return f"{tenant_setting(target.sut)} IS NULL OR ({text})"


def _unset_raises(target: Target, text: str) -> str:
    setting = f"current_setting({literal(target.sut.tenancy.guc)})"
    return f"{identifier(target.sut.tenancy.key)}::text = {setting} OR ({text})"


def _no_nullif(target: Target, _: str) -> str:
    """Return a comparison that casts the empty text, which is of no type but text."""
    setting = f"current_setting({literal(target.sut.tenancy.guc)}, true)"
    kind = target.table.key_type
    if kind in ("uuid", "smallint", "integer", "bigint", "numeric"):
        return f"{identifier(target.sut.tenancy.key)} = {setting}::{kind}"
    own = f"{identifier(target.sut.tenancy.key)}::text"
    return f"CASE WHEN {setting} = '' THEN {setting}::integer::text ELSE {own} END = {setting}"


def _malformed_sees_all(target: Target, text: str) -> str:
    setting = f"coalesce(current_setting({literal(target.sut.tenancy.guc)}, true), '')"
    return f"CASE WHEN {setting} = 'not-an-id' THEN true ELSE {text} END"


def _one_tenant_for_all(target: Target, text: str) -> str:
    value = {"uuid": "11111111-1111-4111-8111-111111111111"}.get(str(target.table.key_type), "1")
    return f"{text} OR {identifier(target.sut.tenancy.key)}::text = '{value}'"


def _other_condition(_: Target, text: str) -> str:
    return f"{text} OR current_setting('gateproof.debug', true) = 'on'"


POLICY_KINDS = (
    Kind(name="drop-policies", build=_each(_drop)),
    Kind(name="open-policy", build=_new_policy("SELECT", "true", None)),
    Kind(name="open-update", build=_new_policy("UPDATE", "true", "true")),
    Kind(name="open-delete", build=_new_policy("DELETE", "true", None)),
    Kind(name="write-open", build=_new_policy("INSERT", None, "true")),
    Kind(name="move-open", build=_new_policy("UPDATE", "{own}", "true")),
    Kind(name="disable-row-security", build=_alters_table("DISABLE ROW LEVEL SECURITY")),
    Kind(name="no-force", build=_alters_table("NO FORCE ROW LEVEL SECURITY")),
    Kind(
        name="owner-without-force",
        build=_alters_table("NO FORCE ROW LEVEL SECURITY", "OWNER TO {role}"),
    ),
    Kind(name="misspelt-setting", build=_rewrite(_misspelt)),
    Kind(name="unset-sees-all", build=_rewrite(_unset_sees_all)),
    Kind(name="unowned-rows-visible", build=_unowned_rows_visible),
    Kind(name="unset-raises", build=_rewrite(_unset_raises)),
    Kind(name="cast-without-nullif", build=_rewrite(_no_nullif)),
    Kind(name="malformed-sees-all", build=_rewrite(_malformed_sees_all)),
    Kind(name="one-tenant-for-all", build=_rewrite(_one_tenant_for_all)),
    Kind(name="debug-setting", build=_rewrite(_other_condition)),
    Kind(name="role-left-out", build=_each(_role_left_out)),
    Kind(name="role-may-not-read", build=_privilege("REVOKE ALL ON {table} FROM {last}")),
    Kind(name="grant-truncate", build=_privilege("GRANT TRUNCATE ON {table} TO {role}")),
    _role_kind("superuser-role", "ALTER ROLE {role} SUPERUSER"),
    _role_kind("bypassrls-role", "ALTER ROLE {role} BYPASSRLS"),
    _role_kind("member-of-the-owner", "GRANT {owner} TO {role}"),
)
