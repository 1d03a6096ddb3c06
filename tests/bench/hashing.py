"""Compare sealing and verifying many large transcripts with `sha256sum` over the same files.

``python -m tests.bench.hashing``: 1 GiB in 10,000 generated files. The product seals and verifies
them, each in its own process, in turns with two processes of ``sha256sum``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from gateproof_evidence.format.recording.journal import read_journal
from gateproof_evidence.format.recording.transcript import Head, Transcripts
from gateproof_evidence.model import Observation
from gateproof_evidence.verification.bundle import verify
from tests.bench.measure import BenchError, Case, Row, compare, table
from tests.sample import seal_small, stage

SHA256SUM = "sha256sum, 2 processes"
LARGEST_MB = 200


def main() -> None:
    """Measure and print; exit with 1 when an aim is missed and `--strict` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--files", type=int, default=10_000, metavar="N")
    parser.add_argument("--mib", type=int, default=1024, metavar="N", help="of all files together")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--folder", type=Path, help="where to make the files (default: temporary)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when an aim is missed")
    parser.add_argument("--do", choices=("seal", "verify"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.do:
        _do(options.do, options.folder)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = measure(Path(folder), files=options.files, mib=options.mib, rounds=options.rounds)
    missed = aims_missed(rows)
    if options.json:
        printed = [asdict(row) for row in rows]
        print(json.dumps({"rows": printed, "missed": missed}, indent=2))  # noqa: T201 (its output)
    else:
        print(f"{options.mib} MiB in {options.files} files, {options.rounds} rounds")  # noqa: T201
        print(table(rows, against="sha256sum"))  # noqa: T201
        print("\n".join(missed) or "every aim holds")  # noqa: T201
    sys.exit(1 if options.strict and missed else 0)


def measure(folder: Path, *, files: int, mib: int, rounds: int) -> tuple[Row, ...]:
    """Write the files, and run all cases over them in turns."""
    staging = stage(folder / "staging", failing=False)
    _record(staging / "data", files, mib)
    own = (sys.executable, "-m", "tests.bench.hashing", "--folder", folder, "--do")
    root = Path(__file__).parents[2]
    listed = "find staging bundle -type f -print0 2>/dev/null | xargs -0 -P2 -n 500 sha256sum"
    cases = (
        Case(name=SHA256SUM, command=("sh", "-c", listed), folder=folder),
        Case(name="seal", command=(*own, "seal"), folder=root, before=lambda: _unseal(folder)),
        Case(name="verify", command=(*own, "verify"), folder=root),
    )
    return compare(cases, against=SHA256SUM, rounds=rounds, env=os.environ)


def aims_missed(rows: tuple[Row, ...]) -> list[str]:
    """Return a line for each case that is slower than `sha256sum` or needs too much memory."""
    own = [row for row in rows if row.name != SHA256SUM]
    slow = [f"{row.name}: {row.wall_ratio} × sha256sum, aim 1.0" for row in own]
    missed = [line for row, line in zip(own, slow, strict=True) if row.wall_ratio > 1]
    return missed + [
        f"{row.name}: {row.peak_mb:.0f} MB, aim {LARGEST_MB}"
        for row in own
        if row.peak_mb > LARGEST_MB
    ]


def _record(data: Path, files: int, mib: int) -> None:
    """Add transcripts of one large entry each, with their records, before the end of the run."""
    size = mib * 1024 * 1024 // files
    noise = random.Random(1).randbytes(size).hex()[:size]
    journal = data / "journal.jsonl"
    *records, end = read_journal([journal])
    like = next(one for one in records if isinstance(one, Observation))
    transcripts = Transcripts(data)
    for number in range(files):
        head = Head(
            writer=like.writer,
            seq=records[-1].seq + 1,
            at=records[-1].at,
            probe=like.probe,
            part=like.part,
        )
        name = f"transcripts/bulk/{number // 100:03d}/{number:05d}.txt"
        place = transcripts.add(name, f"{number:08d}{noise[8:]}", head)
        records.append(like.model_copy(update={**vars(head), **vars(place)}))
    lines = "".join(f"{one.model_dump_json()}\n" for one in (*records, end))
    journal.write_text(lines, encoding="utf-8")


def _unseal(folder: Path) -> None:
    """Turn a bundle back into a staging folder, so that it can be sealed again."""
    bundle, staging = folder / "bundle", folder / "staging"
    if not bundle.exists():
        return
    for name in ("run.json", "catalogue.json", "waivers.json", "report.html"):
        (bundle / "data" / name).unlink()
    shutil.rmtree(bundle / "data" / "exports")
    staging.mkdir()
    (bundle / "data").rename(staging / "data")
    shutil.rmtree(bundle)


def _do(what: str, folder: Path) -> None:
    """Seal or verify in this process."""
    bundle = folder / "bundle"
    if what == "verify":
        found = verify(bundle)
        if not found.ok:
            raise BenchError(f"verify: got {found.findings[:3]}, expected a whole bundle")
        return
    seal_small(folder / "staging", bundle)


if __name__ == "__main__":
    main()
