"""Define the SQL statements of the durable transport.

A message is *waiting* (visible), *claimed* (invisible, `claimed_by` set), *scheduled* (invisible,
`available_at` set) or *parked* (invisible and neither: refused without a handler, or claimed by a
stock transport earlier). One statement changes its state, in a transaction of its own. An
acknowledgement deletes it.
"""

from __future__ import annotations

from sqlalchemy import text

CHANNEL = "kombu_message"
"""The channel of the table's trigger; the payload is the id of the queue."""

ANSWER = text("SELECT 1")

DECLARE = text("INSERT INTO kombu_queue (name) VALUES (:name) ON CONFLICT (name) DO NOTHING")
DECLARE_OWN = text(
    """
    INSERT INTO kombu_queue (name, owner, lease_until)
    VALUES (:name, :me, clock_timestamp() + make_interval(secs => :lease))
    ON CONFLICT (name) DO UPDATE
        SET owner = excluded.owner, lease_until = excluded.lease_until,
            bindings = CASE WHEN kombu_queue.owner = excluded.owner THEN kombu_queue.bindings
                ELSE '[]' END
    """
)
BIND = text(
    """
    UPDATE kombu_queue SET bindings = bindings || CAST(:binding AS jsonb)
    WHERE name = :name AND NOT bindings @> CAST(:binding AS jsonb)
    """
)
BOUND = text(
    """
    SELECT b ->> 'routing_key', b ->> 'pattern', name
    FROM kombu_queue, jsonb_array_elements(bindings) b
    WHERE owner IS NOT NULL AND b ->> 'exchange' = :exchange
    """
)
STORED = text(
    """
    SELECT b ->> 'routing_key', b ->> 'pattern', name, owner IS NULL
    FROM kombu_queue, jsonb_array_elements(bindings) b
    WHERE b ->> 'exchange' = :exchange
    """
)
FIND = text("SELECT id, name FROM kombu_queue WHERE name = ANY(:names)")
SIZE = text(
    "SELECT count(*) FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id"
    " WHERE m.visible AND q.name = :name"
)
PURGE = text(
    "DELETE FROM kombu_message m USING kombu_queue q"
    " WHERE q.id = m.queue_id AND q.name = :name AND (m.visible OR m.available_at IS NOT NULL)"
)
DROP = text(
    """
    WITH gone AS (
        DELETE FROM kombu_message m USING kombu_queue q WHERE q.id = m.queue_id AND q.name = :name
    )
    DELETE FROM kombu_queue WHERE name = :name
    """
)

DROP_OWN = text(
    """
    WITH own AS (SELECT id FROM kombu_queue WHERE owner = :me), gone AS (
        DELETE FROM kombu_message USING own WHERE queue_id = own.id
    )
    DELETE FROM kombu_queue USING own WHERE kombu_queue.id = own.id
    """
)

PUT = text(
    """
    INSERT INTO kombu_message (payload, queue_id, visible, available_at)
    SELECT :payload, id, CAST(:eta AS timestamptz) IS NULL, CAST(:eta AS timestamptz)
    FROM kombu_queue WHERE name = :name
    """
)
PUT_TO_ALL = text(
    """
    INSERT INTO kombu_message (payload, queue_id)
    SELECT :payload, id FROM kombu_queue
    WHERE owner IS NOT NULL
        AND bindings @> jsonb_build_array(jsonb_build_object('exchange', CAST(:exchange AS text)))
    """
)

# Queue by queue, so that each is read along its index; then the oldest of all are chosen.
TAKE = text(
    """
    WITH first AS MATERIALIZED (
        SELECT m.id FROM unnest(CAST(:queues AS bigint[])) q(id) CROSS JOIN LATERAL (
            SELECT id FROM kombu_message
            WHERE queue_id = q.id AND visible ORDER BY id LIMIT :count FOR UPDATE SKIP LOCKED
        ) m ORDER BY m.id LIMIT :count
    )
    DELETE FROM kombu_message m USING first WHERE m.id = first.id
    RETURNING m.id, m.queue_id, m.payload, m.deliveries
    """
)
CLAIM = text(
    """
    WITH others AS MATERIALIZED (
        SELECT m.id FROM unnest(CAST(:queues AS bigint[])) q(id) CROSS JOIN LATERAL (
            SELECT id FROM kombu_message
            WHERE queue_id = q.id AND visible AND deliveries < :trusted
            ORDER BY id LIMIT :count FOR UPDATE SKIP LOCKED
        ) m ORDER BY m.id LIMIT :count
    ), suspect AS MATERIALIZED (
        SELECT id FROM kombu_message
        WHERE visible AND deliveries > 0 AND deliveries >= :trusted
            AND queue_id = ANY(CAST(:queues AS bigint[]))
            AND NOT EXISTS (
                SELECT FROM kombu_message WHERE claimed_by = :me AND deliveries > :trusted
            )
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    ), first AS (
        SELECT id FROM others UNION ALL SELECT id FROM suspect ORDER BY id LIMIT :count
    )
    UPDATE kombu_message m SET visible = false, claimed_by = :me, deliveries = deliveries + 1,
        lease_until = clock_timestamp() + make_interval(secs => :lease)
    FROM first WHERE m.id = first.id
    RETURNING m.id, m.queue_id, m.payload, m.deliveries
    """
)
"""Of messages that outlived several consumers, a consumer claims one at a time: with the message
that killed them, the others would be counted, and refused, without a reason."""
ACK = text(
    "DELETE FROM kombu_message WHERE id = ANY(CAST(:ids AS bigint[])) AND claimed_by = :me"
    " RETURNING id"
)
RETURN = text(
    """
    WITH returned AS (
        UPDATE kombu_message SET visible = true, claimed_by = NULL, lease_until = NULL,
            waiting_since = clock_timestamp(), deliveries = deliveries - :untouched
        WHERE id = ANY(CAST(:ids AS bigint[])) AND claimed_by = :me
        RETURNING queue_id
    )
    SELECT pg_notify(:channel, queue_id::text) FROM (SELECT DISTINCT queue_id FROM returned) found
    """
)
RETURN_STRAYS = text(
    """
    WITH returned AS (
        UPDATE kombu_message SET visible = true, claimed_by = NULL, lease_until = NULL,
            waiting_since = clock_timestamp(), deliveries = greatest(deliveries - 1, 0)
        WHERE claimed_by = :me AND id <> ALL(CAST(:known AS bigint[]))
        RETURNING queue_id
    )
    SELECT pg_notify(:channel, queue_id::text) FROM (SELECT DISTINCT queue_id FROM returned) found
    """
)
PARK = text(
    "UPDATE kombu_message SET claimed_by = NULL, lease_until = NULL"
    " WHERE id = :id AND claimed_by = :me"
)

