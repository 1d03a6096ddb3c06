"""Sealed arguments: for whoever holds a key, and through a change of keys."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Context
from cryptography.fernet import Fernet

from system.dead_letters import payload, row, table
from system.dead_letters.encryption import Sealer
from system.errors import ConfigurationError, SealError

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
SECRET = "hunter2-hunter2"


def make(seal: Any, **kwargs: Any) -> row.DeadLetter:
    """Describe a failure with these arguments."""
    task = SimpleNamespace(name="n", run=lambda **_: None)
    request = Context({"id": "id-1", "args": ["a"], "kwargs": kwargs})
    return row.describe(task, request, ValueError("x"), seal=seal)


def test_sealed_text_is_read_with_its_key_alone() -> None:
    """What is sealed says nothing, and comes back with the key that sealed it, and no other."""
    token = Sealer([OLD]).seal(SECRET)
    assert SECRET not in token
    assert Sealer([OLD]).unseal(token) == SECRET
    with pytest.raises(SealError, match="got no key that fits, expected the one that sealed them"):
        Sealer([OTHER]).unseal(token)


def test_new_key_seals_and_old_one_still_reads() -> None:
    """With a new key in front, what is sealed needs the new one, and the old is still read."""
    both = Sealer([NEW, OLD])
    assert both.unseal(Sealer([OLD]).seal("a")) == "a"
    assert Sealer([NEW]).unseal(both.seal("b")) == "b"


def test_bad_key_is_named_without_being_told() -> None:
    """A key that is none is refused by its place; its text is not repeated."""
    with pytest.raises(ConfigurationError, match="got a key number 2 that is none") as error:
        Sealer([OLD, "no-key-at-all"])
    assert "no-key-at-all" not in str(error.value)


def test_letter_seals_only_what_is_masked() -> None:
    """A letter with a secret holds all its arguments sealed; one without holds nothing sealed."""
    made = make(Sealer([OLD]).seal, password=SECRET, n=1)
    assert made.sealed is not None
    assert SECRET not in str(made)
    opened = payload.loads(Sealer([OLD]).unseal(made.sealed))
    assert opened == [["a"], {"password": SECRET, "n": 1}]
    assert make(Sealer([OLD]).seal, n=1).sealed is None


def test_letter_without_a_key_says_that_it_is_lost() -> None:
    """Without a key what is masked is lost, and the letter says so; what is not masked is not."""
    lost = make(None, password=SECRET)
    assert (lost.sealed, lost.replayable) == (None, False)
    assert lost.notes == f"cannot be replayed: {row.NOT_SEALED}"
    kept = make(None, n=float("nan"))
    assert (kept.replayable, kept.notes) == (True, None)


def test_record_keeps_every_entry() -> None:
    """Letters, and what became of a replay, come back from JSON as they went in."""
    failure = make(Sealer([OLD]).seal, password=SECRET)
    for entry in (
        failure,
        table.Settlement(letter_id="a", replay_id="b", verdict="succeeded"),
        table.Settlement(letter_id="a", replay_id="b", verdict="failed", failure=failure),
    ):
        assert table.from_record(json.loads(json.dumps(table.to_record(entry)))) == entry
