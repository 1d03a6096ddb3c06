"""Read settings from the environment, and derive broker and result URLs from one DSN.

Owns every environment variable of the system and the clean-up of PostgreSQL URLs. The driver of a
DSN becomes the synchronous psycopg2 (a bare `postgresql://` means psycopg 3 to SQLAlchemy 2.1),
asyncpg's spelling of TLS becomes libpq's, and parameters that libpq does not know are removed.
Pure: the environment is passed in. Messages never repeat a URL, since it holds a password.

Source: spec, "Configuration"; PostgreSQL documentation, "Parameter Key Words" (libpq).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from system.errors import ConfigurationError

DRIVER = "psycopg2"
KEYS = "SYSTEM_DEAD_LETTER_KEYS"
LARGEST = 100_000
QUEUES = ("housekeeping", "maintenance", "llm", "attribution")

_DIALECTS = frozenset({"postgresql", "postgres"})
_DRIVERS = frozenset({"", "asyncpg", "psycopg", "psycopg2"})
_TRANSPORTS = {"sqla": "sqla", "sqlalchemy": "sqla"}
_BACKENDS = {"db": "db", "database": "db"}

# Without application_name, which the system sets: it distinguishes connections in pg_stat_activity.
LIBPQ_PARAMETERS = frozenset(
    (
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "options",
        "passfile",
        "port",
        "replication",
        "require_auth",
        "requirepeer",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
    )
)
# asyncpg takes the mode's name, or a boolean, under another key.
_SSL_TRUTH = {"true": "require", "1": "require", "on": "require", "yes": "require"} | {
    "false": "disable",
    "0": "disable",
    "off": "disable",
    "no": "disable",
}
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, kw_only=True)
class Connections:
    """The URLs of the system's connections; they hold passwords and stay out of `repr`."""

    database_url: str = field(repr=False)
    """SQLAlchemy URL, `postgresql+psycopg2://…`."""
    broker_url: str = field(repr=False)
    """kombu URL; `sqla+postgresql+psycopg2://…` unless the environment names another broker."""
    result_backend: str = field(repr=False)
    """celery URL; `db+postgresql+psycopg2://…` unless the environment names another backend."""

    def passwords(self) -> tuple[str, ...]:
        """Return the distinct passwords in the three URLs, decoded."""
        urls = (self.database_url, self.broker_url, self.result_backend)
        return tuple(dict.fromkeys(word for url in urls for word in _passwords(url)))


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """Settings of the dead letters."""

    keys: tuple[str, ...] = field(repr=False)
    """Fernet keys, not validated; the first one encrypts."""
    spool: Path
    """Folder for rows that the database cannot take."""
    spool_limit_bytes: int
    retention_days: int
    """How long a row stays after it was resolved or abandoned."""
    most_replays: int
    """The number of failed replays after which a row is abandoned."""


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """The address of `/metrics` and `/health`, and the limits of a health check."""

    address: str
    port: int
    """TCP port, 1 to 65535."""
    health_deadline_s: float
    stalled_after_s: float
    """How long work may wait without progress until the consumer counts as stalled."""


@dataclass(frozen=True, kw_only=True)
class Api:
    """Settings of the HTTP service that receives events."""

    address: str
    port: int
    """TCP port, 1 to 65535."""
    processes: int
    threads: int
    """Threads, and database connections, of each process."""
    deadline_s: float
    """Seconds from the end of a request's body to its answer."""
    client_s: float
    """Seconds that a client may take for the head of a request, and for its body."""
    health_deadline_s: float
    secrets: Path
    """Folder of files, each with one secret; a registration names a file."""
    certificates: Path
    """Folder of PayPal's certificates in PEM, each under its name in `PAYPAL-CERT-URL`."""
    tenant_label: bool
    """Whether metrics name the tenant."""


def connections_from(environment: Mapping[str, str]) -> Connections:
    """Return the three URLs that the environment gives.

    Args:
        environment: `DATABASE_URL` is required; `CELERY_BROKER_URL` and `CELERY_RESULT_BACKEND`
            are derived from it if they are missing or empty.

    Returns:
        PostgreSQL URLs cleaned up; URLs of other brokers and backends unchanged.

    Raises:
        ConfigurationError: `DATABASE_URL` is missing, or one of the three cannot be read.

    Does not check that anything answers there.

    """
    database = sqlalchemy_url(environment.get("DATABASE_URL", ""), name="DATABASE_URL")
    broker = environment.get("CELERY_BROKER_URL") or f"sqla+{database}"
    results = environment.get("CELERY_RESULT_BACKEND") or f"db+{database}"
    return Connections(
        database_url=database,
        broker_url=_clean(broker, _TRANSPORTS, name="CELERY_BROKER_URL"),
        result_backend=_clean(results, _BACKENDS, name="CELERY_RESULT_BACKEND"),
    )


def broker_options_from(environment: Mapping[str, str]) -> dict[str, int]:
    """Return the transport's options that the environment sets.

    Args:
        environment: `SYSTEM_BROKER_MAX_DELIVERIES` (the transport's own default).

    Raises:
        ConfigurationError: it is not a number in its range.

    """
    name = "SYSTEM_BROKER_MAX_DELIVERIES"
    return {"max_deliveries": _whole(environment, name, 0)} if environment.get(name) else {}


