"""Divides the collected checks into shards, each of which one machine judges.

A check and all its proofs are in one shard: its proofs share a baseline. The division depends on
nothing but the collected items and the recorded durations, so that every machine and every process
makes the same one, in whatever order it collected. The self-proof runs in every shard.

Source: docs/decisions/0034; R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969: the
longest first, each to the shard with the least so far. No shard then exceeds the mean by more than
the longest check.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median_high
from types import SimpleNamespace

import pytest

from gateproof.proof.durations import read_durations
from gateproof.proof.proof import ProofItem
from gateproof.run.option import Options


def keep_shard(
    config: pytest.Config, items: list[pytest.Item], options: Options
) -> Mapping[str, int]:
    """Deselect all items but those of this shard.

    Args:
        config: reports the deselected items to other plugins.
        items: the selected checks and proofs; those of other shards are removed.
        options: the shard of this run, and the files of durations.

    Returns:
        The number of the shard of each check that was selected, by node id.

    Raises:
        BadInputError: a file of durations is not valid.

    """
    assert options.shard is not None
    checks: dict[str, list[str]] = defaultdict(list)
    for item in items:
        checks[check_of(item)].append(item.nodeid)
    durations = read_durations(options.shard_durations)
    assigned = divide(weights_of(checks, durations), options.shard.of)
    others = [item for item in items if assigned[check_of(item)] != options.shard.number]
    items[:] = [item for item in items if assigned[check_of(item)] == options.shard.number]
    if others:
        config.hook.pytest_deselected(items=others)
        _release(config, others)
    return assigned


def _release(config: pytest.Config, others: Sequence[pytest.Item]) -> None:
    """Let the items of other shards be freed: of a large catalogue they take most of the memory.

    The terminal keeps all deselected items, although it needs only their number; other plugins read
    the attributes of what it keeps.
    """
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        gone, instead = set(others), SimpleNamespace()
        terminal.stats["deselected"] = [
            instead if one in gone else one for one in terminal.stats.get("deselected", ())
        ]


def check_of(item: pytest.Item) -> str:
    """Return the node id of the check that an item is, or that it proves."""
    return item.check if isinstance(item, ProofItem) else item.nodeid


def weights_of(
    checks: Mapping[str, Sequence[str]], durations: Mapping[str, int]
) -> Mapping[str, int]:
    """Return the expected time of each check with its proofs.

    Args:
        checks: the node id of each check, to the node ids of the check and its proofs.
        durations: recorded times by node id, in any unit. An item without one counts as the median
            of the recorded ones; without any, all items count the same.

    """
    known = [durations[one] for own in checks.values() for one in own if one in durations]
    usual = median_high(known) if known else 1
    return {check: sum(durations.get(one, usual) for one in own) for check, own in checks.items()}


def divide(weights: Mapping[str, int], of: int) -> Mapping[str, int]:
    """Return the number of the shard of each check, from 1.

    Args:
        weights: the expected time of each check with its proofs; equal ones are taken by name.
        of: the number of shards.

    """
    loads = [(0, number) for number in range(1, of + 1)]
    assigned: dict[str, int] = {}
    for check in sorted(weights, key=lambda one: (-weights[one], one)):
        load, number = loads[0]
        assigned[check] = number
        heapq.heapreplace(loads, (load + weights[check], number))
    return assigned
