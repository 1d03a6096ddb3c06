"""The fault kind `message`: triggers that change, drop, duplicate, delay or keep what is queued.

For brokers on SQLAlchemy's tables. Only messages of tasks are changed: commands of remote control
pass. The evidence that the fault landed is the definition of the trigger, what it does to a sample
message in a transaction that is rolled back, and how many messages it has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from psycopg import sql as pgsql

from gateproof.base.errors import HarnessError
from gateproof.faults.interface import Fault
from gateproof_evidence.errors import BadInputError

if TYPE_CHECKING:
    from gateproof.probes.sql import Session
    from gateproof.stack.copy import Copy

Act = Literal["drop", "duplicate", "delay", "move", "edit", "keep", "return", "keep-queues"]

NAME, COUNT = "gateproof_message", "gateproof_changed_messages"
IS_TASK = "NEW.payload::json #>> '{headers,task}' IS NOT NULL"
COUNTED = f"PERFORM nextval('{COUNT}');"
SAMPLE = '{"headers": {"task": "gateproof.sample", "id": "gateproof-sample"}, "body": "sample"}'
MOST_RETURNED = 200
"""How many deleted messages return: a task whose message always returns would run for ever."""
NEXT_ID = "nextval(coalesce(pg_get_serial_sequence('{messages}', 'id'), 'message_id_sequence'))"

ACTS: dict[Act, tuple[str, str, str]] = {
    "drop": ("BEFORE INSERT", "messages", f"IF {IS_TASK} THEN {COUNTED} RETURN NULL; END IF;"),
    "duplicate": (
        "AFTER INSERT",
        "messages",
        (
            f"IF {IS_TASK} AND pg_trigger_depth() = 1 THEN {COUNTED} NEW.id := {NEXT_ID};"
            " INSERT INTO {messages} SELECT NEW.*; END IF;"
        ),
    ),
    "delay": ("BEFORE INSERT", "messages", f"IF {IS_TASK} THEN {COUNTED} {{change}} END IF;"),
    "move": ("BEFORE INSERT", "messages", f"IF {IS_TASK} THEN {COUNTED} {{change}} END IF;"),
    "edit": ("BEFORE INSERT", "messages", f"IF {IS_TASK} THEN {COUNTED} {{change}} END IF;"),
    "return": (
        "AFTER DELETE",
        "messages",
        (
            f"IF {IS_TASK.replace('NEW', 'OLD')} AND nextval('{COUNT}') <= {MOST_RETURNED} THEN"
            " INSERT INTO {messages} (id, visible, timestamp, payload, version, queue_id) VALUES"
            f" ({NEXT_ID}, true, now(), OLD.payload, OLD.version, OLD.queue_id); END IF;"
        ),
    ),
    "keep": ("BEFORE DELETE", "messages", f"{COUNTED} RETURN NULL;"),
    "keep-queues": ("BEFORE DELETE", "queues", f"{COUNTED} RETURN NULL;"),
}
"""Each act: when the trigger acts, on which table, and the statements of its function."""


@dataclass(frozen=True, kw_only=True)
class MessageFault(Fault):
    """A trigger on the tables of the broker."""

    kind = "message"
    passage = "a trigger on its messages"

    act: Act
    queue: str = ""
    pattern: str = ""
    replacement: str = ""
    delay_s: float = 0.0
    messages: str = "kombu_message"
    queues: str = "kombu_queue"

    def describe(self) -> str:
        """Return the statements."""
        return f"as superuser: {self._statement()}"

    def change_inertly(self, copy: Copy) -> str:
        """Create a trigger that changes nothing."""
        self._require_tables(copy)
        copy.stack.sql.execute(
            f"CREATE FUNCTION {NAME}_inert() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RETURN NEW; END $$; CREATE TRIGGER {NAME}_inert BEFORE INSERT ON"
            f" {self.messages} FOR EACH ROW EXECUTE FUNCTION {NAME}_inert()",
            role=None,
        )
        return f"a trigger on {self.messages} that changes nothing"

    def fingerprint(self, copy: Copy) -> str:
        """Return the trigger, its effect on a sample, and the number of changed messages."""
        self._require_tables(copy)
        stack = copy.stack
        found = stack.sql.query(
            "SELECT pg_get_triggerdef(t.oid), md5(p.prosrc) FROM pg_trigger t"
            " JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgname = %s",
            (NAME,),
        ).rows
        count = 0
        if found:
            query = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {COUNT}"
            count = int(stack.sql.query(query).scalar())
        with stack.sql.session() as session:
            effect = self._effect(session)
            session.rollback()
        return f"trigger {found or 'none'}; {effect}; changed so far: {count}"

    def inject(self, copy: Copy) -> None:
        """Create the trigger."""
        copy.stack.sql.execute(self._statement(), role=None)

    def _require_tables(self, copy: Copy) -> None:
        query = "SELECT to_regclass(%s) IS NOT NULL AND to_regclass(%s) IS NOT NULL"
        if not copy.stack.sql.query(query, (self.messages, self.queues)).scalar():
            raise HarnessError(
                f"tables of the broker: got none, expected {self.messages} and {self.queues}; this "
                "fault is for a broker on SQLAlchemy's tables"
            )

    def _effect(self, session: Session) -> str:
        """Insert and delete a sample, and return what is stored after each, in words."""
        name = f"{NAME}_sample"
        session.query(f"INSERT INTO {self.queues} (id, name) VALUES (-1, %s)", (name,))
        began = session.query("SELECT extract(epoch FROM clock_timestamp())").scalar()
        session.query(
            f"INSERT INTO {self.messages} (id, visible, timestamp, payload, version, queue_id)"
            " VALUES (-1, true, now(), %s, 1, -1)",
            (SAMPLE,),
        )
        ended = session.query("SELECT extract(epoch FROM clock_timestamp())").scalar()
        inserted = self._stored(session, name)
        samples = f"FROM {self.messages} WHERE payload LIKE '%%gateproof-sample%%' OR id = -1"
        session.query(f"DELETE {samples}")
        kept = session.query(f"SELECT count(*) {samples}").scalar()
        left = ""
        if not kept:
            session.query(f"DELETE FROM {self.queues} WHERE id = -1")
            query = f"SELECT count(*) FROM {self.queues} WHERE id = -1"
            left = f", queues after its deletion: {session.query(query).scalar()}"
        return (
            f"a sample is stored as {inserted} after {float(ended - began):.0f} s,"
            f" rows after its deletion: {kept}{left}"
        )

    def _stored(self, session: Session, name: str) -> list[tuple[str, str]]:
        rows = session.query(
            f"SELECT CASE q.name WHEN %s THEN 'its queue' ELSE q.name END, m.payload"
            f" FROM {self.messages} m JOIN {self.queues} q ON q.id = m.queue_id"
            " WHERE m.payload LIKE '%%gateproof-sample%%' OR m.id = -1 ORDER BY m.id",
            (name,),
        ).rows
        return [(str(queue), str(payload)) for queue, payload in rows]

    def _statement(self) -> str:
        when, table, body = ACTS[self.act]
        tables = {"messages": self.messages, "queues": self.queues}
        for name, value in (*tables.items(), ("change", self._change())):
            body = body.replace(f"{{{name}}}", value)
        return (
            f"{self._queue()}CREATE SEQUENCE {COUNT};"
            f" CREATE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql"
            f" SECURITY DEFINER AS $gateproof$ BEGIN {body}"
            f" RETURN {'OLD' if 'DELETE' in when else 'NEW'}; END $gateproof$;"
            f" CREATE TRIGGER {NAME} {when} ON {tables[table]}"
            f" FOR EACH ROW EXECUTE FUNCTION {NAME}();"
        )

    def _queue(self) -> str:
        """Return the statement that creates the queue to move to, if there is none."""
        if not self.queue:
            return ""
        name = pgsql.Literal(self.queue).as_string(None)
        return (
            f"INSERT INTO {self.queues} (id, name) SELECT nextval(coalesce("
            f"pg_get_serial_sequence('{self.queues}', 'id'), 'queue_id_sequence')), {name}"
            f" WHERE NOT EXISTS (SELECT FROM {self.queues} WHERE name = {name}); "
        )

    def _change(self) -> str:
        """Return the statement that changes a new message."""
        if self.act == "delay":
            return f"PERFORM pg_sleep({self.delay_s});"
        if self.act == "move":
            name = pgsql.Literal(self.queue).as_string(None)
            return (
                f"NEW.queue_id := (SELECT id FROM {self.queues} WHERE name = {name});"
                if self.queue
                else f"NEW.queue_id := (SELECT id FROM {self.queues} WHERE id <> NEW.queue_id"
                " AND name NOT LIKE '%.pidbox' ORDER BY name LIMIT 1);"
            )
        pattern = pgsql.Literal(self.pattern).as_string(None)
        replacement = pgsql.Literal(self.replacement).as_string(None)
        return f"NEW.payload := regexp_replace(NEW.payload, {pattern}, {replacement}, 'g');"


def message(
    name: str,
    act: Act,
    *,
    queue: str = "",
    pattern: str = "",
    replacement: str = "",
    delay_s: float = 1.0,
    messages: str = "kombu_message",
    queues: str = "kombu_queue",
) -> MessageFault:
    r"""Break a claim by what happens to queued messages.

    Args:
        name: a slug.
        act: ``drop``, ``duplicate`` or ``delay`` each message of a task; ``move`` it to another
            queue; ``edit`` its text; ``return`` it to its queue after the system has deleted it;
            ``keep`` messages, or with ``keep-queues`` queues, that the system deletes.
        queue: where ``move`` puts messages; by default, the first other queue by name.
        pattern: a regular expression of PostgreSQL for parts of the JSON text of a message ...
        replacement: ... and what ``edit`` replaces each with, with ``\1`` for groups.
        delay_s: how long ``delay`` keeps a publisher waiting, in seconds.
        messages: the table of messages.
        queues: the table of queues.

    Raises:
        BadInputError: ``edit`` has no pattern, or a pattern is given for another act.

    """
    if (act == "edit") != bool(pattern):
        raise BadInputError(
            f"falsifier {name}: {act}: got {pattern=}, expected a pattern for edit, and only for it"
        )
    return MessageFault(
        name=name,
        act=act,
        queue=queue,
        pattern=pattern,
        replacement=replacement,
        delay_s=delay_s,
        messages=messages,
        queues=queues,
    )
