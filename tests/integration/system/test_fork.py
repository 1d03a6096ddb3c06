"""Connections across a fork: the child's lead nowhere, its parent's go on."""

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
gone = keep_from_children(psycopg2.connect(os.environ["DATABASE_URL"]))
gone.close()
descriptors = [direct.fileno(), pooled.driver_connection.fileno()]
read, write = os.pipe()
if os.fork() == 0:
    kept = [os.path.samestat(os.fstat(one), os.stat(os.devnull)) for one in descriptors]
    told = {"nowhere": kept, "child": [ask(direct), ask(pooled)]}
    os.write(write, json.dumps(told).encode())
    os._exit(0)
os.wait()
told = json.loads(os.read(read, 4096))
print(json.dumps({**told, "parent": [ask(direct), ask(pooled)]}))
"""


def test_forked_child_cannot_speak_on_its_parents_connections(shared: Database) -> None:
    """What was connected leads a child nowhere, and still answers its parent afterwards."""
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
        "nowhere": [True, True],
        "child": ["refused", "refused"],
        "parent": [1, 1],
    }
