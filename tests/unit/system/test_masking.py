"""Masking: what is a secret by its name, by its form or by repetition, and what is none."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from system.dead_letters import masking as rules
from system.dead_letters.masking import MASK

SECRET = "hunter2-hunter2"


def masking(*declared: str) -> rules.Masking:
    """Return the masking of a task that declares these keys."""
    return rules.masking_for(SimpleNamespace(sensitive_keys=declared))


def task(function: Any) -> SimpleNamespace:
    """Return a stand-in for a task that wraps a function."""
    return SimpleNamespace(name="a.task", run=function)


@pytest.mark.parametrize(
    "key",
    [
        *("password", "PASSWORD", "user_password", "accessToken", "accesstoken", "PGPASSWORD"),
        *("X-Authorization", "client.secret", "authToken2", "secrets", "Set-Cookie", "dsn"),
        *("api_key", "apiKey", "APIKey", "X-Api-Key", "apikey", "aws_secret_access_key"),
        *("private-key", "sessionid", "credentials", "connectionString", "refreshTokens"),
    ],
)
def test_sensitive_key_is_masked(key: str) -> None:
    """The value of a key that contains a sensitive word is masked, in any spelling."""
    assert masking().value({key: "hunter2"}) == {key: MASK}


@pytest.mark.parametrize(
    "key", ["passwordless", "max_tokens", "tokenizer", "secretary", "key", "api", "keyapi", "note"]
)
def test_other_key_is_kept(key: str) -> None:
    """A key that has a sensitive word only as a part of a longer word keeps its value."""
    assert masking().value({key: "hunter2"}) == {key: "hunter2"}


def test_declared_key_is_masked() -> None:
    """A key that a task declares as sensitive is masked for that task only."""
    assert masking("Card").value({"card": "4111"}) == {"card": MASK}
    assert masking().value({"card": "4111"}) == {"card": "4111"}


def test_nested_value_is_masked() -> None:
    """A secret inside lists and objects is masked, and its neighbours are kept."""
    given_value = {"a": [{"token": {"inner": ["x-secret-x"]}, "b": 1}]}
    assert masking().value(given_value) == {"a": [{"token": MASK, "b": 1}]}


def test_positional_argument_is_masked_by_its_name() -> None:
    """A positional argument is masked if the name of its parameter is sensitive."""

    def function(user: str, password: str, *rest: str) -> None: ...

    masked, named = masking().arguments(task(function), ["ann", "hunter2", "x"], {"token": "t-123"})
    assert masked == ["ann", MASK, "x"]
    assert named == {"token": MASK}


def test_masked_value_is_masked_in_the_error_text() -> None:
    """Values that are masked in the arguments are masked in the error's text too, and no others."""
    mask = masking()
    mask.value({"password": "hunter2", "token": {"deep": "tok-en"}, "user": "ann"})
    assert mask.text("ann: bad 'hunter2' and tok-en") == "ann: bad '[masked]' and [masked]"


def test_short_value_does_not_garble_the_text() -> None:
    """A masked value of one or two characters is not replaced inside other words."""
    mask = masking()
    mask.value({"password": "a"})
    assert mask.text("a bad day") == "a bad day"


def test_text_is_what_postgresql_stores() -> None:
    """NUL and lone surrogates, which a text column refuses, are written as escapes."""
    assert masking().text("a\x00b\ud800c") == "a\\x00b\\ud800c"


@pytest.mark.parametrize("value", [None, True, False, ""])
def test_value_that_can_be_no_secret_is_kept(value: Any) -> None:
    """A flag or nothing under a sensitive name is kept, so that the row can be replayed."""
    assert masking().value({"reset_password": value}) == {"reset_password": value}


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("postgresql://app:{}@db/app", "postgresql://app:[masked]@db/app"),
        ("redis://:{}@cache:6379/0", "redis://:[masked]@cache:6379/0"),
        ("postgresql://app:a/{}@db/app", "postgresql://app:[masked]@db/app"),
        ("got 'amqp://a:{}' (cut)", "got 'amqp://a:[masked]' (cut)"),
        ("https://{}@git.example/x", "https://[masked]@git.example/x"),
        ("https://{}:@api.example/", "https://[masked]:@api.example/"),
        ("see amqp://a:{}@b and http://c/", "see amqp://a:[masked]@b and http://c/"),
        ("Bearer {}", "Bearer [masked]"),
        ("bearer x", "bearer [masked]"),
        ("GET / Authorization: Digest user, {}", "GET / Authorization: [masked]"),
        ("host=db password={} dbname=app", "host=db password=[masked] dbname=app"),
        ("https://x.example/?a=1&token={}&b=2", "https://x.example/?a=1&token=[masked]&b=2"),
        ("{{'password': '{}', 'n': 1}}", "{{'password': '[masked]', 'n': 1}}"),
        (
            "{{'a': {{'tokens': 1, 'token': ['{}']}}}}",
            "{{'a': {{'tokens': 1, 'token': [masked]}}}}",
        ),
        ("('api_key', '{}')", "('api_key', '[masked]')"),
        ('"body": "{{\\"secret\\": \\"{}\\"}}"', '"body": "{{\\"secret\\": \\"[masked]\\"}}"'),
        ("[{{'name': 'API_KEY', 'value': '{}'}}]", "[{{'name': 'API_KEY', 'value': '[masked]'}}]"),
        ("connect(password={})", "connect(password=[masked]"),
        ("token='{}", "token=[masked]"),
    ],
)
def test_secret_in_a_text_is_masked(value: str, masked: str) -> None:
    """A text keeps everything but the secret that it holds."""
    value, masked = value.format(SECRET), masked.format()
    assert masking().value(value) == masked
    assert masking().text(value) == masked


