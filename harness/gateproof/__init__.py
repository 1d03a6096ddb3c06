"""The pytest plugin that runs a system for real and judges it: what gates import.

A gate states what must be true (`criterion`) and what would make it false (`falsified_by` with a
fault), and observes the system through the probes of the `stack` fixture. This package knows no
gate, and reaches the system under test only through commands, a DSN and URLs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateproof.base.draw import drawn, monotonic_s, new_number, new_uuid, utc_now
    from gateproof.base.errors import (
        InconclusiveError,
        MissingAbilityError,
        NotReadyError,
        PremiseError,
    )
    from gateproof.base.project import copy_folders
    from gateproof.base.skip import NotApplicableError
    from gateproof.base.wait import wait_until
    from gateproof.description.process import Request
    from gateproof.description.sut import Sut
    from gateproof.environments.interface import Completed
    from gateproof.faults.boundary.command import command
    from gateproof.faults.boundary.http import http
    from gateproof.faults.boundary.inject import inject
    from gateproof.faults.boundary.log import logs
    from gateproof.faults.boundary.message import message
    from gateproof.faults.code.file import file
    from gateproof.faults.code.migration import migration
    from gateproof.faults.code.source import source
    from gateproof.faults.interface import Fault, slug_of
    from gateproof.faults.network import network
    from gateproof.faults.process import process
    from gateproof.faults.setting import settings
    from gateproof.faults.sql import sql
    from gateproof.faults.tenancy.catalogue import Shape, read_shapes
    from gateproof.faults.tenancy.discovery import (
        Definer,
        Table,
        View,
        children_without_key,
        definers,
        tables_with_key,
        tenant_tables,
        views,
    )
    from gateproof.faults.tenancy.row import RowMaker, give_rows
    from gateproof.faults.tenancy.spread import TABLES_OF_A_KIND, Pick, spread, tenant_fault
    from gateproof.faults.tenancy.tenant import (
        Tenant,
        act_as,
        malformed_ids,
        new_tenant,
        set_context,
    )
    from gateproof.faults.tenancy.value import identifier, literal
    from gateproof.probes.claims.claim import claim
    from gateproof.probes.claims.collection import at_least_one
    from gateproof.probes.claims.premise import premise
    from gateproof.probes.file import FileProbe
    from gateproof.probes.http import Exchange, HttpProbe
    from gateproof.probes.log import LogLines
    from gateproof.probes.process import ProcessProbe
    from gateproof.probes.recorder import Recorder
    from gateproof.probes.sql import Refused, Rows, Session, SqlProbe
    from gateproof.probes.task import RESULT_DEADLINE_S, EagerModeError, TaskProbe, TaskResult
    from gateproof.probes.worker import Worker
    from gateproof.run.declaration import criterion, falsified_by, falsified_by_each
    from gateproof.stack.bring_up import BringUp
    from gateproof.stack.identifier import Ids
    from gateproof.stack.relay import Relay
    from gateproof.stack.stack import POOL_PREFORK, POOL_SOLO, Stack
    from gateproof.stack.system_process import Sample, SystemProcess
    from gateproof_evidence.model import Redaction

__all__ = [
    "POOL_PREFORK",
    "POOL_SOLO",
    "RESULT_DEADLINE_S",
    "TABLES_OF_A_KIND",
    "BringUp",
    "Completed",
    "Definer",
    "EagerModeError",
    "Exchange",
    "Fault",
    "FileProbe",
    "HttpProbe",
    "Ids",
    "InconclusiveError",
    "LogLines",
    "MissingAbilityError",
    "NotApplicableError",
    "NotReadyError",
    "Pick",
    "PremiseError",
    "ProcessProbe",
    "Recorder",
    "Redaction",
    "Refused",
    "Relay",
    "Request",
    "RowMaker",
    "Rows",
    "Sample",
    "Session",
    "Shape",
    "SqlProbe",
    "Stack",
    "Sut",
    "SystemProcess",
    "Table",
    "TaskProbe",
    "TaskResult",
    "Tenant",
    "View",
    "Worker",
    "act_as",
    "at_least_one",
    "children_without_key",
    "claim",
    "command",
    "copy_folders",
    "criterion",
    "definers",
    "drawn",
    "falsified_by",
    "falsified_by_each",
    "file",
    "give_rows",
    "http",
    "identifier",
    "inject",
    "literal",
    "logs",
    "malformed_ids",
    "message",
    "migration",
    "monotonic_s",
    "network",
    "new_number",
    "new_tenant",
    "new_uuid",
    "premise",
    "process",
    "read_shapes",
    "set_context",
    "settings",
    "slug_of",
    "source",
    "spread",
    "sql",
    "tables_with_key",
    "tenant_fault",
    "tenant_tables",
    "utc_now",
    "views",
    "wait_until",
]

_HOMES = {
    "BringUp": "gateproof.stack.bring_up",
    "Completed": "gateproof.environments.interface",
    "Definer": "gateproof.faults.tenancy.discovery",
    "EagerModeError": "gateproof.probes.task",
    "Exchange": "gateproof.probes.http",
    "Fault": "gateproof.faults.interface",
    "FileProbe": "gateproof.probes.file",
    "HttpProbe": "gateproof.probes.http",
    "Ids": "gateproof.stack.identifier",
    "InconclusiveError": "gateproof.base.errors",
    "LogLines": "gateproof.probes.log",
    "MissingAbilityError": "gateproof.base.errors",
    "NotApplicableError": "gateproof.base.skip",
    "NotReadyError": "gateproof.base.errors",
    "POOL_PREFORK": "gateproof.stack.stack",
    "POOL_SOLO": "gateproof.stack.stack",
    "Pick": "gateproof.faults.tenancy.spread",
    "PremiseError": "gateproof.base.errors",
    "ProcessProbe": "gateproof.probes.process",
    "RESULT_DEADLINE_S": "gateproof.probes.task",
    "Recorder": "gateproof.probes.recorder",
    "Redaction": "gateproof_evidence.model",
    "Refused": "gateproof.probes.sql",
    "Relay": "gateproof.stack.relay",
    "Request": "gateproof.description.process",
    "RowMaker": "gateproof.faults.tenancy.row",
    "Rows": "gateproof.probes.sql",
    "Sample": "gateproof.stack.system_process",
    "Session": "gateproof.probes.sql",
    "Shape": "gateproof.faults.tenancy.catalogue",
    "SqlProbe": "gateproof.probes.sql",
    "Stack": "gateproof.stack.stack",
    "Sut": "gateproof.description.sut",
    "SystemProcess": "gateproof.stack.system_process",
    "TABLES_OF_A_KIND": "gateproof.faults.tenancy.spread",
    "Table": "gateproof.faults.tenancy.discovery",
    "TaskProbe": "gateproof.probes.task",
    "TaskResult": "gateproof.probes.task",
    "Tenant": "gateproof.faults.tenancy.tenant",
    "View": "gateproof.faults.tenancy.discovery",
    "Worker": "gateproof.probes.worker",
    "act_as": "gateproof.faults.tenancy.tenant",
    "children_without_key": "gateproof.faults.tenancy.discovery",
    "at_least_one": "gateproof.probes.claims.collection",
    "claim": "gateproof.probes.claims.claim",
    "command": "gateproof.faults.boundary.command",
    "copy_folders": "gateproof.base.project",
    "drawn": "gateproof.base.draw",
    "criterion": "gateproof.run.declaration",
    "definers": "gateproof.faults.tenancy.discovery",
    "falsified_by": "gateproof.run.declaration",
    "falsified_by_each": "gateproof.run.declaration",
    "file": "gateproof.faults.code.file",
    "http": "gateproof.faults.boundary.http",
    "inject": "gateproof.faults.boundary.inject",
    "logs": "gateproof.faults.boundary.log",
    "message": "gateproof.faults.boundary.message",
    "migration": "gateproof.faults.code.migration",
    "monotonic_s": "gateproof.base.draw",
    "network": "gateproof.faults.network",
    "premise": "gateproof.probes.claims.premise",
    "give_rows": "gateproof.faults.tenancy.row",
    "identifier": "gateproof.faults.tenancy.value",
    "literal": "gateproof.faults.tenancy.value",
    "malformed_ids": "gateproof.faults.tenancy.tenant",
    "new_tenant": "gateproof.faults.tenancy.tenant",
    "new_number": "gateproof.base.draw",
    "new_uuid": "gateproof.base.draw",
    "process": "gateproof.faults.process",
    "read_shapes": "gateproof.faults.tenancy.catalogue",
    "set_context": "gateproof.faults.tenancy.tenant",
    "settings": "gateproof.faults.setting",
    "slug_of": "gateproof.faults.interface",
    "source": "gateproof.faults.code.source",
    "spread": "gateproof.faults.tenancy.spread",
    "sql": "gateproof.faults.sql",
    "tables_with_key": "gateproof.faults.tenancy.discovery",
    "tenant_fault": "gateproof.faults.tenancy.spread",
    "tenant_tables": "gateproof.faults.tenancy.discovery",
    "utc_now": "gateproof.base.draw",
    "views": "gateproof.faults.tenancy.discovery",
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
