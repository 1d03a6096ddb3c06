"""Running under pytest-xdist: who opens what, and how a worker's account reaches the controller.

The controller owns the run and runs no item; each worker process is a writer. What is bad input is
found by the workers, since they collect, and said once by the controller.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from gateproof.run.run import GateRun
from gateproof.run.writer import MAIN, Account

STAGING, ACCOUNT = "gateproof_staging", "gateproof_account"


class Node(Protocol):
    """xdist's handle on one of its workers, as far as it is used here."""

    config: pytest.Config
    workerinput: dict[str, Any]
    workeroutput: dict[str, Any]
    gateway: Any


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this process runs items for a controller."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Tell whether other processes run the items."""
    return not is_worker(config) and bool(getattr(config.option, "tx", None))


def writer_name(config: pytest.Config) -> str:
    """Return a name that no other writer of the run has."""
    return str(_told(config, "workerinput")["workerid"]) if is_worker(config) else MAIN


def staging_of(config: pytest.Config) -> Path:
    """Return where the controller of this worker has evidence written."""
    return Path(_told(config, "workerinput")[STAGING])


def _told(config: pytest.Config, name: str) -> dict[str, Any]:
    """Return what xdist hangs on a worker's configuration under one of its names."""
    told: dict[str, Any] = getattr(config, name)
    return told


def hand_staging(run: GateRun, node: Node) -> None:
    """Tell a worker that is about to start where to write."""
    node.workerinput[STAGING] = str(run.staging)


def hand_account(config: pytest.Config, account: Account) -> None:
    """Leave a worker's account for the controller."""
    _told(config, "workeroutput")[ACCOUNT] = account.to_plain()


def take_account(run: GateRun, node: Node) -> None:
    """Take the account of a worker that ended; one that left none is a defect."""
    told = getattr(node, "workeroutput", {}).get(ACCOUNT)
    if told is None:
        run.defects.append(f"the xdist worker {node.gateway.id} ended without an account")
    else:
        run.accounts.append(Account.from_plain(told))
