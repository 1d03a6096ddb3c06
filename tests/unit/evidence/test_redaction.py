"""Redaction: every spelling of a secret is redacted, and other text is kept."""

from __future__ import annotations

import base64
import html
import json
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateproof_evidence.errors import BadInputError, NotWritableError
from gateproof_evidence.model import Redaction
from gateproof_evidence.redaction.placeholder import Placeholders
from gateproof_evidence.redaction.redactor import LedgerEntry, Redacted, Redactor

SECRET = "s3cr/t p@ss+wörd?~"


@pytest.fixture
def redactor() -> Redactor:
    """Provide a redactor with one secret."""
    redactor = Redactor()
    redactor.add_secret("app_user", SECRET)
    return redactor


def _lower(text: str) -> str:
    """Return percent-encoding with its hexadecimal digits in lower case."""
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


RAW = SECRET.encode()
SPELLINGS = {
    "plain": SECRET,
    "quote": quote(SECRET),
    "quote-all": quote(SECRET, safe=""),
    "quote-lower": _lower(quote(SECRET, safe="")),
    "quote-plus": quote_plus(SECRET),
    "quote-plus-lower": _lower(quote_plus(SECRET)),
    "base64": base64.b64encode(RAW).decode(),
    "base64-unpadded": base64.b64encode(RAW).decode().rstrip("="),
    "base64-url": base64.urlsafe_b64encode(RAW).decode(),
    "base64-url-unpadded": base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    "hex": RAW.hex(),
    "hex-upper": RAW.hex().upper(),
    "json": json.dumps(SECRET),
    "repr-bytes": repr(RAW),
    "markup": html.escape(SECRET),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_redact_removes_every_spelling(redactor: Redactor, spelling: str) -> None:
    """In any encoding, the secret is replaced by the name of its rule."""
    done = redactor.redact(f"before <{spelling}> after")
    assert done.redactions == (Redaction(rule="secret:app_user", count=1),)
    assert done.text.startswith("before <")
    assert done.text.endswith("> after")
    assert "[redacted:secret:app_user]" in done.text
    assert spelling.strip("\"'b") not in done.text


@settings(max_examples=150, deadline=None)
@given(
    encode=st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]),
    secret=st.text(min_size=6, max_size=40),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
)
def test_redact_removes_a_secret_inside_larger_base64(
    encode: Callable[[bytes], bytes], secret: str, before: bytes, after: bytes
) -> None:
    """At every alignment, only the digits of the surrounding bytes and of the edges remain."""
    redactor = Redactor()
    redactor.add_secret("it", secret)
    done = redactor.redact(encode(before + secret.encode() + after).decode())
    assert done.redactions
    rest = done.text.replace("[redacted:secret:it]", "").rstrip("=")
    digits = -(-8 * len(before) // 6) + -(-8 * len(after) // 6)
    assert len(rest) <= digits + 2  # one at the edge, one where a secret repeats itself


def test_redact_keeps_other_text(redactor: Redactor) -> None:
    """Text without the secret is returned unchanged, with nothing counted."""
    text = "s3cr/t but not all of it, http://localhost:9540/metrics?to=a@b.c and cookie jars"
    done = redactor.redact(text)
    assert done.text == text
    assert done.redactions == ()


def test_redact_takes_the_longest_spelling_first(redactor: Redactor) -> None:
    """A secret that begins with another is redacted as a whole."""
    redactor.add_secret("longer", f"{SECRET}-and-more")
    done = redactor.redact(f"x {SECRET}-and-more y")
    assert done.text == "x [redacted:secret:longer] y"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:pw@h:5432/d", "postgresql://u:[redacted:dsn-userinfo]@h:5432/d"),
        ("sqla+postgresql://u:p%40w@h/d", "sqla+postgresql://u:[redacted:dsn-userinfo]@h/d"),
        ("redis://:pw@h/0", "redis://:[redacted:dsn-userinfo]@h/0"),
        ("amqp://u:p@ss@h//", "amqp://u:[redacted:dsn-userinfo]@h//"),
        ("postgres://u:pa/ss@h/d", "postgres://u:[redacted:dsn-userinfo]@h/d"),
        (
            "a://u:p@h/d;b://v:q@k/e",
            "a://u:[redacted:dsn-userinfo]@h/d;b://v:[redacted:dsn-userinfo]@k/e",
        ),
    ],
)
def test_redact_removes_the_password_of_any_dsn(text: str, expected: str) -> None:
    """An unregistered password is redacted; scheme, user, host and path are kept."""
    assert Redactor().redact(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u@h:5432/d",
        "http://localhost:8080/a?mail=x@y.z",
        "postgresql://u:***@h/d",
        "postgresql://u:[redacted:dsn-userinfo]@h/d",
        "postgresql://u:[redacted:secret:app_user]@h/d",
    ],
)
def test_redact_keeps_a_dsn_without_a_password(text: str) -> None:
    """A port, a mask and a redacted value are not a password."""
    done = Redactor().redact(text)
    assert done.text == text
    assert done.redactions == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def\nHost: x", "Authorization: [redacted:{}]\nHost: x"),
        ("> authorization: Basic dTpw\r\n> Host: x", "> authorization: [redacted:{}]\r\n> Host: x"),
        (
            "curl -H 'Authorization: Bearer a b' http://h/",
            "curl -H 'Authorization: [redacted:{}]' http://h/",
        ),
        ('{{"Authorization": "Bearer x", "b": 1}}', '{{"Authorization": "[redacted:{}]", "b": 1}}'),
        ("[('Authorization', 'Basic x')]", "[('Authorization', '[redacted:{}]')]"),
        (
            "&#34;authorization&#34;: &#34;x y&#34;, z",
            "&#34;authorization&#34;: &#34;[redacted:{}]&#34;, z",
        ),
    ],
)
def test_redact_keeps_a_header_and_removes_its_value(text: str, expected: str) -> None:
    """In any notation of a credential header, its name is kept and its value redacted."""
    done = Redactor().redact(text.replace("{{", "{").replace("}}", "}"))
    assert done.text == expected.format("header:authorization")
    assert done.redactions == (Redaction(rule="header:authorization", count=1),)