def monitoring_from(environment: Mapping[str, str]) -> Monitoring:
    """Return the settings of the monitoring endpoints.

    Args:
        environment: `CELERY_METRICS_PORT` (9540), `CELERY_METRICS_ADDR` (127.0.0.1),
            `SYSTEM_HEALTH_DEADLINE_S` (2), `SYSTEM_HEALTH_STALLED_S` (30).

    Raises:
        ConfigurationError: one of the numbers is malformed or out of its range.

    """
    return Monitoring(
        address=environment.get("CELERY_METRICS_ADDR") or "127.0.0.1",
        port=_port(environment.get("CELERY_METRICS_PORT") or "9540"),
        health_deadline_s=_seconds(environment, "SYSTEM_HEALTH_DEADLINE_S", 2, 0.1, 60),
        stalled_after_s=_seconds(environment, "SYSTEM_HEALTH_STALLED_S", 30, 1, 86_400),
    )


def api_from(environment: Mapping[str, str]) -> Api:
    """Return the settings of the HTTP service.

    Args:
        environment: `SYSTEM_API_ADDRESS` (127.0.0.1), `SYSTEM_API_PORT` (8000),
            `SYSTEM_API_PROCESSES` (1), `SYSTEM_API_THREADS` (4), `SYSTEM_API_DEADLINE_S` (3),
            `SYSTEM_HEALTH_DEADLINE_S` (2), `SYSTEM_WEBHOOK_SECRETS` (/run/secrets),
            `SYSTEM_PAYPAL_CERTIFICATES` (/etc/paypal), `SYSTEM_METRICS_TENANT_LABEL` (true),
            `SYSTEM_API_CLIENT_S` (5).

    Raises:
        ConfigurationError: one of them is malformed or out of its range.

    Does not check that the folders exist.

    """
    return Api(
        address=environment.get("SYSTEM_API_ADDRESS") or "127.0.0.1",
        port=_port(environment.get("SYSTEM_API_PORT") or "8000", name="SYSTEM_API_PORT"),
        processes=_whole(environment, "SYSTEM_API_PROCESSES", 1, most=64),
        threads=_whole(environment, "SYSTEM_API_THREADS", 4, most=64),
        deadline_s=_seconds(environment, "SYSTEM_API_DEADLINE_S", 3, 0.5, 60),
        client_s=_seconds(environment, "SYSTEM_API_CLIENT_S", 5, 0.5, 60),
        health_deadline_s=_seconds(environment, "SYSTEM_HEALTH_DEADLINE_S", 2, 0.1, 60),
        secrets=Path(environment.get("SYSTEM_WEBHOOK_SECRETS") or "/run/secrets"),
        certificates=Path(environment.get("SYSTEM_PAYPAL_CERTIFICATES") or "/etc/paypal"),
        tenant_label=_truth(environment, "SYSTEM_METRICS_TENANT_LABEL", "true"),
    )


def retry_pause_s_from(environment: Mapping[str, str]) -> float:
    """Return the seconds until a dead event's first retry; each further pause is twice as long.

    Args:
        environment: `SYSTEM_DEAD_EVENT_PAUSE_S` (1).

    Raises:
        ConfigurationError: it is malformed or out of its range.

    """
    return _seconds(environment, "SYSTEM_DEAD_EVENT_PAUSE_S", 1, 0.05, 3600)


def retry_every_s_from(environment: Mapping[str, str]) -> float:
    """Return the seconds between two runs of the retry of dead events that a worker publishes.

    Args:
        environment: `SYSTEM_DEAD_EVENT_EVERY_S` (300).

    Raises:
        ConfigurationError: it is malformed or out of its range.

    """
    return _seconds(environment, "SYSTEM_DEAD_EVENT_EVERY_S", 300, 1, 86_400)


def result_cleanup_s_from(environment: Mapping[str, str]) -> float:
    """Return the seconds between two deletions of expired results.

    Args:
        environment: `SYSTEM_RESULT_CLEANUP_S` (3600).

    Raises:
        ConfigurationError: it is malformed or out of its range.

    """
    return _seconds(environment, "SYSTEM_RESULT_CLEANUP_S", 3600, 1, 86_400)


def dead_letters_from(environment: Mapping[str, str]) -> DeadLetters:
    """Return the settings of the dead letters.

    Args:
        environment: `SYSTEM_DEAD_LETTER_KEYS` (none), separated by commas;
            `SYSTEM_DEAD_LETTER_SPOOL` (a folder in the user's state, or without a home in the
            folder for temporary files), `SYSTEM_DEAD_LETTER_SPOOL_MB` (256),
            `SYSTEM_DEAD_LETTER_RETENTION_DAYS` (90), `SYSTEM_DEAD_LETTER_REPLAYS` (8).

    Raises:
        ConfigurationError: a number is malformed or out of its range.

    Does not check the keys.

    """
    given = environment.get(KEYS, "").split(",")
    return DeadLetters(
        keys=tuple(key.strip() for key in given if key.strip()),
        spool=_spool(environment),
        spool_limit_bytes=_whole(environment, "SYSTEM_DEAD_LETTER_SPOOL_MB", 256) * 2**20,
        retention_days=_whole(environment, "SYSTEM_DEAD_LETTER_RETENTION_DAYS", 90),
        most_replays=_whole(environment, "SYSTEM_DEAD_LETTER_REPLAYS", 8),
    )


