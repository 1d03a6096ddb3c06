"""The system's own falsifiers: the file next to its description, and what is refused in it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from gateproof.description.reading import load_sut, tuples
from gateproof.faults.described.entry import KINDS, Content
from gateproof.faults.described.file import (
    OwnFalsifiers,
    load_falsifiers,
    refuse_changes_without_a_place,
)
from gateproof.faults.described.reference import falsifiers_reference, falsifiers_schema
from gateproof.faults.falsifier import Prediction
from gateproof_evidence.errors import BadInputError

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "reference"

SOURCE = """
[[falsifier]]
criterion = "OWN-01"
name = "error-swallowed"
kind = "source"
file = "app/jobs.py"
function = "fail"
body = '''
    return None
'''
expect = { claim = "rows of the job", on = "charge", text = "got 0" }
"""
CODE = "def fail():\n    raise ValueError\n"


def load(folder: Path, text: str) -> OwnFalsifiers:
    """Read falsifiers next to a small description."""
    (folder / "sut.toml").write_text('name = "orders"\nroot = "."\n', encoding="utf-8")
    (folder / "app").mkdir(exist_ok=True)
    (folder / "app" / "jobs.py").write_text(CODE, encoding="utf-8")
    (folder / "falsifiers.toml").write_text(text, encoding="utf-8")
    return load_falsifiers(load_sut(folder / "sut.toml"))


def test_system_without_the_file_has_no_falsifiers_of_its_own(tmp_path: Path) -> None:
    """The file is not required."""
    (tmp_path / "sut.toml").write_text('name = "orders"\nroot = "."\n', encoding="utf-8")
    own = load_falsifiers(load_sut(tmp_path / "sut.toml"))
    assert own.path is None
    assert own.of("OWN-01") == ()


def test_entry_gives_the_fault_and_its_prediction(tmp_path: Path) -> None:
    """The fault is the one that the function of the same name makes."""
    (one,) = load(tmp_path, SOURCE).of("OWN-01")
    assert (one.fault.kind, one.fault.name, one.fault.tree) == (
        "source",
        "error-swallowed",
        "system",
    )
    assert one.fault.describe() == "in app/jobs.py: body of fail:\nreturn None"
    assert one.expect == Prediction(claim="rows of the job", on="charge", text="got 0")


def test_every_kind_is_read(tmp_path: Path) -> None:
    """Migrations, other files, statements and settings are entries too."""
    expect = 'criterion = "OWN-01"\nexpect = { text = "the index is missing" }\n'
    kinds = {
        "migration": 'file = "m.py"\nfunction = "upgrade"\nlanding = "SELECT 1"',
        "file": 'file = "ci.yml"\nbefore = "on: push"',
        "sql": 'statement = "DROP INDEX i"\nlanding = "SELECT 1"\ntarget = "t"',
        "settings": 'variables = { APP_EAGER = "1" }',
    }
    text = SOURCE + "".join(
        f'[[falsifier]]\nname = "a-{kind}"\nkind = "{kind}"\n{keys}\n{expect}'
        for kind, keys in kinds.items()
    )
    found = load(tmp_path, text).of("OWN-01")
    assert [one.fault.kind for one in found] == ["source", *kinds]
    assert set(KINDS) == {"source", *kinds}


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        ("function", "functoin", r"functoin: unknown key, expected function"),
        ('"source"', '"sorce"', r"kind: got sorce, expected source or migration"),
        ('kind = "source"\n', "", r"kind: got none, expected source or migration"),
        ('file = "app/jobs.py"\n', "", r"file: missing key; add it"),
        ("text =", "txt =", r"expect\.txt: unknown key, expected text"),
        ('"fail"', "3", r"function: got 3, expected: Input should be a valid string"),
        ("body", "append", r"change: got .*expected one of before"),
        ('"error-swallowed"', '"Error"', r"falsifier name: got 'Error', expected a slug"),
        ('on = "charge"', 'on = "*"', r"predicted object: got '\*', expected one without \*"),
        ('claim = "rows of the job", on = "charge", ', "", r"predicted text: got 'got 0'"),
        ("[[falsifier]]", "[[falsifer]]", r"falsifer: unknown key, expected falsifier"),
        ("[[falsifier]]", "[[falsifier]", r"is not valid TOML"),
        ("[[falsifier]]", "falsifier = 3\n[more]", r"falsifier: got 3, expected"),
    ],
)
def test_file_that_breaks_a_rule_is_refused(
    tmp_path: Path, before: str, after: str, finding: str
) -> None:
    """The message has the number and name of the entry, the key, and the nearest name."""
    assert before in SOURCE
    with pytest.raises(BadInputError, match=finding):
        load(tmp_path, SOURCE.replace(before, after, 1))


def test_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    """Two falsifiers of one criterion and name would be one proof."""
    with pytest.raises(BadInputError, match="OWN-01 error-swallowed: got 2 falsifiers"):
        load(tmp_path, SOURCE + SOURCE)
    other = SOURCE.replace("OWN-01", "OWN-02")
    assert len(load(tmp_path, SOURCE + other).by_criterion) == 2


def test_findings_come_all_at_once(tmp_path: Path) -> None:
    """Each entry with a finding has a line of its own."""
    text = SOURCE.replace("function", "functoin") + SOURCE.replace("expect", "expected")
    with pytest.raises(BadInputError, match="got 3 findings, expected none") as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(": ")[0].strip() for line in lines] == [
        "falsifier 1 (OWN-01 error-swallowed)",
        "falsifier 2 (OWN-01 error-swallowed)",
        "falsifier 2 (OWN-01 error-swallowed)",
    ]


def test_criterion_that_no_gate_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """The ids of the gates are known only to the run."""
    own = load(tmp_path, SOURCE)
    own.refuse_unknown_criteria({"OWN-01", "OWN-02"})
    with pytest.raises(BadInputError, match=r"got OWN-01, expected .* such as OWN-02"):
        own.refuse_unknown_criteria({"OWN-02"})


def test_change_without_a_place_is_found_before_a_run(tmp_path: Path) -> None:
    """A file that is missing, a function that is gone, and a text that is there twice."""
    own = load(tmp_path, SOURCE)
    sut = load_sut(tmp_path / "sut.toml")
    refuse_changes_without_a_place(sut, own)
    (tmp_path / "app" / "jobs.py").write_text("def end():\n    pass\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="got 0 functions fail, expected 1; quote the present"):
        refuse_changes_without_a_place(sut, own)
    (tmp_path / "app" / "jobs.py").rename(tmp_path / "app" / "job.py")
    with pytest.raises(BadInputError, match=r"file: got app/jobs\.py, expected .* job\.py"):
        refuse_changes_without_a_place(sut, own)


def test_falsifiers_reference_is_the_published_one_and_explains_every_key() -> None:
    """The page is the one that the models generate, and no key lacks a meaning."""
    page = falsifiers_reference()
    assert (DOCS / "falsifiers.md").read_text(encoding="utf-8") == page, (
        "run python -m gateproof.faults.described.reference docs/reference/falsifiers.md"
    )
    assert not re.search(r"\|\s+\|$", page, re.MULTILINE)


def test_falsifiers_schema_is_the_published_one_and_accepts_the_files() -> None:
    """Editors check a file by the same rules as the parser."""
    published = json.loads((DOCS / "falsifiers.schema.json").read_text(encoding="utf-8"))
    assert published == falsifiers_schema(), (
        "run python -m gateproof.faults.described.reference docs/reference/falsifiers.schema.json"
    )
    for folder in ("system", "docs/examples/helpdesk"):
        path = ROOT / folder / "falsifiers.toml"
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(content, published)
        assert len(Content.model_validate(tuples(content)).falsifier) > 0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"falsifier": [{"kind": "sorce"}]}, published)
