"""Settings: every form of a DSN, and the errors for malformed values."""

from __future__ import annotations

from pathlib import Path

import psycopg2.extensions
import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from system import settings
from system.errors import ConfigurationError

PASSWORD = "p@ss:w/rd;#?%é"
QUOTED = "p%40ss%3Aw%2Frd%3B%23%3F%25%C3%A9"
SCHEMES = ("postgresql", "postgresql+asyncpg", "postgresql+psycopg2", "postgresql+psycopg")


def connections(url: str, **more: str) -> settings.Connections:
    """Derive the connections from one DSN."""
    return settings.connections_from({"DATABASE_URL": url, **more})


@pytest.mark.parametrize("scheme", [*SCHEMES, "postgres"])
def test_derivation_accepts_every_driver(scheme: str) -> None:
    """For each driver in the DSN, all three URLs have psycopg2 and the same server."""
    made = connections(f"{scheme}://app_user:{QUOTED}@db.example:6543/prod")
    assert made.broker_url == f"sqla+{made.database_url}"
    assert made.result_backend == f"db+{made.database_url}"
    url = make_url(made.database_url)
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password) == ("app_user", PASSWORD)
    assert (url.host, url.port, url.database) == ("db.example", 6543, "prod")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        (
            "sslmode=require&channel_binding=require",
            {"sslmode": "require"} | {"channel_binding": "require"},
        ),
        ("ssl=require", {"sslmode": "require"}),
        ("ssl=true", {"sslmode": "require"}),
        ("ssl=false", {"sslmode": "disable"}),
        ("ssl=verify-full", {"sslmode": "verify-full"}),
        ("prepared_statement_cache_size=0&command_timeout=5", {}),
        ("server_settings=x&sslmode=disable", {"sslmode": "disable"}),
        ("application_name=mine", {}),
        ("host=/run/postgresql", {"host": "/run/postgresql"}),
        ("options=-c%20search_path%3Da", {"options": "-c search_path=a"}),
    ],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_derivation_keeps_the_parameters_of_the_driver(
    scheme: str, query: str, expected: dict[str, str]
) -> None:
    """Parameters of libpq are kept, asyncpg's `ssl` is translated, others are removed."""
    made = connections(f"{scheme}://u:p@h/d?{query}")
    assert dict(make_url(made.database_url).query) == expected


@pytest.mark.parametrize("parameter", sorted(settings.LIBPQ_PARAMETERS))
def test_parameter_list_is_libpq_s(parameter: str) -> None:
    """The installed libpq knows every parameter that is kept."""
    assert psycopg2.extensions.parse_dsn(f"{parameter}=1") == {parameter: "1"}


def test_parameter_check_can_fail() -> None:
    """The installed libpq refuses a parameter that only asyncpg knows."""
    with pytest.raises(psycopg2.ProgrammingError, match="invalid connection option"):
        psycopg2.extensions.parse_dsn("command_timeout=1")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_derived_url_loads_psycopg2(scheme: str) -> None:
    """SQLAlchemy accepts the derived URL and loads psycopg2 for it."""
    engine = create_engine(connections(f"{scheme}://u:p@h/d?sslmode=require").database_url)
    assert engine.dialect.driver == "psycopg2"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqla+postgresql://u:p@h/b", "sqla+postgresql+psycopg2://u:p@h/b"),
        (
            "sqla+postgresql+asyncpg://u:p@h/b?ssl=true",
            "sqla+postgresql+psycopg2://u:p@h/b?sslmode=require",
        ),
        ("sqlalchemy+postgresql://u:p@h/b", "sqla+postgresql+psycopg2://u:p@h/b"),
        ("postgresql+psycopg://u:p@h/b", "sqla+postgresql+psycopg2://u:p@h/b"),
        ("memory://", "memory://"),
        ("redis://h:6379/0", "redis://h:6379/0"),
    ],
)
def test_separate_broker_url_is_used(given: str, expected: str) -> None:
    """A separate broker URL is used: normalized if it is PostgreSQL's, otherwise unchanged."""
    assert connections("postgresql://u:p@h/d", CELERY_BROKER_URL=given).broker_url == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("db+postgresql://u:p@h/b", "db+postgresql+psycopg2://u:p@h/b"),
        ("database+postgresql+psycopg://u:p@h/b", "db+postgresql+psycopg2://u:p@h/b"),
        ("rpc://", "rpc://"),
    ],
)
def test_separate_result_backend_is_used(given: str, expected: str) -> None:
    """A separate result backend is used: normalized if PostgreSQL's, otherwise unchanged."""
    made = connections("postgresql://u:p@h/d", CELERY_RESULT_BACKEND=given)
    assert made.result_backend == expected