@pytest.mark.parametrize(
    "name",
    ["Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "Api-Key"],
)
def test_redact_knows_each_credential_header(name: str) -> None:
    """Each credential header is counted under its own name."""
    done = Redactor().redact(f'{name}: a="q u"; b=2\nAccept: c')
    assert done.text == f"{name}: [redacted:header:{name.lower()}]\nAccept: c"


def test_redact_keeps_other_headers() -> None:
    """A header whose name only contains that of a credential header is kept."""
    text = "X-Authorization-Mode: none\nCookies: are nice\nContent-Type: text/plain"
    assert Redactor().redact(text).text == text


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="aA:/@ \"'\\\n<[]=;*", max_size=40), head=st.booleans())
def test_redact_changes_nothing_the_second_time(text: str, *, head: bool) -> None:
    """Redacted text does not change when it is redacted again."""
    redactor = Redactor()
    once = redactor.redact(f"Cookie: {text}" if head else f"db://u:{text}@h").text
    assert redactor.redact(once).text == once


def test_redact_json_walks_keys_and_values(redactor: Redactor) -> None:
    """Redaction reaches every depth and keys too, and keeps types and other values."""
    value = {SECRET: [1, None, True, {"a": f"x{SECRET}"}], "Cookie": ["a=b"], "n": "plain"}
    cleaned, redactions = redactor.redact_json(value)
    assert cleaned == {
        "[redacted:secret:app_user]": [1, None, True, {"a": "x[redacted:secret:app_user]"}],
        "Cookie": "[redacted:header:cookie]",
        "n": "plain",
    }
    assert redactions == (
        Redaction(rule="header:cookie", count=1),
        Redaction(rule="secret:app_user", count=2),
    )
    assert redactor.redact_json(cleaned) == (cleaned, ())


def test_redact_json_loses_no_key(redactor: Redactor) -> None:
    """Two keys that become equal when redacted are both kept."""
    cleaned, _ = redactor.redact_json({SECRET: 1, RAW.hex(): 2})
    assert sorted(cleaned.values()) == [1, 2]


def test_redact_headers_keeps_order_and_names(redactor: Redactor) -> None:
    """Pairs keep their order; of credential headers only the name remains."""
    pairs, redactions = redactor.redact_headers(
        [("Set-Cookie", "a=1"), ("Location", f"/?t={SECRET}"), ("set-cookie", "b=2")]
    )
    assert pairs == (
        ("Set-Cookie", "[redacted:header:set-cookie]"),
        ("Location", "/?t=[redacted:secret:app_user]"),
        ("set-cookie", "[redacted:header:set-cookie]"),
    )
    assert sum(redaction.count for redaction in redactions) == 3


def test_redact_file_rewrites_in_place(redactor: Redactor, tmp_path: Path) -> None:
    """The file keeps its mode and its other bytes, even those that are not text."""
    path = tmp_path / "junit.xml"
    path.write_bytes(b"<a>\xff " + SECRET.encode() + b"</a>\r\n")
    path.chmod(0o640)
    redactions = redactor.redact_file(path)
    assert path.read_bytes() == b"<a>\xff [redacted:secret:app_user]</a>\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert redactions == (Redaction(rule="secret:app_user", count=1),)
    assert [file.name for file in tmp_path.iterdir()] == ["junit.xml"]


def test_redact_file_leaves_a_clean_file_untouched(redactor: Redactor, tmp_path: Path) -> None:
    """A file without a secret is not rewritten."""
    path = tmp_path / "report.html"
    path.write_text("<p>fine</p>")
    before = path.stat().st_ino
    assert redactor.redact_file(path) == ()
    assert path.stat().st_ino == before


