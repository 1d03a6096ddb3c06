"""Celery's messages and results in PostgreSQL, under the aliases that everyone uses.

`install()` puts this package's classes behind `sqla+postgresql://` (broker) and `db+postgresql://`
(results), so that URLs stay those of stock kombu and celery. They are the stock classes, changed
only where these cannot work here:

- the tables come from a migration and are never made or altered: the application role has no DDL;
- new messages are looked for every 0.05 s instead of every second, and kombu takes that interval
  from the class only (as an option it would reach `create_engine()`, and fail);
- a worker looks for them from an event loop, so that the death of one prefork child does not stop
  the others (`broker.Transport` says why);
- a queue is declared with ON CONFLICT: several processes that declare one at once all succeed;
- connections are named in `pg_stat_activity`, and never shared after a fork.

Messages are still claimed without a lease and never deleted: what a killed worker had claimed is
lost, and `celery inspect` reaches nobody. A transport of our own takes these classes' place.
"""

from __future__ import annotations

from celery.app.backends import BACKEND_ALIASES
from kombu.transport import TRANSPORT_ALIASES


def install() -> None:
    """Register broker and result classes under the stock aliases, for this process."""
    for alias in ("sqla", "sqlalchemy"):
        TRANSPORT_ALIASES[alias] = "system.transport.broker:Transport"
    for alias in ("db", "database"):
        BACKEND_ALIASES[alias] = "system.transport.results:Backend"
    TRANSPORT_ALIASES["unset"] = "system.transport.unconfigured:Transport"
    BACKEND_ALIASES["unset"] = "system.transport.unconfigured:Backend"
