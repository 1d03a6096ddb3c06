"""Receive the events of vendors over HTTP: `python -m system.api`.

Owns HTTP: what is served, the order of one request, signatures, problem documents, and the
processes. `system.ingestion` stores events. ADR 28 has the decisions.

- `processes` start and serve, `application` makes the app of one process.
- `reading` reads a body, `receiving` takes one `delivery` through its steps, `vendors` verify and
  describe it, `registration` finds the tenant and the secrets.
- `problem` makes error documents, `metrics` counts.
"""
