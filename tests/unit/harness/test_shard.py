"""The division of checks into shards: whole, stable and balanced."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.proof.durations import read_durations
from gateproof.proof.shard import divide, keep_shard, weights_of
from gateproof.run.option import Options
from gateproof.run.selection import parse_nonce, parse_shard
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.model import Shard

WEIGHTS = st.dictionaries(
    st.from_regex(r"t\.py::test_[a-z]{1,6}", fullmatch=True), st.integers(0, 100_000), min_size=1
)
OF = st.integers(1, 12)


@given(weights=WEIGHTS, of=OF)
def test_each_check_is_in_exactly_one_shard_of_the_run(weights: dict[str, int], of: int) -> None:
    """No check is left out, and the numbers are those of the shards."""
    assigned = divide(weights, of)
    assert assigned.keys() == weights.keys()
    assert set(assigned.values()) <= set(range(1, of + 1))


@given(weights=WEIGHTS, of=OF)
def test_no_shard_exceeds_the_mean_by_more_than_the_longest_check(
    weights: dict[str, int], of: int
) -> None:
    """Whatever the durations are, the last shard to end is late by one check at most."""
    loads = dict.fromkeys(range(1, of + 1), 0)
    for check, number in divide(weights, of).items():
        loads[number] += weights[check]
    assert max(loads.values()) <= sum(weights.values()) / of + max(weights.values())


@given(weights=WEIGHTS, of=OF, data=st.data())
def test_division_does_not_depend_on_the_order_of_collection(
    weights: dict[str, int], of: int, data: st.DataObject
) -> None:
    """Machines and processes that collect in another order make the same shards."""
    names = data.draw(st.permutations(sorted(weights)))
    assert divide({name: weights[name] for name in names}, of) == divide(weights, of)


def test_item_without_a_duration_counts_as_the_median() -> None:
    """Without a recorded duration, all count the same: a check as much as each of its proofs."""
    checks = {"a": ["a", "a[p]"], "b": ["b"], "c": ["c", "c[p]", "c[q]"]}
    assert weights_of(checks, {}) == {"a": 2, "b": 1, "c": 3}
    recorded = {"a": 10, "a[p]": 30, "b": 500, "other": 9_999}
    assert weights_of(checks, recorded) == {"a": 40, "b": 500, "c": 90}


@dataclass(frozen=True, kw_only=True)
class Named:
    """An item, of which only the name matters."""

    nodeid: str


def test_kept_are_the_checks_of_the_shard_with_all_their_proofs() -> None:
    """The others are reported as deselected, and every check has the number of its shard.

    The terminal then keeps only their number, so that they are freed.
    """
    options = cast(
        "Options",
        SimpleNamespace(shard=Shard(number=2, of=2, nonce="0" * 16), shard_durations=()),
    )
    names = ["t.py::test_a", "t.py::test_b", "t.py::test_c"]
    every: list[Any] = [Named(nodeid=name) for name in [*names, "t.py::test_before"]]
    deselected: list[Any] = []
    terminal = SimpleNamespace(stats={"deselected": [every.pop()]})

    def deselect(items: list[Any]) -> None:
        deselected.extend(items)
        terminal.stats["deselected"].extend(items)

    plugins = SimpleNamespace(get_plugin={"terminalreporter": terminal}.get)
    config = SimpleNamespace(
        hook=SimpleNamespace(pytest_deselected=deselect), pluginmanager=plugins
    )
    items = [*every]
    assigned = keep_shard(cast("pytest.Config", config), items, options)
    assert assigned == {"t.py::test_a": 1, "t.py::test_b": 2, "t.py::test_c": 1}
    assert [one.nodeid for one in items] == ["t.py::test_b"]
    assert deselected == [every[0], every[2]]
    kept = terminal.stats["deselected"]
    assert kept == [Named(nodeid="t.py::test_before"), SimpleNamespace(), SimpleNamespace()]


def test_durations_of_several_files_are_read(tmp_path: Path) -> None:
    """The steps of an item are added up, and its longest time counts."""
    steps = {"check": {"wall_s": 1.5}, "tear-down": {"wall_s": 0.25}}
    for name, factor in (("one", 1), ("two", 2)):
        items = [
            {"item": "t.py::test_a", "steps": steps},
            {"item": f"t.py::test_{name}", "steps": {"check": {"wall_s": factor}}},
        ]
        (tmp_path / name).write_text(json.dumps({"items": items}))
    found = read_durations([tmp_path / "one", tmp_path / "two"])
    assert found == {"t.py::test_a": 17_500, "t.py::test_one": 10_000, "t.py::test_two": 20_000}


@pytest.mark.parametrize("content", ["", "[]", '{"items": 3}', '{"items": [{"item": "x"}]}'])
def test_file_that_has_no_durations_is_refused(tmp_path: Path, content: str) -> None:
    """A shard with other times than its neighbours would leave a check to none."""
    path = tmp_path / "durations.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match="got another form, expected a file that --durations"):
        read_durations([path])
    with pytest.raises(BadInputError, match="got No such file or directory"):
        read_durations([tmp_path / "none.json"])


@pytest.mark.parametrize("text", ["1/1", "2/3", "12/12"])
def test_shard_of_a_run_is_accepted(text: str) -> None:
    """Shards are counted from 1."""
    assert "/".join(map(str, parse_shard(text))) == text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("4/3", "got shard 4 of 3, expected 1 to 3"),
        ("0/3", "got shard 0 of 3, expected 1 to 3"),
        ("0/0", "got shard 0 of 0, expected at least 1 of 1"),
        ("-1/3", "got '-1/3', expected K/N"),
        ("2", "got '2', expected K/N"),
        ("2/three", "got '2/three', expected K/N"),
    ],
)
def test_shard_that_no_run_has_is_refused(text: str, match: str) -> None:
    """The message has both numbers."""
    with pytest.raises(BadInputError, match=match):
        parse_shard(text)


def test_nonce_has_sixteen_to_sixty_four_hexadecimal_digits() -> None:
    """Upper case counts as lower case; the message says how to make one."""
    assert parse_nonce("ABCDEF0123456789") == "abcdef0123456789"
    assert parse_nonce("0" * 64) == "0" * 64
    for text in ("0" * 15, "0" * 65, "run-4711-attempt-1", ""):
        with pytest.raises(BadInputError, match=r"--nonce: got .* expected 16 to 64 .*sha256sum"):
            parse_nonce(text)
