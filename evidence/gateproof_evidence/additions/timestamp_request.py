"""Ask an authority for a timestamp over a bundle's attestation.

Owns the refusals. Leaves reading the answer to `gateproof_evidence.additions.timestamp`, and
its path in the bundle to `gateproof_evidence.additions.addition`. Verification never imports this
module: it makes no request.

Source: RFC 3161 section 3.4 (HTTP); openssl-ts(1).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from gateproof_evidence.additions.addition import LARGEST, add
from gateproof_evidence.additions.timestamp import (
    CLOCK_SKEW,
    Timestamp,
    TimestampError,
    parse_timestamp,
    place_of,
    refusal,
)
from gateproof_evidence.clients.openssl import query
from gateproof_evidence.clients.time_stamp_authority import ask
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.layout import ATTESTATION
from gateproof_evidence.model import Digest
from gateproof_evidence.verification.bundle import verify


def stamp(
    bundle: Path | Source, url: str, *, authority: bytes | None, clock: Callable[[], datetime]
) -> Timestamp:
    """Have a bundle stamped, and store the answer in its ``timestamps/``, or next to an archive.

    Args:
        bundle: the folder or the ZIP archive; it must verify.
        url: URL of the authority, http or https.
        authority: certificates (PEM) to check the answer with before it is stored; None for none.
        clock: returns the present time.

    Raises:
        BadInputError: the bundle does not verify, or the answer is not usable.
        NotWritableError: files cannot be added to the bundle.

    """
    source = open_source(bundle)
    verified = verify(source)
    if not verified.ok:
        raise BadInputError(
            f"{bundle}: timestamp: got {len(verified.findings)} findings, expected a bundle that "
            "verifies; gateproof verify lists all of them"
        )
    digest = digest_of(source.read(ATTESTATION))
    answer = ask(url, query(digest), most=LARGEST)
    try:
        path = place_of(answer)
        made = parse_timestamp(answer, path=path)
    except TimestampError as error:
        raise BadInputError(f"{url}: {error}; name another --timestamp-url") from error
    why = _refusal(made, digest, authority, clock())
    if why is not None:
        raise BadInputError(f"{url}: timestamp: got an unusable one ({why}); nothing was stored")
    add(source, {path: answer})
    return made


def _refusal(made: Timestamp, digest: Digest, authority: bytes | None, now: datetime) -> str | None:
    if made.imprint != digest:
        return f"over {made.imprint}, expected {digest}"
    if abs(made.at - now) > CLOCK_SKEW:
        return f"for {made.at}, expected about {now}"
    if authority is None:
        return None
    return refusal(made.content, authority, imprint=digest, at=made.at)
