CREATE TABLE moves (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    depot_id bigint NOT NULL,
    article varchar(40) NOT NULL,
    pieces integer NOT NULL CHECK (pieces <> 0),
    booked_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE moves ENABLE ROW LEVEL SECURITY;
ALTER TABLE moves FORCE ROW LEVEL SECURITY;
CREATE POLICY of_depot ON moves TO depot_worker
    USING (depot_id = nullif(current_setting('depot.number', true), '')::bigint)
    WITH CHECK (depot_id = nullif(current_setting('depot.number', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON moves TO depot_worker;

-- Workers write lost work, and read none of it: it has the arguments of all depots.
CREATE TABLE lost_work (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job varchar(155) NOT NULL UNIQUE,
    name text NOT NULL,
    depot bigint,
    given jsonb NOT NULL DEFAULT '[]',
    named jsonb NOT NULL DEFAULT '{}',
    error text NOT NULL,
    words text NOT NULL DEFAULT '',
    trace text,
    state text NOT NULL DEFAULT 'lost' CHECK (state IN ('lost', 'found', 'given up')),
    lost_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON lost_work (state);
CREATE INDEX ON lost_work (depot);
CREATE INDEX ON lost_work (name);
GRANT INSERT ON lost_work TO depot_worker;

-- The tables of Celery's transport and result backend: a migration makes them, not the worker.
CREATE SEQUENCE queue_id_sequence AS bigint;
CREATE SEQUENCE message_id_sequence AS bigint;
CREATE SEQUENCE task_id_sequence AS bigint;
CREATE SEQUENCE taskset_id_sequence AS bigint;
CREATE TABLE kombu_queue (
    id bigint PRIMARY KEY DEFAULT nextval('queue_id_sequence'),
    name varchar(200) UNIQUE
);
CREATE TABLE kombu_message (
    id bigint PRIMARY KEY DEFAULT nextval('message_id_sequence'),
    visible boolean,
    timestamp timestamp,
    payload text NOT NULL,
    version smallint NOT NULL,
    queue_id bigint REFERENCES kombu_queue
);
CREATE INDEX ix_kombu_message_visible ON kombu_message (visible);
CREATE INDEX ix_kombu_message_timestamp ON kombu_message (timestamp);
CREATE TABLE celery_taskmeta (
    id bigint PRIMARY KEY DEFAULT nextval('task_id_sequence'),
    task_id varchar(155) UNIQUE,
    status varchar(50),
    result bytea,
    date_done timestamp,
    traceback text,
    name varchar(155),
    args bytea,
    kwargs bytea,
    worker varchar(155),
    retries integer,
    queue varchar(155),
    children bytea,
    stamps bytea
);
CREATE TABLE celery_tasksetmeta (
    id bigint PRIMARY KEY DEFAULT nextval('taskset_id_sequence'),
    taskset_id varchar(155) UNIQUE,
    result bytea,
    date_done timestamp
);
GRANT SELECT, INSERT, UPDATE, DELETE
    ON kombu_queue, kombu_message, celery_taskmeta, celery_tasksetmeta TO depot_worker;
GRANT USAGE
    ON queue_id_sequence, message_id_sequence, task_id_sequence, taskset_id_sequence TO depot_worker;

-- Kombu refuses one of two processes that declare the same queue at the same time: so none does.
INSERT INTO kombu_queue (name) VALUES ('bookings'), ('counts');
