"""Falsifiers that are generated from a description: their names, and their spread over tables."""

from __future__ import annotations

import pytest

from gateproof.description.database import DISCOVER, Tenancy
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.faults.interface import LONGEST_NAME, SLUG, Fault, slug_of
from gateproof.faults.setting import settings
from gateproof.faults.tenancy.discovery import Table
from gateproof.faults.tenancy.fault import schema_of
from gateproof.faults.tenancy.spread import KINDS, Pick, spread, tenant_fault
from gateproof.run.declaration import Generator
from tests.criteria import ROOT

KIND_NAMES = ("drop-policies", "open-policy", "superuser-role")


def described(*tables: str, discover: bool = False) -> Sut:
    """Return the description of the reference system with other tables."""
    tenancy = Tenancy(guc="app.tenant", key="tenant", tables=(DISCOVER,) if discover else tables)
    return load_sut(ROOT / "system" / "sut.toml").model_copy(update={"tenancy": tenancy})


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("drop-policies", "orders"), "drop-policies-orders"),
        (("drop-policies", 'sales."Order Lines"'), "drop-policies-sales-order-lines"),
        (("open", "a__b"), "open-a-b"),
    ],
)
def test_slug_has_the_words_of_kind_and_table(parts: tuple[str, ...], name: str) -> None:
    """Other characters than a-z and digits of ASCII become single dashes."""
    assert slug_of(*parts) == name


@pytest.mark.parametrize("table", ["t" * 200, "größe", "表", "\U0001f4a3"])
def test_slug_that_loses_characters_ends_with_a_digest(table: str) -> None:
    """A cut name, and one with other characters, is a slug still, unique and stable."""
    found = slug_of("drop-policies", table)
    assert SLUG.fullmatch(found)
    assert len(found) <= LONGEST_NAME
    assert found == slug_of("drop-policies", table) != slug_of("drop-policies", f"{table}x")


def test_generated_faults_of_one_name_get_a_digest_each() -> None:
    """Tables whose slugs are the same have falsifiers of other names; the third keeps its own."""

    def make(_: Sut, table: str) -> tuple[Fault, str]:
        return settings(slug_of("open", table), {}), f"rows of {table}"

    tables = ("a_b", '"A B"', "c")
    made = list(Generator(objects=lambda _: tables, make=make).falsifiers(described()))
    names = [one.fault.name for one in made]
    assert len(set(names)) == 3
    assert names[2] == "open-c"
    assert all(name.startswith("open-a-b-") for name in names[:2])


@pytest.mark.parametrize("number", [1, 2, 3, 36])
def test_spread_reaches_every_table_and_each_kind_two_tables(number: int) -> None:
    """No table is without a fault, a kind has two tables if there are, and roles change once."""
    tables = [f"t{place}" for place in range(number)]
    picks = spread(described(*tables), KIND_NAMES, every_table=True)
    assert {pick.table for pick in picks} == set(tables)
    for kind in KIND_NAMES[:2]:
        assert len({pick.table for pick in picks if pick.kind == kind}) >= min(2, number)
    assert sum(pick.kind == "superuser-role" for pick in picks) == 1
    assert len(picks) == len(set(picks))


def test_spread_of_one_of_a_kind_makes_each_change_once() -> None:
    """A slow check has one proof for each kind, on different tables."""
    picks = spread(described("a", "b", "c"), KIND_NAMES, of_a_kind=1)
    assert [pick.kind for pick in picks] == list(KIND_NAMES)
    assert len({pick.table for pick in picks}) == 3


@pytest.mark.parametrize("kind", ["open-policy", "copying-trigger", "superuser-role"])
def test_fault_has_the_changed_object_as_its_target(kind: str) -> None:
    """It is the table, the created object with its schema, or none for a role."""
    fault = tenant_fault(Pick(kind=kind, table="orders"))
    expected = {"open-policy": "orders", "copying-trigger": "trigger orders.gateproof_copy"}
    assert fault.complete(fault.target) == expected.get(kind, "")


@pytest.mark.parametrize(
    ("name", "schema"),
    [("public.orders", "public"), ('"a.b"."c.d"', '"a.b"'), ('"a""."."c"', '"a""."')],
)
def test_schema_of_a_table_can_have_dots(name: str, schema: str) -> None:
    """A quoted name is read to its end."""
    table = Table(
        oid=1, name=name, sql=name, partitioned=False, partition=False, root=None, key_type=None,
        single=False, key_length=None,
    )  # fmt: skip
    assert schema_of(table) == schema


def test_spread_over_discovered_tables_names_places() -> None:
    """Without a list there are places, and the fault says so until it knows its table."""
    picks = spread(described(discover=True), KIND_NAMES, every_table=True)
    assert {pick.table for pick in picks} == {"first", "middle", "last"}
    fault = tenant_fault(Pick(kind="open-policy", table="middle", discovered=True))
    assert fault.name == "open-policy-middle"
    assert fault.describe() == "open-policy on the middle discovered table"
    assert "0x" not in repr(vars(fault)), "its text is a part of digests"


def test_spread_without_tables_is_empty() -> None:
    """A system without tenants has no falsifier of this kind."""
    assert spread(described(), KIND_NAMES, every_table=True) == []


def test_kinds_have_names_that_fit_into_names_of_falsifiers() -> None:
    """Each name of a kind is a slug."""
    assert [name for name in KINDS if not SLUG.fullmatch(name)] == []
