"""Files of allowed signers: which names and keys stand on one line, and so are one person's.

Owns reading the lines for the count of persons. Leaves deciding who may sign to ssh-keygen, which
reads the same file.

Source: ssh-keygen(1), ALLOWED SIGNERS.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from gateproof_evidence.clients.ssh_key import KeyLineError, read_key
from gateproof_evidence.errors import BadInputError

_WORD = re.compile(r'(?:[^\s"]|"(?:\\.|[^"\\])*")+')
_PATTERN = frozenset("*?!")


def ties_of(content: bytes) -> Iterator[frozenset[str]]:
    """Yield, for each line, the nodes that belong to one person: its names and its key.

    A pattern names no person, so only its key is yielded. A line of a certificate authority is
    left out: its key signs for others, and sign-offs by certificates are refused.

    Args:
        content: the file, in UTF-8.

    """
    for line in content.decode("utf-8", "replace").splitlines():
        words = _WORD.findall(line)
        if words and not words[0].startswith("#"):
            at, keys = _key(words)
            if "cert-authority" not in _options(words[1:at]):
                yield frozenset({*_names(words[0]), *keys})


def name_node(name: str) -> str:
    """Return the node of a name: equal for names that differ by case or Unicode form only."""
    return f"name:{unicodedata.normalize('NFKC', unicodedata.normalize('NFKC', name).casefold())}"


def key_node(keyid: str) -> str:
    """Return the node of a key."""
    return f"key:{keyid}"


def check_allowed(content: bytes, *, name: str) -> None:
    """Refuse a file that is not text.

    Raises:
        BadInputError: it has NUL bytes, as UTF-16 has: ssh-keygen would find no signer in it.

    """
    if b"\0" in content:
        raise BadInputError(
            f"{name}: allowed signers: got NUL bytes, expected text in UTF-8; save it as UTF-8"
        )


def _names(word: str) -> Iterator[str]:
    for name in word.strip('"').split(","):
        if name and not _PATTERN & set(name):
            yield name_node(name)


def _key(words: list[str]) -> tuple[int, list[str]]:
    """Return where the key of a line begins, and its node; the end if there is no plain key."""
    for at in (1, 2):
        try:
            key = read_key(" ".join(words[at : at + 2]), name="key")
        except KeyLineError:
            continue
        return at, [key_node(key.keyid)]
    return len(words), []


def _options(words: list[str]) -> set[str]:
    """Return the names of a line's options; commas inside quotes separate nothing."""
    plain = re.sub(r'"(?:\\.|[^"\\])*"', "", ",".join(words))
    return {one.partition("=")[0].lower() for one in plain.split(",")}
