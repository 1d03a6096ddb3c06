"""Patterns of unknown secrets: by the name of the field, or by the form of the value.

Owns the patterns. Leaves counting, replacing and known secrets to
`gateproof_evidence.redaction.redactor`. Not detected: a secret without a name and without a known
form, such as an AWS secret key alone; a value with spaces under a secret name, which is far more
often a sentence.

Source: design, "Redaction"; detect-secrets 1.5 (kinds); the issuers' own pages (forms of tokens).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

Judge = Callable[["re.Match[str]"], bool]

_BEFORE, _AFTER = 256, 8192
"""The number of characters before and after an anchor in which a pattern is searched."""

_STRIDE = 128
"""The distance of anchors in characters; closer ones lie in the same window."""

SHORTEST_VALUE = 4
"""Characters; a shorter value under a secret name is not a secret."""

SHORTEST_KNOWN = 6
"""Characters of a known secret; a shorter one would match ordinary text."""

_WORD = (
    r"passwords?|passwd|passphrase|pwd|secrets?|token|credentials?"
    r"|(?:api|access|secret|private|signing|encryption|account|master|auth)[_-]?key"
    r"|secret[ _-]access[ _-]key|(?:password|token)[_-]?hash"
)
_NAME = re.compile(rf"(?i)(?:[a-z0-9_.-]*[_.-])?(?:{_WORD})|rolpassword|passwordhash|accesstoken")
_QUOTE = r"\\*[\"']|&(?:amp;)?(?:quot|#34|#x27|#39);"
_WORDS_ONLY = re.compile(r"[a-z]+")
_HARMLESS = re.compile(
    r"(?i)[*x.•_-]+|none|null|true|false|string|\$.*|%.*|\{.*|<.*|&lt;.*|\[redacted:.*"
    r"|sha\d{3}:[0-9a-f]+|(?:[a-z]:)?(?:~|\.{0,2})[/\\][\w.@-]*(?:[/\\][\w.@-]*)*"
)
"""Masks, variables, types, digests and paths."""
_EXPRESSION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_SYMBOL = re.compile(r"[0-9!@#%^*+~/=$-]")


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of a secret."""

    rule: str
    anchors: tuple[str, ...]
    """Lower-case text with the secret has one of these; searching for them first is fast."""
    pattern: re.Pattern[str]
    """Its group ``value`` is the part to redact."""
    is_secret: Judge = lambda _: True
    """Decides on matches of the pattern."""


def is_secret_name(name: str) -> bool:
    """Return whether a key, a column or a variable has the name of a secret."""
    return _NAME.fullmatch(name) is not None


def is_secret_variable(name: str, value: str) -> bool:
    """Return whether a variable that is set to a value holds a secret, by its name.

    A value that is too short to be searched for, a mask, a switch or a path is none.
    """
    return (
        is_secret_name(name) and len(value) >= SHORTEST_KNOWN and _HARMLESS.fullmatch(value) is None
    )


def password_of(url: str) -> str | None:
    """Return the password in a URL, decoded; None without one that can be searched for."""
    try:
        found = unquote(urlsplit(url).password or "")
    except ValueError:  # no URL
        return None
    return found if len(found) >= SHORTEST_KNOWN else None


def looks_secret(name: str, value: str) -> bool:
    """Return whether a value under a secret name is a secret, not a mask, a path or a sentence."""
    if len(value) < SHORTEST_VALUE or re.search(r"\s", value) or _HARMLESS.fullmatch(value):
        return False
    if _WORDS_ONLY.fullmatch(value) and not re.search(r"(?i)pass|pwd", name):
        return len(value) >= 16
    return True