# A heartbeat in one statement: it extends the session's leases, returns the claims of consumers
# without lock and lease, and releases what is due. It skips locked rows, so that it cannot
# deadlock, and compares with now(), for which an index can be used.
BEAT = """
    WITH alive AS MATERIALIZED (
        SELECT (l.classid::bigint << 32) | l.objid::bigint AS key FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.objsubid = 1
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ), held AS MATERIALIZED (
        SELECT id FROM kombu_message WHERE claimed_by = %(me)s FOR UPDATE SKIP LOCKED
    ), mine AS (
        UPDATE kombu_message m
        SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
        FROM held WHERE m.id = held.id
    ), own AS (
        UPDATE kombu_queue SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
        WHERE owner = %(me)s
    ), left_over AS MATERIALIZED (
        SELECT id FROM kombu_message
        WHERE %(settled)s AND claimed_by <> %(me)s AND lease_until < now()
            AND claimed_by NOT IN (SELECT key FROM alive)
        FOR UPDATE SKIP LOCKED
    ), returned AS (
        UPDATE kombu_message m SET visible = true, claimed_by = NULL, lease_until = NULL,
            waiting_since = clock_timestamp()
        FROM left_over WHERE m.id = left_over.id
        RETURNING m.queue_id
    ), on_time AS MATERIALIZED (
        SELECT id FROM kombu_message WHERE available_at <= now() FOR UPDATE SKIP LOCKED
    ), due AS (
        UPDATE kombu_message m SET visible = true, available_at = NULL,
            waiting_since = clock_timestamp()
        FROM on_time WHERE m.id = on_time.id
        RETURNING m.queue_id
    ), woken AS MATERIALIZED (
        SELECT pg_notify(%(channel)s, queue_id::text)
        FROM (SELECT queue_id FROM returned UNION SELECT queue_id FROM due) found
    )
    SELECT (SELECT count(*) FROM returned), (SELECT count(*) FROM woken),
        (SELECT extract(epoch FROM min(available_at) - clock_timestamp()) FROM kombu_message
         WHERE available_at > now())
"""
REAP = """
    WITH dead AS MATERIALIZED (
        SELECT id FROM kombu_queue
        WHERE owner IS NOT NULL AND lease_until < now() AND owner NOT IN (
            SELECT (l.classid::bigint << 32) | l.objid::bigint FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.objsubid = 1
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        )
    ), gone AS (
        DELETE FROM kombu_message USING dead WHERE queue_id = dead.id
    )
    DELETE FROM kombu_queue USING dead WHERE kombu_queue.id = dead.id
"""

# For monitoring. The queues of single processes are left out.
WAITS = """
    SELECT q.name, extract(epoch FROM clock_timestamp() - min(m.waiting_since))::float8
    FROM kombu_queue q CROSS JOIN LATERAL (
        SELECT waiting_since FROM kombu_message
        WHERE queue_id = q.id AND visible AND (deliveries < %(trusted)s OR NOT EXISTS (
            SELECT FROM kombu_message WHERE claimed_by IS NOT NULL AND deliveries > %(trusted)s
        ))
        ORDER BY id LIMIT 100
    ) m
    WHERE q.owner IS NULL
    GROUP BY q.name
"""
"""How long the oldest of each queue's next messages has waited, in seconds. A message that outlived
several consumers does not count while another one is claimed: it is not claimed then."""
DEPTHS = text(
    """
    SELECT q.name, count(m.id) FILTER (WHERE m.visible), count(m.claimed_by),
        extract(epoch FROM clock_timestamp() - min(m.waiting_since) FILTER (WHERE m.visible))
            ::float8
    FROM kombu_queue q LEFT JOIN kombu_message m ON m.queue_id = q.id
    WHERE q.owner IS NULL
    GROUP BY q.name
    """
)
"""The number of messages of each queue that wait, of those that are claimed, and how long the
oldest has waited, in seconds."""
