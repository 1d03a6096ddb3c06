"""Falsifier: a tenant task that got no usable tenant runs for a default one instead."""

import uuid
from typing import Any

from celery import signals

_DEFAULT = "00000000-0000-4000-8000-000000000001"


def _is_tenant(value: object) -> bool:
    try:
        return bool(uuid.UUID(str(value)))
    except ValueError:
        return False


def _fill_in(kwargs: dict[str, Any], **_: object) -> None:
    if not _is_tenant(kwargs.get("tenant_id")):
        kwargs["tenant_id"] = _DEFAULT


signals.task_prerun.connect(_fill_in, weak=False)
