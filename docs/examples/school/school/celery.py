"""The Celery app: `celery -A school worker`."""

from __future__ import annotations

import os

from celery import Celery

from school.settings import address

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "school.settings")

# The broker is the same database. For Celery's transport psycopg2: with psycopg, SQLAlchemy casts
# each id of a message to four bytes. Not a setting of Django: `celery report` would print it.
app = Celery("school", broker=f"sqla+postgresql+psycopg2://{address.partition('://')[2]}")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
