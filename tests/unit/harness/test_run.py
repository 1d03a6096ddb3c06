"""The end of a run: its journals become one, and the run follows from that journal alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateproof.base.sut import Sut
from gateproof.run.binding import Judges, bound_files
from gateproof.run.option import Options
from gateproof.run.run import GateRun
from gateproof.run.writer import JOURNALS, WriterResult
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.journal import read_journal
from gateproof_evidence.judging import judgement
from gateproof_evidence.model import Result, Run
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
    shutil.rmtree(root / "data/proofs")
    return root


@pytest.fixture
def run(staging: Path, monkeypatch: pytest.MonkeyPatch) -> GateRun:
    """Give a run that is about to finish."""
    monkeypatch.setattr("gateproof.run.run.now", lambda: ENDED)
    canary = Canary.make()
    result = WriterResult(
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
        plugins=(),
        code=(),
    )
    options = SimpleNamespace(
        evidence_out=staging.parent,
        falsify=SimpleNamespace(extent="all"),
        judges=Judges(checks=(), catalogues=()),
    )
    sut = SimpleNamespace(
        folder=staging.parent,
        path=staging.parent / "sut.toml",
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


def test_finish_leaves_out_a_line_that_a_crash_cut_off(run: GateRun, staging: Path) -> None:
    """The rest of that writer's journal is sealed, and verifies."""
    path = staging / JOURNALS / "main.jsonl"
    whole = len(read_journal([path]))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "observ')
    _, bundle, _ = run.finish(1)
    assert len(read_journal([bundle / "data/journal.jsonl"])) == whole + 1
    assert verify(bundle).findings == ()


def test_finish_with_a_broken_journal_keeps_the_journals_of_the_writers(
    run: GateRun, staging: Path
) -> None:
    """A line that is not a record is named, nothing is sealed, and no part passes as the whole."""
    path = staging / JOURNALS / "main.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write("no record\n")
    before = path.read_bytes()
    with pytest.raises(BadInputError, match=r"main\.jsonl:\d+: journal record"):
        run.finish(1)
    assert path.read_bytes() == before
    assert not (staging / "data/journal.jsonl").exists()
    assert [one.name for one in staging.parent.iterdir()] == [staging.name]
