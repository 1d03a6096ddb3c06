"""One task has no route, so that it goes to the default queue."""

from types import ModuleType
from typing import Any

LOST = "app.tasks.llm.explanation"


def lose_route(routes: ModuleType) -> None:
    """Have the table of routes say nothing of that task."""
    original = routes.MapRoute.__call__

    def look_up(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return None if name == LOST else original(self, name, *args, **kwargs)

    routes.MapRoute.__call__ = look_up


CHANGES = {"celery.app.routes": lose_route}
