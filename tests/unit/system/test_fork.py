"""The hook for forks: locks, descriptors and actions in a child."""

from __future__ import annotations

import json
import subprocess
import sys

_FORK = """
import json, os, threading, time
from system.connections import fork

lock, held = threading.Lock(), threading.Event()
fork.hold_during_fork(lock)
reader, writer = os.pipe()
kept = fork.keep_from_children(os.fdopen(reader))
seen = []

def record():
    seen.append(os.path.samestat(os.fstat(kept.fileno()), os.stat(os.devnull)))

fork.run_in_children(record)

def hold():
    with lock:
        held.set()
        time.sleep(0.2)

threading.Thread(target=hold).start()
held.wait()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, json.dumps({"free": lock.acquire(timeout=5), "redirected": seen}).encode())
    os._exit(0)
os.wait()
child = json.loads(os.read(read, 4096))
print(json.dumps({"child": child, "parent": {"free": lock.acquire(timeout=5), "actions": seen}}))
"""


def test_fork_frees_locks_and_redirects_descriptors_before_actions() -> None:
    """A fork waits for a held lock, which is free on both sides; actions run in the child alone."""
    done = subprocess.run(
        [sys.executable, "-c", _FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "child": {"free": True, "redirected": [True]},
        "parent": {"free": True, "actions": []},
    }
