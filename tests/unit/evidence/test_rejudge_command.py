"""The command that judges a bundle again: refusal, output and exit statuses."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateproof_evidence.cli import main
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.archive.writer import write_archive
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.layout import ATTESTATION, JOURNAL, taken_over, taken_over_run
from gateproof_evidence.format.recording.journal import read_journal
from gateproof_evidence.format.recording.transcript import Head, Transcripts
from gateproof_evidence.model import (
    CheckTakenOverEvent,
    Claim,
    ClaimEvent,
    Observation,
    PremiseEvent,
    ProofEvent,
    Record,
    RunEvent,
    Shard,
    TakenOverEvent,
)
from gateproof_evidence.sealing.merging.merge import merge
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import Verification, verify
from tests.sample import (
    BOUND,
    SEALED,
    START,
    TIMING,
    WAIVERS,
    fixed_key,
    recording,
    sample_catalogue,
    seal_small,
    sealed,
    stage,
)
from tests.sample import bundle as sample_bundle
from tests.sample.shards import SHARES, sealed_shard, sealed_shards
from tests.sample.small import RELEASED

from .support import codes, reseal

RUN = "data/run.json"
CLAIM = "claim rows that the superuser sees: attribution_events"
Edit = Callable[[dict[str, Any]], None]


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rejudged(bundle: Path) -> tuple[int, dict[str, Any]]:
    """Return the exit status of judging a bundle again, and its JSON."""
    done = gateproof("rejudge", bundle, "--json")
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return done.exit_code, document


def edit_claim(bundle: Path, criterion: str, part: str, **update: Any) -> None:
    """Change the claims of a criterion in a part, in a journal."""
    path = bundle / JOURNAL
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    own = [
        one
        for one in lines
        if (one["kind"], one.get("criterion"), one.get("part")) == ("claim", criterion, part)
    ]
    assert own, f"{criterion}: no claim in {part}"
    for one in own:
        one.update(update)
    texts = (json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in lines)
    path.write_text("".join(f"{text}\n" for text in texts))


def edit_run(bundle: Path, edit: Edit) -> None:
    """Change run.json."""
    value = json.loads((bundle / RUN).read_text())
    edit(value)
    (bundle / RUN).write_text(json.dumps(value, indent=2))


def _verdicts(document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (one["criterion"], one["what"], one["recorded"], one["again"])
        for one in document["verdicts"]
    ]


def test_rejudge_exits_0_where_nothing_differs(bundle: Path) -> None:
    """The output counts what was judged, and says that no check was run."""
    done = gateproof("rejudge", bundle)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        f"{bundle}: intact; signer unknown: this shows integrity, not origin",
        "judged again: 4 criteria, 1 proof, 7 claims, 0 premises, 14 findings of proofs",
        "result: blocked, as in run.json",
        "exit status: 1, as in run.json",
        "the recorded claims were judged; the code of a check was not run",
        "nothing differs",
    ]


def test_rejudge_names_the_signer_of_the_key_that_was_given(
    bundle: Path, tmp_path: Path, key: RunKey
) -> None:
    """With the signer's key the output has its id."""
    (tmp_path / "signer.pem").write_bytes(key.public_pem)
    done = gateproof("rejudge", bundle, "--key", tmp_path / "signer.pem")
    assert done.exit_code == 0
    assert done.output.startswith(f"{bundle}: intact; signed by {key.keyid}, the key that was")


def test_rejudge_flips_the_criterion_of_a_changed_value_and_no_other(
    bundle: Path, key: RunKey
) -> None:
    """The record still says that the claim holds; its values say otherwise."""
    edit_claim(bundle, "RLS-01", "check", got="4")
    reseal(bundle, key)
    status, found = rejudged(bundle)
    assert status == 1
    assert _verdicts(found) == [("RLS-01", "outcome", "pass", "fail")]
    (statement,) = found["verdicts"][0]["statements"]
    assert (statement["got"], statement["recorded"], statement["again"]) == ("4", True, False)
    assert found["contradicted"] == [statement]
    assert found["other_fields"] == ["reasons"]
    assert found["gates"] == []
    assert (found["result"]["again"], found["exit_status"]["again"]) == ("blocked", 1)


