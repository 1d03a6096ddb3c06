"""Stand in for broker and result backend if no usable DSN is configured.

The app must be importable with nothing set (IMP-01). The first use of either then raises an error
that names what is missing; Celery's default would try to reach another kind of broker.
"""

from __future__ import annotations

import os
from typing import NoReturn

from celery.backends.base import DisabledBackend
from kombu.transport import virtual

from system import settings
from system.errors import ConfigurationError

URL = "unset://"


class Transport(virtual.Transport):
    """A broker whose use raises an error that says what is missing."""

    can_parse_url = True

    def __init__(self, *_: object, **__: object) -> None:
        explain()


class Backend(DisabledBackend):
    """A result backend whose use raises an error that says what is missing."""

    def __init__(self, *_: object, **__: object) -> None:
        explain()


def explain() -> NoReturn:
    """Raise an error that says what is missing in the environment.

    Raises:
        ConfigurationError: always; a DSN that is set after the import is too late.

    """
    settings.connections_from(os.environ)
    raise ConfigurationError(
        "DATABASE_URL: got it after the app was imported, expected it before; restart with it"
    )
