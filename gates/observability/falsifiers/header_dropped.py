"""The correlation id of a message's header is lost when the message arrives."""

from __future__ import annotations

from types import ModuleType


def drop_header(identity: ModuleType) -> None:
    """Keep nothing of what arrives."""

    def keep(**_: object) -> None:
        return None

    vars(identity)["_keep"] = keep


CHANGES = {"system.identity": drop_header}
