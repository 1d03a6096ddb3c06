"""What `broker_transport_options` may say to this transport, and its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from system.errors import ConfigurationError

# Celery and kombu put these in the same place, for publishing and connecting, and read them.
THEIRS = frozenset(
    {
        *("callback", "errback", "interval_max", "interval_start", "interval_step"),
        *("max_retries", "retry_errors", "wait_for_workers"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Times in seconds; names are those of the options."""

    polling_interval: float = 5.0
    """How often to look for messages that nothing told of: a notification wakes at once."""
    pooled_polling_interval: float = 0.1
    """The same behind a pooler in transaction mode, where nothing notifies."""
    lease: float = 3.0
    """How long a claim outlives the session that holds it, when that is gone."""
    pooled_lease: float = 30.0
    """How long a claim outlives its last heartbeat behind a pooler, where no lock tells more."""
    heartbeat: float = 1.0
    """How often leases are prolonged, dead consumers' messages returned and due ones released."""
    max_deliveries: int = 5
    """How often a message is handed out before it is refused as one that kills its workers."""
    batch: int = 100
    """How many messages one statement claims at most."""

    @property
    def trusted(self) -> int:
        """How often a message may have been handed out and still go along with others."""
        return max(1, min(2, self.max_deliveries - 1))


def options_from(given: Mapping[str, Any]) -> Options:
    """Return the options of a connection.

    Args:
        given: `broker_transport_options`; what kombu and Celery read themselves is let through.

    Raises:
        ConfigurationError: a name is unknown, or a value is not a number above zero.

    """
    known = Options.__dataclass_fields__
    unknown = sorted(set(given) - set(known) - THEIRS)
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
