"""The verdicts as JUnit XML: a suite for each gate, a case for each criterion and one for the run.

JUnit has passed, failure, error and skipped. A pass that is not proven is not passed here: blind
and void are errors, unproven is skipped. pytest's own file, which has test results instead of
verdicts, is ``data/tests/junit.xml``.

Source: the schema that pytest's ``xunit2`` family follows.
"""

from __future__ import annotations

import re
from typing import Literal
from xml.etree import ElementTree as ET

from gateproof_evidence.model import Disposition, Falsification, Outcome, Result, Run, Verdict
from gateproof_evidence.model.text import visible
from gateproof_evidence.reports.exports.interface import Export
from gateproof_evidence.reports.gap_matrix import gap_of, status_of
from gateproof_evidence.reports.gate_summary import gate_rows, obstacles, of_gate

Mark = Literal["", "failure", "error", "skipped"]
RUN_SUITE, RUN_CASE = "run", "released"

_SKIPPED = (Outcome.NOTAPPLICABLE, Outcome.NOTSELECTED, Outcome.NOTDESCRIBED)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(run: Run) -> bytes:
    """Return one document over the whole run."""
    suites = ET.Element("testsuites", name="gateproof")
    for row in gate_rows(run):
        _add_suite(suites, run, row.gate, [_case(verdict) for verdict in of_gate(run, row.gate)])
    _add_suite(suites, run, RUN_SUITE, [_run_case(run)])
    _count(suites, [case for suite in suites for case in suite])
    ET.indent(suites)
    body: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def mark_of(verdict: Verdict) -> Mark:
    """Return the JUnit name of a verdict; empty for a proven pass."""
    if verdict.outcome is Outcome.PASS:
        if verdict.falsification is Falsification.PROVEN:
            return ""
        return "skipped" if verdict.falsification is Falsification.UNPROVEN else "error"
    if verdict.outcome is Outcome.FAIL:
        return "skipped" if verdict.disposition is Disposition.WAIVED else "failure"
    return "skipped" if verdict.outcome in _SKIPPED else "error"


def _case(verdict: Verdict) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=f"gateproof.{verdict.gate}",
        name=verdict.id,
        time=f"{verdict.duration_s:.3f}",
    )
    mark = mark_of(verdict)
    if mark:
        kind = verdict.cause.value if verdict.cause else status_of(verdict)
        ET.SubElement(case, mark, message=_printable(gap_of(verdict)), type=kind)
    return case


def _run_case(run: Run) -> ET.Element:
    """Return the case that fails where another reason than a criterion blocks a release."""
    case = ET.Element("testcase", classname="gateproof", name=RUN_CASE, time="0.000")
    if run.result is not Result.RELEASED:
        message = f"{run.result.value}, exit status {run.exit_status}"
        failure = ET.SubElement(case, "failure", message=message, type=run.result.value)
        failure.text = _printable("\n".join(obstacles(run)))
    return case


def _add_suite(suites: ET.Element, run: Run, name: str, cases: list[ET.Element]) -> None:
    started = run.started.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    suite = ET.SubElement(suites, "testsuite", name=name, timestamp=started)
    _count(suite, cases)
    suite.extend(cases)


def _count(element: ET.Element, cases: list[ET.Element]) -> None:
    marks = [case[0].tag if len(case) else "" for case in cases]
    element.set("tests", str(len(cases)))
    for mark, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        element.set(name, str(marks.count(mark)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")


def _printable(text: str) -> str:
    """Return visible text with an escape for each character that XML 1.0 does not allow."""
    return _NOT_XML.sub(lambda found: ascii(found[0])[1:-1], visible(text))


JUNIT = Export(name="junit", file="junit-criteria.xml", render=render)
