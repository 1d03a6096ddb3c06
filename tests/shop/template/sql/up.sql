CREATE SEQUENCE queue_id_sequence;
CREATE SEQUENCE message_id_sequence;
CREATE SEQUENCE task_id_sequence;
CREATE SEQUENCE taskset_id_sequence;
CREATE TABLE kombu_queue (
    id integer PRIMARY KEY DEFAULT nextval('queue_id_sequence'),
    name varchar(200) UNIQUE
);
CREATE TABLE kombu_message (
    id integer PRIMARY KEY DEFAULT nextval('message_id_sequence'),
    visible boolean,
    timestamp timestamp,
    payload text NOT NULL,
    version smallint NOT NULL,
    queue_id integer REFERENCES kombu_queue
);
CREATE TABLE celery_taskmeta (
    id integer PRIMARY KEY DEFAULT nextval('task_id_sequence'),
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
    id integer PRIMARY KEY DEFAULT nextval('taskset_id_sequence'),
    taskset_id varchar(155) UNIQUE,
    result bytea,
    date_done timestamp
);
CREATE TABLE shop_failures (id serial PRIMARY KEY, task_id text);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO shop;
