"""Gate runtime: every setting has its published default and limits, and refuses what is outside.

The limits are read in the tables of `system/README.md`, and the functions of the settings are
called in one interpreter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateproof import FileProbe, ProcessProbe, Sut, claim, criterion, falsified_by, premise, source

from .calls import call_functions

PUBLISHED = "system/README.md"
SETTINGS = "system/settings.py"
MODULE = "system.settings:"

KNOWN: Mapping[str, tuple[str, str]] = {
    "CELERY_METRICS_PORT": ("monitoring_from", "port"),
    "SYSTEM_HEALTH_DEADLINE_S": ("monitoring_from", "health_deadline_s"),
    "SYSTEM_HEALTH_STALLED_S": ("monitoring_from", "stalled_after_s"),
    "SYSTEM_API_PORT": ("api_from", "port"),
    "SYSTEM_API_PROCESSES": ("api_from", "processes"),
    "SYSTEM_API_THREADS": ("api_from", "threads"),
    "SYSTEM_API_DEADLINE_S": ("api_from", "deadline_s"),
    "SYSTEM_API_CLIENT_S": ("api_from", "client_s"),
    "SYSTEM_DEAD_EVENT_PAUSE_S": ("retry_pause_s_from", ""),
    "SYSTEM_DEAD_EVENT_EVERY_S": ("retry_every_s_from", ""),
    "SYSTEM_RESULT_CLEANUP_S": ("result_cleanup_s_from", ""),
    "SYSTEM_DEAD_LETTER_SPOOL_MB": ("dead_letters_from", "spool_limit_bytes"),
    "SYSTEM_DEAD_LETTER_RETENTION_DAYS": ("dead_letters_from", "retention_days"),
    "SYSTEM_DEAD_LETTER_REPLAYS": ("dead_letters_from", "most_replays"),
    "SYSTEM_BROKER_MAX_DELIVERIES": ("broker_options_from", "max_deliveries"),
}
"""The function that reads a setting, and the name of the setting in its value."""
SHARED = {"SYSTEM_HEALTH_DEADLINE_S": ("api_from", "health_deadline_s")}
"""A setting that a second function reads."""
UNITS = {"SYSTEM_DEAD_LETTER_SPOOL_MB": 2**20}
SWITCHES = {
    "CELERY_TASK_ALWAYS_EAGER": ("eager_from", "", False),
    "SYSTEM_METRICS_TENANT_LABEL": ("api_from", "tenant_label", True),
}
"""The same for settings that are true or false, with their defaults."""
TRUE, FALSE = ("1", "true", "yes", "on", "ON"), ("0", "false", "no", "off", "", "Off")
PLACES = {
    "CELERY_METRICS_ADDR": ("monitoring_from", "address", "127.0.0.1"),
    "SYSTEM_API_ADDRESS": ("api_from", "address", "127.0.0.1"),
    "SYSTEM_WEBHOOK_SECRETS": ("api_from", "secrets", "/run/secrets"),
    "SYSTEM_PAYPAL_CERTIFICATES": ("api_from", "certificates", "/etc/paypal"),
}
"""The same for addresses and folders."""
DEAD_LETTERS: Sequence[tuple[str, Mapping[str, str], Any]] = (
    ("keys", {"SYSTEM_DEAD_LETTER_KEYS": " a, ,b"}, ["a", "b"]),
    ("keys", {}, []),
    ("spool", {"SYSTEM_DEAD_LETTER_SPOOL": "/a", "XDG_STATE_HOME": "/b", "HOME": "/c"}, "/a"),
    ("spool", {"XDG_STATE_HOME": "/b", "HOME": "/c"}, "/b/system-dead-letters"),
    ("spool", {"HOME": "/c"}, "/c/.local/state/system-dead-letters"),
)
"""Settings about dead-letter rows that are no numbers, with variables and values."""
DSN = "postgresql://a:b@c:1/d"
TLS = {
    **dict.fromkeys(("true", "1", "on", "yes", "TRUE"), "require"),
    **dict.fromkeys(("false", "0", "off", "no"), "disable"),
    "verify-full": "verify-full",
}
"""asyncpg's values of `ssl`, and those of libpq's `sslmode`."""

UNREADABLE = (
    "got a URL that cannot be read, expected user, host, port and database; correct it, and"
    " percent-encode special characters"
)
SCHEME = "expected postgresql, alone or with +asyncpg, +psycopg2 or +psycopg; correct the URL"
REFUSED: Mapping[str, str] = {
    "": "got nothing, expected a PostgreSQL URL; set it to the database's",
    "mysql://a:b@c/d": f"got scheme 'mysql', {SCHEME}",
    "a:b@c": f"got scheme '', {SCHEME}",
    "postgresql+pg8000://a:b@c/d": f"got scheme 'postgresql+pg8000', {SCHEME}",
    "postgresql://a:b@c:x/d": UNREADABLE,
}
"""DSNs that are refused, and how."""
OURS = "postgresql+psycopg2://a:b@c:1/d"
URLS: Sequence[tuple[str, str, str, str]] = (
    ("CELERY_BROKER_URL", "", "broker_url", f"sqla+{OURS}"),
    ("CELERY_BROKER_URL", "redis://r", "broker_url", "redis://r"),
    ("CELERY_BROKER_URL", DSN, "broker_url", f"sqla+{OURS}"),
    ("CELERY_BROKER_URL", f"sqlalchemy+{DSN}", "broker_url", f"sqla+{OURS}"),
    ("CELERY_RESULT_BACKEND", "", "result_backend", f"db+{OURS}"),
    ("CELERY_RESULT_BACKEND", "redis://r", "result_backend", "redis://r"),
    ("CELERY_RESULT_BACKEND", DSN, "result_backend", f"db+{OURS}"),
    ("CELERY_RESULT_BACKEND", f"database+{DSN}", "result_backend", f"db+{OURS}"),
)
"""Broker and result backend next to a DSN: variable, value, and the URL that is used."""
SCHEMES: Mapping[str, tuple[str, bool]] = {
    "sqla+postgresql+psycopg2://a": ("sqla+postgresql", True),
    "db+postgres://a": ("db+postgres", True),
    "postgresql+asyncpg://a": ("postgresql", True),
    "redis://a": ("redis", False),
}
"""URLs, what is shown of them, and whether they are of PostgreSQL."""
SECRETS: Mapping[str, Mapping[str, str]] = {
    "connections_from": {
        "DATABASE_URL": "postgresql://a:canary@b/c",
        "CELERY_BROKER_URL": "redis://:canary@b",
        "CELERY_RESULT_BACKEND": "redis://:canary@b",
    },
    "dead_letters_from": {"SYSTEM_DEAD_LETTER_KEYS": "canary"},
}
"""Functions whose values hold secrets, with variables that have one."""

VALUE, REFUSAL = "value of the setting", "refusal of a value"
SHOWN = "secrets in the representation of the settings"
KEPT, DROPPED = "parameters of a DSN that are kept", "parameters of a DSN that are dropped"
"""Names of claims that falsifiers predict."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A line of the published table."""

    name: str
    default: str
    least: str
    most: str

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        return not self.name.endswith("_S")

    @property
    def outside(self) -> tuple[str, ...]:
        """Values that are just outside of the limits, or no number of this setting."""
        step = Decimal(1) if self.is_whole else Decimal("0.001")
        near = (str(Decimal(self.least) - step), str(Decimal(self.most) + step))
        return (*near, "many", "-1", *(("1.5", "\u0661", "+1") if self.is_whole else ("nan",)))


