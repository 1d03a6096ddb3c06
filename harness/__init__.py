"""The pytest plugin that runs a system for real and judges it: what gates import.

Gates say what must be true (`criterion`), what would make it false (`falsified_by` with a fault),
and learn about the world through the `stack` fixture's probes. It knows no gate, and it reaches
the system under test through commands, a DSN and URLs only.
"""

from harness.declarations import criterion, falsified_by
from harness.faults.file import file
from harness.faults.migration import migration
from harness.faults.network import network
from harness.faults.process import process
from harness.faults.settings import settings
from harness.faults.source import source
from harness.faults.sql import sql

__all__ = [
    "criterion",
    "falsified_by",
    "file",
    "migration",
    "network",
    "process",
    "settings",
    "source",
    "sql",
]
