"""One more task is registered, under a name that nobody recorded."""

from types import ModuleType

NAME = "app.tasks.llm.summary"


def add_task(app: ModuleType) -> None:
    """Register a task that does nothing."""

    def summary() -> None:
        """Do nothing."""

    app.shared_task(name=NAME)(summary)


CHANGES = {"celery.app": add_task}
