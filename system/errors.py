"""Define the errors of the reference system: one root, messages as *rule: got, expected*.

Only `system.worker` ends the process.
"""

from __future__ import annotations


class ReferenceSystemError(Exception):
    """The root of every error of this package."""


class ConfigurationError(ReferenceSystemError):
    """A setting is missing or cannot be used; the message never repeats a URL."""


class TenantError(ReferenceSystemError):
    """A tenant task was called without a valid tenant id."""


class EndpointError(ReferenceSystemError):
    """The monitoring endpoint cannot be served."""


class UndeliverableError(ReferenceSystemError):
    """A message was delivered too often, and each time its worker died."""


class EncryptionError(ReferenceSystemError):
    """Encrypted arguments cannot be decrypted."""


class SpoolError(ReferenceSystemError):
    """A dead-letter row cannot be kept on disk."""


class StalledError(ReferenceSystemError):
    """A worker that is alive makes no progress while messages wait."""


class UnroutableError(ReferenceSystemError):
    """A message has a routing key that no queue is bound to."""


class ContractError(ReferenceSystemError):
    """A contract cannot be read, compared or released."""


class IngestionError(ReferenceSystemError):
    """A delivered event cannot be read or stored."""


class MocksError(ReferenceSystemError):
    """The mock servers cannot be started or stopped."""
