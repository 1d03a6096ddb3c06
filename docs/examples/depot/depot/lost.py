"""Lost work: each job that failed is kept in a table, before its result can be seen."""

from __future__ import annotations

import traceback
from typing import Any

import psycopg
from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from kombu.utils import json
from psycopg.types.json import Jsonb

from depot.database import address

KEEP = """
INSERT INTO lost_work (job, name, depot, given, named, error, words, trace)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


class KeptTask(Task):  # type: ignore[misc]
    """A task whose failure is kept."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, and keep it if it fails."""
        try:
            return super().__call__(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:
            self._keep(args, kwargs, error)
            raise

    def _keep(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> None:
        number = kwargs.get("depot_id")
        values = (
            self.request.id,
            self.name,
            number if isinstance(number, int) else None,
            Jsonb(list(args), dumps=json.dumps),
            Jsonb(kwargs, dumps=json.dumps),
            type(error).__name__,
            str(error),
            traceback.format_exc(),
        )
        with psycopg.connect(address()) as connection:
            connection.execute(KEEP, values)
