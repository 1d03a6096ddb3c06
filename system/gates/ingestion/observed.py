"""Observe what the service shows besides its answers, and change the database below it.

Owns the samples of its metrics and its published defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gateproof import Stack, premise

from .service import Service

# A function that returns two rows: a state that the service has no answer for.
_DEFECT = """
CREATE OR REPLACE FUNCTION resolve_webhook_endpoint(digest text, of_vendor text)
RETURNS TABLE (tenant_id uuid, secret_ref text, next_secret_ref text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.tenant_id, e.secret_ref, e.next_secret_ref
    FROM public.webhook_endpoints e, generate_series(1, 2)
    WHERE e.token_digest = digest AND e.vendor = of_vendor
$$;
"""
_DEFINITION = """
SELECT pg_get_functiondef('resolve_webhook_endpoint(text, text)'::regprocedure)
"""


def samples(service: Service) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what `/metrics` shows: for each name of a sample its values by sorted label values."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, dict[tuple[str, ...], float]] = {}
    text = service.stack.http.get(f"{service.url}/metrics").body
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def published_default(stack: Stack, variable: str) -> float:
    """Return the default of a setting as the service's help names it."""
    command = stack.sut.fill(["{python}", "-m", "system.api", "--help"])
    done = stack.process.run(command, env={}, folder=stack.sut.folder)
    found = re.search(rf"{variable} .*\(([\d.]+)\)", done.output)
    premise("default in the help", on=variable, got=found is not None, expected=True)
    return float(found[1]) if found else 0.0


@contextmanager
def changed(stack: Stack, statements: str, undo: str) -> Iterator[None]:
    """Change the database during the block, as superuser: a check may run again on it."""
    stack.sql.execute(statements)
    try:
        yield
    finally:
        stack.sql.execute(undo)


@contextmanager
def defective_lookup(stack: Stack) -> Iterator[None]:
    """Have the service find two registrations of one token during the block."""
    with changed(stack, _DEFECT, str(stack.sql.query(_DEFINITION).scalar())):
        yield
