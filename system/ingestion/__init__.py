"""Store the events of vendors, each once, and keep those that cannot be stored.

Owns what an event is, its row and its message, and the rows of `dead_events`. `system.api` receives
events over HTTP; the worker and the operators' command retry dead ones. Nothing here knows HTTP.

- `body` reads JSON strictly, `contract` checks it against the vendor's contract.
- `event` describes an event, `storing` writes its row and publishes its message in one transaction.
- `dead_event` describes one that failed, `retrying` tries it again, `listing` serves operators.
"""
