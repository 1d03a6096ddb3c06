"""The state of a database's schema, to see whether a mutant made a difference.

Every column of the system catalogues counts, but those that change without a statement, such as
statistics. That is more than any check reads: a difference that no check reads is not equivalent.
An object that was made again has another `oid`, so that it is never equivalent either.

Source: PostgreSQL documentation, chapter "System Catalogs".
"""

from __future__ import annotations

CATALOGUES = (
    "pg_attrdef", "pg_attribute", "pg_auth_members", "pg_authid", "pg_class", "pg_constraint",
    "pg_db_role_setting", "pg_default_acl", "pg_depend", "pg_description", "pg_event_trigger",
    "pg_extension", "pg_index", "pg_inherits", "pg_namespace", "pg_policy", "pg_proc",
    "pg_publication", "pg_rewrite", "pg_sequence", "pg_shdepend", "pg_statistic_ext", "pg_trigger",
    "pg_type",
)  # fmt: skip
"""The system catalogues whose rows count."""

VOLATILE = (
    "relpages", "reltuples", "relallvisible", "relallfrozen", "relfilenode", "relfrozenxid",
    "relminmxid", "rolpassword",
)  # fmt: skip
"""Columns that change without a statement, or that are random."""

_LESS = "ARRAY[" + ", ".join(f"'{name}'" for name in VOLATILE) + "]"
_DATABASE = "SELECT datacl::text || datdba FROM pg_database WHERE datname = current_database()"

DIGEST = (
    "SELECT md5(string_agg(fact, E'\\n' ORDER BY fact)) FROM ("
    + " UNION ALL ".join(
        f"SELECT '{name} ' || (to_jsonb(t) - {_LESS})::text FROM {name} t" for name in CATALOGUES
    )
    + f" UNION ALL {_DATABASE}) AS facts (fact)"
)
"""A query for one value that differs if any row does; superuser runs it."""
