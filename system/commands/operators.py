"""Share what the operators' commands have in common: options, errors, and how rows are printed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from sqlalchemy.exc import SQLAlchemyError

from system import settings
from system.connections.text import storable
from system.dead_letters import encryption
from system.errors import ReferenceSystemError
from system.identity import canonical_uuid

EXIT_NOT_DONE = 1
EXIT_DATABASE = 3
KINDS = ("transient", "permanent")
EPILOG = (
    "Exit status: 0 done; 1 some row was not found, not moved or not sent; 2 wrong usage"
    " or settings; 3 the database reported an error."
)

_AGE = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

C = TypeVar("C", bound=Callable[..., Any])


class Moment(click.ParamType[datetime]):
    """A time, in ISO 8601 or as an age."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an aware time."""
        if isinstance(value, datetime):
            return value
        ago = _AGE.fullmatch(value)
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"got {value!r}, expected 2026-01-31T12:00Z, or an age: 90m, 24h, 7d", param, ctx
            )
        return read if read.tzinfo else read.replace(tzinfo=UTC)


class Tenant(click.ParamType[str]):
    """A tenant's id."""

    name = "uuid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it in canonical form."""
        return canonical_uuid(value) or self.fail(f"got {value!r}, expected a UUID", param, ctx)


class Commands(click.Group):
    """The commands; an error of the system or the database is one line and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ReferenceSystemError as error:
            raise click.UsageError(str(error)) from None
        except SQLAlchemyError as error:
            # The driver's message; SQLAlchemy's own repeats the statement.
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[:1]
            click.echo(f"Error: database: {' '.join(reason)}", err=True)
            ctx.exit(EXIT_DATABASE)


as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON, one object a line.")
with_note = click.option("--note", help="Why; kept with the row.")
most_rows = click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1), help="How many."
)
most_selected = click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(1),
    help="How many of the selected rows; of named rows all.",
)


def with_status(*statuses: str) -> Callable[[C], C]:
    """Add the option that selects rows by their status."""
    choice = click.Choice(statuses)
    return click.option("--status", "statuses", multiple=True, type=choice, help="[repeatable]")


def selected_by(*own: Callable[[Any], Any]) -> Callable[[C], C]:
    """Add the options that select rows: those of both commands, and these."""

    def add(command: C) -> C:
        options: tuple[Callable[[Any], Any], ...] = (
            click.option("--until", "not_after", type=Moment(), help="failed before this time"),
            click.option(
                "--since", "not_before", type=Moment(), help="failed at this time or later"
            ),
            click.option("--kind", "error_kind", type=click.Choice(KINDS), help="kind of error"),
            click.option("--tenant", "tenant_id", type=Tenant(), help="rows of this tenant"),
            *own,
        )
        for option in options:
            command = option(command)
        return command

    return add


def decrypted(sealed: str) -> Any:
    """Return what a row has encrypted.

    Raises:
        click.UsageError: there is no key.

    """
    cipher = encryption.cipher()
    if cipher is None:
        raise click.UsageError(f"{settings.KEYS}: got no key, expected the one that encrypted")
    return json.loads(cipher.decrypt(sealed))


def only_row(ctx: click.Context, rows: list[dict[str, Any]], row_id: str) -> dict[str, Any]:
    """Return the first row, or end the command with a message if there is none."""
    if not rows:
        click.echo(f"Error: row: got none with id {row_id}, expected one; see list", err=True)
        ctx.exit(EXIT_NOT_DONE)
    return rows[0]


def print_listed(
    rows: list[dict[str, Any]], shown: Sequence[str], *, limit: int, is_json: bool
) -> None:
    """Print the rows of a list, and say if there may be more."""
    print_rows(rows, shown, is_json=is_json)
    if len(rows) == limit:
        click.echo(f"{limit} rows, perhaps more: see --limit", err=True)


def print_moved(
    ctx: click.Context,
    rows: list[dict[str, Any]],
    shown: Sequence[str],
    *,
    to: str,
    asked: int,
    is_json: bool,
) -> None:
    """Print the rows that were moved; end with status 1 if fewer were than asked for."""
    print_rows(rows, shown, is_json=is_json)
    click.echo(f"{len(rows)} {to}", err=True)
    if len(rows) < asked:
        click.echo("the others do not exist, or are neither pending nor in progress", err=True)
        ctx.exit(EXIT_NOT_DONE)


def demand_choice(row_ids: Sequence[str], chosen: dict[str, Any]) -> None:
    """Refuse a command without any selection.

    Raises:
        click.UsageError: there is neither an id nor an option that selects.

    """
    if not row_ids and not any(chosen.values()):
        raise click.UsageError(
            "rows: got no id and no option that selects, expected one; to select all rows:"
            " --since 1970-01-01"
        )


def print_rows(rows: list[dict[str, Any]], shown: Sequence[str], *, is_json: bool) -> None:
    """Print rows as JSON, one a line, or these columns of them as a table."""
    if is_json:
        for row in rows:
            click.echo(json.dumps(row, default=text_of))
        return
    lines = [shown, *([text_of(row[name]) for name in shown] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(shown))]
    for line in lines if rows else ():
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def text_of(value: Any) -> str:
    """Return a value of a row as text for a terminal."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "-" if value is None else storable(str(value))
