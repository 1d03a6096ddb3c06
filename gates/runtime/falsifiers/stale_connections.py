"""Tasks are given pooled connections without a look at whether they still live."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def trust_the_pool(database: ModuleType) -> None:
    """Test no connection before its use."""

    def create_engine(url: str, **options: Any) -> Any:
        return make(url, **{**options, "pool_pre_ping": False})

    make = database.create_engine
    vars(database)["create_engine"] = create_engine


CHANGES = {"system.database": trust_the_pool}
