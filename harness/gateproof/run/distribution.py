"""Support for pytest-xdist: the roles of its processes, and the data that they exchange.

The controller owns the run and runs no item; each worker process is a writer. The workers collect,
so they find bad input; the controller reports it once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from gateproof.run.run import GateRun, Problem
from gateproof.run.writer import MAIN, WriterResult
from gateproof_evidence.model import Digest

STAGING, RESULT, FAULT = "gateproof_staging", "gateproof_result", "gateproof_fault"
EARLIER = "gateproof_earlier"

PROBLEM: pytest.StashKey[Problem] = pytest.StashKey()
"""Why this worker could not start; it then runs no check."""


class Node(Protocol):
    """The controller's handle of a worker, with the attributes of xdist that are used here."""

    config: pytest.Config
    workerinput: dict[str, Any]
    workeroutput: dict[str, Any]
    gateway: Any


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process runs items for a controller."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Return whether other processes run the items for this one."""
    return not is_worker(config) and bool(getattr(config.option, "tx", None))


def writer_name(config: pytest.Config) -> str:
    """Return the name of this process's writer, unique within the run."""
    return str(_xdist_attribute(config, "workerinput")["workerid"]) if is_worker(config) else MAIN


def received_staging(config: pytest.Config) -> Path:
    """Return the staging folder that the controller sent to this worker."""
    return Path(_xdist_attribute(config, "workerinput")[STAGING])


def received_earlier(config: pytest.Config) -> Digest | None:
    """Return the digest of the earlier bundle that the controller has verified, if there is one."""
    found: Digest | None = _xdist_attribute(config, "workerinput")[EARLIER]
    return found


def _xdist_attribute(config: pytest.Config, name: str) -> dict[str, Any]:
    """Return an attribute that xdist adds to the configuration of a worker."""
    value: dict[str, Any] = getattr(config, name)
    return value


def send_staging(run: GateRun, node: Node) -> None:
    """Send the staging folder to a worker that is about to start."""
    node.workerinput[STAGING] = str(run.staging)
    node.workerinput[EARLIER] = run.earlier.digest if run.earlier else None


def send_result(config: pytest.Config, result: WriterResult) -> None:
    """Send the result of a worker to the controller."""
    _xdist_attribute(config, "workeroutput")[RESULT] = result.to_plain()


def send_problem(config: pytest.Config, problem: Problem) -> None:
    """Send to the controller why this worker could not start."""
    _xdist_attribute(config, "workeroutput")[FAULT] = [problem.status, problem.message]


def receive_result(run: GateRun, node: Node) -> None:
    """Receive the result of a worker that ended; a missing result is a defect.

    xdist reports a worker that was interrupted twice; its result counts once.
    """
    output = getattr(node, "workeroutput", {})
    values = output.get(RESULT)
    if FAULT in output:
        status, message = output[FAULT]
        run.problems.append(Problem(status=status, message=message))
    elif values is None:
        run.defects.append(f"the xdist worker {node.gateway.id} ended without a result")
    elif values["writer"] not in {result.writer for result in run.results}:
        run.results.append(WriterResult.from_plain(values))
