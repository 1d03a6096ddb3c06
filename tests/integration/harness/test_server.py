"""The embedded server in both versions: stopped, paused, copied and removed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gateproof.base.errors import EnvironmentProblemError
from gateproof.base.skip import NotApplicableError
from gateproof.environments.embedded import Embedded
from gateproof.environments.interface import CanKill, CanPause, CanRestart, require
from gateproof.environments.postgres import INSTALLATIONS, free_port


@pytest.fixture
def environment() -> Iterator[Embedded]:
    """An environment that is disposed of after the test."""
    made = Embedded(reason="a test", learn_secret=lambda _name, _value: None)
    yield made
    made.dispose()


def query(server: object, statement: str) -> object:
    """Run one statement as superuser and return its first value."""
    dsn = server.superuser.dsn(server.outside, "postgres")  # type: ignore[attr-defined]
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


@pytest.mark.parametrize("version", sorted(INSTALLATIONS))
def test_server_of_each_version_answers_as_that_version(version: str) -> None:
    """The requested version is the one that runs."""
    environment = Embedded(reason="a test", version=version, learn_secret=lambda _n, _v: None)
    try:
        server = environment.new_server("main")
        assert str(query(server, "SHOW server_version")).split(".")[0] == version
        assert environment.report().postgres.split(".")[0] == version
    finally:
        environment.dispose()


def test_server_that_is_stopped_starts_again_with_its_data(environment: Embedded) -> None:
    """A restart keeps the data and the port."""
    server = environment.new_server("main", durable=True)
    query(server, "CREATE TABLE kept AS SELECT 7 AS n")
    restartable = require(server, CanRestart, "a test")
    restartable.halt()
    assert not server.answers()
    restartable.resume_service()
    assert query(server, "SELECT n FROM kept") == 7


def test_server_that_is_paused_hangs_until_it_is_resumed(environment: Embedded) -> None:
    """A paused server does not answer; a resumed one does."""
    server = environment.new_server("main")
    pausable = require(server, CanPause, "a test")
    pausable.pause()
    try:
        assert not server.answers()
    finally:
        pausable.resume()
    assert server.answers()


def test_copied_server_is_independent(environment: Embedded) -> None:
    """A copy has the data and shares no state with the original."""
    first = environment.new_server("first")
    query(first, "CREATE TABLE t AS SELECT 1 AS n")
    require(first, CanRestart, "a test").halt()
    copy = environment.copy_server(first, "copy")
    require(first, CanRestart, "a test").resume_service()
    query(copy, "UPDATE t SET n = 2")
    assert (query(first, "SELECT n FROM t"), query(copy, "SELECT n FROM t")) == (1, 2)


def test_server_needs_its_password(environment: Embedded) -> None:
    """A wrong password is refused, even on loopback."""
    server = environment.new_server("main")
    wrong = type(server.superuser)(role="postgres", password=secrets.token_hex(4))
    dsn = wrong.dsn(server.outside, "postgres")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn, connect_timeout=5)


def test_command_has_its_own_output_file(environment: Embedded) -> None:
    """The output of one command is not in the output of the next."""
    outputs = [
        environment.launcher.run(
            ["echo", word], env={}, folder=environment.folder, deadline_s=30
        ).output
        for word in ("one", "two")
    ]
    assert outputs == ["one\n", "two\n"]


def test_environment_leaves_nothing_behind() -> None:
    """After disposal, servers, processes and folders are gone."""
    environment = Embedded(reason="a test", learn_secret=lambda _n, _v: None)
    server = environment.new_server("main")
    process = environment.launcher.start("sleeper", ["sleep", "600"], env={}, folder=Path("/"))
    environment.dispose()
    assert not server.answers()
    assert process.exit_status is not None
    assert not environment.folder.exists()


def test_port_that_is_taken_is_an_environment_problem(environment: Embedded) -> None:
    """The message names the port and the option to change."""
    server = environment.new_server("main")
    taken = server.outside.port
    other = Embedded(reason="a test", port=taken, learn_secret=lambda _n, _v: None)
    try:
        with pytest.raises(EnvironmentProblemError, match=f"port {taken} .*--postgres-port"):
            other.new_server("main")
    finally:
        other.dispose()
    assert free_port() != taken


def test_missing_ability_makes_a_check_not_applicable(environment: Embedded) -> None:
    """A server cannot be killed in this environment; the message gives the reason."""
    server = environment.new_server("main")
    with pytest.raises(NotApplicableError, match="killing it: this environment offers no CanKill"):
        require(server, CanKill, "killing it")
