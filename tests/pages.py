"""The pages of the documentation, and the examples in them.

Owns finding the pages and their fenced blocks. A comment before a block says what a test does
with it, and no reader sees it: ``<!-- test: run -->`` (run by ``sh``, exit status 0),
``<!-- test: exit 100 -->`` (another status), ``<!-- test: file NAME -->`` (write it to a file),
``<!-- test: output -->`` (each line stands in the output of the command before it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "docs/**/*.md", "system/*.md", "reports/*.md")
    for path in ROOT.glob(pattern)
    if "latest" not in path.parts
)
HOW_TOS = sorted((ROOT / "docs/how-to").glob("*.md"))
TUTORIALS = sorted((ROOT / "docs/tutorial").glob("*.md"))
ALONE = ROOT / "docs/how-to/prove-any-pytest-check.md"
"""A how-to whose blocks are the steps of a project of its own, in an empty folder."""

VERBS = ("run", "exit", "file", "output")

_BLOCK = re.compile(
    r"^(?:<!-- test: (?P<test>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    verb: str
    """``run``, ``exit``, ``file``, ``output``, or empty where no test uses the block."""
    argument: str

    @property
    def status(self) -> int:
        """The exit status that a command must have."""
        return int(self.argument or "0")


def page_name(page: Path) -> str:
    """Return a page's name for the title of a test."""
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> tuple[Block, ...]:
    """Return the blocks of a page, in order."""
    return tuple(
        _block(found["language"], found["text"], found["test"] or "")
        for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))
    )


def _block(language: str, text: str, test: str) -> Block:
    verb, _, argument = test.partition(" ")
    assert verb in ("", *VERBS), f"test: got {test}, expected one of {', '.join(VERBS)}"
    return Block(language=language, text=text, verb=verb, argument=argument)
