"""Unregistered secrets: they are redacted by name and by form, and harmless text is kept."""

from __future__ import annotations

import html
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateproof_evidence.redaction.redactor import Redactor
from tests.planted import KINDS, Kind

PBKDF2 = "pbkdf2_sha256$600000$" + "c2FsdHNhbHQ$" + "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJ"
BCRYPT = "$2b$12$" + "R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"
ARGON2 = (
    "$argon2id$v=19$m=65536,t=3,p=4$" + "c2FsdHNhbHRzYWx0$" + "RdescudvJCsgt3ub+b0dWRWJTmaaJObG"
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("spell", ["plain", "json", "repr", "markup", "indented"])
def test_redact_removes_each_kind_from_text(kind: Kind, spell: str) -> None:
    """A secret is redacted as a line, in JSON, a Python literal, markup and other text."""
    text = {
        "plain": kind.line,
        "json": json.dumps({"message": kind.line}),
        "repr": repr([kind.line]),
        "markup": f"<pre>{html.escape(json.dumps(kind.line))}</pre>",
        "indented": f"E     at 12:00\n    | {kind.line}\nE   next\n",
    }[spell]
    done = Redactor().redact(text)
    assert kind.secret not in done.text
    assert sum(one.count for one in done.redactions) >= 1
    assert "[redacted:" in done.text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_redact_removes_each_kind_from_the_environment(kind: Kind) -> None:
    """A secret is redacted in the output of env, a shell's export and a Python mapping."""
    name, value = kind.variable
    for text in (f"A=1\n{name}={value}\nB=2\n", f"export {name}='{value}'", f"{ {name: value} }"):
        done = Redactor().redact(text).text
        assert kind.secret not in done, text
        assert name in done, text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_redact_json_removes_each_kind_from_values(kind: Kind) -> None:
    """A secret is redacted under its own name, and as a line under another name."""
    value = {kind.column: kind.secret, "deep": [{"message": kind.line}, 7]}
    if kind.name == "private-key":
        value = {"pem": kind.line}
    cleaned, redactions = Redactor().redact_json(value)
    assert kind.secret not in json.dumps(cleaned)
    assert redactions


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("psql 'host=h password=let-me-in user=u'", "let-me-in"),
        ("GET /login?user=u&password=letmein HTTP/1.1", "letmein"),
        ("mysql --password=letmein1 --host h", "letmein1"),
        ("login --token letmein1", "letmein1"),
        ("curl -s -u deploy:letmein1 http://h/", "letmein1"),
        ("redis://:letmein1@h:6379/0", "letmein1"),
        ("password: letmein1\n", "letmein1"),
        ("DB_PASSWORD: letmein\n", "letmein"),
        ("client_secret = 'abc123def'", "abc123def"),
        ('{"accessToken":"abc123def"}', "abc123def"),
        ("ALTER ROLE u PASSWORD 'let me in'", "let me in"),
        ("Set-Cookie: sid=abc; HttpOnly", "sid=abc"),
        ("PRIVATE-TOKEN: abcdef", "abcdef"),
        ("AccountKey=" + "c2VjcmV0" * 8 + "==;Endpoint=x", "c2VjcmV0" * 8),
        ("Authorization: Bearer abc", "abc"),
        ("sent Bearer mF9B5f41JqM5f41JqM", "mF9B5f41JqM5f41JqM"),
        (f"user 7 has {PBKDF2}", PBKDF2),
        (f"user 7 has {BCRYPT}", BCRYPT),
        (f"user 7 has {ARGON2}", ARGON2),
        ("role u has md5" + "0123456789abcdef" * 2, "0123456789abcdef" * 2),
        ("twilio " + "SK" + "0123456789abcdef" * 2, "0123456789abcdef" * 2),
        ("mailchimp " + "0123456789abcdef" * 2 + "-us12", "0123456789abcdef" * 2),
        ("artifactory " + "AKC" + "p5btnXs1bxCm3", "p5btnXs1bxCm3"),
        ("stripe " + "sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyjWDarjtT1zdp7dc"),
        ("gitlab " + "glpat-" + "a1B2c3D4e5F6g7H8i9J0", "a1B2c3D4e5F6g7H8i9J0"),
        ("npm " + "npm_" + "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8", "a1B2c3D4e5F6g7H8i9J0"),
        ("sendgrid " + "SG." + "a1B2c3D4e5F6g7H8.i9J0a1B2c3D4e5F6", "i9J0a1B2c3D4e5F6"),
        ("google " + "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q", "SyA1b2C3d4E5f6G7"),
        ("openai " + "sk-" + "proj-a1B2c3D4e5F6g7H8i9J0", "a1B2c3D4e5F6g7H8i9J0"),
        ("telegram 110201543:" + "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1", "AAHdqTcvCH1vGWJxfSeof"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEcut0ff\n", "MIIEcut0ff"),
    ],
)
def test_redact_removes_values_under_a_secret_name(text: str, secret: str) -> None:
    """Secrets in other DSNs, queries, options, headers, statements and hashes are redacted."""
    done = Redactor().redact(text)
    assert secret not in done.text, done.text
    assert Redactor().redact(done.text).text == done.text


