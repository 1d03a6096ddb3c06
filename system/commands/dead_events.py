"""The operators' command for dead events: list and show them, retry, resolve and ignore them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
import structlog

from system.commands.operators import (
    EPILOG,
    EXIT_NOT_DONE,
    Commands,
    as_json,
    decrypted,
    demand_choice,
    most_rows,
    most_selected,
    only_row,
    print_listed,
    print_moved,
    print_rows,
    selected_by,
    text_of,
    with_note,
    with_status,
)
from system.identity import canonical_uuid
from system.ingestion import listing
from system.ingestion.event import VENDORS
from system.ingestion.listing import Filter
from system.ingestion.retrying import Retried
from system.ingestion.retrying import retry as retry_rows

STATUSES = ("pending", "in_progress", "resolved", "ignored")
MOST_MOVED = 10_000
"""Rows of one statement; a move of more takes several, each of which is committed."""

_SHOWN = (
    *("id", "failed_at", "remediation_status", "retry_count", "vendor", "event_type", "tenant_id"),
    "error_type",
)


class Row(click.ParamType[str]):
    """The id of a row."""

    name = "row"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it in canonical form."""
        return canonical_uuid(value) or self.fail(
            f"got {value!r}, expected the UUID of a row; see list", param, ctx
        )


rows_to_take = click.argument("row_ids", nargs=-1, metavar="[ROW]...", type=Row())


filters = selected_by(
    click.option("--vendor", type=click.Choice(VENDORS), help="rows of this vendor")
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
def main() -> None:
    """List and show dead events, retry, resolve and ignore them.

    A dead event has a signed event that could not be stored, and its error. It is `pending` until a
    retry stores it (`in_progress`, then `resolved` or `pending` again), or an operator resolves or
    ignores it.

    DATABASE_URL names the database and an operator's role: app_rw, or app_ro to read only.
    Times are ISO 8601, or an age: 90m, 24h, 7d.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


@main.command("list")
@filters
@with_status(*STATUSES)
@most_rows
@as_json
def list_(statuses: Sequence[str], limit: int, is_json: bool, **chosen: Any) -> None:
    """List rows, the oldest failure first."""
    rows = listing.find(Filter(statuses=statuses or None, **chosen), most=limit)
    print_listed(rows, _SHOWN, limit=limit, is_json=is_json)


@main.command()
@click.argument("row_id", metavar="ROW", type=Row())
@click.option("--reveal", is_flag=True, help="Decrypt the payload too.")
@as_json
@click.pass_context
def show(ctx: click.Context, row_id: str, reveal: bool, is_json: bool) -> None:
    """Show one ROW with payload and traceback.

    --reveal needs the key in SYSTEM_DEAD_LETTER_KEYS.
    """
    rows = listing.show(row_id)
    row = only_row(ctx, rows, row_id)
    sealed = row.pop("sealed")
    row["payload"] = json.loads(row["payload"])
    if reveal and sealed:
        row["payload"] = decrypted(sealed)
    if is_json:
        print_rows(rows, _SHOWN, is_json=True)
        return
    for name, value in row.items():
        click.echo(f"{name + ':':19}{text_of(value)}")


@main.command()
@rows_to_take
@filters
@most_selected
@click.option("--now", is_flag=True, help="Also rows that are not due, or not retried any more.")
@as_json
@click.pass_context
def retry(
    ctx: click.Context,
    /,
    row_ids: Sequence[str],
    limit: int,
    now: bool,
    is_json: bool,
    **chosen: Any,
) -> None:
    """Store the events of pending rows: of each ROW, or of all selected that are due.

    Named rows are retried whether or not they are due. An encrypted payload needs the key in
    SYSTEM_DEAD_LETTER_KEYS.
    """
    from system.app import app  # (only now: its import reads the settings)

    demand_choice(row_ids, chosen)
    which = Filter(ids=row_ids or None, **chosen)
    ended = []
    most = len(row_ids) or limit
    for one in retry_rows(app, which, most=most, only_due=not (now or row_ids)):
        ended.append(one)
        _print_retried(one, is_json=is_json)
    stored = sum(one.event_row is not None for one in ended)
    click.echo(f"{stored} stored, {len(ended) - stored} not stored", err=True)
    if len(row_ids) > stored or len(ended) > stored:
        if len(row_ids) > len(ended):
            click.echo("the others are not pending, or cannot be retried: see show", err=True)
        ctx.exit(EXIT_NOT_DONE)


@main.command()
@rows_to_take
@filters
@with_note
@as_json
@click.pass_context
def resolve(ctx: click.Context, /, row_ids: Sequence[str], **more: Any) -> None:
    """Resolve each ROW, or all selected rows."""
    _move(ctx, row_ids, to="resolved", **more)


@main.command()
@rows_to_take
@filters
@with_note
@as_json
@click.pass_context
def ignore(ctx: click.Context, /, row_ids: Sequence[str], **more: Any) -> None:
    """Ignore each ROW, or all selected rows."""
    _move(ctx, row_ids, to="ignored", **more)


def _move(
    ctx: click.Context,
    row_ids: Sequence[str],
    *,
    to: str,
    note: str | None,
    is_json: bool,
    **chosen: Any,
) -> None:
    demand_choice(row_ids, chosen)
    which = Filter(ids=row_ids or None, statuses=("pending", "in_progress"), **chosen)
    moved: list[dict[str, Any]] = []
    while found := [row["id"] for row in listing.find(which, most=MOST_MOVED)]:
        rows = listing.move(found, to=to, note=note)
        moved += rows
        if not rows:
            break  # (another operator has moved each of them)
    print_moved(ctx, moved, _SHOWN, to=to, asked=len(row_ids), is_json=is_json)


def _print_retried(one: Retried, *, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(vars(one)))
    else:
        outcome = f"stored as {one.event_row}" if one.event_row else f"not stored: {one.error}"
        click.echo(f"{one.id}  {one.event_id}  {outcome}")
