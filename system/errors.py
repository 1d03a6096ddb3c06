"""The errors that the reference system raises itself; one root, messages as *rule: got, expected*.

Owns the types only. Ending the process is left to `system.worker`.
"""

from __future__ import annotations


class ReferenceSystemError(Exception):
    """The root of every error of this package."""


class ConfigurationError(ReferenceSystemError):
    """A setting is missing or cannot be used; the message never holds its value if it is a URL."""


class TenantError(ReferenceSystemError):
    """A tenant task came without a usable tenant."""


class EndpointError(ReferenceSystemError):
    """The monitoring endpoint cannot be served."""


class UndeliverableError(ReferenceSystemError):
    """A message was handed out again and again, and each time its worker died."""


class SealError(ReferenceSystemError):
    """Arguments that were sealed cannot be read."""


class SpoolError(ReferenceSystemError):
    """A dead letter cannot be kept on disk."""
