"""Gate contracts: the command that releases a version, and what it and the others print.

The falsifiers change the command.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from gateproof import FileProbe, ProcessProbe, Recorder, Sut, claim, criterion, falsified_by, source
from system.gates.calls import Command, run_commands
from system.gates.operating import OUTPUT, STATUS, USAGE, Step, judge

MODULE = "system.contracts"
RELEASE, COMMAND = "system/contracts/release.py", "system/commands/contracts.py"
FINDINGS = 1
"""The published exit status of a check with findings, and of a breaking change."""
WRITTEN, RECORD = "released document", "record of digests"
"""Names of claims that falsifiers predict."""

COMMON = "components: { schemas: { Tag: { type: string, examples: [é] } } }\n"
DOCUMENT = """
openapi: 3.1.0
info: {{ title: Orders, version: {version} }}
x-implemented: false
paths:
  /{domain}:
    get:
      operationId: {domain}
      security: []
      x-no-security-reason: It is public.
      parameters:
        - {{ name: X-Correlation-ID, in: header, schema: {{ type: string }}, example: c-1 }}{more}
      responses:
        '200':
          description: a
          headers: {{ X-Correlation-ID: {{ schema: {{ type: string }} }} }}
          content: {{ text/plain: {{ schema: {{ $ref: {schema} }}, example: a }} }}
