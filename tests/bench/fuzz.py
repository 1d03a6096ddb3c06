"""Feed the parsers of a bundle malformed input, and report each error that is no refusal.

``python -m tests.bench.fuzz --seconds 60``: each target runs in its own process for that time. With
atheris (in the environment of the benchmarks) the covered code guides the choice of inputs; without
it hypothesis changes the seeds at random. A parser may refuse an input only with an error class of
the project, and an accepted input must have one spelling: written again it gives the same bytes.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gateproof_evidence.additions.sign_off import format_signoff, parse_signoff
from gateproof_evidence.clients.ssh_keygen import SshSignature
from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.archive.archive import Archive
from gateproof_evidence.format.attestation import format_statement, parse_statement
from gateproof_evidence.format.canonical import canonical_json, read_json
from gateproof_evidence.format.catalogue import load_catalogue, parse_catalogue
from gateproof_evidence.format.envelope import Envelope
from gateproof_evidence.format.manifest import format_manifest, parse_manifest
from gateproof_evidence.format.public_key import load_public_key
from gateproof_evidence.format.tree import File, Limits, Reading
from gateproof_evidence.format.waiver import format_waivers, load_waivers, parse_waivers
from gateproof_evidence.judging.judgement import judge
from gateproof_evidence.model import Run
from gateproof_evidence.model.finding import Finding
from gateproof_evidence.verification.consistency import JournalReader, parse
from tests.archives import DESCRIPTOR, Part, build
from tests.corpus.seals import sign_off
from tests.corpus.workshop import Workshop
from tests.sample import WAIVERS, sample_catalogue

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None
LONGEST = 16 * 1024
"""Bytes of an input. The seeds are shorter, and longer inputs only take more time."""

Target = Callable[[bytes], None]


class SpellingError(AssertionError):
    """A parser accepted an input in a spelling that the project does not write."""


def _same(content: bytes, again: bytes) -> None:
    if content != again:
        raise SpellingError(f"accepted {content!r}, which is written {again!r}")


# --- one target a parser -------------------------------------------------------------------------


def fuzz_envelope(content: bytes) -> None:
    """The attestation's envelope."""
    _same(content, Envelope.from_bytes(content).to_bytes())


def fuzz_statement(content: bytes) -> None:
    """The signed statement."""
    _same(content, format_statement(parse_statement(content)))


def fuzz_manifest(content: bytes) -> None:
    """A manifest."""
    found = parse_manifest(content)
    lines = (File(path=path, size=0, digest=one, content=None) for path, one in found.items())
    if sorted(content.splitlines()) != sorted(format_manifest(lines).splitlines()):
        raise SpellingError(f"accepted {content!r}")


def fuzz_json(content: bytes) -> None:
    """JSON and its canonical form, which is stable."""
    once = canonical_json(read_json(content))
    _same(once, canonical_json(read_json(once)))


def fuzz_catalogue(content: bytes) -> None:
    """A bundle's catalogue."""
    _same(content, parse_catalogue(content).content)


def fuzz_waivers(content: bytes) -> None:
    """A bundle's waivers."""
    _same(content, format_waivers(parse_waivers(content)))


def fuzz_catalogue_file(content: bytes) -> None:
    """The TOML file of the catalogue."""
    load_catalogue(_written(content))


def fuzz_waivers_file(content: bytes) -> None:
    """The TOML file of the waivers."""
    load_waivers(_written(content), sample_catalogue())


def fuzz_journal(content: bytes) -> None:
    """A journal that is read in pieces and then judged."""
    reader = JournalReader(Limits(kept=LONGEST))
    for start in range(0, len(content), 97):
        reader.feed(content[start : start + 97])
    records, findings = reader.end()
    assert (records is None) is bool(findings)
    if records is not None:
        judge(sample_catalogue().criteria, records, WAIVERS)


def fuzz_run(content: bytes) -> None:
    """A run.json."""
    file = File(path="data/run.json", size=len(content), digest="", content=content)
    found = parse(file, lambda one: Run.model_validate(read_json(one)))
    if isinstance(found, Finding):
        str(found)


def fuzz_public_key(content: bytes) -> None:
    """A public key."""
    load_public_key(content, name="key")


def fuzz_signoff(content: bytes) -> None:
    """A reviewer's statement."""
    _same(content, format_signoff(parse_signoff(content)))


def fuzz_ssh_signature(content: bytes) -> None:
    """A reviewer's signature."""
    SshSignature.from_bytes(content)