@pytest.mark.parametrize(
    "text",
    [
        "the password of app_user is wrong: got 5 characters, expected 6",
        'FATAL:  password authentication failed for user "app_user"',
        "password: expected\n",
        "secret names: none\ntoken: expired\n",
        "POSTGRES_PASSWORD_FILE=/run/secrets/db\nPWD=/home/u/work\nOLDPWD=/home/u",
        "GATEPROOF_SIGNING_KEY=/home/u/team.key",
        "max_tokens=4096 token_count=12 tokens: 4096",
        "password=*** token=<token> api_key=${API_KEY} secret=$SECRET pwd=xxxx",
        'password = settings.password\ntoken = read_token("a1")\napi_key=api_key',
        'def connect(host, password=None, token="", secret=False):',
        '{"password": {"type": "string"}, "token": "string", "secret": null}',
        '{"password": "is required", "token": "invalid token", "secret": "missing"}',
        "digest sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 4acc102d7dd1a3f3f1c5e9b1f0a2c3d4e5f60718, tree 9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a",
        "task 6951cc57-927c-4cb8-a126-847f5e4f8578 id=6951cc57-927c-4cb8-a126-847f5e4f8578",
        "Basic understanding of bearer bonds; a Basic overview",
        "token sha256:9f86d081884c7d65",
        "SELECT rolname, rolpassword IS NOT NULL AS has_password FROM pg_roles WHERE oid = $1",
        "primary key (id), foreign_key: users_id_fkey1\nkeys: a1, b2",
        "Can't locate revision identified by 'abc123def'",
        "md5sum d41d8cd98f00b204e9800998ecf8427e  file",
        "costs $5, $6 or $7 a piece: $1$2$3",
        "task-queue risk-level sk-learn disk-usage-percentage-high",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxBZ2qvZbWFnOZtigKWc9MAitVehJ9CKW+Oljf8hWT7",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
        "worker@host: OK\n    pong\n==> key: value1x ==",
        "us-east-1 task-us1 disk skip SKU12 ask5 0123456789abcdef-us",
        "tokenizer=fast1 secretary=ada1 passwordless=yes1 keyboard=de1",
        "Authentication token lifetime is 3600s; see token_type=bearer2",
    ],
)
def test_redact_keeps_harmless_text(text: str) -> None:
    """Prose, code, masks, paths, digests and identifiers are not secrets."""
    done = Redactor().redact(text)
    assert done.text == text
    assert done.redactions == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"token": None, "password": "", "secret": 7}, None),
        ({"password": "***", "token": "string", "api_key": "/run/secrets/key"}, None),
        ({"tokens": "a1b2c3d4", "token_type": "a1b2c3d4"}, None),
        ({"password": "hunter", "b": 1}, {"password": "[redacted:named]", "b": 1}),
    ],
)
def test_redact_json_judges_by_name_and_value(value: object, expected: object) -> None:
    """A mask, a path and a number are kept; even a simple password is redacted."""
    assert Redactor().redact_json(value)[0] == (expected or value)


