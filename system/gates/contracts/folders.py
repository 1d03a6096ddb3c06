"""Read the table of folders of contracts, and write each folder.

Owns the form of `folders.yaml`: a folder has files, and the exact findings of the command.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

TABLE = Path(__file__).with_name("folders.yaml")
_DIGEST = re.compile(r"\{sha256 (\S+)\}")


@cache
def folders() -> list[dict[str, Any]]:
    """Return the entries of the table, which is read once."""
    found: list[dict[str, Any]] = YAML(typ="safe").load(TABLE)
    return found


def write(entry: Mapping[str, Any], root: Path) -> None:
    """Write the files of an entry; a digest of a file is put in the place that names it."""
    files: Mapping[str, str] = entry["files"]
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        filled = _DIGEST.sub(lambda found: _digest(files[found[1]]), text)
        path.write_text(filled, encoding="utf-8")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def finding(one: Mapping[str, Any]) -> str:
    """Return a finding as one line of the table; digests are shortened."""
    head = f"{one['severity']} {one['rule']} {one['document']}: {one['name']} at {one['where']}"
    line = f"{head}: got {one['got']}, expected {one['expected']}"
    return re.sub(r"\b([0-9a-f]{6})[0-9a-f]{58}\b", r"\1", line)


def summary(one: Mapping[str, Any]) -> str:
    """Return what was read of a document, as one line of the table."""
    counts = f"{one['operations']}, {one['examples']}, {' '.join(one['baselines']) or 'none'}"
    return f"{one['domain']} {one['version']}: {counts}"
