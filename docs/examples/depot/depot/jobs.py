"""The jobs of the depots: `celery -A depot.jobs:jobs worker --pool threads`."""

from __future__ import annotations

from celery import Celery

from depot import numbers
from depot.database import address, depot

# For Celery's tables psycopg2: with psycopg, SQLAlchemy casts each id to four bytes.
jobs = Celery("depot", task_cls="depot.lost:KeptTask")
jobs.conf.update(
    broker_url=f"sqla+{address('psycopg2')}",
    result_backend=f"db+{address('psycopg2')}",
    broker_connection_retry_on_startup=True,
    task_default_queue="bookings",
    task_routes={"depot.counts.*": {"queue": "counts"}},
    worker_pool="threads",
)
numbers.connect()


@jobs.task(name="depot.bookings.move")
def move(depot_id: int, article: str, pieces: int) -> int:
    """Book pieces of an article that came, or that went if the number is negative."""
    with depot(depot_id) as connection:
        connection.execute(
            "INSERT INTO moves (depot_id, article, pieces) VALUES (%s, %s, %s)",
            (depot_id, article, pieces),
        )
    return pieces


@jobs.task(name="depot.counts.count")
def count(depot_id: int, article: str) -> int:
    """Return how many pieces of an article a depot has."""
    with depot(depot_id) as connection:
        found = connection.execute(
            "SELECT coalesce(sum(pieces), 0)::bigint FROM moves WHERE article = %s", (article,)
        ).fetchone()
    return found[0] if found else 0
