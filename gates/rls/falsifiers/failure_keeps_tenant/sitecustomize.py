"""Falsifier: after a failure, and only then, the tenant stays on the pooled connection.

As a handler would that sets the tenant again once the transaction has rolled back.
"""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import Pool

_GUC = "app.current_tenant_id"


def _remember(connection: Connection, _: object, statement: str, values: Any, *__: object) -> None:
    if "set_config(" in statement:
        connection.info["tenant"] = values["tenant_id"]


def _failed(connection: Connection) -> None:
    connection.info["failed"] = connection.info.pop("tenant", None)


def _keep(driver: Any, record: Any) -> None:
    tenant = record.info.pop("failed", None)
    if driver is not None and tenant is not None:
        with driver.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, false)", (_GUC, tenant))
        driver.commit()


event.listen(Engine, "before_cursor_execute", _remember)
event.listen(Engine, "rollback", _failed)
event.listen(Pool, "checkin", _keep)
