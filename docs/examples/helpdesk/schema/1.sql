CREATE TABLE workspaces (name text PRIMARY KEY CHECK (name ~ '^[a-z0-9-]+$'));

CREATE TABLE tickets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace text NOT NULL,
    subject varchar(200) NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'answered', 'closed')),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE replies (
    ticket bigint NOT NULL REFERENCES tickets ON DELETE CASCADE,
    position integer NOT NULL CHECK (position > 0),
    workspace text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (ticket, position)
);

ALTER TABLE tickets ENABLE ROW LEVEL SECURITY;
ALTER TABLE tickets FORCE ROW LEVEL SECURITY;
ALTER TABLE replies ENABLE ROW LEVEL SECURITY;
ALTER TABLE replies FORCE ROW LEVEL SECURITY;
CREATE POLICY of_workspace ON tickets TO helpdesk_app
    USING (workspace = nullif(current_setting('helpdesk.workspace', true), ''))
    WITH CHECK (workspace = nullif(current_setting('helpdesk.workspace', true), ''));
CREATE POLICY of_workspace ON replies TO helpdesk_app
    USING (workspace = nullif(current_setting('helpdesk.workspace', true), ''))
    WITH CHECK (workspace = nullif(current_setting('helpdesk.workspace', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON tickets, replies TO helpdesk_app;

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
    ON kombu_queue, kombu_message, celery_taskmeta, celery_tasksetmeta TO helpdesk_app;
GRANT USAGE
    ON queue_id_sequence, message_id_sequence, task_id_sequence, taskset_id_sequence TO helpdesk_app;

-- Kombu refuses one of two processes that declare the same queue at the same time: so none does.
INSERT INTO kombu_queue (name) VALUES ('desk'), ('reports');