"""
SHARED = "'../common.yaml#/components/schemas/Tag'"
INLINE = "'#/components/schemas/Tag'"
PARAMETER = "\n        - { name: a, in: query, schema: { type: string }, example: b }"
OWN = "\ncomponents: { schemas: { Tag: { type: string, examples: [a] } } }\n"

A1, B1 = "a/baselines/v1.0.0/openapi.json", "b/baselines/v1.0.0/openapi.json"
A2 = "a/baselines/v1.1.0/openapi.json"


@criterion("CON-09")
@falsified_by(
    source(
        "shared-part-not-released",
        "system/contracts/reading/bundle.py",
        "            parts[name] = deepcopy(part)\n",
        "            parts[name] = {}\n",
    ),
    expect=(WRITTEN, A1, "examples"),
)
@falsified_by(
    source(
        "released-again",
        RELEASE,
        "if path.exists():",
        "if not path:",
    ),
    expect=(STATUS, "release a version again", "got 0"),
)
@falsified_by(
    source(
        "released-with-findings",
        RELEASE,
        "    _refuse_findings(library, contract)\n",
    ),
    expect=(STATUS, "release a breaking change", "got 0"),
)
@falsified_by(
    source(
        "other-records-dropped",
        RELEASE,
        "recorded = recorded_digests(root) | {name: dict(digests(root))[name]}",
        "recorded = {name: dict(digests(root))[name]}",
    ),
    expect=(RECORD, "after both", "got "),
)
@falsified_by(
    source(
        "break-is-no-status",
        COMMAND,
        "ctx.exit(EXIT_FINDINGS if breaks else 0)",
        "ctx.exit(0)",
    ),
    expect=(STATUS, "differences that break", "got 0"),
)
@falsified_by(
    source(
        "names-not-read",
        COMMAND,
        "load(library, domain) for domain in domains or known",
        "load(library, domain) for domain in known",
    ),
    expect=(OUTPUT, "differences of one", "2 contracts"),
)
@falsified_by(
    source(
        "compared-with-the-first-release",
        COMMAND,
        "baseline_name(contract.domain, max(same))",
        "baseline_name(contract.domain, min(same))",
    ),
    expect=(OUTPUT, "differences since the last release", "parameter-added"),
)
@falsified_by(
    source(
        "empty-folder-passes",
        COMMAND,
        "    if not library.domains():\n",
        "    if library is None:\n",
    ),
    expect=(STATUS, "check of nothing", "got 0"),
)
@falsified_by(
    source(
        "all-released-again",
        COMMAND,
        "if not (is_all and _is_released(library, contract))",
        "if not is_all or contract",
    ),
    expect=(STATUS, "release all again", "got 2"),
)
def test_versions_are_released_once(
    machine: ProcessProbe, sut: Sut, recorder: Recorder, tmp_path: Path
) -> None:
    """A release writes the whole document and its digest once, and refuses what must not be."""
    # A proof runs the check twice with one folder.
    before, after = (Path(tempfile.mkdtemp(dir=tmp_path)) for _ in range(2))
    _write(before)
    steps = _before(before)
    commands = [Command(module=MODULE, words=one.words) for one in steps.values()]
    judge(steps, run_commands(machine, sut, tmp_path, commands), {})
    files = FileProbe(recorder, before)
    _judge_written(files, A1, "a")
    _judge_record(files, "after both", (A1, B1))
    _write(after)
    for name in (A1, B1):
        _put(after / name, files.read(name) or "")
    _put(after / "baselines.sha256", files.read("baselines.sha256") or "")
    _put(after / "a/openapi.yaml", _document("a", "1.1.0", more=PARAMETER))
    _put(
        after / "b/openapi.yaml",
        _document("b", "1.1.0", schema=INLINE) + OWN.replace("string", "integer"),
    )
    steps = _after(after)
    commands = [Command(module=MODULE, words=one.words) for one in steps.values()]
    judge(steps, run_commands(machine, sut, tmp_path, commands), {})
    _judge_record(FileProbe(recorder, after), "after the second version", (A1, A2, B1))


def _document(domain: str, version: str, *, more: str = "", schema: str = SHARED) -> str:
    return DOCUMENT.format(domain=domain, version=version, more=more, schema=schema).lstrip()


def _write(root: Path) -> None:
    """Write a folder of two contracts with a shared part."""
    _put(root / "common.yaml", COMMON)
    for domain in ("a", "b"):
        _put(root / domain / "openapi.yaml", _document(domain, "1.0.0"))
    (root / "empty").mkdir()


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _before(root: Path) -> dict[str, Step]:
    folder = ["--folder", str(root)]
    neither = "Error: baseline: got neither or both, expected DOMAINs or --all"
    return {
        "check before a release": Step(
            words=["check", *folder, "--rule", "compatibility", "--rule", "house"],
            status=FINDINGS,
            lines=["2 contracts, 2 operations, 6 examples: 2 errors, 0 warnings"],
            message="error: b: baselines: baseline-missing: got no released version, expected"
            f" {B1}; run: baseline b",
        ),
        "check of one rule": Step(
            words=["check", *folder, "--rule", "house"],
            lines=["2 contracts, 2 operations, 6 examples: 0 errors, 0 warnings"],
        ),
        "check of nothing": Step(
            words=["check", "--folder", str(root / "empty")],
            status=USAGE,
            lines=[],
            message=f"Error: folder: got {root / 'empty'}, which has no openapi.yaml, expected"
            " contracts",
        ),
        "check of no folder": Step(
            words=["check", "--folder", str(root / "none")], status=USAGE, message=None
        ),
        "differences before a release": Step(
            words=["diff", *folder, "b"],
            status=USAGE,
            message="Error: b: got no released version of 1.0.0, expected one: run baseline",
        ),
        "release nothing": Step(words=["baseline", *folder], status=USAGE, message=neither),
        "release both one and all": Step(
            words=["baseline", *folder, "a", "--all"], status=USAGE, message=neither
        ),
        "release an unknown one": Step(
            words=["baseline", *folder, "a", "c"],
            status=USAGE,
            message="Error: domain: got c, expected one of a, b",
        ),
        "release one": Step(words=["baseline", *folder, "a"], lines=[A1]),
        "release a version again": Step(
            words=["baseline", *folder, "a"],
            status=USAGE,
            message=f"Error: baseline: got {A1}, which exists and never changes, expected a new"
            " version: raise info.version",
        ),
        "release all": Step(
            words=["baseline", *folder, "--all", "--json"], lines=[{"written": [B1]}]
        ),
        "release all again": Step(
            words=["baseline", *folder, "--all"], lines=["every version is released already"]
        ),
        "check after a release": Step(
            words=["check", *folder],
            lines=["2 contracts, 2 operations, 6 examples: 0 errors, 0 warnings"],
        ),
        "no differences": Step(
            words=["diff", *folder], lines=["2 contracts: 0 breaking, 0 compatible"]
        ),
        "differences of one": Step(
            words=["diff", *folder, "b"], lines=["1 contracts: 0 breaking, 0 compatible"]
        ),
    }


def _after(root: Path) -> dict[str, Step]:
    folder = ["--folder", str(root)]
    added = (
        "compatible: a: GET /a/query parameter a: parameter-added: an optional parameter, was none"
    )
    place = "GET /b/200/text/plain"
    one_of = "Error: diff: got one of --old and --new, expected both and no DOMAIN"
    old, new = str(root / A1), str(root / "a/openapi.yaml")
    return {
        "differences that are compatible": Step(
            words=["diff", *folder, "a"], lines=[added, "1 contracts: 0 breaking, 1 compatible"]
        ),
        "differences that break": Step(
            words=["diff", *folder],
            status=FINDINGS,
            lines=[
                added,
                f"breaking: b: {place}: type-widened: integer, was string",
                f"compatible: b: {place}: type-narrowed: integer, was string",
                "2 contracts: 1 breaking, 2 compatible",
            ],
        ),
        "release a breaking change": Step(
            words=["baseline", *folder, "b"],
            status=USAGE,
            lines=[],
            message="Error: b: got 3 findings, expected none before a release; the first: b:"
            " /components/schemas/Tag/examples/0: example-invalid: got $: 'a' is not of type"
            " 'integer', expected a value that /components/schemas/Tag allows",
        ),
        "release a compatible change": Step(words=["baseline", *folder, "a"], lines=[A2]),
        "differences since the last release": Step(
            words=["diff", *folder, "a"], lines=["1 contracts: 0 breaking, 0 compatible"]
        ),
        "two documents that refer to others": Step(
            words=["diff", "--old", old, "--new", new], status=FINDINGS
        ),
        "two documents": Step(
            words=["diff", "--old", old, "--new", old],
            lines=["1 contracts: 0 breaking, 0 compatible"],
        ),
        "one document": Step(words=["diff", "--old", old], status=USAGE, message=one_of),
        "two documents and a domain": Step(
            words=["diff", "--old", old, "--new", old, "a"], status=USAGE, message=one_of
        ),
    }


def _judge_written(files: FileProbe, name: str, domain: str) -> None:
    """Judge that a released document is the whole one, with the shared part in it."""
    try:
        document: dict[str, Any] = json.loads(files.read(name) or "")
    except ValueError:
        document = {}
    claim(
        WRITTEN,
        on=f"{name}, operations",
        got=sorted(document.get("paths", {})),
        expected=[f"/{domain}"],
    )
    got = document.get("components", {}).get("schemas")
    expected = {"Tag": {"type": "string", "examples": ["é"]}}
    claim(WRITTEN, on=name, got=json.dumps(got), expected=json.dumps(expected))


def _judge_record(files: FileProbe, on: str, names: tuple[str, ...]) -> None:
    """Judge that the record has a digest of each released version, and of nothing else."""
    expected = [
        f"{hashlib.sha256((files.read(name) or '').encode()).hexdigest()}  {name}" for name in names
    ]
    got = (files.read("baselines.sha256") or "").splitlines()
    claim(RECORD, on=on, got=got, expected=expected)
