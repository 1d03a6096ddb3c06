"""`gateproof rejudge`: judge the recorded evidence of a bundle again, without the system.

Owns refusing a bundle that is not intact, and the output. Leaves the rules to
`gateproof_evidence.judging.rejudgement`. Verification derives ``run.json`` again as well; a
difference there is no reason to refuse the bundle, but the answer of this command.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gateproof_evidence.cli.common import FINDINGS, PATH, WHOLE, read_inside, read_outside
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.canonical import digest_of, read_json
from gateproof_evidence.format.catalogue import parse_catalogue
from gateproof_evidence.format.layout import CATALOGUE, JOURNAL, RUN, WAIVERS
from gateproof_evidence.format.waiver import parse_waivers
from gateproof_evidence.judging.rejudgement import (
    Disagreement,
    Rejudgement,
    Statement,
)
from gateproof_evidence.judging.rejudgement import rejudge as judge_again
from gateproof_evidence.model import Run
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.model.text import many, one_line, printable
from gateproof_evidence.reports.gate_summary import gate_rows
from gateproof_evidence.verification.bundle import UNKNOWN, Verification, verify
from gateproof_evidence.verification.consistency import JournalReader

_DERIVED = (Code.VERDICT_MISMATCH, Code.ROLLUP_MISMATCH)
"""The findings that say what this command answers: run.json does not follow from the journal."""
_LINE_LIMIT = 300
"""The most characters of a statement or message that a line shows; --json has all of them."""
_ALONE = "no statement changed it: the journal does not give the verdict of run.json"
_NO_CHECK_RUN = "the recorded claims were judged; the code of a check was not run"


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--key", type=PATH, help="The signer's public key, from outside the bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def rejudge(ctx: click.Context, bundle: Path, key: Path | None, *, as_json: bool) -> None:
    """Judge the recorded claims of BUNDLE again, without the system.

    The bundle is verified first; one that is not intact is not judged. Each claim and premise is
    computed again from its recorded values. Outcomes, proofs, gates and the result follow from
    these, and are compared with run.json. The code of a check is not run.

    Exit status: 0 nothing differs, 1 differences or a bundle that is not intact, 4 bad input.
    """
    source = open_source(bundle)
    content = read_outside(key, source.path, "public key") if key else None
    verified = verify(source, key=content)
    broken = [one for one in verified.findings if one.code not in _DERIVED]
    if broken or verified.predicate is None:
        _refuse(bundle, broken, as_json=as_json)
        ctx.exit(FINDINGS)
    found = _judge(source, verified.predicate)
    if as_json:
        click.echo(json.dumps(_json(verified, found), indent=2))
    else:
        for line in _lines(bundle, verified, found):
            click.echo(line)
    ctx.exit(FINDINGS if found.differs else WHOLE)


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


def _judge(bundle: Source, predicate: Predicate) -> Rejudgement:
    """Read the attested files and judge them."""
    digests = {one.path: one.digest for one in predicate.files}

    def read(path: str) -> bytes:
        content, place = read_inside(bundle, path)
        if digest_of(content) != digests.get(path):
            raise BadInputError(
                f"{place}: got other bytes than when it was verified, expected the same; "
                "copy the bundle to a folder that nothing writes to"
            )
        return content

    journal = JournalReader()
    journal.feed(read(JOURNAL))
    records, _ = journal.end()
    return judge_again(
        Run.model_validate(read_json(read(RUN))),
        parse_catalogue(read(CATALOGUE)),
        records or (),
        parse_waivers(read(WAIVERS)),
    )


# --- the output --------------------------------------------------------------------------------


def _lines(bundle: Path, verified: Verification, found: Rejudgement) -> Iterator[str]:
    yield printable(f"{bundle}: intact; {_signer(verified)}")
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
    yield _NO_CHECK_RUN
    yield "something differs" if found.differs else "nothing differs"


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
