"""The address of the container engine: found in the same order as by the docker command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof.base.errors import EnvironmentProblemError
from gateproof.environments.engine import DEFAULT_HOST, engine_options, find_engine

SetContext = Callable[[str, str], None]
VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


@pytest.fixture
def set_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetContext:
    """A function that adds a docker context and makes it the current one."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def set_it(name: str, host: str) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"currentContext": name}))
        folder = tmp_path / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
        folder.mkdir(parents=True)
        meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
        (folder / "meta.json").write_text(json.dumps(meta))

    return set_it


@pytest.mark.usefixtures("set_context")
def test_engine_without_settings_is_at_the_default_socket() -> None:
    """Without a variable or a context, the engine is at the default socket."""
    assert engine_options() == {"base_url": DEFAULT_HOST}


def test_engine_of_the_current_context(set_context: SetContext) -> None:
    """The context that ``docker context use`` selected is used."""
    set_context("desk", "unix:///desk/engine.sock")
    assert engine_options()["base_url"] == "unix:///desk/engine.sock"


def test_engine_of_the_context_that_a_variable_names(
    set_context: SetContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``DOCKER_CONTEXT`` takes precedence over the current context."""
    set_context("named", "unix:///named/engine.sock")
    set_context("current", "unix:///current/engine.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "named")
    assert engine_options()["base_url"] == "unix:///named/engine.sock"


def test_engine_of_docker_host_takes_precedence_over_contexts(
    set_context: SetContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``DOCKER_HOST`` takes precedence, and the TLS configuration of a context is not used."""
    set_context("current", "unix:///current/engine.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "current")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert engine_options() == {"base_url": "tcp://127.0.0.1:1"}


def test_engine_that_does_not_answer_is_named(set_context: SetContext) -> None:
    """The message names the address of the engine."""
    set_context("desk", "unix:///nowhere/engine.sock")
    with pytest.raises(EnvironmentProblemError, match="no engine answers at unix:///nowhere/"):
        find_engine()
