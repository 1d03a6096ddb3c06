"""One task is registered under another name."""

from typing import Any

OLD, NEW = "app.tasks.llm.explanation", "app.tasks.llm.explain"


def rename(app: Any) -> None:
    """Have the decorator that registers tasks give that one its new name."""
    original = app.shared_task

    def shared_task(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("name") == OLD:
            kwargs["name"] = NEW
        return original(*args, **kwargs)

    app.shared_task = shared_task


CHANGES = {"celery.app": rename}
