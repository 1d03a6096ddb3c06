"""The pytest plugin, as every pytest loads it: options, markers, and nothing else.

What judges is imported where there is a catalogue: pytest must start as fast as without this
package in a project that has none.
"""

from __future__ import annotations

import pytest

from gateproof.base.option import add_options, auto_processes, find_gates, refuse_idle
from gateproof_evidence.errors import BadInputError


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and register what judges where there is something to judge."""
    config.addinivalue_line("markers", "criterion(id): the criterion that this check judges")
    config.addinivalue_line("markers", "falsified_by(falsifier): a fault that must turn it red")
    if find_gates(config) is None:
        _refuse_idle(config)
        return
    from gateproof import fixtures

    config.pluginmanager.register(fixtures, "gateproof-fixtures")
    if not (config.getoption("help") or config.getoption("collectonly")):
        from gateproof import hooks

        config.pluginmanager.register(hooks, "gateproof-hooks")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Choose how many processes `-n auto` starts for a run of gates."""
    return auto_processes(config)


def _refuse_idle(config: pytest.Config) -> None:
    """Refuse options of this plugin that would do nothing."""
    if config.getoption("help") or config.getoption("collectonly"):
        return
    try:
        refuse_idle(config)
    except BadInputError as error:
        raise pytest.UsageError(str(error)) from error
