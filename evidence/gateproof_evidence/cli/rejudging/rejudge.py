"""`gateproof rejudge`: judge the recorded evidence of a bundle again, without the system.

Owns refusing a bundle that is not intact, and the output. Leaves the rules to
`gateproof_evidence.judging.rejudgement`, and checks that are played back to
`gateproof_evidence.cli.rejudging.playback`. Verification derives ``run.json`` again as well; a
difference there is no reason to refuse the bundle, but the answer of this command.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from gateproof_evidence.cli.common import PATH, read_inside, read_outside
from gateproof_evidence.cli.rejudging.playback import Listed, Play, find_play, is_answer
from gateproof_evidence.cli.status import FINDINGS, WHOLE
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.judging.playback import Playback, replace_played
from gateproof_evidence.judging.rejudgement import (
    Disagreement,
    Rejudgement,
    Statement,
)
from gateproof_evidence.judging.rejudgement import rejudge as judge_again
from gateproof_evidence.model import Record, Run, Waiver
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.model.text import many, one_line, printable
from gateproof_evidence.reports.gate_summary import gate_rows
from gateproof_evidence.verification.bundle import UNKNOWN, Verification, verify
from gateproof_evidence.verification.consistency import Contents

_DERIVED = (Code.VERDICT_MISMATCH, Code.ROLLUP_MISMATCH)
"""The findings that say what this command answers: run.json does not follow from the journal."""
_LINE_LIMIT = 300
"""The most characters of a statement or message that a line shows; --json has all of them."""
_ALONE = "no statement changed it: the journal does not give the verdict of run.json"
_NO_CHECK_RUN = "the recorded claims were judged; the code of a check was not run"
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--key", type=PATH, help="The signer's public key, from outside the bundle.")
@click.option(
    "--gates",
    type=_FOLDER,
    help="Run the checks of this folder again on the recorded answers: Python code of that folder "
    "runs. Checks that ask for what was not recorded are listed.",
)
@click.option(
    "--sut",
    type=_FILE,
    help="With --gates: the description of the system (default: system/sut.toml, as for a run).",
)
@click.option(
    "--not-played",
    type=_FILE,
    help="With --gates: a list of the criteria that cannot be played back. Others that are not "
    "played back, and listed ones that are, are findings.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def rejudge(
    ctx: click.Context,
    bundle: Path,
    key: Path | None,
    gates: Path | None,
    sut: Path | None,
    not_played: Path | None,
    *,
    as_json: bool,
) -> None:
    """Judge the recorded claims of BUNDLE again, without the system.

    The bundle is verified first; one that is not intact is not judged. Each claim and premise is
    computed again from its recorded values. Outcomes, proofs, gates and the result follow from
    these, and are compared with run.json. The code of a check is run only with --gates.

    Exit status: 0 nothing differs, 1 differences or a bundle that is not intact, 4 bad input.
    """
    if gates is None and (sut or not_played):
        raise BadInputError("--sut, --not-played: got one without --gates, expected both")
    play = find_play() if gates else None
    listed = Listed.read(not_played) if not_played else None
    source = open_source(bundle)
    content = read_outside(key, source.path, "public key") if key else None
    verified = verify(source, key=content)
    broken = [one for one in verified.findings if one.code not in _DERIVED]
    if broken or verified.predicate is None or verified.contents is None:
        _refuse(bundle, broken, as_json=as_json)
        ctx.exit(FINDINGS)
    evidence = _evidence(verified.contents)
    playback = None
    if play is not None and gates is not None:
        answers = _read_answers(source, verified.predicate)
        playback = _play(play, gates, sut, evidence, answers)
        evidence = replace(evidence, records=playback.records)
    wrong = tuple(_list_findings(listed, playback, evidence))
    found = _judge(evidence)
    if as_json:
        document = _json(verified, found)
        if playback is not None:
            ok = not _differs(found, playback, wrong)
            document = {**document, "ok": ok, **_playback_json(playback, wrong)}
        click.echo(json.dumps(document, indent=2))
    else:
        for line in _lines(bundle, verified, found, playback, wrong):
            click.echo(line)
    ctx.exit(FINDINGS if _differs(found, playback, wrong) else WHOLE)


def _differs(found: Rejudgement, playback: Playback | None, wrong: Sequence[str]) -> bool:
    """Return whether a verdict, a statement that was played back, or the list differs."""
    return found.differs or bool(wrong) or (playback is not None and bool(playback.changes))


def _refuse(bundle: Path, findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print the findings of a bundle that is not intact."""
    if as_json:
        listed = [{"code": f.code, "path": f.path, "message": f.message} for f in findings]
        document = {"ok": False, "intact": False, "findings": listed}
        click.echo(json.dumps(document, indent=2))
        return
    for finding in findings:
        click.echo(str(finding))
    click.echo(printable(f"{bundle}: {many(len(findings), 'finding')}, so nothing was judged"))


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """The verified files that are judged."""

    run: Run
    catalogue: Catalogue
    records: Sequence[Record]
    waivers: Sequence[Waiver]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(one.id for one in self.catalogue.criteria)