def fuzz_archive(content: bytes) -> None:
    """A ZIP archive, which zipfile must read in the same way."""
    archive = Archive(_written(content), Limits(entries=1000))
    tree = archive.read_tree(Reading(keep=lambda _: 1 << 20, limits=Limits(total=1 << 24)))
    if tree.odd:
        return
    with zipfile.ZipFile(_SCRATCH) as packed:
        theirs = {one: packed.read(one) for one in packed.namelist() if not one.endswith("/")}
    ours = {f"{archive.top}{one.path}": one.content for one in tree.files}
    if ours != theirs:
        raise SpellingError(f"accepted {content!r}, which zipfile reads as {theirs!r}")


TARGETS: Mapping[str, Target] = {
    target.__name__.removeprefix("fuzz_").replace("_", "-"): target
    for target in (
        fuzz_envelope,
        fuzz_statement,
        fuzz_manifest,
        fuzz_json,
        fuzz_catalogue,
        fuzz_waivers,
        fuzz_catalogue_file,
        fuzz_waivers_file,
        fuzz_journal,
        fuzz_run,
        fuzz_public_key,
        fuzz_signoff,
        fuzz_ssh_signature,
        fuzz_archive,
    )
}

_SCRATCH = Path(tempfile.gettempdir()) / f"gateproof-fuzz-{os.getpid()}.toml"
atexit.register(_SCRATCH.unlink, missing_ok=True)


def _written(content: bytes) -> Path:
    _SCRATCH.write_bytes(content)
    return _SCRATCH


def once(target: Target, content: bytes) -> None:
    """Run a target on one input; accept a refusal by an error class of the project."""
    try:
        target(content)
    except EvidenceError as error:
        str(error).encode("utf-8", "backslashreplace")


# --- seeds ---------------------------------------------------------------------------------------


def write_seeds(folder: Path) -> None:
    """Write the seeds of each target; the target accepts the first of them."""
    shop = Workshop.open(_made(folder / "shop"))
    bundle = shop.samples["released"]
    sign_off(bundle, shop, by="ada")
    attestation = (bundle / "attestation.dsse.json").read_bytes()
    [statement] = bundle.glob("signoffs/*.json")
    small = b'{"a":[1,2.5,"\\u00e9",null,true],"b":{}}'
    criteria = "".join(
        f'[[criterion]]\nid = "{one.id}"\ngate = "{one.gate}"\nphase = "{one.phase}"\n'
        f'statement = "{one.statement}"\nsource = "{one.source}"\n'
        for one in sample_catalogue().criteria[:2]
    )
    waiver = WAIVERS[0].model_dump()
    seeds = {
        "envelope": [attestation, b'{"payload":"","payloadType":"x","signatures":[]}'],
        "statement": [Envelope.from_bytes(attestation).payload],
        "manifest": [(bundle / "manifest-sha256.txt").read_bytes()],
        "json": [small, (bundle / "data/waivers.json").read_bytes()],
        "catalogue": [(bundle / "data/catalogue.json").read_bytes()],
        "waivers": [(bundle / "data/waivers.json").read_bytes()],
        "catalogue-file": [criteria.encode()],
        "waivers-file": [
            "".join(["[[waiver]]\n", *(f'{k} = "{v}"\n' for k, v in waiver.items())]).encode()
        ],
        "journal": [(bundle / "data/journal.jsonl").read_bytes(), _few_lines(bundle)],
        "run": [(bundle / "data/run.json").read_bytes()],
        "public-key": [(bundle / "public-key.pem").read_bytes(), shop.public_line("ada").encode()],
        "signoff": [statement.read_bytes()],
        "ssh-signature": [statement.with_suffix(".json.sig").read_bytes()],
        "archive": _archives(),
    }
    assert seeds.keys() == TARGETS.keys()
    for name, contents in seeds.items():
        TARGETS[name](contents[0])  # (a seed that the parser refuses at once reaches little code)
        for number, content in enumerate(contents):
            (_made(folder / name) / f"seed-{number}").write_bytes(content)


def _archives() -> list[bytes]:
    """Return archives of every form that is read."""
    sign, one = (Part(name=name, content=b"x" * 40) for name in (b"bagit.txt", b"data/one"))
    late = replace(one, flags=DESCRIPTOR, descriptor="<4s3L")
    down = [replace(part, name=b"run/" + part.name) for part in (sign, one)]
    return [
        build([sign, one]),
        build([sign, late]),
        build(down),
        build([sign, replace(one, method=0)]),
    ]


