"""Keep Celery's messages and results in PostgreSQL, so that a lost process loses nothing.

`install()` registers this package's classes for `sqla+postgresql://` (broker) and
`db+postgresql://` (results). URLs and tables stay those of stock kombu and Celery: a publisher with
stock kombu can share them. It needs no extension, and no privileges beyond reading and writing the
tables.

Differences to stock kombu and Celery:

1. **A message is deleted when it is acknowledged**, and not before. A claim (SKIP LOCKED, in
   batches) records the session that holds it; `session` defines when a claim is returned.
2. **The messages of a dead worker are returned**: its session's advisory lock ends at once, its
   lease after three seconds, and the heartbeat of any other worker returns them. A long task never
   runs twice while its process is connected, or reconnects within the lease.
3. **A broken connection stops no task**: tasks continue, claims are kept, acknowledgements wait.
   After the reconnect its queues are declared again, and messages that were claimed but never
   arrived are returned. Other workers get some seconds to reconnect before their claims expire.
4. **Tasks with an ETA or a countdown wait in the table**, not in a worker. (`inspect scheduled`
   does not list them; those of a stock publisher are held by a worker, under a lease.)
5. **A message that kills its workers is refused** after `max_deliveries` (`refusals`). Of messages
   with two deliveries a worker claims one at a time, so that no other is counted with it.
6. **Broadcasts work**: `inspect`, `status`, `revoke`, events. Queues of dead processes are deleted.
7. **Workers are woken** by LISTEN and NOTIFY; behind a pooler in transaction mode they poll. A
   server serializes commits that notify, which limits publishing to some thousands a second.
8. **A stopping worker returns what it has not started** at once (`handover`), and workers delete
   expired results without beat (`expiry`).
9. **A routing key reaches queues that its publisher did not declare**, and one that reaches no
   queue is an error; stock kombu drops the message.
10. **A message can be published in the transaction of its publisher** (`joined`), and is committed
    with its rows or not at all.
11. Ids are bigint; several processes can declare one queue at once; a fork inherits no socket.

`options.Options` lists what `broker_transport_options` can set. Not offered: priorities and message
time-to-live.
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
