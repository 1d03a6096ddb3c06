"""``gateproof init``: drafts a ``sut.toml`` from the files, the app and the database of a system.

Owns the command, its progress and its errors. The draft is checked by the same reader as any
description before it is written; what a person has to decide is a comment in it.

Source: docs/how-to/prove-your-own-system.md.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from gateproof.base.errors import HarnessError
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.draft.application import App, inspect_app
from gateproof.draft.database import Catalogue, read_catalogue
from gateproof.draft.doctor import diagnose, unlocks
from gateproof.draft.document import Table, document
from gateproof.draft.files import ProjectFiles, default_python, read_project
from gateproof.draft.guess import Findings, migration_command, tables_of
from gateproof.draft.scratch import Migrated, Migrating, scratch_database
from gateproof.draft.watched.lines import log_fields, report_fields
from gateproof.draft.watched.worker import watch
from gateproof_evidence.errors import BadInputError

FILE = "sut.toml"
NOWHERE = "postgresql://none@127.0.0.1:9/none"
"""The DSN during the import of an app without a database: nothing listens there."""
HEADER = """\
# A draft of the description of this system, made by `gateproof init`. Each line has its origin:
# check it, correct it, and complete what is a comment. `gateproof doctor` lists what it can judge.
"""

Progress = Callable[[str], None]


@click.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
@click.option("--app", "target", default="", help="The Celery app, as MODULE:ATTRIBUTE.")
@click.option("--python", default="", help="The interpreter of the system.")
@click.option(
    "--from-db",
    "dsn",
    default="",
    help="Read this database instead of migrating one of its own; nothing in it is changed, and "
    "the DSN is not written to the file.",
)
@click.option(
    "--env",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable for the import of the app and for migrations; repeat it for more.",
)
@click.option("--out", type=click.Path(path_type=Path), help=f"The file; by default ROOT/{FILE}.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def init(
    *,
    root: Path,
    target: str,
    python: str,
    dsn: str,
    given: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Draft a description of the system in the folder ROOT.

    Reads the project's files, imports its Celery app in the system's own interpreter, migrates a
    database of its own, and reads tables, policies and roles from that. Writes no password, and
    never overwrites a file.
    """
    root = root.resolve()
    out = (out or root / FILE).resolve()
    if out.exists():
        raise BadInputError(
            f"{out}: got a file of that name, expected none: init never overwrites; name another "
            "with --out, or remove it"
        )
    env = dict(_pair(one) for one in given)
    progress: Progress = lambda line: click.echo(f"gateproof: {line}", err=True)  # noqa: E731
    found = find(root, target=target, python=python, dsn=dsn, env=env, progress=progress)
    found = replace(found, place=Path(os.path.relpath(root, out.parent)).as_posix())
    found = _watch(found, root, out, progress)
    tables = tables_of(found)
    sut = _checked(document(tables), root, out)
    text = f"{HEADER}\n{document([*tables, _missing(sut)])}"
    _checked(text, root, out)
    out.write_text(text, encoding="utf-8")
    _report(found, sut, out, as_json=as_json)


def find(
    root: Path, *, target: str, python: str, dsn: str, env: Mapping[str, str], progress: Progress
) -> Findings:
    """Find all that a draft needs.

    Args:
        root: the folder of the system, absolute.
        target: the app; empty to take the likeliest.
        python: the interpreter; empty to take the project's.
        dsn: a database to read; empty to migrate one.
        env: variables for the import and for migrations.
        progress: called with a line at each step.

    Raises:
        BadInputError: the named database cannot be read.
        HarnessError: the server of the scratch database could not be started.

    """
    progress(f"reading the files of {root} ...")
    files = read_project(root)
    given, python = python, python or default_python(files, root)
    target = target or (files.apps[0].value if files.apps else "")
    with _database(root, files, python, dsn, env, progress) as migrated:
        # An import can connect: it never gets the address of a database that exists.
        address = "" if dsn else migrated.dsn
        app, app_problem = _import(root, files, target, python, env, address, progress)
        catalogue = _read(migrated, dsn, progress)
    return Findings(
        root=root,
        files=files,
        target=target,
        app=app,
        app_problem=app_problem,
        catalogue=catalogue,
        catalogue_origin="the database of --from-db" if dsn else "a scratch database, migrated",
        catalogue_problem=migrated.problem,
        owner=migrated.owner,
        env=env,
        python=given,
        heads=migrated.heads,
        branch_of=migrated.branch_of,
        former_names=migrated.former_names,
    )


