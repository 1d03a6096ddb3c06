"""The command line: the group of commands, and how their errors are reported.

Leaves each command to its module in `gateproof_evidence.cli`, and its rules to what it calls.

Source: design, "Command line"; spec, "Exit status".
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import click

from gateproof_evidence.cli.status import BAD_INPUT
from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.model.text import one_line

COMMANDS = "gateproof.commands"

_OWN: Mapping[str, str] = {
    "verify": "verify",
    "rejudge": "rejudging.rejudge",
    "show": "overview.show",
    "render": "render",
    "diff": "diff",
    "export": "export",
    "merge": "merge",
    "keygen": "keygen",
    "sign-off": "additions.sign_off",
    "timestamp": "additions.timestamp",
    "attach": "additions.attach",
}
"""Command to its module in this package, which is imported when the command is used."""


class _BadUsage(click.UsageError):
    """Report wrong usage as bad input too."""

    exit_code = BAD_INPUT


class _Group(click.Group):
    """Report our errors as one line on standard error, and end all bad input with one status.

    With ``--json`` the line is also printed as an object on standard output, for programs.
    Other packages add commands by the entry point group `COMMANDS`; this package imports none.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        print_any_character()
        if not args and kwargs.get("args") is None:  # it is this process's own command
            collect_seldom()
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        own = (*_OWN, *super().list_commands(ctx))
        return sorted({*own, *entry_points(group=COMMANDS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _OWN:
            return _own_command(cmd_name)
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        for entry in entry_points(group=COMMANDS, name=cmd_name):
            command = entry.load()
            assert isinstance(command, click.Command)
            return command
        return None

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise _bad_usage(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if as_json:
                _print_json(error.format_message())
            raise _bad_usage(error) from error
        except EvidenceError as error:
            line = one_line(str(error))
            if as_json:
                _print_json(line)
            click.echo(line, err=True)
            ctx.exit(BAD_INPUT)


def _own_command(name: str) -> click.Command:
    module = importlib.import_module(f"{__name__}.{_OWN[name]}")
    command = getattr(module, name.replace("-", "_"))
    assert isinstance(command, click.Command)
    return command


def print_any_character() -> None:
    """Let both streams spell out what their encoding lacks, as a code page of Windows does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def collect_seldom() -> None:
    """Let Python search for unused cycles of objects less often.

    A command keeps tens of thousands of records until it ends, and each search visits all of them.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _bad_usage(error: click.UsageError) -> click.UsageError:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error
    return _BadUsage(error.format_message(), ctx=error.ctx)


@click.group(cls=_Group)
@click.version_option(package_name="gateproof-evidence", prog_name="gateproof")
def main() -> None:
    """Verify and read sealed bundles of gate runs."""


def _print_json(error: str) -> None:
    click.echo(json.dumps({"ok": False, "error": one_line(error)}, indent=2))
