"""The commands that the README documents."""

from __future__ import annotations

import re

from gateproof import FileProbe, claim

README = "README.md"

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"\s+#\s.*$")


def documented(files: FileProbe) -> tuple[str, ...]:
    """Claim that the README has a command; return its commands, that of the gates first."""
    found = documented_commands(files.read(README) or "")
    claim("commands in shell blocks", on=README, got=len(found), relation="at_least", expected=1)
    return found


def documented_commands(text: str) -> tuple[str, ...]:
    """Return the lines of the shell blocks in the README, without comments, in order."""
    lines = (line for block in _BLOCK.findall(text) for line in block.splitlines())
    return tuple(line for line in (_COMMENT.sub("", one).strip() for one in lines) if line)