def test_rejudge_prints_the_claims_that_changed_a_verdict(tmp_path: Path) -> None:
    """A line has the criterion, both outcomes and the claim; gates and result are named."""
    bundle = sealed(tmp_path, failing=False)
    edit_claim(bundle, "RLS-01", "check", got="4")
    reseal(bundle, fixed_key())
    done = gateproof("rejudge", bundle)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[2:] == [
        "verdicts that differ: 1",
        "  RLS-01 outcome: pass in run.json, fail judged again",
        f"    {CLAIM}: got 4, expected 5; recorded as true",
        "other fields of run.json that differ: 1",
        "  reasons",
        "gates that differ: 1",
        "  rls: released in run.json, blocked judged again",
        "result: released in run.json, blocked judged again",
        "exit status: 0 in run.json, 1 judged again",
        "the recorded claims were judged; the code of a check was not run",
        "something differs",
    ]


def test_rejudge_reports_recorded_verdicts_that_the_journal_does_not_give(
    bundle: Path, key: RunKey
) -> None:
    """Other verdicts in run.json, signed again, change nothing of what is derived."""
    before = rejudged(bundle)[1]

    def forge(value: dict[str, Any]) -> None:
        value["criteria"][1].update(outcome="pass", cause=None, message="")

    edit_run(bundle, forge)
    reseal(bundle, key)
    status, found = rejudged(bundle)
    assert status == 1
    assert _verdicts(found) == [("RLS-02", "outcome", "pass", "fail")]
    assert found["verdicts"][0]["statements"] == []
    assert found["contradicted"] == []
    assert found["result"]["again"] == before["result"]["again"]
    assert "    no statement changed it: the journal " in gateproof("rejudge", bundle).output


def test_rejudge_reports_a_record_that_says_false_of_values_that_hold(
    bundle: Path, key: RunKey
) -> None:
    """An unredacted statement whose record contradicts its values is a difference of its own."""
    edit_claim(bundle, "RLS-02", "check", holds=False)
    edit_run(bundle, lambda value: value["criteria"][1]["claims"][0].update(holds=True))
    reseal(bundle, key)
    done = gateproof("rejudge", bundle)
    assert done.exit_code == 1
    assert "contradicted by their own values, without another verdict: 1" in done.output
    assert (
        "  RLS-02, check: claim rows that the superuser sees: attribution_events: got 5, "
        "expected 5; recorded as false"
    ) in done.output.splitlines()
    assert "verdicts that differ" not in done.output


def test_rejudge_lists_what_it_cannot_judge_again(tmp_path: Path) -> None:
    """A redacted text that was searched is counted with its reason, and differs from nothing."""
    staging = stage(tmp_path / ".staging")
    redacted = {"got": '"a [redacted:jwt]"', "relation": "contains", "expected": '"a"'}
    edit_claim(staging, "RLS-01", "check", **redacted)
    bundle = seal_small(staging, tmp_path / "bundle")
    done = gateproof("rejudge", bundle)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[1:4] == [
        "judged again: 4 criteria, 1 proof, 6 claims, 0 premises, 14 findings of proofs",
        "not judged again: redacted: 1",
        (f"  RLS-01, check: {CLAIM}: got a [redacted:jwt], expected one with a; recorded as true"),
    ]


def test_rejudge_shows_hidden_characters_of_a_claim(bundle: Path, key: RunKey) -> None:
    """Text of the system cannot control the terminal or forge a line."""
    edit_claim(bundle, "RLS-01", "check", got=json.dumps("\x1b[2J\nnothing differs"))
    reseal(bundle, key)
    done = gateproof("rejudge", bundle)
    assert done.exit_code == 1
    assert "\x1b" not in done.output
    assert "nothing differs" not in done.output.splitlines()


# --- refusal -----------------------------------------------------------------------------------


def test_rejudge_refuses_a_bundle_that_is_not_intact(bundle: Path) -> None:
    """A changed journal that was not sealed again is not judged; the findings are printed."""
    edit_claim(bundle, "RLS-01", "check", got="4")
    done = gateproof("rejudge", bundle)
    assert done.exit_code == 1
    assert "DIGEST_MISMATCH data/journal.jsonl: got sha256:" in done.output
    assert done.output.splitlines()[-1].endswith("so nothing was judged")
    assert "judged again" not in done.output
    status, found = rejudged(bundle)
    assert (status, found["ok"], found["intact"]) == (1, False, False)
    assert "DIGEST_MISMATCH" in {one["code"] for one in found["findings"]}


def test_rejudge_judges_an_archive_as_its_folder(bundle: Path, tmp_path: Path) -> None:
    """The output is the same but for the name."""
    archive = write_archive(bundle, tmp_path / "one.zip")
    asked = [gateproof("rejudge", one, "--json") for one in (bundle, archive)]
    assert [one.exit_code for one in asked] == [0, 0]
    assert asked[0].output == asked[1].output


