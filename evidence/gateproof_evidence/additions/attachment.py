"""Put sign-offs and timestamps into a bundle that were made apart from it.

A reviewer who signs a ZIP archive gets files next to it; so does one who signs a copy. Owns the
refusals. Leaves the rules for these files to verification, which reads the bundle as if they were
inside. Verification never imports this module.

Source: docs/decisions/0039; docs/reference/sign-off.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gateproof_evidence.additions.addition import LARGEST, add
from gateproof_evidence.additions.sign_off import SIGNATURE, STATEMENT
from gateproof_evidence.additions.timestamp import ENDING
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.archive import Archive, united
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.archive.writer import add_entries
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.layout import SIGNOFFS, TIMESTAMPS
from gateproof_evidence.format.tree import File, Reading, Tree
from gateproof_evidence.verification.bundle import verify

_FEW = 5
"""The most findings that a refusal names."""


def attach(
    bundle: Path, files: Sequence[Path], *, now: dt.datetime | None = None
) -> tuple[str, ...]:
    """Put files into a bundle: into a folder, or into an archive that is written again.

    1. Each file is a statement, a signature or a timestamp by its name, and of a free name.
    2. The bundle verifies with them, so each is valid and about this bundle.
    3. They are written, all of them or none.

    Args:
        bundle: the folder or the ZIP archive.
        files: their names are those that sign-off and timestamp give.
        now: the present time; by default the clock's.

    Returns:
        Their paths inside the bundle.

    Raises:
        BadInputError: one of the rules does not hold; nothing is written.
        NotWritableError: the bundle cannot be written.

    """
    source = open_source(bundle)
    # 1
    contents = _read(source, files)
    # 2
    found = verify(_With(source, contents), now=now)
    if not found.ok:
        named = "; ".join(map(str, found.findings[:_FEW]))
        raise BadInputError(
            f"{bundle}: attach: got {len(found.findings)} findings with these files ({named}), "
            "expected a bundle that verifies with them; nothing was attached"
        )
    # 3
    if isinstance(source, Archive):
        add_entries(source, contents)
    else:
        add(source, contents)
    return tuple(contents)


def _read(source: Source, files: Sequence[Path]) -> Mapping[str, bytes]:
    contents: dict[str, bytes] = {}
    for path in files:
        place = _place(path)
        if place in contents or source.size(place) is not None:
            raise BadInputError(
                f"{path}: attach: got {place}, which is taken, expected a free name; leave it out"
            )
        contents[place] = _content(path)
    return contents


def _place(path: Path) -> str:
    """Return the path in the bundle, by the end of the file's name."""
    if path.name.endswith((STATEMENT, SIGNATURE)):
        return f"{SIGNOFFS}{path.name}"
    if path.name.endswith(ENDING):
        return f"{TIMESTAMPS}{path.name}"
    raise BadInputError(
        f"{path}: attach: got another file, expected a sign-off ({STATEMENT} and {SIGNATURE}) or a "
        f"timestamp ({ENDING}); nothing else may be added to a sealed bundle"
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise BadInputError(
            f"{path}: attach: got {error.strerror}, expected a readable file; name another"
        ) from error
    if len(content) > LARGEST:
        raise BadInputError(f"{path}: attach: got more than {LARGEST} bytes, expected fewer")
    return content


class _With(Source):
    """A bundle with more files than it has."""

    def __init__(self, source: Source, contents: Mapping[str, bytes]) -> None:
        self.path = source.path
        self._source = source
        self._contents = contents

    def read_tree(self, asked: Reading) -> Tree:
        """Read the bundle, and add the files; one that lies next to an archive counts once."""
        tree = self._source.read_tree(asked)
        more = [_file(path, content) for path, content in self._contents.items()]
        return united(more, tree)

    def parts(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file that was sealed."""
        return self._source.parts(path)

    def size(self, path: str) -> int | None:
        """Return the size of a file that was sealed."""
        return self._source.size(path)

    def place(self, path: str) -> Path:
        """Return the place of an addition to the bundle."""
        return self._source.place(path)


def _file(path: str, content: bytes) -> File:
    return File(path=path, size=len(content), digest=digest_of(content), content=content)