def _evidence(contents: Contents) -> _Evidence:
    """Return the files as they were verified; nothing is read again."""
    assert contents.run is not None
    assert contents.catalogue is not None
    return _Evidence(
        run=contents.run,
        catalogue=contents.catalogue,
        records=contents.records or (),
        waivers=contents.waivers or (),
    )


def _read_answers(bundle: Source, predicate: Predicate) -> Mapping[str, bytes]:
    """Read the recorded answers, which verification has hashed only.

    Raises:
        BadInputError: one has changed since.

    """
    digests = {one.path: one.digest for one in predicate.files if is_answer(one.path)}
    found = {}
    for path, digest in digests.items():
        found[path], place = read_inside(bundle, path)
        if digest_of(found[path]) != digest:
            raise BadInputError(
                f"{place}: got other bytes than when it was verified, expected the same; "
                "copy the bundle to a folder that nothing writes to"
            )
    return found


def _judge(evidence: _Evidence) -> Rejudgement:
    return judge_again(evidence.run, evidence.catalogue, evidence.records, evidence.waivers)


def _play(
    play: Play,
    gates: Path,
    sut: Path | None,
    evidence: _Evidence,
    answers: Mapping[str, bytes],
) -> Playback:
    """Play the checks of a folder back, and put their statements in place of the recorded ones."""
    gate_of = {one.id: one.gate for one in evidence.catalogue.criteria}
    played = play(gates, sut, answers, evidence.records, gate_of)
    return replace_played(evidence.ids, evidence.records, played)


def _list_findings(
    listed: Listed | None, playback: Playback | None, evidence: _Evidence
) -> Iterator[str]:
    if listed is not None and playback is not None:
        yield from listed.findings(playback.others, playback.criteria, evidence.ids)


# --- the output --------------------------------------------------------------------------------


def _lines(
    bundle: Path,
    verified: Verification,
    found: Rejudgement,
    playback: Playback | None,
    wrong: Sequence[str],
) -> Iterator[str]:
    yield printable(f"{bundle}: intact; {_signer(verified)}")
    if playback is not None:
        yield from _playback_lines(playback, wrong)
    yield _counts_line(_counts(found))
    yield from _unjudged_lines(found)
    yield from _disagreement_lines(found.disagreements)
    named = {id(one) for differing in found.disagreements for one in differing.statements}
    rest = [one for one in found.contradicted if id(one) not in named]
    yield from _part("contradicted by their own values, without another verdict", _named(rest))
    yield from _part("other fields of run.json that differ", found.others)
    gates = (f"{gate}: {_both(*results)}" for gate, results in _gates(found).items())
    yield from _part("gates that differ", gates)
    yield f"result: {_both(found.recorded.result, found.again.result)}"
    yield f"exit status: {_both(found.recorded.exit_status, found.again.exit_status)}"
    if playback is None:
        yield _NO_CHECK_RUN
    yield "something differs" if _differs(found, playback, wrong) else "nothing differs"


def _playback_lines(playback: Playback, wrong: Sequence[str]) -> Iterator[str]:
    """Return which checks were played back, and what they state otherwise than they did."""
    ran = many(len(playback.criteria) + len(playback.others), "criterion", "criteria")
    yield f"played back: the checks of {len(playback.criteria)} of {ran} that this run has run"
    yield from _part(
        "not played back, judged by their recorded claims",
        (f"{one}: {reason}" for one, reason in playback.others.items()),
    )
    yield from _part("findings about the list of those that cannot be played back", wrong)
    if playback.changes:
        yield f"checks that state something else: {len(playback.changes)}"
    for one, texts in playback.changes.items():
        yield _line(2, one)
        for text in texts:
            yield _line(4, text)


