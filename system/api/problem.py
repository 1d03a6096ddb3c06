"""Make problem documents, the only form of an error. Source: RFC 9457."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

PROBLEM_TYPE = "application/problem+json"

# The names of RFC 9110, which Python has from 3.13 on.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


def document(status: int, *, detail: str | None = None, correlation_id: str | None = None) -> bytes:
    """Return a problem document as JSON.

    Args:
        status: from 400 to 599.
        detail: what to correct; it quotes nothing that was sent.
        correlation_id: that of the request, if it is known.

    """
    content: dict[str, object] = {"type": "about:blank", "title": title(status), "status": status}
    if detail:
        content["detail"] = detail
    if correlation_id:
        content["correlation_id"] = correlation_id
    return json.dumps(content).encode()


def title(status: int) -> str:
    """Return the name of a status."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def headers_of(status: int, *, retry_after_s: int) -> Mapping[str, str]:
    """Return the headers that a refusal with a status needs."""
    return {"Retry-After": str(retry_after_s)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
