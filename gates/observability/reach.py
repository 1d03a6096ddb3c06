"""An endpoint that no worker serves, as one finding that names the keys of its address."""

from __future__ import annotations

from gateproof import Exchange, Sut


def require_answer(answer: Exchange, sut: Sut, key: str) -> None:
    """Fail the check if nothing answers at an endpoint: all that it would judge would be missing.

    Args:
        answer: the first request to the endpoint.
        sut: the description.
        key: the key with its path: ``metrics.path`` or ``health.path``.

    Raises:
        AssertionError: there was no answer, or the path is not known there.

    """
    got = f"status {answer.status}" if answer.status else f"no answer ({answer.error})"
    assert answer.status not in (0, 404), (
        f"endpoint of a worker: {answer.url}: got {got}, expected an answer; correct {key} or "
        f"worker.port in {sut.path.name}, or serve it there"
    )
