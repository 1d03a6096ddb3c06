"""Receive the events of vendors over HTTP: `python -m system.api`.

Owns HTTP: what is served, the order of one request, signatures, problem documents, and the
processes. `system.ingestion` stores events. ADR 28 has the decisions.

- `process` starts the service, `application` makes the app of one process, `protocol` bounds how
  long a client may take to send a request.
- `reading` reads a body, `receiving` takes one delivery through its steps, `vendors` verify and
  describe, `registration` finds the tenant and the secrets.
- `problem` makes error documents, `metrics` counts.
"""
