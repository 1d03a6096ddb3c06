"""The pytest plugin that runs a system for real and judges it: what gates import.

A gate states what must be true (`criterion`) and what would make it false (`falsified_by` with a
fault), and observes the system through the probes of the `stack` fixture. This package knows no
gate, and reaches the system under test only through commands, a DSN and URLs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateproof.base.errors import InconclusiveError, NotApplicableError, PremiseError
    from gateproof.base.project import copy_folders
    from gateproof.base.wait import wait_until
    from gateproof.description.sut import Sut
    from gateproof.environments.interface import Completed
    from gateproof.faults.boundary.http import http
    from gateproof.faults.boundary.inject import inject
    from gateproof.faults.boundary.log import logs
    from gateproof.faults.boundary.message import message
    from gateproof.faults.file import file
    from gateproof.faults.interface import Fault
    from gateproof.faults.migration import migration
    from gateproof.faults.network import network
    from gateproof.faults.process import process
    from gateproof.faults.setting import settings
    from gateproof.faults.source import source
    from gateproof.faults.sql import sql
    from gateproof.probes.claims.claim import claim
    from gateproof.probes.claims.collection import at_least_one
    from gateproof.probes.claims.premise import premise
    from gateproof.probes.file import FileProbe
    from gateproof.probes.http import Exchange
    from gateproof.probes.log import LogLines
    from gateproof.probes.process import ProcessProbe
    from gateproof.probes.recorder import Recorder
    from gateproof.probes.sql import Refused, Rows, Session, SqlProbe
    from gateproof.probes.task import RESULT_DEADLINE_S, EagerModeError, TaskProbe, TaskResult
    from gateproof.probes.worker import Worker
    from gateproof.run.declaration import criterion, falsified_by
    from gateproof.stack.bring_up import BringUp
    from gateproof.stack.identifier import Ids
    from gateproof.stack.relay import Relay
    from gateproof.stack.stack import POOL_PREFORK, POOL_SOLO, Stack
    from gateproof_evidence.model import Redaction

__all__ = [
    "POOL_PREFORK",
    "POOL_SOLO",
    "RESULT_DEADLINE_S",
    "BringUp",
    "Completed",
    "EagerModeError",
    "Exchange",
    "Fault",
    "FileProbe",
    "Ids",
    "InconclusiveError",
    "LogLines",
    "NotApplicableError",
    "PremiseError",
    "ProcessProbe",
    "Recorder",
    "Redaction",
    "Refused",
    "Relay",
    "Rows",
    "Session",
    "SqlProbe",
    "Stack",
    "Sut",
    "TaskProbe",
    "TaskResult",
    "Worker",
    "at_least_one",
    "claim",
    "copy_folders",
    "criterion",
    "falsified_by",
    "file",
    "http",
    "inject",
    "logs",
    "message",
    "migration",
    "network",
    "premise",
    "process",
    "settings",
    "source",
    "sql",
    "wait_until",
]

_HOMES = {
    "BringUp": "gateproof.stack.bring_up",
    "Completed": "gateproof.environments.interface",
    "EagerModeError": "gateproof.probes.task",
    "Exchange": "gateproof.probes.http",
    "Fault": "gateproof.faults.interface",
    "FileProbe": "gateproof.probes.file",
    "Ids": "gateproof.stack.identifier",
    "InconclusiveError": "gateproof.base.errors",
    "LogLines": "gateproof.probes.log",
    "NotApplicableError": "gateproof.base.errors",
    "POOL_PREFORK": "gateproof.stack.stack",
    "POOL_SOLO": "gateproof.stack.stack",
    "PremiseError": "gateproof.base.errors",
    "ProcessProbe": "gateproof.probes.process",
    "RESULT_DEADLINE_S": "gateproof.probes.task",
    "Recorder": "gateproof.probes.recorder",
    "Redaction": "gateproof_evidence.model",
    "Refused": "gateproof.probes.sql",
    "Relay": "gateproof.stack.relay",
    "Rows": "gateproof.probes.sql",
    "Session": "gateproof.probes.sql",
    "SqlProbe": "gateproof.probes.sql",
    "Stack": "gateproof.stack.stack",
    "Sut": "gateproof.description.sut",
    "TaskProbe": "gateproof.probes.task",
    "TaskResult": "gateproof.probes.task",
    "Worker": "gateproof.probes.worker",
    "at_least_one": "gateproof.probes.claims.collection",
    "claim": "gateproof.probes.claims.claim",
    "copy_folders": "gateproof.base.project",
    "criterion": "gateproof.run.declaration",
    "falsified_by": "gateproof.run.declaration",
    "file": "gateproof.faults.file",
    "http": "gateproof.faults.boundary.http",
    "inject": "gateproof.faults.boundary.inject",
    "logs": "gateproof.faults.boundary.log",
    "message": "gateproof.faults.boundary.message",
    "migration": "gateproof.faults.migration",
    "network": "gateproof.faults.network",
    "premise": "gateproof.probes.claims.premise",
    "process": "gateproof.faults.process",
    "settings": "gateproof.faults.setting",
    "source": "gateproof.faults.source",
    "sql": "gateproof.faults.sql",
    "wait_until": "gateproof.base.wait",
}
"""Each public name and the module that defines it, which is imported when the name is first
used."""


def __getattr__(name: str) -> object:
    """Import a public name from its module, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
