"""Shorten log lines about refused messages, which would quote the messages.

Celery quotes a refused message with its arguments: a token among them would be in the log (OBS-09).
Owns these lines only; Celery handles the message.
"""

from __future__ import annotations

import logging

from celery.worker.consumer import consumer

_CELERY = vars(consumer)  # celery-types leaves these constants out

REPLACEMENTS: dict[str, str] = {
    _CELERY["UNKNOWN_FORMAT"]: "message of an unknown format refused",
    _CELERY["UNKNOWN_TASK_ERROR"]: "message for an unknown task refused",
    _CELERY["INVALID_TASK_ERROR"]: "invalid message refused",
    _CELERY["MESSAGE_DECODE_ERROR"]: "undecodable message refused",
}
"""Celery's texts, each of which quotes the message, and their replacements."""


def connect() -> None:
    """Shorten Celery's lines; keep the error and its traceback, which quote nothing."""
    logging.getLogger(consumer.__name__).addFilter(shorten)


def shorten(record: logging.LogRecord) -> bool:
    """Remove the quoted message from a record; let every record through."""
    if record.msg in REPLACEMENTS:
        record.msg, record.args = REPLACEMENTS[record.msg], ()
    return True
