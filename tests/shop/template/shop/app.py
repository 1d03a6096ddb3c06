"""The Celery app of the shop."""

from __future__ import annotations

import os
from typing import Any

import psycopg2
from celery import Celery
from celery.signals import worker_init

DSN = os.environ.get("SHOP_DSN", "postgresql+psycopg2://shop@127.0.0.1:1/shop")

app = Celery("shop", broker=f"sqla+{DSN}", backend=f"db+{DSN}")
app.conf.task_default_queue = "orders"
SESSIONS: list[Any] = []
"""The session by which the web server sees that a worker runs."""


@worker_init.connect
def show_presence(**_: object) -> None:
    """Hold a session for as long as the worker runs."""
    dsn = DSN.replace("+psycopg2", "")
    SESSIONS.append(psycopg2.connect(dsn, application_name="shop worker"))


@app.task(name="shop.ping")
def ping(*, fail: bool = False) -> dict[str, Any]:
    """Answer, or fail on request."""
    if fail:
        raise ValueError("the ping was asked to fail")
    return {"status": "ok"}
