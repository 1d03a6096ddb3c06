"""Migrate the database of the helpdesk: `python manage.py migrate [VERSION]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg2

NEWEST = "1"

if __name__ == "__main__":
    version = sys.argv[2] if sys.argv[2:3] and sys.argv[2].isdigit() else NEWEST
    statements = Path(__file__).with_name("schema").joinpath(f"{version}.sql").read_text("utf-8")
    address = os.environ["HELPDESK_DB"].replace("+psycopg2", "")
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(statements)
