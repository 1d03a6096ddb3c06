"""Prints the part of a pinned requirements file that some distributions need.

Used while the image is built: `constraints.txt` pins what the whole project needs, the image holds
only what the system needs. The file says of each pin what it is there for (`# via`); a pin that is
missed makes pip refuse the rest, since it installs with `--require-hashes`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

_ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
_NAME = re.compile(r"[\w.-]+")
_VIA = re.compile(r"^ +# (?:via|  )\s*([\w.-]+)", re.MULTILINE)


def select(text: str, roots: Iterable[str]) -> str:
    """Return the entries of the named distributions and of all that they bring along.

    Args:
        text: a requirements file with `# via` comments, as uv and pip-tools write them.
        roots: names of distributions, as the file spells them.

    Raises:
        KeyError: a root is not in the file.

    """
    entries = {_name(one): one for one in _ENTRY.split(text) if one.strip()}
    chosen = {root: entries[root] for root in roots}
    grown = 0
    while grown != len(chosen):
        grown = len(chosen)
        chosen |= {
            name: entry
            for name, entry in entries.items()
            if not chosen.keys().isdisjoint(_VIA.findall(entry))
        }
    return "".join(entries[name] for name in sorted(chosen))


def _name(entry: str) -> str:
    found = _NAME.match(entry)
    return found.group() if found else ""


if __name__ == "__main__":
    print(select(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2:]))  # noqa: T201