def spans(form: Form, text: str, folded: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of secrets of one form in a text, sorted and without overlap.

    Args:
        form: the form to search for.
        text: of any length.
        folded: the text in lower case.

    """
    done = 0
    for start, end in _windows(form.anchors, folded, len(text)):
        for match in form.pattern.finditer(text, max(start, done), end):
            if form.is_secret(match):
                yield match.span("value")
            done = match.end()


def _windows(anchors: Sequence[str], folded: str, length: int) -> Sequence[tuple[int, int]]:
    """Return the parts of a text near an anchor; `str.find` is far faster than a pattern."""
    if len(folded) != length:  # lower case can be longer, and then positions differ
        return ((0, length),)
    found = sorted({place for anchor in anchors for place in _finds(anchor, folded)})
    merged: list[tuple[int, int]] = []
    for place in found:
        start, end = max(0, place - _BEFORE), min(length, place + _AFTER)
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], end
        else:
            merged.append((start, end))
    return merged


def _finds(anchor: str, folded: str) -> Iterator[int]:
    place = folded.find(anchor)
    while place >= 0:
        yield place
        place = folded.find(anchor, place + _STRIDE)


def _is_quoted(match: re.Match[str]) -> bool:
    return looks_secret(match["name"], match["value"])


def _is_variable(match: re.Match[str]) -> bool:
    """Judge ``NAME=value``: any value of a name in capitals, otherwise one that is not code."""
    name, value = match["name"], match["value"]
    if not looks_secret(name, value):
        return False
    if name.isupper() or match["before"] in ("?", "&", "&amp;", "--"):
        return True
    return not _EXPRESSION.fullmatch(value) and bool(_SYMBOL.search(value))


def _is_line(match: re.Match[str]) -> bool:
    """Judge ``name: value`` to the end of a line, which also occurs in prose."""
    name, value = match["name"], match["value"]
    plain = name.isupper() or bool(re.search(r"[0-9!@#%^*+~$]", value))
    return looks_secret(name, value) and plain


def _is_basic(match: re.Match[str]) -> bool:
    """Judge ``Basic ...``, which encodes user and password."""
    try:
        return b":" in base64.b64decode(match["value"] + "==", validate=False)
    except binascii.Error:
        return False


def _has_digit(match: re.Match[str]) -> bool:
    return any(character.isdigit() for character in match["value"])


_NEAR = (
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    *("_key", "-key", " access key"),
    *(f"{kind}key" for kind in ("api", "access", "secret", "private", "signing", "encryption")),
    *("accountkey", "masterkey", "authkey"),
)
_NAMED = rf"(?P<name>(?:[A-Za-z0-9_.-]{{0,64}}[_.-])?(?:{_WORD})|rolpassword|accesstoken)"
_START = r"(?<![A-Za-z0-9_.-])"

BLOCKS: Sequence[Form] = (
    Form(
        rule="private-key",
        anchors=("private key",),
        pattern=re.compile(
            r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            r"(?P<value>(?:(?!-----)[\s\S]){1,8000}?(?=-----END)|[A-Za-z0-9+/=\s\\]{1,8000})"
        ),
    ),
)
"""Forms with several lines; they run first, because a rule for one line would break them."""

FORMS: Sequence[Form] = (
    Form(
        rule="password-hash",
        anchors=("scram-sha-256$", "md5", "$", "pbkdf2", "scrypt:", "{ss", "{crypt"),
        pattern=re.compile(
            r"(?P<value>SCRAM-SHA-256\$\d+:[A-Za-z0-9+/=]{8,}\$[A-Za-z0-9+/=:]{20,}"
            r"|(?<![A-Za-z0-9])md5[0-9a-f]{32}(?![0-9A-Za-z])"
            r"|\$2[abxy]?\$\d\d\$[A-Za-z0-9./]{53}"
            r"|\$argon2(?:id|i|d)\$[A-Za-z0-9+/=,$.-]{20,}"
            r"|\$(?:1|5|6|7|y|apr1|scrypt)\$[A-Za-z0-9./=,$+-]{20,}"
            r"|pbkdf2_sha\d+\$\d+\$[^\s$]{1,64}\$[A-Za-z0-9+/=]{20,}"
            r"|(?:pbkdf2:sha\d+:\d+|scrypt:\d+:\d+:\d+)\$[^\s$]{1,64}\$[0-9a-f]{32,}"
            r"|\{(?:SSHA|SSHA256|SSHA512|CRYPT)\}[A-Za-z0-9+/=$.]{16,})"
        ),
    ),
    Form(
        rule="jwt",
        anchors=("eyj",),
        pattern=re.compile(
            r"(?<![A-Za-z0-9_-])(?P<value>eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*)"
        ),
    ),
    Form(
        rule="vendor-token",
        anchors=(
            *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gldt-", "glrt-"),
            *("xox", "hooks.slack.com", "k_live_", "k_test_", "npm_", "pypi-", "sg.", "aiza"),
            *("sk-", "dop_v1_", "hf_", "sq0", ":aa", "-us", "akc"),
            *(f"sk{digit}" for digit in "0123456789abcdef"),
        ),
        pattern=re.compile(
            r"(?<![A-Za-z0-9_-])(?P<value>gh[pousr]_[A-Za-z0-9]{36,255}"
            r"|github_pat_[A-Za-z0-9_]{22,255}"
            r"|gl(?:pat|dt|rt)-[A-Za-z0-9_-]{20,}"
            r"|xox[abeprs]-[A-Za-z0-9-]{10,}"
            r"|[srp]k_(?:live|test)_[A-Za-z0-9]{16,}"
            r"|npm_[A-Za-z0-9]{36}"
            r"|pypi-[A-Za-z0-9_-]{50,}"
            r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
            r"|AIza[A-Za-z0-9_-]{35}"
            r"|sk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}"
            r"|dop_v1_[0-9a-f]{64}"
            r"|hf_[A-Za-z0-9]{30,}"
            r"|sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}"
            r"|\d{8,10}:AA[A-Za-z0-9_-]{33}"
            r"|SK[0-9a-f]{32}(?![0-9a-f])"
            r"|AKC[A-Za-z0-9]{10,}"
            r"|[0-9a-f]{32}-us\d{1,2}(?!\d)"
            r"|(?<=hooks\.slack\.com/services/)T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,})"
        ),
    ),
    Form(
        rule="aws-key",
        anchors=("akia", "asia", "abia", "acca"),
        pattern=re.compile(
            r"(?<![A-Za-z0-9])(?P<value>(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"
            r"(?:[\"']?[\s,:|]{1,4}[\"']?[A-Za-z0-9/+]{40})?)(?![A-Za-z0-9/+])"
        ),
    ),
    Form(
        rule="basic-auth",
        anchors=("basic ",),
        # ASCII: without it, (?i) matches such as the Kelvin sign, which cannot be decoded.
        pattern=re.compile(r"(?ai)(?<![a-z0-9])basic +(?P<value>[A-Za-z0-9+/_-]{8,}={0,2})"),
        is_secret=_is_basic,
    ),
    Form(
        rule="basic-auth",
        anchors=("curl",),
        pattern=re.compile(
            r"(?i)\bcurl\b[^\r\n]*? (?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:\"']{1,256}:"
            r"(?P<value>[^\s\"']{1,1024})"
        ),
    ),
    Form(
        rule="bearer-token",
        anchors=("bearer ",),
        pattern=re.compile(r"(?i)(?<![a-z0-9])bearer +(?P<value>[A-Za-z0-9._~+/-]{16,}=*)"),
        is_secret=_has_digit,
    ),
    Form(
        rule="sql-password",
        anchors=("password ", "password\n"),
        pattern=re.compile(r"(?i)\bPASSWORD\s+(?:E|U&)?'(?P<value>(?:[^']|''){1,1024})'"),
        is_secret=lambda match: not match["value"].startswith("[redacted:"),
    ),
    Form(
        rule="named",
        anchors=_NEAR,
        pattern=re.compile(
            rf"(?i){_START}{_NAMED}(?:{_QUOTE})?\s{{0,8}}(?:=>|:=|==?|:|,(?= ?[\"']))\s{{0,8}}"
            rf"[bruf]?(?P<open>{_QUOTE})(?P<value>(?:(?!(?P=open))[^\r\n]){{1,4096}})(?P=open)"
        ),
        is_secret=_is_quoted,
    ),
    Form(
        rule="named",
        anchors=_NEAR,
        pattern=re.compile(
            rf"(?i)(?P<before>[?&]|&amp;|--|(?<![a-z0-9_.-])){_NAMED} ?= ?"
            r"(?P<value>[^\s\"'`,;&<>()\[\]{}|]{4,4096})(?![(\[{])"
        ),
        is_secret=_is_variable,
    ),
    Form(
        rule="named",
        anchors=_NEAR,
        pattern=re.compile(
            rf"(?im){_START}{_NAMED}[ \t]*: [ \t]*(?P<value>[^\s\"'`,;<>()\[\]{{}}|]{{4,4096}})"
            r"(?=[ \t]*(?:$|\r|\\n))"
        ),
        is_secret=_is_line,
    ),
    Form(
        rule="named",
        anchors=_NEAR,
        pattern=re.compile(rf"(?i)(?<=--){_NAMED}[ ]+[\"']?(?P<value>(?!-)[^\s\"']{{4,4096}})"),
        is_secret=_is_quoted,
    ),
)
"""Forms of the value come first, so that the ledger counts those by their own rule."""
