"""`gateproof merge`: one bundle from the bundles of a run's shards."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gateproof_evidence.cli.common import PATH, console, read_outside
from gateproof_evidence.model.text import printable
from gateproof_evidence.reports.gate_summary import obstacles
from gateproof_evidence.reports.terminal import gate_lines, gate_table, shard_lines
from gateproof_evidence.sealing.merging.merge import MergeResult
from gateproof_evidence.sealing.merging.merge import merge as merge_bundles
from gateproof_evidence.sealing.merging.part import read_keys
from gateproof_evidence.sealing.run_key import PASSPHRASE_VARIABLE, RunKey

KEY_VARIABLE = "GATEPROOF_SIGNING_KEY"

_CANARY = (
    "secrets: each shard searched its own files for its canary before it was sealed; the merge "
    "knows no secret and searched for none"
)
_UNKNOWN = (
    "signers of the shards unknown: this shows integrity, not origin; name their public keys with "
    "--key"
)


@click.command()
@click.argument("bundles", type=PATH, nargs=-1, required=True, metavar="BUNDLE...")
@click.option(
    "--out",
    type=PATH,
    required=True,
    metavar="DIR",
    help="The merged bundle: a folder to make; next to it, DIR.zip is the same as one file.",
)
@click.option(
    "--signing-key",
    type=PATH,
    envvar=KEY_VARIABLE,
    metavar="FILE",
    help=f"Private key that signs the merged bundle; also {KEY_VARIABLE}, with "
    f"{PASSPHRASE_VARIABLE}. By default a key generated for this merge.",
)
@click.option(
    "--key",
    "public_keys",
    type=PATH,
    multiple=True,
    metavar="PUB",
    help="Public key of a shard's signer, from outside the bundles; repeat it for several. Each "
    "shard must be signed by one of them. By default each bundle's own key, which shows no origin.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def merge(
    ctx: click.Context,
    bundles: tuple[Path, ...],
    *,
    out: Path,
    signing_key: Path | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Merge the bundles that the shards of one run sealed (pytest --shard K/N) into one bundle.

    Each BUNDLE is verified first. All must have the same nonce, commit, catalogue, description,
    checks and packages, and no criterion may be judged twice. The journals become one, verdicts
    are derived from it again, and the result is signed with the key of the merge. It contains
    what each shard attested, and gateproof verify checks that.

    A shard without a bundle, such as one that was killed, is left out: its criteria are then not
    checked, and the result is not released. Run that shard again and merge all bundles again.

    Exit status: that of the merged run (0 released, 1 violations, 100 incomplete, 102 environment,
    103 harness); 4 bad input, and nothing is written.
    """
    keys = read_keys([_outside(path, bundles) for path in public_keys])
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    key = RunKey.ephemeral()
    if signing_key is not None:
        key = RunKey.load(signing_key, passphrase.encode() if passphrase else None)
    made = merge_bundles(
        bundles, out.absolute(), keys=keys, key=key, clock=lambda: dt.datetime.now(dt.UTC)
    )
    if as_json:
        click.echo(json.dumps(_json(made, key), indent=2))
    else:
        _print(made, key)
    ctx.exit(made.run.exit_status)


def _outside(path: Path, bundles: tuple[Path, ...]) -> bytes:
    """Read a public key, which must be outside of all bundles."""
    return [read_outside(path, bundle, "public key") for bundle in bundles][-1]


def _print(made: MergeResult, key: RunKey) -> None:
    out = console()
    out.print(gate_table(made.run))
    for line in gate_lines(made.run):
        out.print(line, soft_wrap=True)
    for text in (*shard_lines(made.run), *_notes(made, key)):
        click.echo(printable(text))
    click.echo(f"report: {made.bundle / 'data' / 'report.html'}")
    click.echo(f"one file: {made.archive}")
    click.echo(f"verify: gateproof verify {made.bundle}")
    click.echo(f"{made.run.result} (exit status {made.run.exit_status})")


def _notes(made: MergeResult, key: RunKey) -> Iterator[str]:
    yield _CANARY
    if not made.known:
        yield _UNKNOWN
    if key.is_ephemeral:
        yield "signed with a key generated for this merge: it proves integrity, not the signer"


def _json(made: MergeResult, key: RunKey) -> dict[str, Any]:
    merged = made.run.merged
    assert merged is not None
    return {
        "ok": True,
        "bundle": str(made.bundle),
        "archive": str(made.archive),
        "result": made.run.result,
        "exit_status": made.run.exit_status,
        "of": merged.of,
        "missing": merged.missing,
        "shards": [
            one.model_dump(mode="json", exclude={"bindings", "timing"}) for one in merged.shards
        ],
        "open": obstacles(made.run),
        "notes": list(_notes(made, key)),
    }