def test_redact_file_names_a_file_that_it_cannot_rewrite(
    redactor: Redactor, tmp_path: Path
) -> None:
    """The error for a missing file has its path and the rule."""
    with pytest.raises(NotWritableError, match=r"gone\.xml: redaction: got No such file"):
        redactor.redact_file(tmp_path / "gone.xml")


def test_ledger_adds_up_by_rule_and_place(redactor: Redactor) -> None:
    """Calls that name a place are counted there, others are not."""
    redactor.redact(SECRET, place="a")
    redactor.redact(f"{SECRET} {SECRET}", place="a")
    redactor.redact(SECRET, place="b")
    redactor.redact(SECRET)
    assert redactor.ledger == (
        LedgerEntry(rule="secret:app_user", place="a", count=3),
        LedgerEntry(rule="secret:app_user", place="b", count=1),
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("db", "5chrs", "secret db: got 5 characters, expected at least 6"),
        ("", "long enough", "secret name: got ''"),
        ("a]b", "long enough", "secret name: got 'a]b'"),
    ],
)
def test_add_secret_refuses_what_would_redact_badly(name: str, value: str, message: str) -> None:
    """A secret of five characters, or a name that breaks the replacement, is bad input."""
    with pytest.raises(BadInputError) as error:
        Redactor().add_secret(name, value)
    assert message in str(error.value)
    assert value not in str(error.value)
    Redactor().add_secret("db", "sixsix")


def test_redact_forgets_harmless_texts_when_a_secret_is_added() -> None:
    """A text without a match is redacted after its secret is registered."""
    redactor = Redactor()
    assert redactor.redact("the word swordfish").text == "the word swordfish"
    redactor.add_secret("word", "swordfish")
    assert redactor.redact("the word swordfish").text == "the word [redacted:secret:word]"


def test_redact_forgets_harmless_texts_when_it_remembers_too_many(
    redactor: Redactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a remembered nor a forgotten text changes; a secret next to one is redacted."""
    monkeypatch.setattr("gateproof_evidence.redaction.redactor._REMEMBERED", 2)
    texts = [f"harmless text {number}" for number in range(5)]
    for text in [*texts, *texts]:
        assert redactor.redact(text) == Redacted(text=text, redactions=())
        assert redactor.redact(f"{text} {SECRET}").text == f"{text} [redacted:secret:app_user]"
    assert redactor.redact_json(texts) == (texts, ())


def test_values_of_one_comparison_have_placeholders_of_their_own(redactor: Redactor) -> None:
    """Each rule numbers its values; a second redaction changes nothing, and counts are by rule."""
    redactor.add_secret("other", "another-secret")
    texts = (
        f"{SECRET} {SECRET} another-secret",
        "amqp://u:one-of-them@h/ amqp://u:two-of-them@h/",
        "Authorization: Basic dTpwYXNzd29yZA==\nAuthorization: Basic dTpwYXNzd29yZDI=",
        f"password='{SECRET}' token='abcdef123456'",
    )
    both = Placeholders(texts)
    done = [redactor.redact(text, placeholders=both) for text in texts]
    assert [one.text for one in done] == [
        "[redacted:secret:app_user] [redacted:secret:app_user] [redacted:secret:other]",
        "amqp://u:[redacted:dsn-userinfo]@h/ amqp://u:[redacted:dsn-userinfo#2]@h/",
        (
            "Authorization: [redacted:header:authorization]\n"
            "Authorization: [redacted:header:authorization#2]"
        ),
        "password='[redacted:secret:app_user]' token='[redacted:named]'",
    ]
    assert done[1].redactions == (Redaction(rule="dsn-userinfo", count=2),)
    for one in done:
        assert redactor.redact(one.text).text == one.text


def test_placeholder_that_a_text_has_already_is_given_to_no_other_value() -> None:
    """A value that is the text of a placeholder stays different from a secret."""
    both = Placeholders(("[redacted:named]", "[redacted:named#2] x"))
    assert both.of("named", "a") == "[redacted:named#3]"
    assert both.of("named", "b") == "[redacted:named#4]"
    assert both.of("named", "a") == "[redacted:named#3]"
    assert both.of("jwt", "a") == "[redacted:jwt]"


@given(
    st.lists(
        st.sampled_from(
            ("x", "[redacted:vendor-token]", *(f"ghp_{one * 36}" for one in "Aab"), "Bearer a1")
        ),
        max_size=4,
    ),
    st.lists(st.sampled_from(("x", *(f"ghp_{one * 36}" for one in "Aac"))), max_size=4),
)
def test_comparison_of_redacted_values_is_that_of_the_values(
    got: list[str], expected: list[str]
) -> None:
    """Two texts are equal after redaction exactly if they were equal before."""
    redactor = Redactor()
    texts = json.dumps(got), json.dumps(expected)
    both = Placeholders(texts)
    one, two = (redactor.redact(text, placeholders=both).text for text in texts)
    assert (one == two) is (texts[0] == texts[1])
