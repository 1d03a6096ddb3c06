"""`gateproof show`: an overview of a run, a gate or a criterion."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from gateproof_evidence.cli import main
from gateproof_evidence.model import Record, Run
from gateproof_evidence.reports.dossier import SHOWN_LINES, criterion_dossier
from gateproof_evidence.reports.quotation import Captures, share, tones
from gateproof_evidence.reports.terminal import gate_table
from tests.unit.evidence.support import rewritten


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def one_line(text: str) -> str:
    """Return text with single spaces."""
    return " ".join(text.split())


def test_show_takes_the_latest_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default bundle is reports/latest in the working folder."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/latest").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    assert gateproof("show").output == gateproof("show", bundle).output
    assert "blocked (exit status 1)" in gateproof("show").output


def test_show_prints_the_table_of_the_run(bundle: Path, run: Run) -> None:
    """The table of gates is the one that pytest prints at the end."""
    console = Console(width=120, record=True, file=StringIO())
    console.print(gate_table(run))
    table = [line.rstrip() for line in console.export_text().splitlines()]
    shown = [line.rstrip() for line in gateproof("show", bundle).output.splitlines()]
    assert shown[: len(table)] == table


def test_show_gate_lists_its_criteria(bundle: Path, run: Run) -> None:
    """The output has only the criteria of the gate, with outcome, proofs, claim and gap."""
    text = one_line(gateproof("show", bundle, "--gate", "rls").output)
    for verdict in run.criteria:
        assert (verdict.statement in text) is (verdict.gate == "rls")
    assert "RLS-01 pass proven 1/1" in text
    assert "gate_violation: tenant A: got 5 rows, expected 3" in text
    document = json.loads(gateproof("show", bundle, "--gate", "rls", "--json").output)
    assert [one["id"] for one in document["criteria"]] == ["RLS-01", "RLS-02"]


def test_show_criterion_shows_all_of_it(bundle: Path, run: Run) -> None:
    """The output has claim, source, proofs with change and message, and captures with text."""
    text = one_line(gateproof("show", bundle, "--criterion", "rls-01").output)
    verdict = run.criteria[0]
    for words in (verdict.statement, verdict.source, *verdict.captures, *verdict.observations):
        assert words in text
    for proof in verdict.proofs:
        assert proof.fault in text
        assert proof.message in text
    assert "what RLS-01 saw" in text
    assert "select count(*) from t;" in text
    waived = one_line(gateproof("show", bundle, "--criterion", "DLQ-01").output)
    assert "Ada accepts it until 2026-04-01: The index comes with the next migration" in waived
    document = json.loads(gateproof("show", bundle, "--criterion", "RLS-01", "--json").output)
    assert document["id"] == "RLS-01"


def test_show_criterion_folds_long_captures(
    run: Run, records: tuple[Record, ...], staging: Path
) -> None:
    """Lines after the fortieth are counted, and shown with --full."""
    text = "".join(f"line {number}\n" for number in range(SHOWN_LINES + 7)).rstrip()
    records = rewritten(staging / "data", records, "transcripts/rls/RLS-01.txt", text)

    def printed(*, full: bool) -> str:
        console = Console(width=120, record=True, file=StringIO())
        captures = Captures(staging / "data")
        for part in criterion_dossier(run.criteria[0], records, captures, full=full):
            console.print(part)
        return console.export_text()

    assert f"line {SHOWN_LINES}\n" not in printed(full=False)
    assert "... 7 more lines; --full shows them" in printed(full=False)
    assert "line 46" in printed(full=True)


def test_show_lets_no_capture_control_the_terminal(
    run: Run, records: tuple[Record, ...], staging: Path
) -> None:
    """Escape sequences and direction characters are made visible."""
    text = "\x1b]0;title\x07\x1b[2J\u202eback"
    records = rewritten(staging / "data", records, "transcripts/rls/RLS-01.txt", text)
    console = Console(width=120, force_terminal=True, file=StringIO(), color_system=None)
    captures = Captures(staging / "data")
    for part in criterion_dossier(run.criteria[0], records, captures, full=True):
        console.print(part)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "␛]0;title␇␛[2J\\u202eback" in text
    assert not set("\x1b\x07\u202e") & set(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gate", "nope"), "--gate: got nope, expected one of rls, dlq"),
        (("--criterion", "RLS-99"), "--criterion: got RLS-99, expected a criterion of this run"),
        (
            ("--gate", "rls", "--criterion", "RLS-01"),
            "--criterion: got both this option and --gate",
        ),
        (("--phase", "--proofs"), "expected one"),
        (("--full",), "--full: got this option without --criterion"),
    ],
)
def test_show_refuses_wrong_options(bundle: Path, options: tuple[str, ...], message: str) -> None:
    """An unknown gate or criterion, and options that exclude each other, are bad input."""
    done = gateproof("show", bundle, *options)
    assert done.exit_code == 4
    assert message in one_line(done.output)


# --- code that the terminal and the page share -------------------------------------------------


def test_share_quotes_small_captures_whole_and_divides_the_rest() -> None:
    """Any number of captures fits, and each gets its share."""
    assert share([10, 20, 30], 1000) > 30
    limit = share([10, 10, 5000, 9000], 1000)
    assert limit == 490
    assert share([], 1000) > 0
    sizes = [7 * number for number in range(400)]
    room = 50_000
    assert room * 0.98 < sum(min(size, share(sizes, room)) for size in sizes) <= room


def test_tones_mark_the_parts_of_a_capture() -> None:
    """Requests, answers, statements and errors of logs have tones; a body has none."""
    asked = ["$ curl", "> GET /", ">", "< 200", "<", "> in the body"]
    assert list(tones("http", asked)) == ["cmd", "req", "req", "res", "res", ""]
    query = ["-- role app_user", "SELECT 1", "FROM t;", " 1", "ERROR:  42501"]
    assert list(tones("sql", query)) == ["note", "cmd", "cmd", "", "err"]
    log = ['{"level": "info"}', '{"level": "ERROR"}', '{"level":"warning"}']
    assert list(tones("logs", log)) == ["log", "log err", "log note"]
    assert list(tones("process", ["$ ls", "# note", "x"])) == ["cmd", "note", ""]
