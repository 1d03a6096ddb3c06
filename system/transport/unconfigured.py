"""What stands in for broker and results where no usable DSN is configured.

Importing the app must work with nothing set (IMP-01); the first use of either then says what is
missing, instead of Celery's attempt to reach a broker of another kind on this machine.
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
    """A broker that cannot be reached, and says why."""

    can_parse_url = True

    def __init__(self, *_: object, **__: object) -> None:
        explain()


class Backend(DisabledBackend):
    """A result backend that cannot be used, and says why."""

    def __init__(self, *_: object, **__: object) -> None:
        explain()


def explain() -> NoReturn:
    """Raise the error that the environment deserves.

    Raises:
        ConfigurationError: always; set after the import, a DSN comes too late for this process.

    """
    settings.connections_from(os.environ)
    raise ConfigurationError(
        "DATABASE_URL: got it after the app was imported, expected it before; start anew with it"
    )