def test_redact_removes_secret_columns_of_a_table() -> None:
    """In psql's tables, aligned and expanded, values are redacted by the column's name."""
    aligned = (
        " id | password | note\n----+----------+------\n"
        "  1 | pw       | fine\n  2 |          | ok\n(2 rows)\n"
    )
    done = Redactor().redact(aligned)
    assert done.text == aligned.replace("pw", "[redacted:named]")
    expanded = "-[ RECORD 1 ]-----\nid       | 1\npassword | pw\nnote     | a b\n"
    assert Redactor().redact(expanded).text == expanded.replace("pw", "[redacted:named]")
    for once in (done.text, Redactor().redact(expanded).text):
        assert Redactor().redact(once).text == once


def test_redact_rows_uses_the_names_of_columns() -> None:
    """Texts in secret columns are redacted; other values keep their types."""
    rows, redactions = Redactor().redact_rows(
        ("id", "rolpassword", "note"), [(1, "pw", "pw"), (2, None, None), (3, b"pw", "x")]
    )
    assert rows == (
        (1, "[redacted:named]", "pw"),
        (2, None, None),
        (3, "[redacted:named]", "x"),
    )
    assert [(one.rule, one.count) for one in redactions] == [("named", 2)]


def test_redact_finds_each_secret_of_a_long_text() -> None:
    """The search near anchors misses no secret at any position."""
    filler = "INFO nothing to see here, token bucket is fine\n" * 400
    for kind in KINDS:
        done = Redactor().redact(f"{kind.line}\n{filler}{kind.line}\n{filler}{kind.line}")
        assert kind.secret not in done.text, kind.name


def test_redact_stays_fast_on_long_texts() -> None:
    """Long logs and endless lines take seconds: no pattern backtracks without a limit."""
    worst = ("password" * 40 + "=" + "a" * 300 + " ") * 500
    lines = 'INFO {"task": "x", "token": null, "key": "value"} passwords are fine\n' * 5_000
    began = time.process_time()
    for text in (worst, lines, "-" * 300_000, "a_" * 150_000 + "token", "$" * 300_000):
        Redactor().redact(text)
    assert time.process_time() - began < 15


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            [
                "password",
                "token",
                "=",
                ":",
                '"',
                "'",
                " ",
                "\n",
                "a1b2c3",
                "|",
                "--",
                "-+-",
                "$",
                "[",
            ]
            + [kind.line for kind in KINDS]
        ),
        max_size=12,
    )
)
def test_redact_changes_nothing_the_second_time(parts: list[str]) -> None:
    """Redacted text does not change when it is redacted again, with any combination of parts."""
    once = Redactor().redact("".join(parts)).text
    assert Redactor().redact(once).text == once


@pytest.mark.parametrize("character", ["\u0130", "\u0131", "\u017f", "\u212a"])
def test_basic_credentials_before_a_character_outside_ascii_are_redacted(character: str) -> None:
    """A character that only resembles one of base64 belongs to no credentials, and is no error.

    They are the dotted and the dotless I, the long S and the Kelvin sign: in another case each is
    an ASCII character.
    """
    encoded = "dXNlcjpwYXNzd29yZA=="
    done = Redactor().redact(f"basic {encoded}{character} basic {character}{encoded}")
    assert done.text == f"basic [redacted:basic-auth]{character} basic {character}{encoded}"
    assert Redactor().redact(f"basic {character * 9}").redactions == ()
