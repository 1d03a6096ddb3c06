"""The pack names nothing of the reference system: no path, module, table, role, task or setting.

Every name is derived from the description and the files of the reference system. The gate taxonomy
judges the harness itself, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tests.criteria import ROOT
from tests.system_names import names

LEFT_OUT = ("taxonomy", "__pycache__")

GENERIC: Mapping[str, str] = {
    "system": "an English word; its modules and paths have a dot or a slash",
    "migrations": "an English word; likewise",
    "ping": "the key of the description, and the word for a task that only answers",
    "investigation": "an English word",
    "explanation": "an English word",
    "route": "an English word",
    "attribution": "an English word",
    "maintenance": "an English word",
    "kombu_message": "the table of kombu's transport, whatever the system",
    "kombu_queue": "the table of kombu's transport, whatever the system",
    "celery_taskmeta": "the table of Celery's result backend, whatever the system",
    "celery_tasksetmeta": "the table of Celery's result backend, whatever the system",
}
"""Names that are no sign of the reference system, with the reason."""

TO_DO: Mapping[str, tuple[str, ...]] = {}
"""The names that a file still has; none may be added, and one that is gone is removed here."""


def findings(text: str, known: Mapping[str, str]) -> Iterator[str]:
    """Yield each of these names that a text has as a word of its own."""
    for name in known:
        if name in text and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            yield name


def found() -> dict[str, frozenset[str]]:
    """Return the names of the reference system in each file of the pack."""
    known = {name: kind for name, kind in names().items() if name not in GENERIC}
    result = {}
    for path in sorted((ROOT / "gates").rglob("*")):
        place = path.relative_to(ROOT / "gates")
        if path.is_file() and not set(LEFT_OUT) & set(place.parts):
            named = frozenset(findings(path.read_text(encoding="utf-8"), known))
            if named:
                result[place.as_posix()] = named
    return result


def test_names_of_the_reference_system_are_derived() -> None:
    """Each kind of name is found, by an example that the files have today."""
    kinds = names()
    examples = {
        "app_user": "role",
        "worker_failed_jobs": "table",
        "app.tasks.llm.route": "task",
        "housekeeping": "queue",
        "app.current_tenant_id": "setting",
        "DATABASE_URL": "environment variable",
        "SYSTEM_BROKER_MAX_DELIVERIES": "environment variable",
        "system/settings.py": "path",
        "system.transport.endings": "module",
        "celery_task_duration_seconds": "metric",
        "claim_dead_letters": "function",
    }
    assert {name: kinds.get(name) for name in examples} == examples


def test_a_generic_name_is_still_one_of_the_system() -> None:
    """The list of generic names has no entry that the reference system does not need."""
    assert set(GENERIC) - set(names()) == set()


def test_pack_names_nothing_of_the_reference_system() -> None:
    """A name in a file of the pack is a claim about one system, or a fault of one."""
    now = {(file, name) for file, listed in found().items() for name in listed}
    to_do = {(file, name) for file, listed in TO_DO.items() for name in listed}
    assert sorted(now - to_do) == []
    assert sorted(to_do - now) == [], "remove these from TO_DO"


def test_name_is_found_as_a_word() -> None:
    """A name in quotes or before a dot counts, a part of a longer word does not."""
    known = {"app_user": "role", "system/app.py": "path"}
    assert list(findings("GRANT x TO app_user;", known)) == ["app_user"]
    assert list(findings('source("a", "system/app.py")', known)) == ["system/app.py"]
    assert list(findings("on app_user/orders", known)) == ["app_user"]
    assert list(findings("app_users, my_app_user, system/app.pyc", known)) == []
