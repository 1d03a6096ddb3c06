"""The modules that a process imports before it knows its part in a run."""

from __future__ import annotations

import json
import subprocess
import sys

NOT_NEEDED = (
    "gateproof_evidence.reports.html",
    "gateproof_evidence.sealing.seal",
    "gateproof_evidence.verification.bundle",
    *("jinja2", "gateproof.draft", "gateproof.proof.mutation.command"),
)
"""They seal, verify and draft; an xdist worker and a refused run do none of it."""
START = "import sys, json, gateproof.plugin.hooks, gateproof.plugin.fixtures"


def _printed(code: str) -> object:
    """Return the JSON that a new interpreter prints after the imports of a start."""
    command = [sys.executable, "-c", f"{START}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_start_imports_nothing_that_seals_verifies_or_drafts() -> None:
    """The plugin, with its hooks and fixtures, leaves these modules to those who use them."""
    loaded = _printed("print(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    assert "gateproof.run.run" in loaded
    assert sorted({*NOT_NEEDED} & {*loaded}) == []


def test_the_start_builds_no_validator_of_a_description_or_a_run() -> None:
    """The models of both files are complete only after their first use."""
    code = (
        "from gateproof.description.sut import Sut\n"
        "from gateproof_evidence.model import RECORD, Run\n"
        "before = [one.__pydantic_complete__ for one in (Sut, Run)] + [RECORD.pydantic_complete]\n"
        "Sut.model_validate({'name': 'it', 'root': '.'})\n"
        "print(json.dumps([before, Sut.__pydantic_complete__]))"
    )
    assert _printed(code) == [[False, False, False], True]


def test_opening_a_run_imports_what_seals_it() -> None:
    """Sealing is loaded before any check runs, so that the run is bound to its code as well."""
    code = (
        "from gateproof.run.run import GateRun\n"
        "try:\n    GateRun.open(None)\n"
        "except AttributeError as error:\n"
        "    print(json.dumps([str(error), 'gateproof_evidence.sealing.seal' in sys.modules]))"
    )
    assert _printed(code) == ["'NoneType' object has no attribute 'sut'", True]
