"""Log lines about messages that the worker refuses, without what the messages hold.

Celery quotes a refused message whole, its arguments included: a token among them would stand in the
log (OBS-09). Owns these lines only; what becomes of the message is Celery's business.
"""

from __future__ import annotations

import logging

from celery.worker.consumer import consumer

_CELERY = vars(consumer)  # celery-types leaves these constants out

SAID: dict[str, str] = {
    _CELERY["UNKNOWN_FORMAT"]: "message of an unknown format refused",
    _CELERY["UNKNOWN_TASK_ERROR"]: "message for an unknown task refused",
    _CELERY["INVALID_TASK_ERROR"]: "invalid message refused",
    _CELERY["MESSAGE_DECODE_ERROR"]: "undecodable message refused",
}
"""Celery's texts, each of which quotes the message, and what is said instead."""


def connect() -> None:
    """Shorten Celery's lines; the error and its traceback, which quote nothing, stay."""
    logging.getLogger(consumer.__name__).addFilter(shorten)


def shorten(record: logging.LogRecord) -> bool:
    """Take the quoted message out of a record; every record is let through."""
    if record.msg in SAID:
        record.msg, record.args = SAID[record.msg], ()
    return True
