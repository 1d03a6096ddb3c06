"""Looks at the first process of a container from inside: handed over as source text.

Runs in the system's interpreter and imports nothing of the harness. Tells everything at once, since
a call into a container is dear: the process's direct children, and both ends of the TCP
connections that it and its children hold.
"""

import json
from pathlib import Path
from typing import Any

FIRST = 1
PROC = Path("/proc")
TABLES = ("tcp", "tcp6")


def read(path: Path) -> bytes:
    """Return a file of the kernel's; nothing where its process has just gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def parents() -> dict[int, int]:
    """Map every process to its parent (proc(5), stat: the fourth field, after the name)."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    told = {pid: read(PROC / str(pid) / "stat").rpartition(b")")[2].split() for pid in pids}
    return {pid: int(fields[1]) for pid, fields in told.items() if len(fields) > 1}


def family(parent_of: dict[int, int]) -> set[int]:
    """Return the first process and all its descendants."""
    found, grown = {FIRST}, 0
    while grown != len(found):
        grown = len(found)
        found |= {pid for pid, parent in parent_of.items() if parent in found}
    return found


def descriptors(pids: set[int]) -> set[str]:
    """Return what the file descriptors of processes lead to, as ``socket:[inode]``."""
    found = set()
    for pid in pids:
        try:
            found |= {str(entry.readlink()) for entry in (PROC / str(pid) / "fd").iterdir()}
        except OSError:
            continue
    return found


def address(text: str) -> tuple[str, int]:
    """Return host and port of the kernel's notation: words of the host's byte order, in hex."""
    host, port = text.split(":")
    words = [bytes.fromhex(host)[at : at + 4][::-1] for at in range(0, len(host) // 2, 4)]
    return ".".join(str(part) for part in words[-1]), int(port, 16)


def sockets(held: set[str]) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Return local and remote end of every connection among what is held."""
    found = []
    for table in TABLES:
        for line in read(PROC / "net" / table).decode().splitlines()[1:]:
            fields = line.split()
            local, remote = address(fields[1]), address(fields[2])
            if f"socket:[{fields[9]}]" in held and remote[1]:
                found.append((local, remote))
    return found


def look() -> dict[str, Any]:
    """Return everything at once."""
    parent_of = parents()
    return {
        "children": sorted(pid for pid, parent in parent_of.items() if parent == FIRST),
        "sockets": sockets(descriptors(family(parent_of))),
    }


if __name__ == "__main__":
    print(json.dumps(look()))  # noqa: T201 (its answer)
