"""Merging the bundles of shards: the union is judged again, and other bundles are refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateproof_evidence.cli import main
from gateproof_evidence.errors import BadInputError, NotWritableError
from gateproof_evidence.format.archive.writer import write_archive
from gateproof_evidence.format.attestation import parse_statement
from gateproof_evidence.format.canonical import digest_of, read_json
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.envelope import Envelope
from gateproof_evidence.format.layout import of_shard
from gateproof_evidence.judging.judgement import Ending
from gateproof_evidence.model import Bound, Outcome, Result, Run
from gateproof_evidence.sealing.merging.merge import MergeResult, merge
from gateproof_evidence.sealing.merging.part import read_keys
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from gateproof_evidence.verification.bundle import verify
from tests.sample import (
    BOUND,
    SEALED,
    TIMING,
    WAIVERS,
    context_of,
    fixed_key,
    recording,
    sample_catalogue,
)
from tests.sample import bundle as sample_bundle
from tests.sample.shards import SHARES, sealed_shard, sealed_shards
from tests.sample.small import BLOCKED, RELEASED, sealed

from .support import codes, files_of, reseal

ATTESTATION, JOURNAL, RUN = "attestation.dsse.json", "data/journal.jsonl", "data/run.json"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Provide the bundles of the three shards of a run that all pass and are proven."""
    return sealed_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def merged(shards: list[Path], tmp_path: Path) -> Path:
    """Provide a merged bundle."""
    return merged_of(shards, tmp_path / "merged").bundle


def merged_of(bundles: Sequence[Path], out: Path, *, keys: Sequence[bytes] = ()) -> MergeResult:
    """Merge bundles with a key and a clock that are always the same."""
    return merge(
        bundles,
        out,
        keys=read_keys(keys),
        key=fixed_key(9),
        clock=lambda: SEALED + timedelta(minutes=5),
    )


def run_of(bundle: Path) -> Run:
    """Read the run of a bundle."""
    return Run.model_validate(read_json((bundle / RUN).read_bytes()))


def refused(bundles: Sequence[Path], tmp_path: Path, match: str, **fields: Any) -> None:
    """Check that a merge is refused with a message, and leaves nothing behind."""
    out = tmp_path / "out" / "merged"
    out.parent.mkdir()
    with pytest.raises(BadInputError, match=match):
        merged_of(bundles, out, **fields)
    assert [*out.parent.iterdir()] == []


