"""Canaries: redaction removes each form, and the search finds each that remains."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from gateproof_evidence.model import Record
from gateproof_evidence.redaction.canary import PIECE, Canary, CanaryError, search
from gateproof_evidence.redaction.ledger import counted, format_ledger, observed
from gateproof_evidence.redaction.redactor import Redactor

FORMS = sorted(Canary(core="0" * 24).forms())


@pytest.fixture
def canary() -> Canary:
    """Provide a new canary."""
    return Canary.make()


def test_canary_is_different_each_time() -> None:
    """A canary is unpredictable."""
    assert Canary.make().value != Canary.make().value


@pytest.mark.parametrize("name", FORMS)
def test_redact_removes_each_form_of_a_canary(canary: Canary, name: str) -> None:
    """A registered secret is redacted in each form, and its core remains in none."""
    redactor = Redactor()
    redactor.add_secret("canary", canary.value)
    done = redactor.redact(f"before {canary.forms()[name]} after")
    assert canary.core not in done.text
    assert "[redacted:" in done.text


@pytest.mark.parametrize("name", FORMS)
def test_search_finds_each_form_of_a_canary(canary: Canary, name: str, tmp_path: Path) -> None:
    """The search finds a form alone, between bytes that are not text, and wrapped over lines."""
    form = canary.forms()[name].encode()
    wrapped = b"\n".join(form[start : start + 76] for start in range(0, len(form), 76))
    for content in (form, b"\xff\xfe" + form + b"\x00", b"> " + wrapped + b"\n"):
        path = tmp_path / "capture.txt"
        path.write_bytes(content)
        with pytest.raises(CanaryError, match=r"capture\.txt: redaction: got a canary"):
            search([path], [Canary.make(), canary])


@pytest.mark.parametrize("name", FORMS)
def test_search_finds_a_form_that_two_pieces_share(
    canary: Canary, name: str, tmp_path: Path
) -> None:
    """A large file is searched in pieces; a form may begin in one and end in the next."""
    form = canary.forms()[name].encode()
    path = tmp_path / "journal.jsonl"
    for inside in (1, len(form) // 2, len(form) - 1):
        path.write_bytes(b"-" * (2 * PIECE - inside) + form + b"-" * PIECE)
        with pytest.raises(CanaryError, match=r"journal\.jsonl: redaction: got a canary"):
            search([path], [canary])
    path.write_bytes(b"-" * (2 * PIECE))
    search([path], [canary])


def test_search_finds_a_canary_inside_encoded_text(canary: Canary, tmp_path: Path) -> None:
    """The search decodes longer base64 at any offset, and base64 inside JSON."""
    path = tmp_path / "capture.txt"
    for before in range(5):
        text = base64.b64encode(b"x" * before + canary.value.encode() + b"y" * 7).decode()
        path.write_text(json.dumps({"body": f"abc{text}"}))
        with pytest.raises(CanaryError, match="base64-decoded"):
            search([path], [canary])


def test_search_finds_base64_that_is_wrapped_in_any_usual_way(
    canary: Canary, tmp_path: Path
) -> None:
    """Lines of base64 may be quoted, indented, of any length, or in one line of JSON."""
    path = tmp_path / "capture.txt"
    form = canary.forms()["base64-after-1"]
    for width in (4, 19, 64):
        lines = [form[start : start + width] for start in range(0, len(form), width)]
        for between in ("\n", "\r\n", "\n  ", "\n> ", "\\n", "\\n\t"):
            path.write_bytes(between.join(lines).encode())
            with pytest.raises(CanaryError, match="base64-decoded"):
                search([path], [canary])


def test_search_finds_a_canary_after_any_hexadecimal_digits(canary: Canary, tmp_path: Path) -> None:
    """Digits right before a hexadecimal canary belong to the same run, whatever their number."""
    path = tmp_path / "capture.txt"
    for before in range(4):
        path.write_text(f"id {'a' * before}{canary.value.encode().hex()}")
        with pytest.raises(CanaryError, match="hex-decoded"):
            search([path], [canary])


def test_search_without_a_canary_reads_nothing(tmp_path: Path) -> None:
    """Without a canary no file is opened, so a missing one raises no error."""
    absent = tmp_path / "absent"
    search([absent], [])
    with pytest.raises(FileNotFoundError):
        search([absent], [Canary.make()])


def test_search_finds_nothing_in_other_text(canary: Canary, tmp_path: Path) -> None:
    """Digests, base64, percent signs and another canary are not this canary."""
    path = tmp_path / "capture.txt"
    others = "\n".join(Canary.make().forms().values())
    path.write_text(f"sha256:{'ab' * 32} 100% {others}\n")
    search([path], [canary])


def test_ledger_has_rule_place_and_count(records: tuple[Record, ...]) -> None:
    """The ledger counts by capture and by report, with the sum of each rule."""
    counts = [("jwt", "tests/junit.xml", 1), ("jwt", "tests/junit.xml", 2)]
    entries = [*observed(records), *counted(counts)]
    ledger = json.loads(format_ledger(entries))
    assert {"rule": "jwt", "place": "tests/junit.xml", "count": 3} in ledger["entries"]
    places = [one["place"] for one in ledger["entries"]]
    assert places == sorted(places)
    assert len(places) == 4
    assert ledger["sums"] == {"dsn-userinfo": 6, "jwt": 3}
