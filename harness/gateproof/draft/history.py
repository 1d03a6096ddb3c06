"""Records how a migration names tables, so that a renamed table is found by its identity.

Owns an event trigger of the scratch database, which exists during the migration only.

Source: PostgreSQL documentation, "Event Triggers".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

_START = """
    CREATE SCHEMA gateproof_history;
    CREATE TABLE gateproof_history.named (
        number bigint GENERATED ALWAYS AS IDENTITY, id oid, name text);
    CREATE FUNCTION gateproof_history.note() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN
        INSERT INTO gateproof_history.named (id, name)
        SELECT objid, object_identity FROM pg_event_trigger_ddl_commands()
        WHERE classid = 'pg_class'::regclass AND object_type = 'table';
    END $$;
    CREATE EVENT TRIGGER gateproof_history ON ddl_command_end
        EXECUTE FUNCTION gateproof_history.note();
"""
_READ = """
    SELECT c.oid::regclass::text, array_agg(h.name ORDER BY h.number)
    FROM gateproof_history.named h JOIN pg_class c ON c.oid = h.id GROUP BY c.oid
"""
_END = """
    DROP EVENT TRIGGER IF EXISTS gateproof_history;
    DROP SCHEMA IF EXISTS gateproof_history CASCADE;
"""


@contextmanager
def table_names(dsn: str) -> Iterator[dict[str, str]]:
    """Record the names of tables during the block.

    Args:
        dsn: of the superuser.

    Yields:
        A mapping that is empty until the end of the block: then it has, for each table that was
        renamed, the name before. Names in `public` are without their schema. A database that
        refuses the trigger has an empty one.

    """
    found: dict[str, str] = {}
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_START)
    except psycopg.Error:
        yield found
        return
    try:
        yield found
    finally:
        found.update(_read_and_remove(dsn))


def former_name(now: str, names: list[str]) -> str:
    """Return the last name that differs from the present one; empty without one.

    Args:
        now: the present name, without the schema `public`.
        names: all names in their order, with their schemas.

    """
    plain = [one.removeprefix("public.") for one in names]
    return next((one for one in reversed(plain) if one != now), "")


def _read_and_remove(dsn: str) -> Mapping[str, str]:
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            rows = connection.execute(_READ).fetchall()
            connection.execute(_END)
    except psycopg.Error:  # the migration has removed or locked what records it
        return {}
    named = {str(now): former_name(str(now), list(names)) for now, names in rows}
    return {now: former for now, former in named.items() if former}