def test_merge_writes_the_bundle_as_one_file_and_overwrites_none(
    shards: list[Path], tmp_path: Path
) -> None:
    """The archive next to the merged bundle is the same bundle; a name that is taken is refused."""
    made = merged_of(shards, tmp_path / "merged")
    assert made.archive == tmp_path / "merged.zip"
    assert verify(made.archive) == verify(made.bundle)
    shutil.rmtree(made.bundle)
    with pytest.raises(NotWritableError, match=r"merged\.zip: --out: got a path that exists"):
        merged_of(shards, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged.zip"]


def test_merge_of_archives_equals_that_of_folders(shards: list[Path], tmp_path: Path) -> None:
    """Archives of the shards give the bytes that their folders give."""
    archives = [
        write_archive(one, tmp_path / f"{one.name}-{n}.zip") for n, one in enumerate(shards)
    ]
    one, other = merged_of(shards, tmp_path / "one"), merged_of(archives, tmp_path / "two")
    assert one.archive.read_bytes() == other.archive.read_bytes()


# --- a shard ---------------------------------------------------------------------------------


def test_shard_is_partial_and_names_itself(shards: list[Path]) -> None:
    """Its own criteria are judged, those of others are not selected, and the result says so."""
    run = run_of(shards[1])
    assert (run.result, run.exit_status) == (Result.PARTIAL, 100)
    assert str(run.shard) == "shard 2 of 3"
    outcomes = {one.id: (one.outcome, one.message) for one in run.criteria}
    assert outcomes["RLS-02"] == (Outcome.PASS, "")
    assert outcomes["DLQ-01"] == (Outcome.NOTSELECTED, "shard 3 judges it")
    page = (shards[1] / "data/report.html").read_text()
    assert "Shard 2 of 3 of a gate run" in page
    shown = CliRunner().invoke(main, ["show", str(shards[1])])
    assert "shard 2 of 3 of run " in shown.output
    assert verify(shards[1]).findings == ()


def test_shard_journal_with_a_record_of_another_shard_is_refused(
    shards: list[Path], copy_of: Callable[[Path], Path]
) -> None:
    """Records of a shard belong in its own bundle and in a merged one only."""
    copy = copy_of(shards[0])
    lines = (copy / JOURNAL).read_bytes().splitlines(keepends=True)
    stray = lines[0].replace(b'"shard1-main"', b'"shard2-main"')
    (copy / JOURNAL).write_bytes(b"".join([stray, *lines]))
    reseal(copy, fixed_key())
    assert ("SHARD_MISMATCH", JOURNAL) in codes(verify(copy))


# --- the union -------------------------------------------------------------------------------


def test_merge_of_all_shards_is_released_and_verifies(shards: list[Path], tmp_path: Path) -> None:
    """Every criterion has the verdict of its shard, derived again; the nonce is that of the run."""
    made = merged_of(shards, tmp_path / "merged", keys=[fixed_key().public_pem])
    run = run_of(made.bundle)
    assert (run.result, run.exit_status, run.reasons) == (Result.RELEASED, 0, ())
    assert made.run == run
    assert run.bindings.nonce == BOUND.nonce
    assert {one.outcome for one in run.criteria} == {Outcome.PASS}
    assert run.merged is not None
    assert [one.number for one in run.merged.shards] == [1, 2, 3]
    assert all(one.known for one in run.merged.shards)
    assert run.ended == max(one.ended for one in run.merged.shards)
    found = verify(made.bundle, key=fixed_key(9).public_pem)
    assert (found.findings, found.report_verified) == ((), True)


def test_merged_verdicts_are_those_of_the_shards(shards: list[Path], merged: Path) -> None:
    """Each criterion's verdict, with its proofs and observations, equals that of its shard."""
    verdicts = {one.id: one for one in run_of(merged).criteria}
    for name, number in SHARES.items():
        own = {one.id: one for one in run_of(shards[number - 1]).criteria}
        assert verdicts[name] == own[name]


def test_merge_keeps_every_file_of_a_shard_but_its_reports(
    shards: list[Path], merged: Path
) -> None:
    """Transcripts have their paths; what has one name in all shards has a folder each."""
    there = set(files_of(merged))
    for number, bundle in enumerate(shards, start=1):
        attestation = merged / of_shard(number, ATTESTATION)
        assert attestation.read_bytes() == (bundle / ATTESTATION).read_bytes()
        statement = parse_statement(Envelope.from_bytes(attestation.read_bytes()).payload)
        for file in statement.files:
            if file.path.startswith("data/transcripts/"):
                assert file.path in there
                assert digest_of((merged / file.path).read_bytes()) == file.digest
        for name in ("public-key.pem", "junit.xml"):
            assert f"data/shards/{number}/{name}" in there


def test_merge_does_not_depend_on_the_order_of_the_bundles(
    shards: list[Path], tmp_path: Path
) -> None:
    """The same shards, key and clock give the same bytes."""
    one = merged_of(shards, tmp_path / "one").bundle
    other = merged_of(shards[::-1], tmp_path / "other").bundle
    assert {f: digest_of((one / f).read_bytes()) for f in files_of(one)} == {
        f: digest_of((other / f).read_bytes()) for f in files_of(other)
    }


def test_failure_in_one_shard_blocks_the_merged_run(tmp_path: Path) -> None:
    """A violation in one shard gives the merged run its result and its exit status."""
    plan = replace(BLOCKED, left_out=())
    made = merged_of(sealed_shards(tmp_path, plan=plan), tmp_path / "merged")
    assert (made.run.result, made.run.exit_status) == (Result.BLOCKED, 1)
    assert verify(made.bundle).findings == ()


def test_missing_shard_leaves_its_criteria_unchecked_until_it_is_merged(
    shards: list[Path], tmp_path: Path
) -> None:
    """Without it nothing is released, and the reason names it; with it the merge is complete."""
    made = merged_of([shards[0], shards[2]], tmp_path / "incomplete")
    verdict = next(one for one in made.run.criteria if one.id == "RLS-02")
    assert (verdict.outcome, verdict.message) == (Outcome.NOTCHECKED, "shard 2 of 3 is missing")
    assert (made.run.result, made.run.exit_status) == (Result.BLOCKED, 100)
    assert made.run.merged is not None
    assert made.run.merged.missing == (2,)
    assert verify(made.bundle).findings == ()
    assert "shard 2 is missing" in (made.bundle / "data/report.html").read_text()
    assert merged_of(shards, tmp_path / "complete").run.result is Result.RELEASED


def test_specimen_that_goes_wrong_in_one_shard_is_a_defect_of_the_merged_run(
    tmp_path: Path,
) -> None:
    """The self-proof runs in every shard, and each has to give the known results."""
    bundles = sealed_shards(tmp_path)
    altered = _without_specimen(bundles[1], tmp_path / "altered")
    made = merged_of([bundles[0], altered, bundles[2]], tmp_path / "merged")
    assert made.run.exit_status == 103
    assert any(one.startswith("shard 2 of 3: self-proof: ") for one in made.run.defects)
    assert verify(made.bundle).findings == ()


def _without_specimen(bundle: Path, folder: Path) -> Path:
    """Record a shard again whose last specimen did not run, as sealing would have made it."""
    shutil.copytree(bundle, folder / ".staging")
    data = folder / ".staging" / "data"
    for path in (folder / ".staging").iterdir():
        if path.is_file():
            path.unlink()
    for name in ("run.json", "catalogue.json", "waivers.json", "report.html"):
        (data / name).unlink()
    shutil.rmtree(data / "exports")
    lines = (data / "journal.jsonl").read_text().splitlines(keepends=True)
    last = max(place for place, one in enumerate(lines) if '"kind":"self-proof"' in one)
    assert '"kind":"self-proof"' not in "".join(lines[last + 1 :])
    (data / "journal.jsonl").write_text("".join([*lines[:last], *lines[last + 1 :]]))
    return seal(
        folder / ".staging",
        folder / "shard-2",
        journal=read_staged_journal(folder / ".staging"),
        catalogue=sample_catalogue(),
        waivers=WAIVERS,
        context=context_of(BOUND, TIMING),
        key=fixed_key(),
        clock=lambda: SEALED,
    ).bundle


# --- refusals --------------------------------------------------------------------------------


def _other_bound(**fields: Any) -> dict[str, Any]:
    [bound] = BOUND.bound
    return {"bound": (bound.model_copy(update=fields),)}


@pytest.mark.parametrize(
    ("bindings", "match"),
    [
        ({"commit": "e" * 40}, "commit: got e+, expected c+ as in"),
        ({"tree": "e" * 40}, "git tree: got e+, expected d+"),
        ({"dirty": True}, "changes since the commit: got True, expected False"),
        ({"sut": digest_of(b"other")}, "description: got sha256"),
        ({"system": digest_of(b"other")}, "files of the system: got sha256"),
        (_other_bound(digest=digest_of(b"other")), "bound files: checks gates: got sha256"),
        (_other_bound(dirty=True), "bound files: checks gates: got .*changes since its commit"),
        (_other_bound(path="other"), "bound files: checks gates: got none"),
        ({"versions": {"celery": "5.6.0", "psycopg": "3.2"}}, "version of celery: got 5.6.0"),
    ],
)
def test_shard_that_judged_something_else_is_refused(
    shards: list[Path], tmp_path: Path, bindings: dict[str, Any], match: str
) -> None:
    """Commit, changes, description, files and versions are those of the other shards."""
    refused([*shards[:2], sealed_shard(tmp_path, 3, bindings=bindings)], tmp_path, match)


def test_shards_may_load_different_other_code(shards: list[Path], tmp_path: Path) -> None:
    """A module that only one shard's checks import is bound in the merged run too."""
    code = Bound(part="other code", path="helper.py", digest=digest_of(b"x"), files=1)
    other = sealed_shard(tmp_path, 3, bindings={"bound": (*BOUND.bound, code)})
    made = merged_of([*shards[:2], other], tmp_path / "merged")
    assert code in made.run.bindings.bound
    changed = code.model_copy(update={"digest": digest_of(b"y")})
    bindings = {"bound": (*BOUND.bound, changed)}
    (tmp_path / "second").mkdir()
    second = sealed_shard(tmp_path / "second", 2, bindings=bindings)
    refused([shards[0], second, other], tmp_path, "bound files: other code helper.py: got sha256")


def test_shard_with_another_catalogue_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """A criterion that only one machine expects is no criterion of the run."""
    criteria = sample_catalogue().criteria
    more = Catalogue(criteria=(*criteria, criteria[0].model_copy(update={"id": "RLS-09"})))
    other = sealed_shard(tmp_path, 3, catalogue=more)
    refused([*shards[:2], other], tmp_path, "catalogue: got sha256")


def test_shard_with_other_waivers_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """A waiver counts for the whole run or not at all."""
    refused([*shards[:2], sealed_shard(tmp_path, 3, waivers=())], tmp_path, "waivers: got sha256")


def test_shard_of_another_run_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """The nonce is that of the run."""
    other = sealed_shard(tmp_path, 3, nonce="0" * 32)
    refused([*shards[:2], other], tmp_path, "nonce: got 0+, expected [0-9a-f]+ as in")


def test_shard_in_another_environment_is_refused(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in containers and one in child processes are two runs."""
    usual = context_of(BOUND, TIMING)
    assert usual.environment is not None
    other = usual.environment.model_copy(update={"kind": "containers"})
    monkeypatch.setattr(sample_bundle, "context_of", lambda *_: replace(usual, environment=other))
    made = sealed_shard(tmp_path, 3)
    refused([*shards[:2], made], tmp_path, "environment: got containers, expected embedded")


def test_shard_that_was_asked_for_fewer_proofs_is_refused(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole run has one extent of proofs."""
    monkeypatch.setattr(
        recording, "Ending", lambda **fields: Ending(**{**fields, "falsify": "none"})
    )
    other = sealed_shard(tmp_path, 3)
    refused([*shards[:2], other], tmp_path, "--falsify: got none, expected all")


def test_shard_of_another_number_of_shards_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """Three of three and three of four leave different checks to others."""
    other = sealed_shard(tmp_path, 3, of=4)
    refused([*shards[:2], other], tmp_path, "number of shards: got 4, expected 3")


def test_criterion_that_two_shards_judged_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """Which of two verdicts counts must not be a matter of choice."""
    other = sealed_shard(tmp_path, 3, shares={**SHARES, "RLS-02": 3})
    refused([*shards[:2], other], tmp_path, "criterion: RLS-02: got verdicts of two bundles")


def test_shard_that_ran_twice_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """Also by its number, when it judged nothing."""
    other = sealed_shard(tmp_path, 2, at=SEALED + timedelta(minutes=1))
    refused([*shards, other], tmp_path, "criterion: RLS-02: got verdicts of two bundles")
    empty = dict.fromkeys(SHARES, 1)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (
        sealed_shard(tmp_path / name, 2, shares=empty, at=SEALED + timedelta(minutes=minutes))
        for minutes, name in enumerate(("a", "b"))
    )
    shutil.rmtree(tmp_path / "out")
    refused([first, second], tmp_path, "shard 2 of 3: got two bundles")


def test_shards_that_divided_the_run_differently_are_refused(
    shards: list[Path], tmp_path: Path
) -> None:
    """A check that each leaves to the other would be judged by none, and nothing would say so."""
    other = sealed_shard(tmp_path, 3, shares={**SHARES, "DLQ-02": 2})
    refused(
        [*shards[:2], other], tmp_path, "division into shards: DLQ-02 and 0 more: got shard 2, "
    )


def test_bundle_that_is_named_twice_is_refused(
    shards: list[Path], tmp_path: Path, copy_of: Callable[[Path], Path]
) -> None:
    """A copy of a bundle is the same bundle."""
    refused([*shards, copy_of(shards[1])], tmp_path, "bundle: got it twice, also as")


def test_bundle_of_no_shard_is_refused(shards: list[Path], merged: Path, tmp_path: Path) -> None:
    """A whole run is merged with nothing, and neither is a merged one."""
    whole = sealed(tmp_path)
    refused([*shards[:2], whole], tmp_path, "got the bundle of a whole run, expected the bundle of")
    shutil.rmtree(tmp_path / "out")
    refused([merged], tmp_path, "got a merged bundle, expected the bundle of one shard")


def test_shard_that_does_not_verify_is_refused(
    shards: list[Path], tmp_path: Path, copy_of: Callable[[Path], Path]
) -> None:
    """An altered file, and a folder that a killed shard left."""
    copy = copy_of(shards[1])
    (copy / "data/tests/junit.xml").write_text("<testsuitez/>\n")
    refused([shards[0], copy], tmp_path, "got DIGEST_MISMATCH data/tests/junit.xml")
    shutil.rmtree(tmp_path / "out")
    (copy / ATTESTATION).unlink()
    refused([shards[0], copy], tmp_path, "a shard that was killed leaves none")


def test_shard_by_another_signer_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """With keys from outside, each shard must be signed by one of them."""
    other, own = fixed_key(2), fixed_key()
    match = f"signer: got {own.keyid}, expected one of {other.keyid}"
    refused(shards, tmp_path, match, keys=[other.public_pem])
    second = sealed_shard(tmp_path, 2, key=other)
    bundles = [shards[0], second, shards[2]]
    made = merged_of(bundles, tmp_path / "merged", keys=[own.public_pem, other.public_pem])
    assert made.run.merged is not None
    assert [one.signer for one in made.run.merged.shards] == [own.keyid, other.keyid, own.keyid]


def test_merge_overwrites_no_folder(shards: list[Path], tmp_path: Path) -> None:
    """A path that exists is left as it is."""
    (tmp_path / "there").mkdir()
    with pytest.raises(NotWritableError, match="got a path that exists, expected a free name"):
        merged_of(shards, tmp_path / "there")
    with pytest.raises(BadInputError, match="got no folder"):
        merged_of(shards, tmp_path / "no" / "merged")
    assert [*(tmp_path / "there").iterdir()] == []


# --- alterations of a merged bundle, signed again by the signer of the merge ---------------------


def _drop_record(bundle: Path) -> None:
    """Drop the last claim of shard 2, and close the gap."""
    lines = (bundle / JOURNAL).read_text().splitlines(keepends=True)
    own = [n for n, one in enumerate(lines) if one.startswith('{"writer":"shard2-main"')]
    dropped = next(n for n in reversed(own) if '"kind":"claim"' in lines[n])
    seq = json.loads(lines[dropped])["seq"]
    for n in own:
        number = json.loads(lines[n])["seq"]
        if number > seq:
            lines[n] = lines[n].replace(f'"seq":{number},', f'"seq":{number - 1},', 1)
    del lines[dropped]
    (bundle / JOURNAL).write_text("".join(lines))


def _respell_writer(bundle: Path) -> None:
    """Write the name of a writer with an escape, so that its records seem to be of no shard."""
    text = (bundle / JOURNAL).read_text()
    (bundle / JOURNAL).write_text(text.replace('{"writer":"shard2-', '{"writer":"\\u0073hard2-'))


def _reorder(bundle: Path) -> None:
    """Swap two records of different writers of one shard."""
    lines = (bundle / JOURNAL).read_text().splitlines(keepends=True)
    ends = [n for n, one in enumerate(lines) if '"event":"ended"' in one]
    line = lines.pop(ends[0])
    lines.insert(0, line)
    (bundle / JOURNAL).write_text("".join(lines))


def _two_ends(bundle: Path) -> None:
    """Write the end of the whole run twice."""
    lines = (bundle / JOURNAL).read_bytes().splitlines(keepends=True)
    (bundle / JOURNAL).write_bytes(b"".join([*lines, lines[-1]]))


def _swap_attestations(bundle: Path) -> None:
    """Give shard 1 the attestation of shard 2."""
    shutil.copy(bundle / of_shard(2, ATTESTATION), bundle / of_shard(1, ATTESTATION))


def _drop_attestation(bundle: Path) -> None:
    (bundle / of_shard(3, ATTESTATION)).unlink()


def _other_key(bundle: Path) -> None:
    """Replace the public key of a shard."""
    (bundle / of_shard(1, "public-key.pem")).write_bytes(RunKey.ephemeral().public_pem)


def _other_capture(bundle: Path) -> None:
    """Change a capture and the digest in its record, as its signer could."""
    path = bundle / "data/transcripts/rls/RLS-02.txt"
    text = path.read_text()
    seen = text.partition("\n")[2].removesuffix("\n\n")
    other = seen.replace("200", "500")
    assert other != seen
    path.write_text(text.replace(seen, other))
    before, after = (digest_of(one.encode()) for one in (seen, other))
    journal = (bundle / JOURNAL).read_text()
    assert before in journal
    (bundle / JOURNAL).write_text(journal.replace(before, after))


def _other_platform(bundle: Path) -> None:
    """Change what the merge says of the machine of a shard, in the journal and in run.json."""
    for name in (JOURNAL, RUN):
        text = (bundle / name).read_text()
        changed = re.sub(r'("platform": ?)"Linux x86_64"', r'\1"Linux riscv64"', text)
        assert changed != text
        (bundle / name).write_text(changed)


def _added_file(bundle: Path) -> None:
    (bundle / "data/shards/2/notes.txt").write_text("all is well\n")


def _added_capture(bundle: Path) -> None:
    (bundle / "data/transcripts/rls/more.txt").write_text("all is well\n")


def _hidden_defect(bundle: Path) -> None:
    """Let the end of the merged run say less than the ends of its shards."""
    lines = (bundle / JOURNAL).read_text().splitlines(keepends=True)
    assert '"pytest_status":1' in lines[-1]
    lines[-1] = lines[-1].replace('"pytest_status":1', '"pytest_status":0')
    (bundle / JOURNAL).write_text("".join(lines))


@pytest.mark.parametrize(
    ("alter", "path"),
    [
        (_drop_record, JOURNAL),
        (_respell_writer, JOURNAL),
        (_reorder, JOURNAL),
        (_two_ends, JOURNAL),
        (_swap_attestations, "data/shards/1/attestation.dsse.json"),
        (_drop_attestation, "data/shards/3/attestation.dsse.json"),
        (_other_key, "data/shards/1/attestation.dsse.json"),
        (_other_capture, JOURNAL),
        (_other_platform, RUN),
        (_added_file, "data/shards/2/notes.txt"),
        (_added_capture, "data/transcripts/rls/more.txt"),
    ],
)
def test_altered_merge_is_refused_even_if_its_signer_made_it(
    merged: Path, alter: Callable[[Path], None], path: str
) -> None:
    """All that a shard attested is in the merged bundle unchanged, whichever key signs it."""
    alter(merged)
    reseal(merged, fixed_key(9))
    found = verify(merged, key=fixed_key(9).public_pem)
    assert ("SHARD_MISMATCH", path) in codes(found)


def test_verdict_that_is_changed_in_a_merge_is_refused(merged: Path) -> None:
    """The verdicts of a merged run follow from its journal, as those of any run."""
    text = (merged / RUN).read_text()
    (merged / RUN).write_text(text.replace('"falsification": "proven"', '"falsification": "blind"'))
    reseal(merged, fixed_key(9))
    assert ("VERDICT_MISMATCH", RUN) in codes(verify(merged))


def test_end_of_a_merge_that_says_less_than_its_shards_is_refused(tmp_path: Path) -> None:
    """The status of pytest and the defects are those of the shards."""
    plan = replace(BLOCKED, left_out=())
    made = merged_of(sealed_shards(tmp_path, plan=plan), tmp_path / "merged")
    _hidden_defect(made.bundle)
    reseal(made.bundle, fixed_key(9))
    found = verify(made.bundle)
    assert "the end of the run does not follow" in " ".join(map(str, found.findings))


def test_shard_left_out_of_a_merge_after_it_is_refused(merged: Path) -> None:
    """Without its records, the merge still names it."""
    lines = (merged / JOURNAL).read_text().splitlines(keepends=True)
    kept = [one for one in lines if not one.startswith('{"writer":"shard2-')]
    (merged / JOURNAL).write_text("".join(kept))
    reseal(merged, fixed_key(9))
    assert ("SHARD_MISMATCH", JOURNAL) in codes(verify(merged))


def test_files_of_shards_in_a_run_that_is_not_merged_are_refused(tmp_path: Path) -> None:
    """Nothing else may be in the folder of shards."""
    bundle = sealed(tmp_path)
    (bundle / "data/shards/1").mkdir(parents=True)
    (bundle / "data/shards/1/notes.txt").write_text("all is well\n")
    reseal(bundle, fixed_key())
    assert ("SHARD_MISMATCH", "data/shards/1/notes.txt") in codes(verify(bundle))


# --- the command -----------------------------------------------------------------------------


def test_command_merges_signs_and_prints_the_shards(shards: list[Path], tmp_path: Path) -> None:
    """The exit status is that of the run; the output has shards, machines and what is not shown."""
    (tmp_path / "signer.pem").write_bytes(fixed_key().public_pem)
    CliRunner().invoke(main, ["keygen", str(tmp_path / "merger")])
    options = ["--signing-key", str(tmp_path / "merger"), "--key", str(tmp_path / "signer.pem")]
    out = tmp_path / "merged"
    done = CliRunner().invoke(main, ["merge", "--out", str(out), *options, *map(str, shards)])
    assert done.exit_code == 0, done.output
    assert "merged from 3 of 3 shards" in done.output
    assert "shard 2: Linux x86_64, started 2026-03-01 12:00:00 UTC, took 0:00:20" in done.output
    assert "searched for none" in done.output
    public = str(tmp_path / "merger.pub.pem")
    checked = CliRunner().invoke(
        main, ["verify", "--key", public, "--require-released", "--require-report", str(out)]
    )
    assert checked.exit_code == 0, checked.output
    assert "merged from 3 of 3 shards, as the signer states:" in checked.output
    assert "a key given to the merge" in checked.output
    for form in ((), ("--markdown",), ("--json",)):
        shown = CliRunner().invoke(main, ["show", *form, str(out)])
        assert "merged from 3 of 3 shards" in shown.output


def test_command_reports_as_json(shards: list[Path], tmp_path: Path) -> None:
    """Programs get the missing shards and the notes; a refusal is an object too."""
    out = tmp_path / "merged"
    done = CliRunner().invoke(
        main, ["merge", "--json", "--out", str(out), str(shards[0]), str(shards[1])]
    )
    assert done.exit_code == 100, done.output
    report = json.loads(done.output)
    assert (report["result"], report["missing"], report["of"]) == ("blocked", [3], 3)
    assert [one["number"] for one in report["shards"]] == [1, 2]
    assert any("signers of the shards unknown" in note for note in report["notes"])
    again = CliRunner().invoke(main, ["merge", "--json", "--out", str(out), str(shards[0])])
    assert again.exit_code == 4
    assert "got a path that exists" in json.loads(again.stdout)["error"]
    found = CliRunner().invoke(main, ["verify", "--json", str(out)])
    assert json.loads(found.output)["shards"]["missing"] == [3]


def test_command_refuses_a_key_inside_a_bundle(shards: list[Path], tmp_path: Path) -> None:
    """A bundle cannot name its own signer."""
    key = shards[1] / "public-key.pem"
    done = CliRunner().invoke(
        main, ["merge", "--out", str(tmp_path / "m"), "--key", str(key), *map(str, shards)]
    )
    assert done.exit_code == 4
    assert "got a file inside the bundle" in done.output
    assert RELEASED.shard is None
