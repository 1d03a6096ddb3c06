"""The command for mock servers: start, stop and ask them, and install Prism."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from system.errors import MocksError
from system.mocks import running
from system.mocks.installation import Installation, NotInstalledError, packages
from system.mocks.servers import BASE_PORT, DOMAINS, LAST_BASE_PORT

EXIT_NOT_RUNNING = 1
EXIT_NOT_INSTALLED = 3


class Commands(click.Group):
    """The commands; an error is one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except MocksError as error:
            click.echo(f"error: {error}", err=True)
            missing = isinstance(error, NotInstalledError)
            ctx.exit(EXIT_NOT_INSTALLED if missing else EXIT_NOT_RUNNING)


as_json = click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
base_port = click.option(
    "--base-port",
    type=click.IntRange(1, LAST_BASE_PORT),
    default=BASE_PORT,
    show_default=True,
    help="The port of the first domain; the others follow.",
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, or all answer; 1 an error, or not all answer; 2 wrong usage;"
    " 3 Node or Prism is not installed.",
)
def main() -> None:
    """Serve the released contracts with Prism, as mock servers on this machine.

    \b
    auth 4010, attribution 4011, reconciliation 4012, export 4013, health 4014,
    webhooks/shopify 4015, webhooks/stripe 4016, webhooks/paypal 4017, webhooks/woocommerce 4018
    """  # noqa: D301 (click's own mark)


@main.command()
@base_port
@click.option("--dynamic", is_flag=True, help="Generate bodies from schemas; default: examples.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(DOMAINS),
    metavar="DOMAIN",
    help="Serve this domain only.  [repeatable; default: all]",
)
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=0, min_open=True),
    default=running.START_DEADLINE_S,
    show_default=True,
    help="Seconds until all must answer.",
)
@as_json
def start(
    base_port: int, dynamic: bool, only: Sequence[str], deadline_s: float, is_json: bool
) -> None:
    """Start the mock servers, and wait until each answers.

    A client can ask for one generated body with the header Prefer: dynamic=true, and for a status
    with Prefer: code=202.
    """
    found = running.start(base_port, dynamic=dynamic, only=only, deadline_s=deadline_s)
    _print(found, is_json=is_json)


@main.command()
@base_port
@as_json
def stop(base_port: int, is_json: bool) -> None:
    """Stop the mock servers. Their ports are free afterwards."""
    ran = running.stop(base_port)
    if is_json:
        click.echo(json.dumps({"stopped": ran}))
    else:
        click.echo("stopped" if ran else "none were running")


@main.command()
@base_port
@as_json
@click.pass_context
def status(ctx: click.Context, base_port: int, is_json: bool) -> None:
    """Ask each mock server."""
    found = running.status(base_port)
    _print(found, is_json=is_json)
    ctx.exit(0 if found.is_complete else EXIT_NOT_RUNNING)


@main.command()
@click.option("--check-node", is_flag=True, help="Only find Node; exit with 3 if there is none.")
@click.pass_context
def install(ctx: click.Context, check_node: bool) -> None:
    """Install Prism, as the lock file has it; do nothing if it is installed. Needs Node and npm."""
    installation = Installation()
    if check_node:
        ctx.exit(0 if installation.node else EXIT_NOT_INSTALLED)
    if not installation.is_current and installation.node is not None:
        click.echo(f"installing {packages()} packages of Prism, about half a minute ...")
    try:
        installation.install()
    except NotInstalledError as error:
        click.echo(f"no mock servers, and their gate is not checked: {error}", err=True)
        ctx.exit(EXIT_NOT_INSTALLED)


def _print(found: running.Status, *, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(asdict(found)))
        return
    for one in found.servers:
        click.echo(f"{'answers' if one.answers else 'silent':8} {one.url}  {one.domain}")
