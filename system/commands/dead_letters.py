"""The operators' command: list and show dead letters, replay, resolve and abandon them."""

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
from system.dead_letters import listing
from system.dead_letters.listing import Filter
from system.dead_letters.replay import Replayed, Selection
from system.dead_letters.replay import replay as replay_rows

STATUSES = ("pending", "in_progress", "resolved", "abandoned")

_SHOWN = ("id", "failed_at", "status", "retry_count", "task_name", "tenant_id", "exception_class")


filters = selected_by(click.option("--task", "task_name", help="rows of the task with this name"))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
def main() -> None:
    """List and show dead letters, replay, resolve and abandon them.

    A dead-letter row has a task that failed for good, its arguments and its error. It is `pending`
    until an operator replays it (`in_progress`, then `resolved` or `pending` again),
    resolves it or abandons it.

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
@click.argument("row_id", metavar="ROW")
@click.option("--reveal", is_flag=True, help="Decrypt the sensitive arguments too.")
@as_json
@click.pass_context
def show(ctx: click.Context, row_id: str, reveal: bool, is_json: bool) -> None:
    """Show one ROW, by its id or its task's, with arguments and traceback.

    --reveal needs the key in SYSTEM_DEAD_LETTER_KEYS.
    """
    rows = listing.show(row_id)
    row = only_row(ctx, rows, row_id)
    sealed = row.pop("sealed")
    parts = ("args", "kwargs", "options")
    row |= {name: json.loads(row[name]) for name in parts}
    if reveal and sealed:
        # (A row of before has no encrypted options.)
        row |= dict(zip(parts, decrypted(sealed), strict=False))
    if is_json:
        print_rows(rows, _SHOWN, is_json=True)
        return
    for name, value in row.items():
        click.echo(f"{name + ':':17}{text_of(value)}")


@main.command()
@click.argument("row_ids", nargs=-1, metavar="[ROW]...")
@filters
@most_selected
@click.option(
    "--rate",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.01, 1000),
    help="How many a second at most.",
)
@click.option("--now", is_flag=True, help="Also rows whose back-off is not over.")
@as_json
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    row_ids: Sequence[str],
    limit: int,
    rate: float,
    now: bool,
    is_json: bool,
    **chosen: Any,
) -> None:
    """Send the tasks of pending rows again: of each ROW (id of a row or task), or of all selected.

    Each task is sent once, to its queue, with its arguments; a worker then resolves the row, or
    makes it pending again. Named rows are replayed whether or not they are due. The broker is that
    of CELERY_BROKER_URL, else of DATABASE_URL. Encrypted arguments need the key in
    SYSTEM_DEAD_LETTER_KEYS.
    """
    from system.app import app  # (only now: its import reads the settings)

    demand_choice(row_ids, chosen)
    found = listing.find(Filter(ids=row_ids), most=len(row_ids)) if row_ids else []
    ids = tuple(row["id"] for row in found) if row_ids else None
    selection = Selection(ids=ids, only_due=not (now or row_ids), **chosen)
    ended = []
    for one in replay_rows(app, selection, most=len(row_ids) or limit, rate_per_s=rate):
        ended.append(one)
        _print_replayed(one, is_json=is_json)
    sent = sum(one.replay_id is not None for one in ended)
    click.echo(f"{sent} sent, {len(ended) - sent} not sent", err=True)
    if len(row_ids) > sent or len(ended) > sent:
        if len(row_ids) > len(ended):
            click.echo("the others are not pending, or cannot be replayed: see show", err=True)
        ctx.exit(EXIT_NOT_DONE)


@main.command()
@click.argument("row_ids", nargs=-1, metavar="[ROW]...")
@filters
@with_note
@as_json
@click.pass_context
def resolve(ctx: click.Context, /, row_ids: Sequence[str], **more: Any) -> None:
    """Resolve each ROW (id of a row or task), or all selected rows."""
    _move(ctx, row_ids, to="resolved", **more)


@main.command()
@click.argument("row_ids", nargs=-1, metavar="[ROW]...")
@filters
@with_note
@as_json
@click.pass_context
def abandon(ctx: click.Context, /, row_ids: Sequence[str], **more: Any) -> None:
    """Abandon each ROW (id of a row or task), or all selected rows."""
    _move(ctx, row_ids, to="abandoned", **more)


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
    rows = listing.move(Filter(ids=row_ids or None, **chosen), to=to, note=note)
    print_moved(ctx, rows, _SHOWN, to=to, asked=len(row_ids), is_json=is_json)


def _print_replayed(one: Replayed, *, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(vars(one)))
    else:
        outcome = f"sent as {one.replay_id}" if one.replay_id else f"not sent: {one.error}"
        click.echo(f"{one.id}  {one.task_name}  {outcome}")
