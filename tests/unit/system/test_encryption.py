"""Encryption of sensitive arguments: with one key, with several, and without any."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Context
from cryptography.fernet import Fernet

from system.dead_letters import payload, row
from system.dead_letters.encryption import Cipher
from system.dead_letters.storage.entry import Settlement, from_record, to_record
from system.errors import ConfigurationError, EncryptionError

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
SECRET = "hunter2-hunter2"


def make(encrypt: Any, **kwargs: Any) -> row.DeadLetter:
    """Describe a failure with these arguments."""
    task = SimpleNamespace(name="n", run=lambda **_: None)
    request = Context({"id": "id-1", "args": ["a"], "kwargs": kwargs})
    return row.describe(task, request, ValueError("x"), encrypt=encrypt)


def test_token_is_decrypted_by_its_key_alone() -> None:
    """A token hides its text, and only the key that encrypted it decrypts it."""
    token = Cipher([OLD]).encrypt(SECRET)
    assert SECRET not in token
    assert Cipher([OLD]).decrypt(token) == SECRET
    with pytest.raises(EncryptionError, match="got no key that fits, expected the key that encr"):
        Cipher([OTHER]).decrypt(token)


def test_new_key_encrypts_and_old_key_still_decrypts() -> None:
    """With a new key in front new tokens need the new key, and old tokens can still be read."""
    both = Cipher([NEW, OLD])
    assert both.decrypt(Cipher([OLD]).encrypt("a")) == "a"
    assert Cipher([NEW]).decrypt(both.encrypt("b")) == "b"


def test_malformed_key_is_located_and_not_repeated() -> None:
    """The error has the position of a malformed key, and not its text."""
    with pytest.raises(ConfigurationError, match="got a malformed key at place 2") as error:
        Cipher([OLD, "no-key-at-all"])
    assert "no-key-at-all" not in str(error.value)


def test_row_has_encrypted_arguments_if_some_are_masked() -> None:
    """A row with a secret has all its arguments encrypted; one without has none."""
    made = make(Cipher([OLD]).encrypt, password=SECRET, n=1)
    assert made.sealed is not None
    assert SECRET not in str(made)
    opened = payload.loads(Cipher([OLD]).decrypt(made.sealed))
    assert opened == [["a"], {"password": SECRET, "n": 1}]
    assert make(Cipher([OLD]).encrypt, n=1).sealed is None


def test_row_without_a_key_says_that_masked_values_are_lost() -> None:
    """Without a key masked values are lost, and the notes say so; a row without any is complete."""
    lost = make(None, password=SECRET)
    assert (lost.sealed, lost.replayable) == (None, False)
    assert lost.notes == f"cannot be replayed: {row.NOT_ENCRYPTED}"
    kept = make(None, n=float("nan"))
    assert (kept.replayable, kept.notes) == (True, None)


def test_record_keeps_every_entry() -> None:
    """Rows and the ends of replays come back from JSON unchanged."""
    failure = make(Cipher([OLD]).encrypt, password=SECRET)
    for entry in (
        failure,
        Settlement(row_id="a", replay_id="b", verdict="succeeded"),
        Settlement(row_id="a", replay_id="b", verdict="failed", failure=failure),
    ):
        assert from_record(json.loads(json.dumps(to_record(entry)))) == entry
