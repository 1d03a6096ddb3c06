"""The tables of Celery's transport, the two queues, and wide ids for messages and results."""

from __future__ import annotations

from django.db import migrations

UP = """
CREATE SEQUENCE queue_id_sequence AS bigint;
CREATE SEQUENCE message_id_sequence AS bigint;
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
-- django-celery-results has ids of four bytes: after 2147483647 results it could store none.
ALTER TABLE django_celery_results_taskresult ALTER id TYPE bigint;
-- Kombu refuses one of two processes that declare the same queue at the same time: so none does.
INSERT INTO kombu_queue (name) VALUES ('register'), ('notices');
"""
DOWN = """
DROP TABLE kombu_message, kombu_queue;
DROP SEQUENCE message_id_sequence, queue_id_sequence;
ALTER TABLE django_celery_results_taskresult ALTER id TYPE integer;
"""


class Migration(migrations.Migration):
    """Make the tables of messages, and widen the ids of results."""

    initial = True
    dependencies = (("django_celery_results", "0014_alter_taskresult_status"),)
    operations = (migrations.RunSQL(UP, DOWN),)