def eager_from(environment: Mapping[str, str]) -> bool:
    """Return whether `CELERY_TASK_ALWAYS_EAGER` turns eager mode on.

    Raises:
        ConfigurationError: the value is not a boolean.

    """
    return _truth(environment, "CELERY_TASK_ALWAYS_EAGER", "")


def sqlalchemy_url(url: str, *, name: str) -> str:
    """Return a PostgreSQL DSN as SQLAlchemy's URL for psycopg2.

    Args:
        url: `postgresql://`, `postgresql+asyncpg://`, `+psycopg2`, `+psycopg` or `postgres://`,
            with any query parameters.
        name: the variable that holds the URL, for messages.

    Raises:
        ConfigurationError: the URL is empty, or of another scheme or driver.

    """
    if not url:
        raise ConfigurationError(
            f"{name}: got nothing, expected a PostgreSQL URL; set it to the database's"
        )
    scheme = url.partition("://")[0] if "://" in url else ""
    dialect, _, driver = scheme.partition("+")
    if dialect not in _DIALECTS or driver not in _DRIVERS:
        raise ConfigurationError(
            f"{name}: got scheme {scheme!r}, expected postgresql, alone or with +asyncpg, "
            "+psycopg2 or +psycopg; correct the URL"
        )
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained: the cause repeats parts of the URL.
        raise ConfigurationError(
            f"{name}: got a URL that cannot be read, expected user, host, port and database; "
            "correct it, and percent-encode special characters"
        ) from None
    cleaned = parsed.set(drivername=f"postgresql+{DRIVER}", query=_libpq_query(parsed.query))
    return cleaned.render_as_string(hide_password=False)


def scheme_of(url: str) -> str:
    """Return a URL's scheme without its driver: `sqla+postgresql` of `sqla+postgresql+psycopg2`."""
    words = urlsplit(url).scheme.split("+")
    return "+".join(word for word in words if word not in _DRIVERS)


def is_postgresql(url: str) -> bool:
    """Return whether a broker, result or database URL is one of PostgreSQL."""
    return not _DIALECTS.isdisjoint(urlsplit(url).scheme.split("+"))


def _clean(url: str, prefixes: Mapping[str, str], *, name: str) -> str:
    """Clean up a PostgreSQL URL, with kombu's or Celery's prefix or without; keep other URLs."""
    if not is_postgresql(url):
        return url
    prefix, _, rest = url.partition("+")
    if prefix in prefixes:
        return f"{prefixes[prefix]}+{sqlalchemy_url(rest, name=name)}"
    wanted = next(iter(prefixes.values()))
    return f"{wanted}+{sqlalchemy_url(url, name=name)}"


def _libpq_query(
    query: Mapping[str, tuple[str, ...] | str],
) -> dict[str, tuple[str, ...] | str]:
    kept = {key: value for key, value in query.items() if key in LIBPQ_PARAMETERS}
    ssl = query.get("ssl")
    if isinstance(ssl, str):
        kept["sslmode"] = _SSL_TRUTH.get(ssl.lower(), ssl)
    return kept


def _passwords(url: str) -> list[str]:
    found = urlsplit(url).password
    return [unquote(found)] if found else []


def _spool(environment: Mapping[str, str]) -> Path:
    given = environment.get("SYSTEM_DEAD_LETTER_SPOOL")
    if given:
        return Path(given)
    state, home = environment.get("XDG_STATE_HOME"), environment.get("HOME")
    if state or home:
        base = Path(state) if state else Path(str(home)) / ".local" / "state"
    else:
        base = Path(tempfile.gettempdir())
    return base / "system-dead-letters"


def _truth(environment: Mapping[str, str], name: str, default: str) -> bool:
    text = environment.get(name, default).strip().lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise ConfigurationError(f"{name}: got {text!r}, expected one of 1, true, 0, false; correct it")


def _whole(environment: Mapping[str, str], name: str, default: int, *, most: int = LARGEST) -> int:
    text = environment.get(name) or str(default)
    if text.isascii() and text.isdigit() and 0 < int(text) <= most:
        return int(text)
    raise ConfigurationError(
        f"{name}: got {text!r}, expected a whole number from 1 to {most}; correct it"
    )


def _port(text: str, *, name: str = "CELERY_METRICS_PORT") -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise ConfigurationError(f"{name}: got {text!r}, expected a port from 1 to 65535; correct it")


def _seconds(
    environment: Mapping[str, str], name: str, default: float, least: float, most: float
) -> float:
    text = environment.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if least <= seconds <= most:
        return seconds
    raise ConfigurationError(
        f"{name}: got {text!r}, expected seconds from {least:g} to {most:g}; correct it"
    )
