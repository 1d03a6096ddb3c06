"""The database of the depots: its address, and transactions of one depot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

VARIABLE = "DEPOT_DB"
"""The variable with the address: ``postgresql://...``."""
NOWHERE = "postgresql://none@127.0.0.1:9/none"


def address(driver: str = "") -> str:
    """Return the address, with a driver of SQLAlchemy in its scheme if one is given."""
    scheme, _, rest = os.environ.get(VARIABLE, NOWHERE).partition("://")
    return f"{scheme}+{driver}://{rest}" if driver else f"{scheme}://{rest}"


@contextmanager
def depot(number: int) -> Iterator[psycopg.Connection[tuple[int, ...]]]:
    """Open a transaction that sees the rows of one depot only."""
    with psycopg.connect(address()) as connection:
        connection.execute("SELECT set_config('depot.number', %s, true)", (str(number),))
        yield connection
