"""The worker ends at once when it is told to stop."""

from __future__ import annotations

import os
import signal
from types import ModuleType


def end_at_once(app: ModuleType) -> None:
    """Let the stop signal end the process, whatever Celery would do."""

    def leave(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    app.signals.worker_ready.connect(leave, weak=False)


CHANGES = {"system.app": end_at_once}
