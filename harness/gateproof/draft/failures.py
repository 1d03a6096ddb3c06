"""Turns what was found about failed tasks into the table ``[dead_letters]`` of a draft.

Owns which key gets which value there. A command that replays failed tasks is for a person to name:
nothing shows it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from gateproof.draft.database import Catalogue, Relation
from gateproof.draft.document import Table
from gateproof.draft.watched.rows import KeptRows

REPLAYED = re.compile(
    r"(resolved|replayed|succeeded|recovered|repaired|fixed|redriven|reprocessed)", re.IGNORECASE
)
"""Words for a row whose task succeeded in the end."""


COLUMNS = (
    *("id", "task_id", "task_name", "queue", "tenant_id", "args", "kwargs", "exception_class"),
    *("error_message", "traceback", "error_kind", "retry_count", "status", "correlation_id"),
    *("failed_at", "last_retry_at", "resolved_at", "notes"),
)
"""The columns of the table, as the checks of the pack name them."""


def dead_letters(
    catalogue: Catalogue | None,
    *,
    kept: KeptRows,
    owner: str,
    worker: str,
    former_names: Mapping[str, str],
) -> Table:
    """Return the table of the draft.

    Args:
        catalogue: that of the database; None without one.
        kept: what the rows of failed tasks showed.
        owner: the role that migrated; empty if none did.
        worker: the role of workers; empty if it is not known.
        former_names: renamed tables and their names before.

    """
    table = Table("dead_letters")
    chosen = chosen_table(catalogue, kept)
    if catalogue is None or chosen is None:
        table.comment = "no table of failed tasks was found; if there is none, see [[absent]]"
        return table
    failed, columns, words = chosen
    table.add("table", failed.label, words)
    renamed = {name: column for name, column in columns.items() if name != column}
    if renamed:
        table.add("columns", renamed, "names that checks use, and the table's own")
    lacking = [one for one in COLUMNS if one not in renamed and one not in failed.columns]
    if lacking:
        table.note(f"not found: {', '.join(lacking)}; name each in columns, or declare it absent:")
        table.note(f'feature = "dead_letters.columns.{lacking[0]}" in [[absent]]')
    _add_statuses(table, catalogue, failed, columns.get("status", "status"))
    if kept.moves:
        moves = {old: list(new) for old, new in kept.moves.items()}
        table.add("moves", moves, "each move was tried on a row; the database refused all others")
    _add_roles(table, failed, {owner, worker})
    former = former_names.get(failed.label)
    if former:
        table.add("former_table", former, "a migration renamed it")
    table.suggest("replay", ["{python}", "-m", "..."], "the command that replays rows, if any")
    return table


def chosen_table(
    catalogue: Catalogue | None, kept: KeptRows
) -> tuple[Relation, Mapping[str, str], str] | None:
    """Return the table of failed tasks, its columns by the names of checks, and why it is that."""
    if catalogue is None:
        return None
    seen = [one for one in catalogue.tables if one.label == kept.table]
    if seen:
        return seen[0], kept.columns, "a task that failed left a row in it, others did not"
    candidates = catalogue.dead_letter_candidates
    if not candidates:
        return None
    (best, columns), *others = candidates
    more = f"; other candidates: {', '.join(one.label for one, _ in others)}" if others else ""
    return best, columns, f"its columns look like those of failed tasks{more}"


def _add_statuses(table: Table, catalogue: Catalogue, failed: Relation, column: str) -> None:
    """Add the statuses, the default first, and the one of a row that was replayed."""
    known = catalogue.values_of(failed, column)
    if known is None or not known.default:
        found = "no list" if known is None else "no default"
        table.suggest("statuses", ["new", "replayed"], f"{found} of values of {column} was found")
        return
    others = [one for one in known.values if one != known.default]
    table.add("statuses", [known.default, *others], f"{known.origin}; the first is the default")
    named = [one for one in others if REPLAYED.fullmatch(one) and f"{one}_at" in failed.columns]
    if len(named) == 1:
        table.add("resolved", named[0], f"the column {named[0]}_at has the time of it")
    else:
        table.suggest("resolved", "...", "the status of a row whose replay succeeded")


def _add_roles(table: Table, failed: Relation, known: set[str]) -> None:
    """Add the role that may change the rows, and the one that may only read them."""
    held = Counter(failed.privileges)
    others = [role for role in failed.readers if role not in known]
    for key, roles, words in (
        ("operator", [one for one in others if held[one] > 1], "it may change the rows"),
        ("reader", [one for one in others if held[one] == 1], "it has one privilege on the rows"),
    ):
        if roles:
            table.add(key, roles[0], words)
