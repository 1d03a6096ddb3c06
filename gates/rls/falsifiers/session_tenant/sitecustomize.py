"""Falsifier: the tenant is set for the session, and no longer for the transaction alone.

Rewrites the one word of the statement on its way to the driver, in every process of the system.
"""

from typing import Any

from sqlalchemy import Engine, event


def _for_the_session(_: object, __: object, statement: str, *rest: Any) -> tuple[str, Any]:
    if "set_config(" in statement:
        statement = statement.replace(", true)", ", false)")
    return statement, rest[0]


event.listen(Engine, "before_cursor_execute", _for_the_session, retval=True)
