"""The entry point of the pytest plugin: options and markers, and nothing else.

The hooks that judge are imported only where there is a catalogue: in a project without one, pytest
must start as fast as without this package.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.base.option import (
    add_options,
    auto_processes,
    drop_early,
    find_gates,
    refuse_unused,
)
from gateproof_evidence.errors import BadInputError


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Remove compiled files of the gates, before the first ``conftest.py`` is loaded."""
    drop_early(early_config, args)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and register fixtures and hooks where there is a catalogue."""
    config.addinivalue_line("markers", "criterion(id): the criterion that this check judges")
    config.addinivalue_line("markers", "falsified_by(falsifier): a fault that must turn it red")
    if find_gates(config) is None:
        _refuse_unused(config)
        return
    from gateproof.description.gates import add_described_folders
    from gateproof.plugin import fixtures

    with _usage_errors():
        add_described_folders(config)
    if config.getoption("--playback"):
        from gateproof.plugin.playback.session import open_session

        with _usage_errors():
            open_session(config, Path(config.getoption("--playback")))
        return
    config.pluginmanager.register(fixtures, "gateproof-fixtures")
    if not (config.getoption("help") or config.getoption("collectonly")):
        from gateproof.plugin import hooks

        config.pluginmanager.register(hooks, "gateproof-hooks")


# First: otherwise the order in which the file system lists the distributions decides whether the
# answer of xdist itself counts.
@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Choose how many processes `-n auto` starts for a run of gates."""
    return auto_processes(config)


def _refuse_unused(config: pytest.Config) -> None:
    """Refuse options of this plugin that would have no effect."""
    if config.getoption("help") or config.getoption("collectonly"):
        return
    with _usage_errors():
        refuse_unused(config)


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        raise pytest.UsageError(str(error)) from error
