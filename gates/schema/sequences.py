"""The sequences that make the ids of the rows of the broker and of results.

A library calls the sequence by its name, or the table has it as the default of its ids.

Source: kombu.transport.sqlalchemy.models, celery.backends.database.models.
"""

from __future__ import annotations

from gateproof import SqlProbe, Sut, identifier, literal

CALLED = {
    "kombu_queue": "queue_id_sequence",
    "kombu_message": "message_id_sequence",
    "celery_taskmeta": "task_id_sequence",
    "celery_tasksetmeta": "taskset_id_sequence",
}
"""Tables of kombu and of Celery's own backend, and the sequence on which each calls ``nextval``."""
QUEUES, MESSAGES = "kombu_queue", "kombu_message"

_OF_THE_DEFAULT = """
    SELECT d.refobjid::regclass::text FROM pg_attrdef a
    JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
    JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
    JOIN pg_attribute i ON i.attrelid = a.adrelid AND i.attnum = a.adnum
    WHERE a.adrelid = {table}::regclass AND i.attname = 'id'
"""


def bare(table: str) -> str:
    """Return the name of a table without its schema and quotes."""
    return table.replace('"', "").rpartition(".")[2]


def label(table: str) -> str:
    """Return the name in findings: of a sequence that a library calls, else of the table."""
    return CALLED.get(bare(table), table)


def called_sequences(sut: Sut) -> list[str]:
    """Return the sequences that the libraries call for the described tables, which needs USAGE."""
    return [CALLED[bare(one)] for one in sut.broker.tables if bare(one) in CALLED]


def sequence_sql(table: str) -> str:
    """Return the SQL expression of the name of the sequence of a table, null if it has none."""
    name = literal(table)
    places = [f"pg_get_serial_sequence({name}, 'id')", f"({_OF_THE_DEFAULT.format(table=name)})"]
    if bare(table) in CALLED:
        places.insert(0, f"to_regclass({literal(identifier(CALLED[bare(table)]))})::text")
    return f"coalesce({', '.join(places)})"


def sequence_of(probe: SqlProbe, table: str) -> str | None:
    """Return the sequence that makes the ids of a table, as SQL names it; None if none does."""
    found: str | None = probe.query(f"SELECT {sequence_sql(table)}").scalar()
    return found
