"""The migrations of the Celery branch exit well and make nothing."""

from types import ModuleType
from typing import Any


def do_nothing(impl: ModuleType) -> None:
    """Leave out every statement of every revision; Alembic's own notes are still taken."""

    def execute(self: Any, sql: Any, execution_options: Any = None) -> None:
        """Take the statement and do nothing."""

    impl.DefaultImpl.execute = execute


CHANGES = {"alembic.ddl.impl": do_nothing}