def test_repr_shows_no_password() -> None:
    """No representation of the connections contains a password, plain or URL-encoded."""
    made = connections(f"postgresql://u:{QUOTED}@h/d")
    assert made.passwords() == (PASSWORD,)
    for text in (repr(made), str(made), f"{made}"):
        assert QUOTED not in text
        assert PASSWORD not in text
        assert "://" not in text


def test_passwords_of_all_urls_are_known() -> None:
    """The passwords of all three URLs are available for hiding."""
    made = connections(
        "postgresql://u:first@h/d",
        CELERY_BROKER_URL="redis://:second@h/0",
        CELERY_RESULT_BACKEND="db+postgresql://u:third@h/d",
    )
    assert made.passwords() == ("first", "second", "third")


@pytest.mark.parametrize("missing", [{}, {"DATABASE_URL": ""}])
def test_missing_dsn_is_refused(missing: dict[str, str]) -> None:
    """Without a DSN the message names the variable and the expected form."""
    with pytest.raises(ConfigurationError, match="DATABASE_URL: got nothing, expected a Postgr"):
        settings.connections_from(missing)


@pytest.mark.parametrize(
    "url",
    ["mysql://u:hidden@h/d", "postgresql+pg8000://u:hidden@h/d", "hidden", "postgresql:hidden"],
)
def test_other_scheme_is_refused(url: str) -> None:
    """Another scheme or driver is refused, and the URL is not repeated."""
    with pytest.raises(
        ConfigurationError, match=r"DATABASE_URL: got scheme .* expected postgr"
    ) as error:
        connections(url)
    assert "hidden" not in str(error.value)


def test_unreadable_url_is_refused() -> None:
    """A URL that cannot be parsed is refused, and no part of it is repeated."""
    with pytest.raises(ConfigurationError, match="got a URL that cannot be read") as error:
        connections("postgresql://u:hidden@h:port/d")
    assert "hidden" not in str(error.value)
    assert error.value.__cause__ is None


def test_broken_broker_url_is_named() -> None:
    """The message names the variable whose URL is wrong."""
    with pytest.raises(ConfigurationError, match=r"CELERY_BROKER_URL: got scheme 'postgresql\+x'"):
        connections("postgresql://u:p@h/d", CELERY_BROKER_URL="sqla+postgresql+x://u:p@h/d")


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("sqla+postgresql+psycopg2://u:p@h/d", "sqla+postgresql"),
        ("sqla+postgresql://u@h/d", "sqla+postgresql"),
        ("db+postgresql+asyncpg://u@h/d", "db+postgresql"),
        ("rpc://", "rpc"),
        ("memory://localhost//", "memory"),
    ],
)
def test_scheme_leaves_the_driver_out(url: str, scheme: str) -> None:
    """The scheme that a worker reports has transport and database, and no driver."""
    assert settings.scheme_of(url) == scheme


def test_monitoring_has_defaults() -> None:
    """The default is loopback, port 9540, a deadline of two seconds, half a minute to progress."""
    assert settings.monitoring_from({}) == settings.Monitoring(
        address="127.0.0.1", port=9540, health_deadline_s=2.0, stalled_after_s=30.0
    )


def test_monitoring_is_read() -> None:
    """Address, port and limits come from the environment."""
    made = settings.monitoring_from(
        {
            "CELERY_METRICS_ADDR": "0.0.0.0",
            "CELERY_METRICS_PORT": "1234",
            "SYSTEM_HEALTH_DEADLINE_S": "0.5",
            "SYSTEM_HEALTH_STALLED_S": "300",
        }
    )
    assert (made.address, made.port) == ("0.0.0.0", 1234)
    assert (made.health_deadline_s, made.stalled_after_s) == (0.5, 300.0)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "80.5", "٣"])
def test_bad_port_is_refused(port: str) -> None:
    """A port that is no number from 1 to 65535 is refused."""
    with pytest.raises(ConfigurationError, match=r"CELERY_METRICS_PORT: got .* expected a port"):
        settings.monitoring_from({"CELERY_METRICS_PORT": port})