def test_basic_credentials_are_masked_and_words_are_not() -> None:
    """Text after *basic* is masked if it encodes a user and a password."""
    assert masking().text("Basic YW5uOmh1bnRlcjI=") == "Basic [masked]"
    assert masking().text("Basic subscription") == "Basic subscription"


def test_keys_of_asymmetric_and_signed_kinds_are_masked() -> None:
    """A private key and a JSON Web Token are masked by their form."""
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
    assert "MIIE" not in masking().text(key)
    assert masking().text("x eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl y") == "x [masked] y"


@pytest.mark.parametrize(
    "text",
    [
        *("http://host:8080/a/@b", "mailto:a@b.example", "ssh://git@host/x", "12:30", "a, b: c"),
        *("http://[::1]:80/", "x://h:80", "x://h:80, y", "git@host:x/y"),
        *("bearer of news", "a token ring", "https://host/?q=1", "key=value"),
    ],
)
def test_text_without_a_secret_is_kept(text: str) -> None:
    """Text without a sensitive name and without the form of a secret is kept."""
    assert masking().value({"note": text}) == {"note": text}
    assert masking().text(text) == text


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (["Authorization", SECRET], ["Authorization", MASK]),
        ([b"x-api-key", SECRET.encode()], [b"x-api-key", MASK]),
        (["Accept", "*/*", "Cookie", SECRET], ["Accept", "*/*", "Cookie", MASK]),
        (["psql", "--password", SECRET, "x"], ["psql", "--password", MASK, "x"]),
        ({"name": "API_KEY", "value": SECRET}, {"name": "API_KEY", "value": MASK}),
        ({"key": "colour", "value": "red"}, {"key": "colour", "value": "red"}),
        ([["token", None]], [["token", None]]),
        (["Your password was changed", "Hello"], ["Your password was changed", "Hello"]),
        ({"x": f"postgresql://a:{SECRET}@b".encode()}, {"x": MASK}),
        ({f"redis://:{SECRET}@c": 1}, {f"redis://:{MASK}@c": 1}),
    ],
)
def test_value_that_another_names_is_masked(value: Any, masked: Any) -> None:
    """A value is masked if the item before it, or the name next to it, is sensitive."""
    assert masking().value({"deep": [{"x": value}]}) == {"deep": [{"x": masked}]}


def test_positional_arguments_are_a_list_of_names_and_values_too() -> None:
    """A sensitive name as an argument masks the next one; `*rest` names all that it takes."""

    def function(*secrets: str) -> None: ...

    def other(kind: str, value: str) -> None: ...

    assert masking().arguments(task(function), ["a1b2", "c3d4"], None)[0] == [MASK, MASK]
    assert masking().arguments(task(other), ["password", SECRET], None)[0] == ["password", MASK]


@pytest.mark.parametrize("spell", [str, repr, json.dumps, quote, quote_plus])
def test_repeated_secret_is_masked_in_every_spelling(spell: Any) -> None:
    """A secret that was found once is masked where an argument or the error repeats it."""
    mask, secret = masking(), "hünter@2\n"
    args = {"password": secret, "url": "amqp://a:other-pw@b", "line": "x other-pw"}
    named = mask.arguments(task(lambda: None), [], args)[1]
    assert named["line"] == "x [masked]"
    assert "nter" not in mask.text(f"refused {spell(secret)}")


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 2**20, "://" * 2**18, "a:" * 2**19, "://a:" * 2**18, "password=" * 2**17),
        *("bearer " * 2**17, "eyJ" * 2**18, "-----BEGIN PRIVATE KEY-----" * 2**15, "'a'," * 2**18),
    ],
    ids=lambda text: text[:12],
)
def test_masking_of_a_megabyte_is_quick(text: str) -> None:
    """A long text is masked in linear time, whatever it holds."""
    began = time.process_time()
    masking().text(text)
    assert time.process_time() - began < 5
