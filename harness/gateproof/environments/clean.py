"""``gateproof clean``: removes leftovers of runs that their watchdog could not remove."""

from __future__ import annotations

import json

import click

from gateproof.environments.leftover import abandoned_folders, remove


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def clean(*, dry_run: bool, as_json: bool) -> None:
    """Remove what interrupted runs left behind, for example after a power loss.

    A run that is still active holds a lock and is never touched.
    """
    removed = []
    for folder in abandoned_folders():
        killed = 0 if dry_run else remove(folder)
        removed.append({"folder": str(folder), "processes": killed})
    if as_json:
        click.echo(json.dumps({"removed": removed, "dry_run": dry_run}))
        return
    verb = "would remove" if dry_run else "removed"
    for one in removed:
        click.echo(f"{verb} {one['folder']} ({one['processes']} processes killed)")
    if not removed:
        click.echo("nothing was left behind")
