"""Add the durable transport's columns on messages and queues to the tables of stock kombu.

Every column has a default, so that the inserts of a stock publisher still work; the trigger wakes
workers for its rows too. Ids become bigint: kombu's sequences are, and publishing failed beyond
2³¹. Rows of a stock transport stay as they are: visible messages are delivered, and claimed ones
stay invisible, since nothing records whether they ran.

- `claimed_by`: key of the advisory lock that the consumer's session holds;
- `lease_until`: until when the claim holds without that lock;
- `available_at`: when an invisible, unclaimed message becomes visible;
- `deliveries`: the number of deliveries to a consumer;
- `kombu_queue.bindings`: which exchanges reach a queue that belongs to one process; `owner` and
  `lease_until` record that process's session and its lease.
"""

from alembic import op

revision = "celery_0004"
down_revision = "celery_0003"
branch_labels = None
depends_on = None

IDS = (
    ("kombu_queue", "id"),
    ("kombu_message", "id"),
    ("kombu_message", "queue_id"),
    ("celery_taskmeta", "id"),
    ("celery_tasksetmeta", "id"),
)

_COLUMNS = """
ALTER TABLE kombu_message
    ADD COLUMN claimed_by bigint,
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN available_at timestamptz,
    ADD COLUMN deliveries integer NOT NULL DEFAULT 0;
ALTER TABLE kombu_queue
    ADD COLUMN bindings jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN owner bigint,
    ADD COLUMN lease_until timestamptz;
CREATE INDEX ix_kombu_message_waiting ON kombu_message (queue_id, visible, id);
CREATE INDEX ix_kombu_message_claimed_by ON kombu_message (claimed_by)
    WHERE claimed_by IS NOT NULL;
CREATE INDEX ix_kombu_message_available_at ON kombu_message (available_at)
    WHERE available_at IS NOT NULL;
CREATE INDEX ix_kombu_message_again ON kombu_message (id) WHERE visible AND deliveries > 0;
CREATE INDEX ix_kombu_queue_owner ON kombu_queue (owner) WHERE owner IS NOT NULL;
ALTER TABLE kombu_message
    SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
"""

# A statement that inserts many rows wakes the consumers of each queue once.
_WAKE_UP = """
CREATE FUNCTION kombu_message_wake_up() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('kombu_message', found.queue_id::text)
    FROM (SELECT DISTINCT queue_id FROM inserted WHERE visible) found;
    RETURN NULL;
END
$$;
CREATE TRIGGER wake_up AFTER INSERT ON kombu_message
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION kombu_message_wake_up();
"""

_UNDO = """
DROP TRIGGER wake_up ON kombu_message;
DROP FUNCTION kombu_message_wake_up();
DROP INDEX ix_kombu_queue_owner, ix_kombu_message_again, ix_kombu_message_available_at,
    ix_kombu_message_claimed_by, ix_kombu_message_waiting;
ALTER TABLE kombu_message RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
UPDATE kombu_message SET visible = true
    WHERE NOT visible AND (claimed_by IS NOT NULL OR available_at IS NOT NULL);
ALTER TABLE kombu_message
    DROP COLUMN claimed_by, DROP COLUMN lease_until, DROP COLUMN available_at,
    DROP COLUMN deliveries;
ALTER TABLE kombu_queue DROP COLUMN bindings, DROP COLUMN owner, DROP COLUMN lease_until;
"""


def upgrade() -> None:
    for table, column in IDS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE bigint")
    op.execute(_COLUMNS)
    op.execute(_WAKE_UP)


def downgrade() -> None:
    """Undo all of it; PostgreSQL refuses if an id no longer fits into an integer."""
    op.execute(_UNDO)
    for table, column in IDS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE integer")
