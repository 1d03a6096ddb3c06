"""The way down forgets to drop the function that holds the status moves."""

from types import ModuleType
from typing import Any

FORGOTTEN = "DROP FUNCTION enforce_dead_letter_moves"


def forget_drop(impl: ModuleType) -> None:
    """Leave out that one statement; to let the next way up pass is no part of it."""
    original = impl.DefaultImpl.execute

    def execute(self: Any, sql: Any, execution_options: Any = None) -> None:
        if FORGOTTEN not in str(sql):
            original(self, sql, execution_options)

    impl.DefaultImpl.execute = execute


CHANGES = {"alembic.ddl.impl": forget_drop}
