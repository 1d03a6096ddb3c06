"""Create the tables of Celery's broker and result backend, as kombu and Celery would create them.

The application role then needs no DDL. `celery_taskmeta` has every column that the installed
backend knows, also those of extended results: for a missing column the backend tries ALTER TABLE,
which is only allowed to the owner.
"""

from alembic import op

revision = "celery_0001"
down_revision = None
branch_labels = ("celery_foundation",)
depends_on = None

TABLES = ("kombu_queue", "kombu_message", "celery_taskmeta", "celery_tasksetmeta")
SEQUENCES = (
    "queue_id_sequence",
    "message_id_sequence",
    "task_id_sequence",
    "taskset_id_sequence",
)

_BROKER = """
CREATE TABLE kombu_queue (
    id integer NOT NULL DEFAULT nextval('queue_id_sequence'),
    name varchar(200),
    CONSTRAINT kombu_queue_pkey PRIMARY KEY (id),
    CONSTRAINT kombu_queue_name_key UNIQUE (name)
);
CREATE TABLE kombu_message (
    id integer NOT NULL DEFAULT nextval('message_id_sequence'),
    visible boolean DEFAULT true,
    "timestamp" timestamp without time zone,
    payload text NOT NULL,
    version smallint NOT NULL DEFAULT 1,
    queue_id integer,
    CONSTRAINT kombu_message_pkey PRIMARY KEY (id),
    CONSTRAINT "FK_kombu_message_queue" FOREIGN KEY (queue_id) REFERENCES kombu_queue (id)
);
CREATE INDEX ix_kombu_message_timestamp ON kombu_message ("timestamp");
CREATE INDEX ix_kombu_message_timestamp_id ON kombu_message ("timestamp", id);
CREATE INDEX ix_kombu_message_visible ON kombu_message (visible);
"""

_RESULTS = """
CREATE TABLE celery_taskmeta (
    id integer NOT NULL DEFAULT nextval('task_id_sequence'),
    task_id varchar(155),
    status varchar(50),
    result bytea,
    date_done timestamp without time zone,
    traceback text,
    children bytea,
    name varchar(155),
    args bytea,
    kwargs bytea,
    worker varchar(155),
    retries integer,
    queue varchar(155),
    stamps bytea,
    CONSTRAINT celery_taskmeta_pkey PRIMARY KEY (id),
    CONSTRAINT celery_taskmeta_task_id_key UNIQUE (task_id)
);
CREATE INDEX ix_celery_taskmeta_date_done ON celery_taskmeta (date_done);
CREATE TABLE celery_tasksetmeta (
    id integer NOT NULL DEFAULT nextval('taskset_id_sequence'),
    taskset_id varchar(155),
    result bytea,
    date_done timestamp without time zone,
    CONSTRAINT celery_tasksetmeta_pkey PRIMARY KEY (id),
    CONSTRAINT celery_tasksetmeta_taskset_id_key UNIQUE (taskset_id)
);
CREATE INDEX ix_celery_tasksetmeta_date_done ON celery_tasksetmeta (date_done);
"""


def upgrade() -> None:
    for sequence in SEQUENCES:
        op.execute(f"CREATE SEQUENCE {sequence}")
    op.execute(_BROKER)
    op.execute(_RESULTS)
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(TABLES)} TO app_user")
    # Both libraries call nextval(); neither calls currval() or setval().
    op.execute(f"GRANT USAGE ON SEQUENCE {', '.join(SEQUENCES)} TO app_user")


def downgrade() -> None:
    for table in ("celery_tasksetmeta", "celery_taskmeta", "kombu_message", "kombu_queue"):
        op.execute(f"DROP TABLE {table}")
    for sequence in SEQUENCES:
        op.execute(f"DROP SEQUENCE {sequence}")
