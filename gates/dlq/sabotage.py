"""Falsifiers in the database: triggers that spoil what the worker writes, without a word to it."""

from __future__ import annotations

from harness import sql
from harness.faults.sql import SqlFault

TABLE = "worker_failed_jobs"
TRIGGERS = f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{TABLE}'::regclass ORDER BY 1"


def on_insert(name: str, change: str, *, only: str = "true", when: str = "BEFORE") -> SqlFault:
    """Run something on every dead letter that is written.

    Args:
        name: a plain slug.
        change: PL/pgSQL that changes NEW, or returns.
        only: a condition over NEW.
        when: ``BEFORE`` or ``AFTER`` the insert.

    """
    statement = f"""
        CREATE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {change} RETURN NEW; END $$;
        CREATE TRIGGER sabotage {when} INSERT ON {TABLE}
            FOR EACH ROW WHEN ({only}) EXECUTE FUNCTION sabotage();
    """
    return sql(name, statement, landing=TRIGGERS)


def doubled(name: str) -> SqlFault:
    """Write every dead letter twice; the constraint against that is dropped first."""
    fault = on_insert(
        name,
        f"""IF pg_trigger_depth() = 1 THEN
            NEW.id := gen_random_uuid(); INSERT INTO {TABLE} SELECT NEW.*;
        END IF;""",
        when="AFTER",
    )
    undo = f"ALTER TABLE {TABLE} DROP CONSTRAINT {TABLE}_task_id_key;"
    return sql(name, undo + fault.statement, landing=TRIGGERS)


_RENAMED = """
    CREATE FUNCTION forget() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
    BEGIN
        IF to_regclass('{table}') IS NOT NULL AND to_regclass('{other}') IS NULL THEN
            {loss}
        END IF;
    END $$;
    CREATE EVENT TRIGGER forget ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'ALTER INDEX')
        EXECUTE FUNCTION forget();
"""


def forgotten_when(name: str, *, table: str, loss: str) -> SqlFault:
    """Lose something of the dead-letter table the moment that a migration has renamed it.

    Args:
        name: a plain slug.
        table: the name that it then has.
        loss: SQL that loses it, run as superuser after each change of a table or index; must not
            fail, nor change one again, when there is nothing left to lose.

    """
    names = (TABLE, "celery_task_failures")
    other = next(one for one in names if one != table)
    statement = _RENAMED.format(table=table, other=other, loss=loss)
    return sql(
        name,
        statement,
        landing="SELECT evtname FROM pg_event_trigger ORDER BY 1",
        role="superuser",
    )
