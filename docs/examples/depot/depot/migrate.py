"""Migrate the database of the depots: `python -m depot.migrate up`, or `down`."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg

from depot.database import address

if __name__ == "__main__":
    text = (Path(__file__).parents[1] / "sql" / f"{sys.argv[1]}.sql").read_text(encoding="utf-8")
    with psycopg.connect(address()) as connection:
        connection.execute(text.encode())
