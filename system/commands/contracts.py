"""The command for contracts: check them, compare versions, release one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from system.contracts.comparison.change import Change
from system.contracts.comparison.document import compare
from system.contracts.reading.contract import Contract, baseline_name, load, released
from system.contracts.reading.contract import Version as ContractVersion
from system.contracts.reading.document import FOLDER, Json, Library, read
from system.contracts.release import release
from system.contracts.rules.check import Checked
from system.contracts.rules.check import check as check_library
from system.contracts.rules.finding import RULES
from system.errors import ContractError

EXIT_FINDINGS = 1


class Commands(click.Group):
    """The commands; an error of a contract is one line and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ContractError as error:
            raise click.UsageError(str(error)) from None


as_json = click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
folder = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=FOLDER,
    help="The folder of contracts; default: that of this system.",
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 no finding of severity error, no breaking change, or released;"
    " 1 findings, or a breaking change; 2 wrong usage, or a file that cannot be read or written.",
)
def main() -> None:
    """Check the system's OpenAPI contracts, compare versions of them, and release one.

    A contract is FOLDER/DOMAIN/openapi.yaml, such as webhooks/stripe. Its released versions are
    DOMAIN/baselines/vX.Y.Z/openapi.json, and never change.
    """


@main.command()
@folder
@click.option(
    "--rule",
    "rules",
    multiple=True,
    type=click.Choice(RULES),
    help="Apply this rule only.  [repeatable; default: all]",
)
@as_json
@click.pass_context
def check(ctx: click.Context, folder: Path, rules: Sequence[Any], is_json: bool) -> None:
    """Apply the rules to every contract.

    validity: valid OpenAPI 3.1, references inside the folder, no lint finding. house: ids,
    security, X-Correlation-ID, examples, problem documents. compatibility: no breaking change
    against the released versions. examples: each is valid against its schema.
    """
    checked = check_library(_library(folder), rules or RULES)
    if is_json:
        click.echo(json.dumps(asdict(checked)))
    else:
        _print_checked(checked)
    ctx.exit(EXIT_FINDINGS if checked.errors else 0)


def _print_checked(checked: Checked) -> None:
    for one in checked.findings:
        click.echo(f"{one.severity}: {one.message}", err=True)
    operations = sum(one.operations for one in checked.documents)
    examples = sum(one.examples for one in checked.documents)
    click.echo(
        f"{len(checked.documents)} contracts, {operations} operations, {examples} examples: "
        f"{len(checked.errors)} errors, {len(checked.findings) - len(checked.errors)} warnings"
    )


@main.command()
@folder
@click.argument("domains", nargs=-1, metavar="[DOMAIN]...")
@click.option(
    "--old",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare this self-contained document instead ...",
)
@click.option(
    "--new",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="... with this one.",
)
@as_json
@click.pass_context
def diff(
    ctx: click.Context,
    folder: Path,
    domains: Sequence[str],
    old: Path | None,
    new: Path | None,
    is_json: bool,
) -> None:
    """Show every change since the last released version of the same major number.

    Names of DOMAINs limit it to these; without any, all are compared.
    """
    if (old is None) != (new is None) or (old is not None and domains):
        raise click.UsageError("diff: got one of --old and --new, expected both and no DOMAIN")
    if old is not None and new is not None:
        changes = {str(new): _compared(read(old), read(new))}
    else:
        changes = _since_release(_library(folder), domains)
    if is_json:
        found = {name: [asdict(one) for one in each] for name, each in changes.items()}
        click.echo(json.dumps({"changes": found}))
    else:
        _print_changes(changes)
    breaks = any(one.is_breaking for each in changes.values() for one in each)
    ctx.exit(EXIT_FINDINGS if breaks else 0)


def _since_release(library: Library, domains: Sequence[str]) -> dict[str, tuple[Change, ...]]:
    """Return the changes of each domain since its last released version.

    Raises:
        ContractError: a domain has no released version of its major number.

    """
    found = {}
    for contract in _contracts(library, domains):
        found[contract.domain] = _compared(_last_release(library, contract), contract.document)
    return found


def _last_release(library: Library, contract: Contract) -> Json:
    documents = released(library, contract.domain)
    versions = [ContractVersion.parse(name.removeprefix("v")) for name in documents]
    now = contract.version
    same = [one for one in versions if one and now and one.major == now.major]
    if not same:
        raise ContractError(
            f"{contract.domain}: got no released version of {now}, expected one: run baseline"
        )
    return library.read(baseline_name(contract.domain, max(same)))


def _compared(old: Json, new: Json) -> tuple[Change, ...]:
    """Return the changes between two documents.

    Raises:
        ContractError: one is no valid document.

    """
    try:
        return compare(old, new)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ContractError(
            f"document: got one that cannot be compared ({error}), expected valid OpenAPI 3.1 "
            "without references to other files: run check"
        ) from None


def _print_changes(changes: dict[str, tuple[Change, ...]]) -> None:
    for name, found in changes.items():
        for one in found:
            kind = "breaking" if one.is_breaking else "compatible"
            was = f", was {one.expected}" if one.expected else ""
            click.echo(f"{kind}: {name}: {one.where}: {one.name}: {one.got}{was}")
    breaking = sum(one.is_breaking for found in changes.values() for one in found)
    count = sum(map(len, changes.values()))
    click.echo(f"{len(changes)} contracts: {breaking} breaking, {count - breaking} compatible")


@main.command()
@folder
@click.argument("domains", nargs=-1, metavar="[DOMAIN]...")
@click.option("--all", "is_all", is_flag=True, help="Release every contract whose version is new.")
@as_json
def baseline(folder: Path, domains: Sequence[str], is_all: bool, is_json: bool) -> None:
    """Release the present version of each DOMAIN: write its baseline and record the digest.

    A released version never changes: raise info.version first. A contract with findings, or with a
    breaking change under the same major number, is refused.
    """
    if is_all == bool(domains):
        raise click.UsageError("baseline: got neither or both, expected DOMAINs or --all")
    library = _library(folder)
    chosen = [
        contract
        for contract in _contracts(library, domains)
        if not (is_all and _is_released(library, contract))
    ]
    written = [release(library, contract) for contract in chosen]
    if is_json:
        click.echo(json.dumps({"written": written}))
    else:
        click.echo("\n".join(written) or "every version is released already")


def _is_released(library: Library, contract: Contract) -> bool:
    version = contract.version
    return version is not None and (library.root / baseline_name(contract.domain, version)).exists()


def _library(folder: Path) -> Library:
    """Return the folder of contracts.

    Raises:
        ContractError: it has none: a check of nothing would pass.

    """
    library = Library(folder)
    if not library.domains():
        raise ContractError(f"folder: got {folder}, which has no openapi.yaml, expected contracts")
    return library


def _contracts(library: Library, domains: Sequence[str]) -> list[Contract]:
    known = library.domains()
    unknown = [domain for domain in domains if domain not in known]
    if unknown:
        raise ContractError(f"domain: got {unknown[0]}, expected one of {', '.join(known)}")
    contracts = [load(library, domain) for domain in domains or known]
    for contract in contracts:
        if contract.broken:
            one = contract.broken[0]
            raise ContractError(
                f"{contract.domain}: got the reference {one.got}, expected {one.expected}"
            )
    return contracts