@criterion("RUN-20")
@falsified_by(
    source("limit-shut-out", SETTINGS, "0 < int(text) <= most", "0 < int(text) < most"),
    expect=(VALUE, "SYSTEM_API_THREADS=64", "from 1 to 64"),
)
@falsified_by(
    source("zero-let-in", SETTINGS, "0 < int(text) <= most", "0 <= int(text) <= most"),
    expect=(REFUSAL, "SYSTEM_DEAD_LETTER_REPLAYS=0", "got the value 0"),
)
@falsified_by(
    source("last-port-let-out", SETTINGS, "0 < int(text) < 65536", "0 < int(text) < 65535"),
    expect=(VALUE, "SYSTEM_API_PORT=65535", "expected a port"),
)
@falsified_by(
    source(
        "least-raised",
        SETTINGS,
        '"SYSTEM_API_CLIENT_S", 5, 0.5, 60',
        '"SYSTEM_API_CLIENT_S", 5, 1, 60',
    ),
    expect=(VALUE, "SYSTEM_API_CLIENT_S=0.5", "from 1 to 60"),
)
@falsified_by(
    source("most-raised", SETTINGS, '_STALLED_S", 30, 1, 86_400', '_STALLED_S", 30, 1, 96_400'),
    expect=(REFUSAL, "SYSTEM_HEALTH_STALLED_S=86400.001", "got the value 86400.001"),
)
@falsified_by(
    source("default-doubled", SETTINGS, '_RETENTION_DAYS", 90)', '_RETENTION_DAYS", 180)'),
    expect=(VALUE, "SYSTEM_DEAD_LETTER_RETENTION_DAYS by default", "got 180"),
)
@falsified_by(
    source(
        "digits-of-any-alphabet",
        SETTINGS,
        "text.isascii() and text.isdigit() and 0 < int(text) <= most",
        "text.isdigit() and 0 < int(text) <= most",
    ),
    expect=(REFUSAL, "SYSTEM_API_PROCESSES=\u0661", "got the value 1"),
)
@falsified_by(
    source(
        "another-name-in-the-message", SETTINGS, 'or "8000", name="SYSTEM_API_PORT")', 'or "8000")'
    ),
    expect=(REFUSAL, "SYSTEM_API_PORT=0", "CELERY_METRICS_PORT"),
)
@falsified_by(
    source("any-word-is-false", SETTINGS, "if text in _TRUE | _FALSE:", "if text is not None:"),
    expect=(REFUSAL, "CELERY_TASK_ALWAYS_EAGER=maybe", "got the value False"),
)
@falsified_by(
    source("parameter-forgotten", SETTINGS, '        "sslsni",\n'),
    expect=(KEPT, "sslsni", "got nothing"),
)
@falsified_by(
    source("tls-not-switched-off", SETTINGS, '"off": "disable",', '"off": "prefer",'),
    expect=(KEPT, "ssl=off", "prefer"),
)
@falsified_by(
    source(
        "password-shown", SETTINGS, "database_url: str = field(repr=False)", "database_url: str"
    ),
    expect=(SHOWN, "connections_from", "got 1"),
)
def test_settings_have_their_published_limits(
    machine: ProcessProbe, files: FileProbe, sut: Sut, tmp_path: Path
) -> None:
    """Each setting takes what is published, and refuses the next value outside of it."""
    text = files.read(PUBLISHED) or ""
    limits, parameters = _limits(text), _parameters(text)
    got = sorted(one.name for one in limits)
    premise("settings with published limits", got=got, expected=sorted(KNOWN))
    asked = [*_numbers(limits), *_switches(), *_places(), *_urls()]
    dsns = [f"{DSN}?{name}=x" for name in parameters] + [f"{DSN}?ssl={one}" for one in TLS]
    calls: list[tuple[str, Sequence[Any]]] = [
        (f"{MODULE}{one.function}", [one.env]) for one in asked
    ]
    calls += [
        (f"{MODULE}connections_from", [{"DATABASE_URL": dsn}]) for dsn in (*dsns, f"{DSN}?no=x")
    ]
    calls += [(f"{MODULE}{name}", [env]) for name, env in SECRETS.items()]
    calls += [
        (f"{MODULE}{name}", [url]) for url in SCHEMES for name in ("scheme_of", "is_postgresql")
    ]
    answers = call_functions(machine, sut, tmp_path, calls)
    for one, answer in zip(asked, answers, strict=False):
        one.judge(answer)
    rest = answers[len(asked) :]
    _judge_dsns(parameters, rest[: len(dsns) + 1])
    rest = rest[len(dsns) + 1 :]
    _judge_secrets(rest)
    _judge_schemes(rest[len(SECRETS) :])


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A setting with a value, and what it must become."""

    on: str
    function: str
    field: str
    env: Mapping[str, str]
    expected: Any
    """The value; a text for the message of a refusal."""
    is_refused: bool = False

    def judge(self, answer: Mapping[str, Any]) -> None:
        """State the claim of this setting."""
        found = answer.get("value", {})
        value = found.get(self.field) if self.field and isinstance(found, dict) else found
        if self.is_refused:
            got = str(answer.get("error", f"the value {value}"))
            claim(REFUSAL, on=self.on, got=got, expected=self.expected)
        else:
            got = answer.get("error", value)
            claim(VALUE, on=self.on, got=got, expected=self.expected)


def _limits(text: str) -> list[Limits]:
    """Return the lines of the table of limits."""
    lines = re.findall(
        r"^\| `([A-Z_]+)` \| ([0-9.]+) \| ([0-9.]+) \| ([0-9.]+) \|$", text, re.MULTILINE
    )
    return [Limits(name=name, default=a, least=b, most=c) for name, a, b, c in lines]


def _parameters(text: str) -> list[str]:
    """Return the published parameters of a DSN."""
    found = re.search(r"only those of libpq are kept: (.*?)\. asyncpg", text, re.DOTALL)
    return re.findall(r"`(\w+)`", found[1]) if found else []


def _numbers(limits: Sequence[Limits]) -> list[Asked]:
    found = []
    for one in limits:
        readers = [KNOWN[one.name], *([SHARED[one.name]] if one.name in SHARED else [])]
        for function, field in readers:
            found += _of_number(one, function, field)
    return found


def _of_number(one: Limits, function: str, field: str) -> list[Asked]:
    read: Any = int if one.is_whole else float
    what = "a port" if "PORT" in one.name else "a whole number" if one.is_whole else "seconds"
    taken = {f"{one.name}={text}": ({one.name: text}, text) for text in (one.least, one.most)}
    if one.name != "SYSTEM_BROKER_MAX_DELIVERIES":  # (the default is that of the transport)
        taken[f"{one.name} by default"] = ({}, one.default)
        taken[f"{one.name}="] = ({one.name: ""}, one.default)
    unit = UNITS.get(one.name, 1)
    found = [
        Asked(on=on, function=function, field=field, env=env, expected=read(text) * unit)
        for on, (env, text) in taken.items()
    ]
    return found + [
        Asked(
            on=f"{one.name}={text}",
            function=function,
            field=field,
            env={one.name: text},
            expected=f"ConfigurationError: {one.name}: got {text!r}, expected {what} from "
            f"{one.least} to {one.most}; correct it",
            is_refused=True,
        )
        for text in one.outside
    ]


def _switches() -> list[Asked]:
    found = []
    for name, (function, field, default) in SWITCHES.items():
        words: list[tuple[dict[str, str], Any]] = [({}, default), ({name: "maybe"}, "")]
        words += [({name: one}, one in TRUE) for one in (*TRUE, *FALSE)]
        for env, expected in words:
            is_refused = expected == ""
            found.append(
                Asked(
                    on=f"{name}={env[name]}" if env else f"{name} by default",
                    function=function,
                    field=field,
                    env=env,
                    expected=f"ConfigurationError: {name}: got 'maybe', expected one of 1, true, 0,"
                    " false; correct it"
                    if is_refused
                    else expected,
                    is_refused=is_refused,
                )
            )
    return found


def _places() -> list[Asked]:
    return [
        Asked(on=f"{name}={given}", function=function, field=field, env={name: given}, expected=got)
        for name, (function, field, default) in PLACES.items()
        for given, got in (("/some/where", "/some/where"), ("", default))
    ] + [
        Asked(
            on=f"{field} with {', '.join(env) or 'nothing'}",
            function="dead_letters_from",
            field=field,
            env=env,
            expected=expected,
        )
        for field, env, expected in DEAD_LETTERS
    ]


def _urls() -> list[Asked]:
    refused = [
        Asked(
            on=f"DATABASE_URL={dsn}",
            function="connections_from",
            field="",
            env={"DATABASE_URL": dsn},
            expected=f"ConfigurationError: DATABASE_URL: {refusal}",
            is_refused=True,
        )
        for dsn, refusal in REFUSED.items()
    ]
    return refused + [
        Asked(
            on=f"{name}={url}",
            function="connections_from",
            field=field,
            env={"DATABASE_URL": DSN, name: url},
            expected=expected,
        )
        for name, url, field, expected in URLS
    ]


def _judge_dsns(parameters: Sequence[str], answers: Sequence[Mapping[str, Any]]) -> None:
    """Judge the parameters of all three URLs of each DSN."""
    expected = [(name, {name: ["x"]}) for name in parameters]
    expected += [(f"ssl={given}", {"sslmode": [mode]}) for given, mode in TLS.items()]
    for (on, wanted), answer in zip(expected, answers, strict=False):
        urls = answer.get("value", {})
        for name in ("database_url", "broker_url", "result_backend"):
            got = parse_qs(urlsplit(urls.get(name, "")).query)
            if got != wanted:
                break
        claim(KEPT, on=on, got=str(got or "nothing"), expected=str(wanted))
    last = answers[-1].get("value", {}).get("database_url", "nothing")
    claim(DROPPED, on="no", got=urlsplit(last).query, expected="")


def _judge_secrets(answers: Sequence[Mapping[str, Any]]) -> None:
    """Judge that no representation of settings shows a secret."""
    for name, answer in zip(SECRETS, answers, strict=False):
        claim(SHOWN, on=name, got=answer.get("shown", "canary").count("canary"), expected=0)


def _judge_schemes(answers: Sequence[Mapping[str, Any]]) -> None:
    """Judge what is shown of URLs, and which are of PostgreSQL; two answers for each."""
    values = [answer.get("value") for answer in answers]
    pairs = zip(values[::2], values[1::2], strict=False)
    for (url, expected), got in zip(SCHEMES.items(), pairs, strict=False):
        claim(VALUE, on=f"scheme of {url}", got=list(got), expected=list(expected))