def _playback_json(playback: Playback, wrong: Sequence[str]) -> dict[str, Any]:
    return {
        "played": playback.criteria,
        "not_played": playback.others,
        "not_run": playback.not_run,
        "list_findings": wrong,
        "changes": playback.changes,
    }


def _signer(verified: Verification) -> str:
    if verified.signer == UNKNOWN:
        return "signer unknown: this shows integrity, not origin"
    return f"signed by {verified.signer}, the key that was given"


def _counts(found: Rejudgement) -> Mapping[str, int]:
    """Return the numbers of what was judged again."""
    kinds = Counter(one.kind for one in found.statements if not one.unjudged)
    return {
        "criteria": len(found.again.criteria),
        "proofs": sum(
            proof.story is not None for one in found.again.criteria for proof in one.proofs
        ),
        "claims": kinds["claim"],
        "premises": kinds["premise"],
        "findings": kinds["finding"],
    }


def _counts_line(counts: Mapping[str, int]) -> str:
    found = [
        many(counts["criteria"], "criterion", "criteria"),
        many(counts["proofs"], "proof"),
        many(counts["claims"], "claim"),
        many(counts["premises"], "premise"),
        many(counts["findings"], "finding of proofs", "findings of proofs"),
    ]
    return f"judged again: {', '.join(found)}"


def _unjudged_lines(found: Rejudgement) -> Iterator[str]:
    """Return the statements that could not be judged again, by reason."""
    for reason in sorted({one.unjudged for one in found.unjudged}):
        own = [one for one in found.unjudged if one.unjudged == reason]
        yield from _part(f"not judged again: {one_line(reason)}", _named(own))


def _disagreement_lines(found: Sequence[Disagreement]) -> Iterator[str]:
    """Return each verdict that differs, and below it the statements that changed it."""
    if found:
        yield f"verdicts that differ: {len(found)}"
    for one in found:
        yield _line(2, f"{one.criterion} {one.what}: {_both(one.recorded, one.again)}")
        for because in map(str, one.statements or [_ALONE]):
            yield _line(4, because)


def _named(statements: Iterable[Statement]) -> Iterator[str]:
    for one in statements:
        yield f"{one.criterion or one.item}, {one.part}: {one}"


def _gates(found: Rejudgement) -> Mapping[str, tuple[str, str]]:
    """Return the gates with another result: that of run.json, and that judged again."""
    before = {row.gate: row.verdict for row in gate_rows(found.recorded)}
    both = {row.gate: (before.get(row.gate, "none"), row.verdict) for row in gate_rows(found.again)}
    return {gate: results for gate, results in both.items() if results[0] != results[1]}


def _both(recorded: object, again: object) -> str:
    same = recorded == again
    return f"{again}, as in run.json" if same else f"{recorded} in run.json, {again} judged again"


def _part(name: str, lines: Iterable[str]) -> Iterator[str]:
    listed = list(lines)
    if listed:
        yield f"{name}: {len(listed)}"
    for line in listed:
        yield _line(2, line)


def _line(indent: int, text: str) -> str:
    return f"{' ' * indent}{one_line(text)[:_LINE_LIMIT]}"


def _json(verified: Verification, found: Rejudgement) -> dict[str, Any]:
    recorded, again = found.recorded, found.again
    return {
        "ok": not found.differs,
        "intact": True,
        "signer": verified.signer,
        "judged": _counts(found),
        "unjudged": [_statement_json(one) for one in found.unjudged],
        "verdicts": [
            {**vars(one), "statements": [_statement_json(own) for own in one.statements]}
            for one in found.disagreements
        ],
        "contradicted": [_statement_json(one) for one in found.contradicted],
        "other_fields": found.others,
        "gates": [
            {"gate": gate, "recorded": before, "again": after}
            for gate, (before, after) in _gates(found).items()
        ],
        "result": {"recorded": recorded.result, "again": again.result},
        "exit_status": {"recorded": recorded.exit_status, "again": again.exit_status},
    }


def _statement_json(one: Statement) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "criterion": one.criterion,
        "item": one.item,
        "part": one.part,
        **one.claim.model_dump(mode="json", exclude={"holds"}),
        "recorded": one.claim.holds,
        "again": one.holds,
        "unjudged": one.unjudged,
    }
