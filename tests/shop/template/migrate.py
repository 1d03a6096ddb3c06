"""Run a file of sql/ on the database of the shop: up or down."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg2

if __name__ == "__main__":
    statements = Path("sql", f"{sys.argv[1]}.sql").read_text(encoding="utf-8")
    with psycopg2.connect(os.environ["SHOP_DSN"]) as connection, connection.cursor() as cursor:
        cursor.execute(statements)
