"""One task goes to its queue with the routing key of none."""

from types import ModuleType
from typing import Any

TASK, KEY = "app.tasks.attribution.recompute_window", "attribution.other"


def change_key(routes: ModuleType) -> None:
    """Have the table of routes give that task another key."""
    original = routes.MapRoute.__call__

    def look_up(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        route = original(self, name, *args, **kwargs)
        return {**route, "routing_key": KEY} if name == TASK and route else route

    routes.MapRoute.__call__ = look_up


CHANGES = {"celery.app.routes": change_key}
