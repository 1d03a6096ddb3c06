"""Mask secrets in a task's arguments, and in the text of its error.

A value is a secret by its name or by its form, at every depth:

1. By name: it is under a sensitive key, follows a sensitive name (a pair, an option of a command,
   an assignment in a text), or is the value of an object that has such a name.
2. By form: the password of a URL, a bearer or basic token, a JSON Web Token, a private key.
3. By repetition: a value that was found once is masked wherever it is repeated.

Not masked: a secret without a sensitive name and without such a form. A task declares its own names
in the attribute `sensitive_keys`. Every pattern is bounded: a text of a megabyte costs linear time.

Source: RFC 3986, section 3.2.1; RFC 6750; RFC 7617; RFC 7519; RFC 7468.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from system.connections.text import storable
from system.identity import parameters_of

MASK = "[masked]"
# One word of a name, besides those that end with the four below: token, accesstoken, userpassword.
SENSITIVE = frozenset(
    {
        *("passwords", "passwd", "passphrase", "passcode", "pwd", "secrets", "authorization"),
        *("credential", "credentials", "cookie", "cookies", "dsn", "jwt"),
    }
)
_ENDINGS = ("password", "secret", "token", "apikey")
# Several words of a name in a row, here without what separates them.
PHRASES = frozenset(
    {
        *("apikey", "apikeys", "accesskey", "accesskeys", "accountkey", "authkey", "encryptionkey"),
        *("masterkey", "privatekey", "sharedkey", "signingkey", "sessionkey", "sessionid"),
        *("accesstokens", "refreshtokens", "authtokens", "apitokens", "connectionstring"),
    }
)
# Shorter values occur in any text: to replace them would garble it and hide nothing.
SHORTEST_SECRET = 4
LONGEST_NAME = 64

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_IS_NAME = re.compile(rf"-{{0,2}}[A-Za-z][\w.-]{{0,{LONGEST_NAME}}}")
_NAMED_ELSEWHERE = "secret"
"""The name of a value whose sensitive name is next to it."""
_NAME_KEYS = frozenset({"name", "key", "field", "header", "param", "parameter", "variable"})
_VALUE_KEYS = frozenset({"value", "values", "val", "content", "data", "default"})

# A port is no password. Some parsers allow a slash in a password, and others an @. A text that was
# cut can end within the password.
_URL_PASSWORD = re.compile(
    r"(?<=://)(?P<user>[^\s:/@\"'<>\[]{0,256}):(?!\d{1,5}(?:[/?#,;)\]\s\"']|$))"
    r"(?:(?P<secret>[^\s/\"'<>]{1,512})@|(?P<slashed>(?:[^\s/\"'<>]|/(?!/)){1,1024}?)@"
    r"|(?P<cut>[^\s/@\"'<>]{1,512})(?=[\s\"'<>]|$))"
)
# Over HTTP a user alone is a token.
_URL_USER = re.compile(r"(?<=http://|https:/)/?(?P<secret>[^\s:/@\"'<>]{1,256}):?@")
_BEARER = re.compile(r"\b(?i:bearer)[ \t]+(?P<secret>[\w.~+/=-]{8,})")
_ONLY_BEARER = re.compile(r"(?i:bearer)[ \t]+(?P<secret>\S+)\s*")
_BASIC = re.compile(r"\b(?i:basic)[ \t]+(?P<secret>[A-Za-z0-9+/_-]{4,}={0,2})")
_JSON_WEB_TOKEN = re.compile(
    r"(?<![\w-])(?P<secret>eyJ[\w-]{4,4096}\.[\w-]{4,65536}\.[\w-]{0,4096})"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?P<secret>.*?)(?:-----END|\Z)", re.DOTALL
)
_VALUE_KEY = rf"(?:\\{{0,3}}[\"'](?:{'|'.join(sorted(_VALUE_KEYS))})\\{{0,3}}[\"']:[ \t]{{0,3}})?"
# A name and what separates it from its value, in a header, a DSN, a query, JSON, a repr or a call.
_NAMED = re.compile(
    rf"(?<![\w.-])(?P<name>-{{0,2}}[A-Za-z][\w.-]{{0,{LONGEST_NAME - 1}}})"
    r"(?:\\{0,3}[\"']?[ \t]{0,3}(?P<sign>=>|[:=])[ \t]{0,3}"
    rf"|\\{{0,3}}[\"'],[ \t]{{0,3}}{_VALUE_KEY}(?=\\{{0,3}}[\"']))"
)
_VALUE = re.compile(
    r"(?P<escaped>\\+[\"'])[^\"'\\]*\\+[\"']"
    r"|b?(?P<double>\")(?:[^\"\\]|\\.)*\""
    r"|b?(?P<single>')(?:[^'\\]|\\.)*'"
    r"|[\[({][^\])}]*[\])}]?"
    r"|\\*[\"']\S*"
    r"|[^\s;&\"']+"
)
# Their values have several words.
_HEADERS = frozenset({"authorization", "cookie"})
_LINE = re.compile(r"[^\r\n\"']+")


@dataclass(frozen=True, kw_only=True)
class Masking:
    """The masking rules of one task, and the secrets that they found in one failure."""

    keys: frozenset[str]
    """Whole names, lower-case, which the task declares."""
    task_named: Callable[[str], Any] | None = None
    """Returns the task of a name, for the parameters of a signature, or None."""
    found: set[str] = field(default_factory=set)
    """Secrets, in every form in which a text can repeat them."""

    def arguments(
        self, task: Any, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return masked arguments; the name of a positional one is its parameter's."""
        given = list(args or ())
        masked = self._items(given, parameters_of(task, len(given)))
        named = self.value(dict(kwargs or {}))
        return self.repeated(masked), self.repeated(named)

    def value(self, value: Any, *, key: str = "") -> Any:
        """Return a value with every secret masked, at any depth."""
        if self.is_sensitive(key) and _can_be_secret(value):
            self._remember(value)
            return MASK
        if isinstance(value, Mapping):
            return self._object(value)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(list(value), [""] * len(value))
        if isinstance(value, str):
            return self._forms(value, prose=False)
        if isinstance(value, bytes):
            text = value.decode("utf-8", "replace")
            return value if self._forms(text, prose=False) == text else MASK
        return value

    def is_sensitive(self, key: str) -> bool:
        """Return whether a name is sensitive: by its words, or by the task."""
        return key.lower() in self.keys or _is_sensitive(key[: 2 * LONGEST_NAME])

    def text(self, text: str) -> str:
        """Return text in a form that PostgreSQL stores, with every secret masked."""
        return storable(self._literal(self._forms(self._literal(text), prose=True)))

    # 1. By name

    def _object(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        names = [value[key] for key in value if str(key).lower() in _NAME_KEYS]
        named = _VALUE_KEYS if any(self._is_sensitive_name(name) for name in names) else ()
        masked = {}
        parameters = self._parameters(value)
        for key, item in value.items():
            if key == "args" and parameters:
                masked[key] = self._items(list(item), parameters)
                continue
            shown = self._forms(key, prose=False) if isinstance(key, str) else key
            name = _NAMED_ELSEWHERE if str(key).lower() in named else str(key)
            masked[shown] = self.value(item, key=name)
        return masked

    def _parameters(self, value: Mapping[Any, Any]) -> list[str]:
        """Return the names of the positional arguments of a signature; none for anything else.

        The result of an earlier task can be put before them: of two possible names, the sensitive.
        """
        name, args = value.get("task"), value.get("args")
        task = self.task_named(name) if self.task_named and isinstance(name, str) else None
        if task is None or not isinstance(args, list | tuple):
            return []
        return [
            later if self.is_sensitive(later) else first
            for first, later in pairwise(parameters_of(task, len(args) + 1))
        ]

    def _items(self, items: list[Any], names: Sequence[str]) -> list[Any]:
        """Return masked items; one that follows a sensitive name is a secret."""
        masked = []
        for place, (item, name) in enumerate(zip(items, names, strict=True)):
            before = items[place - 1] if place else None
            follows = self._is_sensitive_name(before) and (
                str(before).startswith("-") or (place % 2 == 1 and len(items) % 2 == 0)
            )
            masked.append(self.value(item, key=_NAMED_ELSEWHERE if follows else name))
        return masked

    def _is_sensitive_name(self, name: object) -> bool:
        if isinstance(name, bytes):  # as in the headers of ASGI
            name = name.decode("latin-1")
        return (
            isinstance(name, str)
            and _IS_NAME.fullmatch(name) is not None
            and self.is_sensitive(name.lstrip("-"))
        )

    def _assignments(self, text: str, *, prose: bool) -> str:
        parts, at = [], 0
        for found in _NAMED.finditer(text):
            name = found["name"].lstrip("-")
            if found.start() < at or not self.is_sensitive(name):
                continue
            value = _VALUE.match(text, found.end())
            if value is None:
                continue
            quotes = value["escaped"] or value["double"] or value["single"] or ""
            if not quotes and found["sign"] == ":" and _HEADERS & set(_words(name)):
                value = _LINE.match(text, found.end()) or value
            # A word after a colon can be prose, which must not be masked elsewhere.
            if quotes or found["sign"] == "=" or not prose:
                self._remember(value[0].strip("\\\"'"))
            parts += [text[at : found.end()], quotes, MASK, quotes]
            at = value.end()
        return "".join([*parts, text[at:]])

    # 2. By form

    def _forms(self, text: str, *, prose: bool) -> str:
        """Return text with what its form, or a name before it, shows to be secret masked."""
        if len(text) < SHORTEST_SECRET:
            return text
        if "://" in text:
            text = _URL_PASSWORD.sub(self._hide, text)
            text = _URL_USER.sub(self._hide, text)
        if whole := _ONLY_BEARER.fullmatch(text):
            return self._hide(whole)
        for pattern in (_PRIVATE_KEY, _JSON_WEB_TOKEN, _BEARER):
            text = pattern.sub(self._hide, text)
        text = _BASIC.sub(lambda found: self._hide(found) if _is_basic(found) else found[0], text)
        return self._assignments(text, prose=prose)

    def _hide(self, found: re.Match[str]) -> str:
        """Return what a pattern matched with its secret masked."""
        group = found.lastgroup or "secret"
        self._remember(found[group])
        begin, end = (place - found.start() for place in found.span(group))
        return f"{found[0][:begin]}{MASK}{found[0][end:]}"

    # 3. By repetition

    def _remember(self, value: Any) -> None:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, bytes):
            value = value.decode("utf-8", "backslashreplace")
        if isinstance(value, list | tuple | set | frozenset):
            for item in value:
                self._remember(item)
        elif _can_be_secret(value) and value != MASK and len(str(value)) >= SHORTEST_SECRET:
            self.found.update(_spellings(str(value)))

    def repeated(self, value: Any) -> Any:
        """Return a masked value without the secrets that were found elsewhere."""
        if not self.found:
            return value
        if isinstance(value, Mapping):
            return {self.repeated(key): self.repeated(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.repeated(item) for item in value]
        return self._literal(value) if isinstance(value, str) else value

    def _literal(self, text: str) -> str:
        for secret in sorted(self.found, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text


def masking_for(task: Any) -> Masking:
    """Return the rules of a task: the common names and its attribute `sensitive_keys`."""
    declared = getattr(task, "sensitive_keys", ())
    app = getattr(task, "app", None)
    return Masking(
        keys=frozenset(key.lower() for key in declared), task_named=app.tasks.get if app else None
    )


def mask_text(text: str) -> str:
    """Return a text of no task with what its form or its name shows to be a secret masked."""
    return Masking(keys=frozenset()).text(text)


@lru_cache(maxsize=4096)
def _words(key: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(key))


@lru_cache(maxsize=4096)
def _is_sensitive(key: str) -> bool:
    words = _words(key)
    return (
        not SENSITIVE.isdisjoint(words)
        or any(word.endswith(_ENDINGS) for word in words)
        or not PHRASES.isdisjoint({*words, *map("".join, pairwise(words))})
    )


def _can_be_secret(value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and value != ""


def _is_basic(found: re.Match[str]) -> bool:
    """Return whether the word after *basic* has a user and a password."""
    secret = found["secret"].rstrip("=")
    try:
        return b":" in base64.b64decode(f"{secret}{'=' * (-len(secret) % 4)}", altchars=b"-_")
    except (binascii.Error, ValueError):
        return False


def _spellings(secret: str) -> set[str]:
    """Return a secret as a text shows it: itself, in a repr, in JSON, in a URL."""
    plain = {secret, unquote(secret)}
    how: tuple[Callable[[str], str], ...] = (
        str,
        lambda text: repr(text)[1:-1],
        lambda text: json.dumps(text)[1:-1],
        lambda text: quote(text.encode("utf-8", "surrogatepass"), safe=""),
        lambda text: quote_plus(text.encode("utf-8", "surrogatepass")),
    )
    return {spelt for one in plain for spell in how if len(spelt := spell(one)) >= SHORTEST_SECRET}