@pytest.mark.parametrize("deadline", ["0", "-1", "x", "inf", "nan", "61"])
def test_bad_deadline_is_refused(deadline: str) -> None:
    """A deadline that is no number of seconds in the allowed range is refused."""
    with pytest.raises(ConfigurationError, match=r"SYSTEM_HEALTH_DEADLINE_S: got .* expected sec"):
        settings.monitoring_from({"SYSTEM_HEALTH_DEADLINE_S": deadline})


@pytest.mark.parametrize("limit", ["0", "0.9", "-1", "x", "inf", "nan", "86401"])
def test_bad_limit_of_progress_is_refused(limit: str) -> None:
    """A limit that is no number of seconds in the allowed range is refused."""
    with pytest.raises(ConfigurationError, match=r"SYSTEM_HEALTH_STALLED_S: got .* from 1 to 86"):
        settings.monitoring_from({"SYSTEM_HEALTH_STALLED_S": limit})


@pytest.mark.parametrize(
    ("given", "expected"), [(None, {}), ("", {}), ("2", {"max_deliveries": 2})]
)
def test_delivery_limit_is_optional(given: str | None, expected: dict[str, int]) -> None:
    """The transport gets a delivery limit only if the environment sets one."""
    environment = {} if given is None else {"SYSTEM_BROKER_MAX_DELIVERIES": given}
    assert settings.broker_options_from(environment) == expected


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_bad_delivery_limit_is_refused(number: str) -> None:
    """A delivery limit that is no whole number above zero is refused."""
    with pytest.raises(ConfigurationError, match="SYSTEM_BROKER_MAX_DELIVERIES: got"):
        settings.broker_options_from({"SYSTEM_BROKER_MAX_DELIVERIES": number})


def test_dead_letters_have_defaults() -> None:
    """By default the spool is in the user's state folder, and nothing is encrypted."""
    made = settings.dead_letters_from({"HOME": "/home/ann"})
    assert made == settings.DeadLetters(
        keys=(),
        spool=Path("/home/ann/.local/state/system-dead-letters"),
        spool_limit_bytes=256 * 2**20,
        retention_days=90,
        most_replays=8,
    )


def test_dead_letters_are_read() -> None:
    """Keys, folder and numbers come from the environment, and repr shows no key."""
    made = settings.dead_letters_from(
        {
            "SYSTEM_DEAD_LETTER_KEYS": " new-key, old-key,",
            "SYSTEM_DEAD_LETTER_SPOOL": "/var/spool/x",
            "SYSTEM_DEAD_LETTER_SPOOL_MB": "1",
            "SYSTEM_DEAD_LETTER_RETENTION_DAYS": "7",
            "SYSTEM_DEAD_LETTER_REPLAYS": "3",
        }
    )
    assert made.keys == ("new-key", "old-key")
    assert "key" not in repr(made).replace("keys", "")
    assert (made.spool, made.spool_limit_bytes) == (Path("/var/spool/x"), 2**20)
    assert (made.retention_days, made.most_replays) == (7, 3)


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "100001"])
def test_bad_retention_is_refused(number: str) -> None:
    """A value that is no number in the allowed range is refused with the variable's name."""
    with pytest.raises(ConfigurationError, match=r"RETENTION_DAYS: got .*, expected a whole numb"):
        settings.dead_letters_from({"SYSTEM_DEAD_LETTER_RETENTION_DAYS": number})


@pytest.mark.parametrize(
    ("text", "eager"), [("", False), ("0", False), ("False", False), ("1", True), ("TRUE", True)]
)
def test_eager_mode_is_read(text: str, eager: bool) -> None:
    """Eager mode is on only if the variable enables it."""
    assert settings.eager_from({"CELERY_TASK_ALWAYS_EAGER": text}) is eager


def test_unclear_eager_mode_is_refused() -> None:
    """A value that is neither true nor false is refused."""
    with pytest.raises(ConfigurationError, match="CELERY_TASK_ALWAYS_EAGER: got 'maybe'"):
        settings.eager_from({"CELERY_TASK_ALWAYS_EAGER": "maybe"})


def test_interval_of_the_deletion_of_results_is_read() -> None:
    """Expired results are deleted every hour, or as often as the environment says."""
    assert settings.result_cleanup_s_from({}) == 3600
    assert settings.result_cleanup_s_from({"SYSTEM_RESULT_CLEANUP_S": "1.5"}) == 1.5
    with pytest.raises(ConfigurationError, match=r"SYSTEM_RESULT_CLEANUP_S: got '0', .* from 1"):
        settings.result_cleanup_s_from({"SYSTEM_RESULT_CLEANUP_S": "0"})
