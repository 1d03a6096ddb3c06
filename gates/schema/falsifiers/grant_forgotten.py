"""The way up forgets the reader's privilege on dead letters."""

from types import ModuleType
from typing import Any

GRANTED = "GRANT SELECT ON celery_task_failures TO app_ro"


def forget_grant(impl: ModuleType) -> None:
    """Take the privilege back right after it was granted."""
    original = impl.DefaultImpl.execute

    def execute(self: Any, sql: Any, execution_options: Any = None) -> None:
        original(self, sql, execution_options)
        if GRANTED in str(sql):
            original(self, GRANTED.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))

    impl.DefaultImpl.execute = execute


CHANGES = {"alembic.ddl.impl": forget_grant}
