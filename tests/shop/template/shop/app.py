"""The Celery app of the shop."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

DSN = os.environ.get("SHOP_DSN", "postgresql+psycopg2://shop@127.0.0.1:1/shop")

app = Celery("shop", broker=f"sqla+{DSN}", backend=f"db+{DSN}")
app.conf.task_default_queue = "orders"


@app.task(name="shop.ping")
def ping(*, fail: bool = False) -> dict[str, Any]:
    """Answer, or fail on request."""
    if fail:
        raise ValueError("the ping was asked to fail")
    return {"status": "ok"}
