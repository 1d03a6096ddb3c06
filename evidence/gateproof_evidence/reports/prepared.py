"""Importing this module prepares the page: for a process from which others are forked.

Compiling the template takes longer than filling it in for a short run.
"""

from __future__ import annotations

from gateproof_evidence.reports.html import prepare

prepare()
