"""The end of a run: its journals become one, and the run follows from that journal alone."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateproof.description.sut import Sut
from gateproof.run.binding import Judges, bound_files
from gateproof.run.option import Options
from gateproof.run.run import GateRun
from gateproof.run.writer import JOURNALS, WriterResult
from gateproof_evidence.errors import NotWritableError
from gateproof_evidence.format.archive.writer import write_archive
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.recording.journal import Salvage, read_journal
from gateproof_evidence.judging import judgement
from gateproof_evidence.judging.verdict import read_bindings
from gateproof_evidence.model import Outcome, Record, Result, Run, RunEvent
from gateproof_evidence.redaction.canary import Canary
from gateproof_evidence.verification.bundle import verify
from tests.sample import ENDED, START, WAIVERS, fixed_key, sample_catalogue, stage

ENVIRONMENT = {
    "kind": "embedded",
    "reason": "no Docker engine answers",
    "postgres": "18.4",
    "python": "3.11.7",
    "platform": "Linux x86_64",
}


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """Give a staging folder whose writer has ended, with the journal of that writer."""
    root = stage(tmp_path / "reports" / ".unsealed")
    (root / JOURNALS).mkdir()
    merged = (root / "data/journal.jsonl").read_text(encoding="utf-8")
    own = merged.splitlines(keepends=True)[:-1]  # the last one is the record of the run's end
    (root / JOURNALS / "main.jsonl").write_text("".join(own), encoding="utf-8")
    (root / "data/journal.jsonl").unlink()
    return root


def result_of(durations: tuple[dict[str, Any], ...] = ()) -> WriterResult:
    """Return the result of a writer that ran all checks."""
    canary = Canary.make()
    return WriterResult(
        writer="main",
        bound=True,
        refusal=None,
        environment=ENVIRONMENT,
        images={},
        took_s={"migrate": 1.5},
        secrets={"canary": canary.value},
        canary=canary.core,
        ledger=(),
        defects=(),
        durations=durations,
        plugins=(),
        code=(),
    )


@pytest.fixture
def run(staging: Path, monkeypatch: pytest.MonkeyPatch) -> GateRun:
    """Give a run that is about to finish."""
    monkeypatch.setattr("gateproof.run.run.now", lambda: ENDED)
    result = result_of()
    options = SimpleNamespace(
        evidence_out=staging.parent,
        falsify=SimpleNamespace(extent="all"),
        judges=Judges(checks=(), catalogues=()),
        nonce=None,
        shard=None,
        writer=lambda name: name,
    )
    sut = SimpleNamespace(
        folder=staging.parent,
        path=staging.parent / "sut.toml",
        falsifiers=staging.parent / "falsifiers.toml",
        sources=(),
        digest=digest_of(b"sut"),
        sources_digest=lambda: digest_of(b"system"),
    )
    return GateRun(
        options=cast("Options", options),
        catalogue=sample_catalogue(),
        waivers=WAIVERS,
        sut=cast("Sut", sut),
        key=fixed_key(),
        staging=staging,
        started=START,
        earlier=None,
        baseline=None,
        bound_at_start=bound_files(cast("Sut", sut), options.judges),
        results=[result],
    )


def test_finish_judges_once_and_returns_the_run_of_run_json(
    run: GateRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary, the exit status and run.json are one value, from the journal in the bundle."""
    judge, judged = judgement.judge, []

    def count(*arguments: Any) -> judgement.Judged:
        judged.append(judge(*arguments))
        return judged[-1]

    monkeypatch.setattr(judgement, "judge", count)
    found, bundle, _ = run.finish(1)
    assert len(judged) == 1
    assert found == Run.model_validate_json((bundle / "data/run.json").read_bytes())
    assert found.result is Result.BLOCKED
    assert [verdict.id for verdict in found.criteria] == list(run.catalogue.ids)
    records = read_journal([bundle / "data/journal.jsonl"])
    judged_again = judge(run.catalogue.criteria, records, run.waivers)
    assert list(judgement.differences(found, judged_again)) == []
    assert verify(bundle).findings == ()


def test_finish_writes_the_bundle_as_one_file_and_links_to_both(run: GateRun) -> None:
    """The archive next to the folder verifies; ``latest`` and ``latest.zip`` lead to both."""
    _, bundle, _ = run.finish(1)
    archive = bundle.with_name(f"{bundle.name}.zip")
    assert verify(archive) == verify(bundle)
    assert archive.read_bytes() == write_archive(bundle, bundle.with_name("again")).read_bytes()
    assert (bundle.parent / "latest").readlink() == Path(bundle.name)
    assert (bundle.parent / "latest.zip").readlink() == Path(archive.name)
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".latest")] == []


