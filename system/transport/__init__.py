"""Celery's messages and results in PostgreSQL, so that a lost process loses nothing.

`install()` puts this package's classes behind `sqla+postgresql://` (broker) and `db+postgresql://`
(results), so that URLs stay those of stock kombu and celery, and the tables do too: a publisher
with stock kombu can share them. No extension and no rights beyond reading and writing the tables.

What stock lacks and this has:

1. **A message is deleted when it is acknowledged**, and not before. A claim (SKIP LOCKED, in
   batches) records the session that holds it; `session` says when a claim is returned.
2. **A dead worker's messages come back**: its session's advisory lock is gone at once, its lease
   after three seconds, and any other worker's heartbeat returns them. A long task is never run
   again while the process that runs it is connected, or reconnects within the lease.
3. **A connection that breaks stops nothing**: tasks go on, claims are kept, acknowledgements wait.
   Once it is back, its queues are declared anew, what was claimed and never arrived is returned,
   and other workers get some seconds to come back too before their claims count as a dead one's.
4. **Tasks with an ETA or a countdown wait in the table**, not in a worker. (`inspect scheduled`
   does not list them; a stock publisher's are held by a worker, under a lease as all.)
5. **A message that kills its workers ends**: after `max_deliveries` it is refused (`refusals`). Of
   those that were handed out twice already a worker has one at a time, lest others end with it.
6. **Broadcasts work**: `inspect`, `status`, `revoke`, events. Queues of processes that died go.
7. **Workers are woken** by LISTEN and NOTIFY, and poll behind a pooler in transaction mode. All
   notifying commits of a server take turns, which bounds publishing to some thousands a second.
8. Ids are bigint; several processes may declare one queue at once; a fork inherits no socket.

`options.Options` says what `broker_transport_options` may set. Not offered: priorities, message
time-to-live, one transaction over publishing and the caller's own work.
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
