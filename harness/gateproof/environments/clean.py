"""``gateproof clean``: removes what a run left behind that not even its watchdog could remove."""

from __future__ import annotations

import json

import click

from gateproof.environments.leftover import dead_folders, remove


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def clean(*, dry_run: bool, as_json: bool) -> None:
    """Remove what runs left behind that were cut off with their machine.

    A run that still goes on is told by its lock and never touched.
    """
    removed = []
    for folder in dead_folders():
        ended = 0 if dry_run else remove(folder)
        removed.append({"folder": str(folder), "processes": ended})
    if as_json:
        click.echo(json.dumps({"removed": removed, "dry_run": dry_run}))
        return
    verb = "would remove" if dry_run else "removed"
    for one in removed:
        click.echo(f"{verb} {one['folder']} ({one['processes']} processes ended)")
    if not removed:
        click.echo("nothing was left behind")
