"""The canary: wherever a form of it comes through, it is found."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from gateproof_evidence.model import Record
from gateproof_evidence.redaction.canary import Canary, CanaryError, search
from gateproof_evidence.redaction.ledger import counted, format_ledger, observed
from gateproof_evidence.redaction.redactor import Redactor

FORMS = sorted(Canary(core="0" * 24).forms())


@pytest.fixture
def canary() -> Canary:
    """Give one that nobody has seen."""
    return Canary.make()


def test_canary_is_another_each_time() -> None:
    """Nobody can know it before."""
    assert Canary.make().value != Canary.make().value


@pytest.mark.parametrize("name", FORMS)
def test_redact_takes_out_each_form_of_a_canary(canary: Canary, name: str) -> None:
    """What is known as a secret is known in each form, and its core is left in none."""
    redactor = Redactor()
    redactor.add_secret("canary", canary.value)
    done = redactor.redact(f"before {canary.forms()[name]} after")
    assert canary.core not in done.text
    assert "[redacted:" in done.text


@pytest.mark.parametrize("name", FORMS)
def test_search_finds_each_form_of_a_canary(canary: Canary, name: str, tmp_path: Path) -> None:
    """Alone, in the middle of bytes that are no text, and wrapped over lines."""
    form = canary.forms()[name].encode()
    wrapped = b"\n".join(form[start : start + 76] for start in range(0, len(form), 76))
    for content in (form, b"\xff\xfe" + form + b"\x00", b"> " + wrapped + b"\n"):
        path = tmp_path / "capture.txt"
        path.write_bytes(content)
        with pytest.raises(CanaryError, match=r"capture\.txt: redaction: got a made-up secret"):
            search([path], [Canary.make(), canary])


def test_search_finds_what_is_encoded_as_a_part_of_more(canary: Canary, tmp_path: Path) -> None:
    """Inside a longer base64 text at any place, and base64 inside JSON."""
    path = tmp_path / "capture.txt"
    for before in range(5):
        text = base64.b64encode(b"x" * before + canary.value.encode() + b"y" * 7).decode()
        path.write_text(json.dumps({"body": f"abc{text}"}))
        with pytest.raises(CanaryError, match="base64-decoded"):
            search([path], [canary])


def test_search_without_a_canary_reads_nothing(tmp_path: Path) -> None:
    """Where nothing was let out no file is opened: this one could not be."""
    absent = tmp_path / "absent"
    search([absent], [])
    with pytest.raises(FileNotFoundError):
        search([absent], [Canary.make()])


def test_search_finds_nothing_where_nothing_is(canary: Canary, tmp_path: Path) -> None:
    """Digests, base64 and percent signs of others are no canary."""
    path = tmp_path / "capture.txt"
    others = "\n".join(Canary.make().forms().values())
    path.write_text(f"sha256:{'ab' * 32} 100% {others}\n")
    search([path], [canary])


def test_ledger_says_rule_place_and_count(records: tuple[Record, ...]) -> None:
    """By capture and by report, with the sum of each rule."""
    told = [("jwt", "tests/junit.xml", 1), ("jwt", "tests/junit.xml", 2)]
    entries = [*observed(records), *counted(told)]
    told = json.loads(format_ledger(entries))
    assert {"rule": "jwt", "place": "tests/junit.xml", "count": 3} in told["entries"]
    places = [one["place"] for one in told["entries"]]
    assert places == sorted(places)
    assert len(places) == 4
    assert told["sums"] == {"dsn-userinfo": 6, "jwt": 3}
