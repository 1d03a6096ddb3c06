"""A program that masks each value of a table, and prints what is left as hexadecimal JSON.

It runs in the interpreter of the system. The argument is a JSON list of cases: each has a text, or
the arguments of a task, perhaps in another form than JSON has, and perhaps names that the task
declares as sensitive.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

FORMS = {"tuple": tuple, "set": set, "frozenset": frozenset}


def charge(order: str, card_token: str, amount: int) -> None:
    """Have the parameters of a task."""


def given(value: Any, form: str) -> Any:
    """Return a value in another form: its lists as another collection, or its texts as bytes."""
    if isinstance(value, dict):
        return {key: given(item, form) for key, item in value.items()}
    if isinstance(value, list):
        items = [given(item, form) for item in value]
        return FORMS[form](items) if form in FORMS else items
    return value.encode() if isinstance(value, str) and form == "bytes" else value


def masked(case: dict[str, Any], rules: Any) -> Any:
    """Return what is left of a case; an error is its result."""
    task = SimpleNamespace(run=charge, sensitive_keys=case.get("declared", ()))
    task.app = SimpleNamespace(tasks={"charge": task})
    try:
        if "text" in case:
            return rules.mask_text(case["text"])
        form = case.get("as", "")
        args, kwargs = given(case.get("args"), form), given(case.get("kwargs"), form)
        args, kwargs = rules.masking_for(task).arguments(task, args, kwargs)
    except Exception as error:  # noqa: BLE001 (the result of the case, whatever it is)
        return f"{type(error).__name__}: {error}"
    return {"args": args} if "args" in case else {"kwargs": kwargs}


def main() -> None:
    """Mask all cases."""
    rules = import_module("system.dead_letters.masking")
    results = [masked(case, rules) for case in json.loads(sys.argv[1])]
    # In digits: the evidence of a run is masked too, and would not have what masking left.
    sys.stdout.write(f"{json.dumps(results, default=str).encode().hex()}\n")


if __name__ == "__main__":
    sys.path.insert(0, "")
    main()