def test_finish_that_cannot_write_the_archive_leaves_the_bundle(
    run: GateRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full after sealing is an error of its own, and the folder is whole."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("zipfile.ZipFile.open", full)
    with pytest.raises(NotWritableError, match=r"\.zip: archive: got No space left on device"):
        run.finish(1)
    assert run.bundle is not None
    assert verify(run.bundle).ok
    assert (run.bundle.parent / "latest").resolve() == run.bundle
    assert list(run.bundle.parent.glob("*.zip*")) == []


def test_finish_takes_no_name_whose_archive_exists(run: GateRun) -> None:
    """A bundle that would have the archive of another next to it gets another name."""
    _, first, _ = run.finish(1)
    taken = first.with_name(f"{first.name}.zip")
    shutil.rmtree(first)
    assert run._destination().name == f"{first.name}-2"
    taken.unlink()
    assert run._destination() == first


def damage(journal: Path, change: Callable[[list[bytes]], None]) -> None:
    """Change the lines of a journal."""
    lines = journal.read_bytes().splitlines(keepends=True)
    change(lines)
    journal.write_bytes(b"".join(lines))


def torn(lines: list[bytes]) -> None:
    """Cut off the last line."""
    lines[-1] = lines[-1][:20]


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (torn, 1),
        (lambda lines: lines.append(b'{"kind": "observ'), 1),
        (lambda lines: lines.pop(4), 1),
        (lambda lines: lines.__setitem__(4, b"\0" * 4096 + b"\n"), 1),
        (lambda lines: lines.__setitem__(4, b"\0" * 4096), 2),
        (lambda lines: lines.__setitem__(4, b"\xff" + lines[4]), 1),
        (lambda lines: lines.__setitem__(4, lines[4].replace(b'"seq":4', b'"seq":40000000')), 1),
        (lambda lines: lines.__setitem__(4, lines[4].replace(b'"main"', b'"gw7"')), 1),
        (lambda lines: lines.__setitem__(slice(3, 6), [b"x\n", b"\n"]), 3),
        (lambda lines: lines.insert(4, b"no record\n"), 0),
        (lambda lines: lines.insert(4, lines[2]), 0),
    ],
    ids=[
        *("cut-off", "cut-off-further", "line-gone", "nul-line", "nul-block", "no-utf8"),
        *("wrong-number", "wrong-writer", "several", "line-too-many", "line-twice"),
    ],
)
def test_finish_seals_the_whole_records_of_a_damaged_journal(
    run: GateRun, staging: Path, change: Callable[[list[bytes]], None], missing: int
) -> None:
    """Nothing else is lost, the bundle verifies, and the defect names file and line."""
    path = staging / JOURNALS / "main.jsonl"
    whole = len(read_journal([path]))
    damage(path, change)
    found, bundle, _ = run.finish(1)
    records = read_journal([bundle / "data/journal.jsonl"])
    lost = [one for one in records if isinstance(one, RunEvent) and one.event == "lost"]
    assert len(lost) == missing
    assert len(records) in (whole + 1, whole + 2)
    assert verify(bundle).findings == ()
    [defect] = [one for one in found.defects if ": journal: " in one]
    assert re.match(r"main\.jsonl:\d+: journal: got .+, expected ", defect)
    assert (found.exit_status, found.result) == (103, Result.BLOCKED)


@pytest.mark.parametrize("content", [b"", b"\0" * 512, None], ids=["empty", "nul", "missing"])
def test_finish_without_any_readable_record_passes_nothing(
    run: GateRun, staging: Path, content: bytes | None
) -> None:
    """A writer whose file is gone leaves a bundle in which no criterion passes."""
    path = staging / JOURNALS / "main.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    found, bundle, _ = run.finish(1)
    assert {verdict.outcome for verdict in found.criteria} == {Outcome.NOTCHECKED}
    assert any("main" in defect for defect in found.defects)
    assert found.exit_status == 103
    assert verify(bundle).findings == ()


def test_lost_record_takes_the_pass_and_the_proof_next_to_it(run: GateRun, staging: Path) -> None:
    """For every line that is lost, no criterion and no proof gets better than with it."""
    path = staging / JOURNALS / "main.jsonl"
    records = read_journal([path])
    whole = judged(run, records)
    for number, record in enumerate(records):
        kept = list(Salvage(without(path, number), at=START).read())
        found = judged(run, kept)
        item = getattr(record, "item", None)
        for before, after in zip(whole.criteria, found.criteria, strict=True):
            if after.outcome is Outcome.PASS:
                assert before.outcome is Outcome.PASS
                assert item is None or item != read_bindings(records)[after.id].item
            proven = {one.falsifier for one in before.proofs if one.result == "proven"}
            assert {one.falsifier for one in after.proofs if one.result == "proven"} <= proven
        assert found.exit_status == 103


def without(path: Path, number: int) -> Path:
    """Return a copy of a journal in which one line holds NUL bytes."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = b"\0\n"
    (path.parent / "copy").mkdir(exist_ok=True)
    copy = path.parent / "copy" / path.name
    copy.write_bytes(b"".join(lines))
    return copy


def judged(run: GateRun, records: Sequence[Record]) -> judgement.Judged:
    """Judge records with the end of a run."""
    ending = judgement.Ending(pytest_status=1, falsify="all", defects=())
    data = ending.model_dump(mode="json")
    end = RunEvent(writer="run", seq=0, at=ENDED, event="ended", data=data)
    return judgement.judge(run.catalogue.criteria, [*records, end], run.waivers)


def test_worker_of_a_shard_that_ended_without_a_result_is_reported_once(run: GateRun) -> None:
    """The name that xdist has for it lacks the shard, and its journal has it: it is one worker."""
    journal = run.staging / JOURNALS / "shard2-gw0.jsonl"
    journal.write_text('{"event":"collected"}\n')
    run.report_silent_writers()
    run.report_silent_writers()
    assert run.defects == ["the xdist worker gw0 ended without a result"]