def test_rejudge_refuses_a_bundle_of_another_signer(bundle: Path, tmp_path: Path) -> None:
    """With a key, the bundle must be signed by it, as for verify."""
    (tmp_path / "other.pem").write_bytes(fixed_key(5).public_pem)
    done = gateproof("rejudge", bundle, "--key", tmp_path / "other.pem")
    assert done.exit_code == 1
    assert "WRONG_SIGNER" in done.output


def test_rejudge_judges_the_bytes_that_were_verified(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes after its verification is not read again."""
    before = gateproof("rejudge", bundle)

    def verify_and_change(source: Source, *, key: bytes | None) -> Verification:
        found = verify(source, key=key)
        edit_claim(bundle, "RLS-01", "check", got="4")
        return found

    module = importlib.import_module("gateproof_evidence.cli.rejudging.rejudge")
    monkeypatch.setattr(module, "verify", verify_and_change)
    done = gateproof("rejudge", bundle)
    assert (done.exit_code, done.output) == (before.exit_code, before.output)
    assert gateproof("rejudge", bundle).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such-bundle",), "no-such-bundle: bundle: got no such path"),
        (("{bundle}/data",), "data: bundle: got a folder without attestation.dsse.json"),
        (("{bundle}", "--key", "gone.pem"), "gone.pem: public key: got No such file"),
        (("{bundle}", "--key", "{bundle}/public-key.pem"), "public key: got a file inside"),
        (("{bundle}", "--gates", "no-such-folder"), "Directory 'no-such-folder' does not exist"),
        (("{bundle}", "--sut", "{bundle}/bagit.txt"), "got one without --gates, expected both"),
        (("{bundle}", "--not-played", "{bundle}/bagit.txt"), "got one without --gates"),
    ],
)
def test_rejudge_exits_4_on_bad_input(
    bundle: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Bad input has its own status, also with JSON."""
    given = [argument.format(bundle=bundle) for argument in arguments]
    done = gateproof("rejudge", *given, "--json")
    assert done.exit_code == 4
    assert message in done.stderr
    assert json.loads(done.stdout)["ok"] is False


# --- other runs --------------------------------------------------------------------------------


def add_premise(staging: Path, criterion: str, *, got: str, writer: str = "extra") -> None:
    """Add a premise to a staged journal that is recorded as true: the value must be 5."""
    records = list(read_journal([staging / JOURNAL]))
    like = next(
        one
        for one in records
        if isinstance(one, ClaimEvent) and (one.criterion, one.part) == (criterion, "check")
    )
    fields = like.model_dump(exclude={"kind", "over"})
    fields |= {"name": "workers", "got": got, "writer": writer, "seq": 0}
    write_journal(staging, [*records[:-1], PremiseEvent(**fields), records[-1]])


def write_journal(staging: Path, records: Sequence[Record]) -> None:
    """Write a journal."""
    text = "".join(f"{one.model_dump_json()}\n" for one in records)
    (staging / JOURNAL).write_text(text)


def test_rejudge_finds_a_premise_that_does_not_hold(tmp_path: Path) -> None:
    """A premise that its record calls true makes a pass inconclusive if its values say no."""
    for got, expected in (("5", []), ("4", [("RLS-01", "outcome", "pass", "inconclusive")])):
        staging = stage(tmp_path / f".staging-{got}")
        add_premise(staging, "RLS-01", got=got)
        bundle = seal_small(staging, tmp_path / f"bundle-{got}")
        status, found = rejudged(bundle)
        assert (status, _verdicts(found)) == (int(bool(expected)), expected)
        assert found["judged"]["premises"] == 1
        assert verify(bundle).ok  # it reads what the record says


def test_rejudge_judges_a_merged_bundle(tmp_path: Path) -> None:
    """The journals of all shards are judged again as one."""
    status, found = rejudged(_merged(sealed_shards(tmp_path), tmp_path / "merged"))
    assert (status, found["ok"]) == (0, True)
    assert found["judged"] == {
        "criteria": 4,
        "proofs": 4,
        "claims": 20,
        "premises": 0,
        "findings": 43,
    }


def test_rejudge_finds_a_false_premise_of_a_shard(tmp_path: Path) -> None:
    """A statement of one shard changes its own criterion of the merged run alone."""
    staging = tmp_path / ".staging"
    shard = Shard(number=2, of=3, nonce=BOUND.nonce)
    recording.record(
        staging,
        replace(RELEASED, shard=shard, shares=SHARES),
        sample_catalogue().criteria,
    )
    add_premise(staging, "RLS-02", got="4", writer="shard2-extra")
    second = sample_bundle.seal_staging(
        staging,
        tmp_path / "shard-2",
        catalogue=sample_catalogue(),
        waivers=WAIVERS,
        key=fixed_key(),
        at=SEALED,
        timing=TIMING,
    )
    shards = [sealed_shard(tmp_path, 1), second, sealed_shard(tmp_path, 3)]
    status, found = rejudged(_merged(shards, tmp_path / "merged"))
    assert status == 1
    assert _verdicts(found) == [("RLS-02", "outcome", "pass", "inconclusive")]


def test_rejudge_refuses_a_merged_bundle_with_a_changed_claim(tmp_path: Path) -> None:
    """The records that a shard attested cannot be changed by sealing the merged bundle again."""
    merged = _merged(sealed_shards(tmp_path), tmp_path / "merged")
    edit_claim(merged, "RLS-02", "check", got="4")
    reseal(merged, fixed_key(9))
    status, found = rejudged(merged)
    assert (status, found["intact"]) == (1, False)
    assert {one["code"] for one in found["findings"]} == {"SHARD_MISMATCH"}


def test_rejudge_judges_what_was_taken_over(tmp_path: Path) -> None:
    """A check and a proof of an earlier bundle are judged by the values that are recorded."""
    bundle = _with_takeovers(tmp_path)
    assert codes(verify(bundle)) == set()
    status, found = rejudged(bundle)
    assert (status, found["verdicts"], found["unjudged"]) == (0, [], [])
    assert (found["judged"]["criteria"], found["judged"]["proofs"]) == (4, 4)


def test_verify_refuses_a_reused_proof_with_other_steps_than_the_earlier_run_signed(
    tmp_path: Path,
) -> None:
    """A signer cannot change the record of a proof while it is taken over."""
    bundle = _with_takeovers(tmp_path, restoration="another copy is thrown away")
    [finding] = verify(bundle).findings
    assert finding.code.value == "TAKEOVER_MISMATCH"
    assert "RLS-01:drop-policy: record: got sha256:" in finding.message


def _merged(shards: Sequence[Path], out: Path) -> Path:
    at = SEALED + timedelta(minutes=5)
    return merge(shards, out, keys={}, key=fixed_key(9), clock=lambda: at).bundle


def _with_takeovers(folder: Path, **changes: str) -> Path:
    """Seal a run that takes the check and the proof of RLS-01 over from an earlier bundle.

    Args:
        folder: where both are made.
        changes: fields to change in the record of the proof.

    """
    (folder / "before").mkdir()
    earlier = sealed(folder / "before", failing=False)
    digest = digest_of((earlier / ATTESTATION).read_bytes())
    staging = stage(folder / ".staging", failing=False)
    for path, source in ((taken_over(digest), ATTESTATION), (taken_over_run(digest), RUN)):
        (staging / path).parent.mkdir(exist_ok=True)
        shutil.copy(earlier / source, staging / path)
    records = read_journal([staging / JOURNAL])
    own = [one for one in records if getattr(one, "criterion", None) == "RLS-01"]
    claims = [one for one in own if isinstance(one, ClaimEvent) and one.part == "check"]
    story = next(one for one in own if isinstance(one, ProofEvent)).model_copy(update=changes)
    common: dict[str, Any] = {
        "writer": "taken",
        "at": START,
        "criterion": "RLS-01",
        "attestation": digest,
    }
    taken = (
        CheckTakenOverEvent(
            **common,
            seq=0,
            item=claims[0].item,
            ran=START,
            claims=tuple(Claim(**one.model_dump(include={*Claim.model_fields})) for one in claims),
        ),
        TakenOverEvent(**common, seq=1, item=story.item, falsifier=story.falsifier, story=story),
    )
    rest = [one for one in records if one not in own]
    write_journal(staging, _renumbered([*rest[:-1], *taken, rest[-1]], staging))
    return seal_small(staging, folder / "bundle")


def _renumbered(records: Sequence[Record], staging: Path) -> list[Record]:
    """Return records without gaps in their numbers; write all transcripts again."""
    shutil.rmtree(staging / "data/transcripts")
    transcripts = Transcripts(staging / "data")
    numbers: dict[str, int] = {}
    found: list[Record] = []
    for one in records:
        number = numbers.get(one.writer, 0)
        numbers[one.writer] = number + 1
        made = one.model_copy(update={"seq": number})
        if isinstance(made, Observation):
            head = Head(**made.model_dump(include={field.name for field in fields(Head)}))
            place = transcripts.add(made.transcript, made.summary, head)
            made = made.model_copy(update=vars(place))
        found.append(made)
    assert isinstance(found[-1], RunEvent)
    return found
