"""Small folders of contracts for tests."""

from __future__ import annotations

from pathlib import Path

from system.contracts.reading.document import Library
from system.gates.contracts.pairs import TABLE

SOUND = TABLE.with_name("sound.yaml").read_text(encoding="utf-8")

COMMON = """
components:
  schemas:
    Tag: { type: array, items: { type: string } }
    Order: { type: string }
"""

OTHER = """
openapi: 3.1.0
info: { title: Others, version: 1.0.0 }
x-implemented: false
paths:
  /others:
    get:
      operationId: theirs
      security: []
      x-no-security-reason: It is public.
      parameters:
        - { name: X-Correlation-ID, in: header, schema: { type: string }, example: c-1 }
      responses:
        '200':
          description: Nothing.
          headers: { X-Correlation-ID: { schema: { type: string } } }
"""


def changed(before: str, after: str, text: str = SOUND) -> str:
    """Return a text in which the part `before`, which occurs once, is replaced."""
    assert text.count(before) == 1, f"{before!r} occurs {text.count(before)} times"
    return text.replace(before, after)


def write(root: Path, text: str = SOUND, *, domain: str = "orders") -> Library:
    """Write a contract, one of another domain and a shared file; return the folder."""
    for name, content in (
        (f"{domain}/openapi.yaml", text),
        ("aside/openapi.yaml", OTHER),
        ("common.yaml", COMMON),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return Library(root)
