"""Define the options of `broker_transport_options` for this transport, and their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from system.errors import ConfigurationError

# Celery and kombu read these options from the same place, for publishing and connecting.
FOREIGN = frozenset(
    {
        *("callback", "errback", "interval_max", "interval_start", "interval_step"),
        *("max_retries", "retry_errors", "wait_for_workers"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options by name; times are in seconds."""

    polling_interval: float = 5.0
    """How often to poll for messages without a notification, which wakes at once."""
    pooled_polling_interval: float = 0.1
    """The same behind a pooler in transaction mode, without notifications."""
    lease: float = 3.0
    """How long a claim outlives the session that holds it."""
    pooled_lease: float = 30.0
    """How long a claim outlives its last heartbeat behind a pooler, where locks are not usable."""
    heartbeat: float = 1.0
    """How often leases are extended, claims of dead consumers returned, due messages released."""
    max_deliveries: int = 5
    """The delivery limit: then a message is refused as one that kills its workers."""
    batch: int = 100
    """The greatest number of messages that one statement claims."""

    @property
    def trusted(self) -> int:
        """The number of deliveries up to which a message is claimed together with others."""
        return max(1, min(2, self.max_deliveries - 1))


def options_from(given: Mapping[str, Any]) -> Options:
    """Return the options of a connection.

    Args:
        given: `broker_transport_options`; names that kombu and Celery read are let through.

    Raises:
        ConfigurationError: a name is unknown, or a value is not a number above zero.

    """
    known = Options.__dataclass_fields__
    unknown = sorted(set(given) - set(known) - FOREIGN)
    if unknown:
        raise ConfigurationError(
            f"broker_transport_options: got {', '.join(unknown)}, expected "
            f"{', '.join(sorted(known))}; correct the name or leave it out"
        )
    chosen = {name: value for name, value in given.items() if name in known}
    for name, value in chosen.items():
        kind = int if known[name].type == "int" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigurationError(
                f"broker_transport_options: {name}: got {value!r}, expected {wanted} above zero; "
                "correct it"
            )
    return Options(**chosen)
