"""Ask a time-stamp authority over HTTP.

Not checked: the nonce. A replayed answer would have to be over the same digest and within the
allowed difference between clocks.

Source: RFC 3161 section 3.4 (HTTP).
"""

from __future__ import annotations

import urllib.error
import urllib.request
from urllib.parse import urlsplit

from gateproof_evidence.errors import BadInputError

DEADLINE_S = 30.0
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


def ask(url: str, query: bytes, *, most: int) -> bytes:
    """Send a request and return the bytes of the answer, not parsed.

    Args:
        url: URL of the authority, http or https.
        query: the request, DER.
        most: the most bytes that an answer may have.

    Raises:
        BadInputError: the URL has another scheme, there was no answer, or it is too large.

    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadInputError(
            f"--timestamp-url: got {url}, expected http://... or https://...; name an authority"
        )
    headers = {"Content-Type": _QUERY, "Accept": _REPLY}
    request = urllib.request.Request(url, data=query, headers=headers)  # noqa: S310 (checked above)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310 (the same)
            content = answer.read(most + 1)
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{url}: timestamp: got {error}, expected an answer; name another --timestamp-url"
        ) from error
    if len(content) > most:
        raise BadInputError(f"{url}: timestamp: got more than {most} bytes, expected a timestamp")
    return bytes(content)