@contextmanager
def _database(
    root: Path,
    files: ProjectFiles,
    python: str,
    dsn: str,
    env: Mapping[str, str],
    progress: Progress,
) -> Iterator[Migrated]:
    """Yield the named database, or one that is migrated, or none if nothing migrates one."""
    command = migration_command(files)
    if dsn or command is None:
        yield Migrated(dsn=dsn, owner="", problem="")
        return
    how = Migrating(
        command=_filled(command.up, python, command.all),
        variables=[one.value for one in files.database_variables] or ["DATABASE_URL"],
        env=env,
        server_sql=[root / name for name in files.server_sql],
        database_sql=[root / name for name in files.database_sql],
    )
    with scratch_database(root, how, progress=progress) as migrated:
        yield migrated


def _filled(words: Iterable[str], python: str, revision: str) -> list[str]:
    """Return a command with the interpreter and the revision; an empty revision is no word."""
    filled = [word.format(python=python, revision=revision) for word in words]
    return [word for word in filled if word]


def _import(
    root: Path,
    files: ProjectFiles,
    target: str,
    python: str,
    env: Mapping[str, str],
    dsn: str,
    progress: Progress,
) -> tuple[App | None, str]:
    if not target:
        progress("no Celery app was found; name it with --app MODULE:ATTRIBUTE")
        return None, ""
    progress(f"importing {target} ...")
    variables = {one.value: dsn or NOWHERE for one in files.database_variables}
    try:
        return inspect_app(target, python=python, root=root, env={**variables, **env}), ""
    except BadInputError as error:
        progress(str(error))
        return None, str(error)


def _read(migrated: Migrated, dsn: str, progress: Progress) -> Catalogue | None:
    if not migrated.dsn:
        progress("no migration command was found; name a database with --from-db DSN")
        return None
    if migrated.problem:
        progress(f"{migrated.problem}; the draft has what was there before that")
    progress("reading its catalogue ...")
    return read_catalogue(dsn or migrated.dsn)


def _watch(found: Findings, root: Path, out: Path, progress: Progress) -> Findings:
    """Start a worker from the draft so far and add what its log lines show."""
    sut = _checked(document(tables_of(found, with_values=True)), root, out)
    if not all(map(sut.describes, ("database", "migrations", "worker", "task", "ping"))):
        return found
    # Kombu's own transport in a database loses the message of a killed worker.
    has_lease = bool(found.app and not found.app.transport.startswith("kombu."))
    try:
        seen = watch(sut, has_lease=has_lease, progress=progress)
    except (HarnessError, OSError) as error:
        problem = f"no worker could be watched: {str(error).splitlines()[0]}"
        progress(problem)
        return replace(found, worker_problem=problem)
    logs, report = log_fields(seen.lines), report_fields(seen.lines)
    return replace(found, watched=seen, logs=logs, report=report)


def _missing(sut: Sut) -> Table:
    """Return a comment with the keys that described features lack, and the criteria they unlock."""
    words = "Keys that were not found, and the criteria that need each; `gateproof doctor` has more"
    table = Table("", comment=words)
    for key, criteria in unlocks(diagnose(sut)):
        feature, dot, _ = key.partition(".")
        if dot and sut.describes(feature):
            table.note(f"{key}: {', '.join(criteria)}")
    return table if table.lines else Table("")


def _checked(text: str, root: Path, out: Path) -> Sut:
    """Return the description that a draft is; a draft that is not valid is a defect of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        draft = re.sub(
            r"(?m)^root = .*", lambda _: f"root = {json.dumps(str(root))}", text, count=1
        )
        path.write_text(draft, encoding="utf-8")
        try:
            return load_sut(path)
        except BadInputError as error:
            raise HarnessError(
                f"{out}: draft: got one that is not valid, expected a valid one: {error}; report "
                "this, and begin with the example in docs/how-to/prove-your-own-system.md"
            ) from error


def _report(found: Findings, sut: Sut, out: Path, *, as_json: bool) -> None:
    features = [name for name in ("database", "migrations", "celery", "broker", "worker", "task",
                                  "tenancy", "dead_letters") if sut.describes(name)]  # fmt: skip
    if as_json:
        fields = {"file": str(out), "features": features, "app_problem": found.app_problem}
        click.echo(json.dumps({**fields, "database_problem": found.catalogue_problem}))
        return
    click.echo(f"wrote {out}")
    click.echo(f"described: {', '.join(features) or 'nothing but its name'}")
    click.echo(f"next: read it, complete it, then run: gateproof doctor --sut {out}")


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise BadInputError(f"--env: got {text!r}, expected NAME=VALUE")
    return name, value
