"""Connections across a fork: the child's are redirected to /dev/null, the parent's still work."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from .support import ROOT, Database

_FORK = """
import json, os, psycopg2
from system.connections import database
from system.connections.fork import keep_from_children

def ask(connection):
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()[0]
    except psycopg2.Error:
        return "refused"

direct = keep_from_children(psycopg2.connect(os.environ["DATABASE_URL"]))
pooled = database.task_engine().raw_connection()
closed = keep_from_children(psycopg2.connect(os.environ["DATABASE_URL"]))
closed.close()
descriptors = [direct.fileno(), pooled.driver_connection.fileno()]
read, write = os.pipe()
if os.fork() == 0:
    redirected = [os.path.samestat(os.fstat(one), os.stat(os.devnull)) for one in descriptors]
    report = {"redirected": redirected, "child": [ask(direct), ask(pooled)]}
    os.write(write, json.dumps(report).encode())
    os._exit(0)
os.wait()
report = json.loads(os.read(read, 4096))
print(json.dumps({**report, "parent": [ask(direct), ask(pooled)]}))
"""


def test_forked_child_cannot_use_its_parents_connections(shared: Database) -> None:
    """A connection is redirected to /dev/null in a forked child, and still serves the parent."""
    done = subprocess.run(
        [sys.executable, "-c", _FORK],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": shared.dsn()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "redirected": [True, True],
        "child": ["refused", "refused"],
        "parent": [1, 1],
    }
