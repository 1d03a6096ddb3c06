"""Values that expressions of the tables give to the system, and how they end.

It runs in the interpreter of the system, as a part of the program.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import inspect
import os
import random
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace as Some
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

identity = import_module("system.identity")
settings = import_module("system.settings")
signals = import_module("celery.signals")

A, B = UUID(int=0xA), UUID(int=0xB)
"""Two tenants."""
SECRET = "whsec_of_a_table"
TOKEN = "token-of-the-tenant-a-1"
DOWN = "postgresql+psycopg2://app_user@127.0.0.1:1/none"
"""The URL of a database that is not there."""


def rows_of(connection: Connection, statement: str) -> list[Any]:
    """Run a statement as it is written, without parameters, and return its rows."""
    cursor = connection.connection.cursor()
    cursor.execute(statement)
    return list(cursor.fetchall()) if cursor.description else []


def urls(**more: str) -> Any:
    """Return the URLs of the system, some of them changed."""
    return dataclasses.replace(settings.connections_from(os.environ), **more)


def good() -> None:
    """Answer."""


def bad() -> None:
    """Fail."""
    raise ValueError("no")


def raises(error: BaseException) -> None:
    """Fail with an error."""
    raise error


def raised_by(call: Callable[[], Any]) -> BaseException | None:
    """Return the error of a call."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 (it is returned)
        return error
    return None


def eventually(condition: Callable[[], bool], most_s: float = 20) -> bool:
    """Return whether a condition becomes true in time."""
    end = time.monotonic() + most_s
    while not (is_true := condition()) and time.monotonic() < end:
        time.sleep(0.002)
    return is_true


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return an error that was raised, perhaps from another one."""
    try:
        raise error from cause  # noqa: TRY301 (nothing else raises)
    except BaseException as caught:  # noqa: BLE001 (it is returned)
        return caught


def driver(code: str | None, message: str = "m", *, lost: bool = False) -> Any:
    """Return an error of SQLAlchemy whose driver's error has this code, perhaps of a lost one."""
    orig: Any = Some(pgcode=code)
    return DBAPIError(message, {}, orig, connection_invalidated=lost)


def event(event_id: str = "evt_1", **more: Any) -> dict[str, Any]:
    """Return the body of an event of Stripe."""
    known = {"id": event_id, "object": "event", "type": "charge.succeeded"}
    return {**known, "created": 1769860800, "data": {"object": {}}, **more}


def order(**more: Any) -> dict[str, Any]:
    """Return the body of an event of Shopify."""
    known = {"id": 1, "created_at": "2026-01-31T12:00:00Z", "currency": "EUR"}
    return {**known, "total_price": "1.50", **more}


def page(schema: Any, *, path: Any = (), own: Any = (), parts: Any = None) -> dict[str, Any]:
    """Return the document of a vendor `v`."""
    body = {"content": {"application/json": {"schema": schema}}}
    item = {"parameters": path, "post": {"parameters": own, "requestBody": body}}
    return {"paths": {"/webhooks/v/{endpoint}": item}, "components": parts or {}}


def signature(vendor: str, raw: bytes) -> dict[str, str]:
    """Return the headers of a delivery that is signed."""
    if vendor == "stripe":
        now = int(time.time())
        signed = hmac.digest(SECRET.encode(), f"{now}.".encode() + raw, hashlib.sha256)
        return {"stripe-signature": f"t={now},v1={signed.hex()}"}
    mac = base64.b64encode(hmac.digest(SECRET.encode(), raw, hashlib.sha256)).decode()
    names = {"shopify": "x-shopify-hmac-sha256", "woocommerce": "x-wc-webhook-signature"}
    return {names[vendor]: mac}


def stamped(headers: dict[str, Any], body: Any) -> dict[str, Any]:
    """Return the headers of a message as they are published."""
    signals.before_task_publish.send(sender="n", headers=headers, body=body)
    return headers


def arrived(headers: dict[str, Any]) -> list[Any]:
    """Return the headers of a message that a worker receives, and its request."""
    message, passed = Some(headers=headers), {"id": "i"}
    request = Some(message=message, request_dict=passed)
    identity._keep(request=request)  # noqa: SLF001
    return [headers, passed]


def timed(call: Callable[[], Any], *, least: float = 0.0, most: float = 30.0) -> list[Any]:
    """Return the result of a call, and whether it took a time in these limits."""
    began = time.monotonic()
    result = call()
    return [result, least <= time.monotonic() - began < most]


def spread(call: Callable[[], timedelta], unit_s: float = 1.0) -> list[float]:
    """Return the least and the greatest of many results, in units with one digit."""
    random.seed(1)
    found = [call().total_seconds() / unit_s for _ in range(400)]
    return [round(min(found), 1), round(max(found), 1)]


def with_env(call: Callable[[], Any], **env: str) -> Any:
    """Return the result of a call with these variables."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        return call()
    finally:
        os.environ.clear()
        os.environ.update(before)


def defaults(function: Any) -> dict[str, Any]:
    """Return what is used for the arguments that a caller leaves out."""
    found = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in found if one.default is not one.empty}


def refusals(call: Callable[[Any], Any], *values: Any) -> list[str]:
    """Return how a call ends with each value: the class of its error, and its text."""
    found = []
    for value in values:
        try:
            found.append(f"returned {call(value)!r}")
        except Exception as error:  # noqa: BLE001 (it is the result)
            found.append(f"{type(error).__name__}: {error}")
    return found


def shown(value: Any) -> Any:
    """Return a value as JSON has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


NAMED = {name: value for name, value in globals().items() if not name.startswith("_")}
"""Names in expressions: everything in this module."""