def _few_lines(bundle: Path) -> bytes:
    lines = (bundle / "data/journal.jsonl").read_bytes().splitlines(keepends=True)
    return b"".join([*lines[:4], lines[-1]])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


INSTRUMENTED = """
import atheris
with atheris.instrument_imports(include=["gateproof_evidence"]):
    import tests.bench.fuzz
tests.bench.fuzz.main()
"""
"""A program that measures the covered code: atheris instruments modules while they are imported."""


# --- running -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of fuzzing one target."""

    target: str
    engine: str
    seconds: float
    executions: int
    finding: str
    """The last lines of the error; empty when there is none."""


def run_target(name: str, folder: Path, seconds: int) -> Outcome:
    """Run one target in its own process.

    Args:
        name: the name of the target.
        folder: holds its seeds, and gets the inputs that raise an error.
        seconds: how long it runs.

    """
    program = ["-c", INSTRUMENTED] if HAS_ATHERIS else ["-m", "tests.bench.fuzz"]
    command = [sys.executable, *program, "--seconds", str(seconds)]
    command += ["--target", name, "--folder", str(folder)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    counts = re.findall(r"^stat::number_of_executed_units:\s+(\d+)$", done.stderr, re.MULTILINE)
    assert counts or done.returncode, f"{name}: got no count, expected one:\n{done.stderr[-2000:]}"
    return Outcome(
        target=name,
        engine="atheris" if HAS_ATHERIS else "hypothesis",
        seconds=round(took, 1),
        executions=int(counts[-1]) if counts else 0,
        finding=done.stderr[-3000:] if done.returncode else "",
    )


def fuzz_with_atheris(name: str, folder: Path, seconds: int) -> None:
    """Fuzz with libFuzzer; this ends the process."""
    import atheris

    target = TARGETS[name]

    def one(content: bytes) -> None:
        once(target, content)

    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-print_final_stats=1"]
    options += ["-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/{name}-"]
    atheris.Setup([sys.argv[0], *options, str(folder / name)], one)
    atheris.Fuzz()


def fuzz_with_hypothesis(name: str, folder: Path, seconds: int) -> int:
    """Change the seeds at random; return how many inputs were tried."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    seeds = [path.read_bytes() for path in sorted((folder / name).iterdir())]
    tried = 0

    @settings(
        max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def alter(data: st.DataObject) -> None:
        nonlocal tried
        content = data.draw(st.sampled_from(seeds))
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(content)))
            end = data.draw(st.integers(start, min(len(content), start + 32)))
            content = content[:start] + data.draw(st.binary(max_size=32)) + content[end:]
        tried += 1
        once(TARGETS[name], content)

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        alter()
    return tried


def _child(name: str, folder: Path, seconds: int) -> None:
    try:
        if HAS_ATHERIS:
            fuzz_with_atheris(name, folder, seconds)
        else:
            tried = fuzz_with_hypothesis(name, folder, seconds)
            sys.stderr.write(f"stat::number_of_executed_units: {tried}\n")
    finally:
        _SCRATCH.unlink(missing_ok=True)


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = [f"{'target':16} {'engine':12} {'seconds':>8} {'executions':>12}  finding"]
    for one in outcomes:
        found = "yes" if one.finding else "none"
        lines.append(
            f"{one.target:16} {one.engine:12} {one.seconds:8.1f} {one.executions:12,}  {found}"
        )
    total = sum(one.executions for one in outcomes)
    lines.append(f"{'all':29} {sum(one.seconds for one in outcomes):8.1f} {total:12,}")
    lines += [f"\n{one.target}:\n{one.finding}" for one in outcomes if one.finding]
    return "\n".join(lines)


def main() -> None:
    """Fuzz every target, or the named ones; exit with 1 when one raised an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", nargs="*", choices=sorted(TARGETS), help="these targets")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--folder", type=Path, help="keeps seeds and inputs that raise an error")
    parser.add_argument("--target", choices=sorted(TARGETS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target:
        _child(options.target, options.folder, options.seconds)
        return
    folder = _made(options.folder or Path(tempfile.mkdtemp()))
    try:
        write_seeds(folder)
        names = options.only or list(TARGETS)
        outcomes = [run_target(name, folder, options.seconds) for name in names]
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    text = json.dumps([asdict(one) for one in outcomes], indent=2)
    sys.stdout.write((text if options.json else _table(outcomes)) + "\n")
    sys.exit(any(one.finding for one in outcomes))


if __name__ == "__main__":
    main()
