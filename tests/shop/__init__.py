"""A second system: a small Celery app on stock kombu, without tenants and dead letters.

Tests copy it and run the gates on it. What holds for the reference system alone shows here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

TEMPLATE = Path(__file__).with_name("template")

_DECOY = """
import os, pathlib
with open(pathlib.Path(__file__).parents[1] / "imported.txt", "a") as file:
    file.write(f"{__name__}\\n")
"""
"""A module under a name of the reference system: it records that it was imported."""

DECOYS = ("__init__", "__main__", "app", "settings", "worker", "dead_letters", "tasks", "transport")


def write_shop(folder: Path) -> Path:
    """Copy the system into a new folder, and return the path of its description.

    Next to it is a package ``system``, importable like the app, which records each import of it.
    """
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    decoy = folder / "system"
    decoy.mkdir()
    for name in DECOYS:
        app = "from shop.app import app\n" if name == "app" else ""
        (decoy / f"{name}.py").write_text(_DECOY + app, encoding="utf-8")
    return folder / "sut.toml"


WEB = """
[[process]]
name = "web"
command = ["{python}", "-m", "shop.web"]
port = "SHOP_WEB_PORT"
role = "shop_web"
dsn = { SHOP_WEB_DSN = "postgresql" }
health = "/state"
deadline_s = 4.0
must_fail_without = ["database", "worker"]

[[process.request]]
name = "order"
path = "/orders"
headers = { content-type = "application/json" }
body = '{"number": "{unique}"}'
table = "orders"
accepted = 201
again = 409
openapi = "/contract.json"
"""
SQL = {
    "server.sql": "CREATE ROLE shop_web LOGIN;",
    "up.sql": "CREATE TABLE orders (number text PRIMARY KEY);"
    " GRANT SELECT, INSERT ON orders TO shop_web;",
    "down.sql": "DROP TABLE orders;",
}


def write_web_shop(folder: Path) -> Path:
    """Copy the system with its web server, and return the path of its description."""
    described = write_shop(folder)
    with described.open("a", encoding="utf-8") as file:
        file.write(WEB)
    for name, statement in SQL.items():
        with (folder / "sql" / name).open("a", encoding="utf-8") as file:
            file.write(f"{statement}\n")
    return described


def imports_of_system(folder: Path) -> list[str]:
    """Return the modules of the decoy ``system`` that any process imported, in order."""
    record = folder / "imported.txt"
    return record.read_text(encoding="utf-8").splitlines() if record.exists() else []
