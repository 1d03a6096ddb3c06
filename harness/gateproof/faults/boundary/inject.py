"""The fault kind `inject`: a module or a named change of Celery in the system's own processes.

The system's workers, publishers and programs load it through Celery's loader, see
`gateproof.guest.loader`; no file of the system is changed. A worker that starts with it and exits
before it connects reports what has been changed: this is the evidence that the fault landed.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateproof.faults.interface import Fault
from gateproof.guest import program
from gateproof.stack.guest_load import CHANGE
from gateproof_evidence.errors import BadInputError

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy


def known_changes() -> tuple[str, ...]:
    """Return the names of the changes, read from the text of the module, which is not imported."""
    for statement in ast.parse(program("change")).body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Dict):
            return tuple(str(ast.literal_eval(key)) for key in statement.value.keys if key)
    return ()


@dataclass(frozen=True, kw_only=True)
class InjectFault(Fault):
    """A module, or a change of Celery, that the system's processes load."""

    kind = "inject"
    restarts = True
    passage = "modules that its processes load"

    change: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""

    def describe(self) -> str:
        """Return the change with its options, or the code."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.change}({options})" if self.change else f"load\n{self.code.strip()}"

    def change_inertly(self, copy: Copy) -> str:
        """Let the processes load a change that changes nothing, and stop the running ones."""
        copy.stack.load({"module": CHANGE, "change": "nothing"}, {})
        return "load a module that changes nothing"

    def fingerprint(self, copy: Copy) -> str:
        """Return the report of a worker: the state of what is changed, or the module's digest."""
        loaded = any(one == self._entry for one in copy.stack.loaded)
        entry = self._entry if loaded else {**self._entry, "only_watched": True}
        pools = self.options.get("pools") or [""]
        return copy.stack.report_of_loaded(entry, self._sources, pool=str(pools[0]))

    def inject(self, copy: Copy) -> None:
        """Stop the processes; those that start later load the change."""
        copy.stack.load(self._entry, self._sources)

    @property
    def _module(self) -> str:
        return f"gateproof_injected_{self.name.replace('-', '_')}"

    @property
    def _entry(self) -> dict[str, Any]:
        if self.change:
            return {"module": CHANGE, "change": self.change, "options": dict(self.options)}
        return {"module": self._module}

    @property
    def _sources(self) -> dict[str, str]:
        return {self._module: self.code} if self.code else {}


def inject(name: str, change: str = "", *, code: str = "", **options: Any) -> InjectFault:
    """Break a claim by a change of Celery in the system's own processes.

    Args:
        name: a slug.
        change: the name of a change of `gateproof.guest.change`, such as ``acknowledge-early``.
        code: the text of a module instead, for Python 3.8 and later; it can have functions that
            `gateproof.guest.loader` calls, and a function ``state(app)`` for the evidence.
        **options: options of the change; values that JSON has.

    Raises:
        BadInputError: not exactly one of change and code is given, the change is not known, or the
            code is no Python.

    """
    if bool(change) == bool(code) or (code and options):
        raise BadInputError(
            f"falsifier {name}: got {change=}, {code=}, {options=}, expected a change with its "
            "options, or code"
        )
    if change and change not in known_changes():
        raise BadInputError(
            f"falsifier {name}: change: got {change!r}, expected one of "
            f"{', '.join(known_changes())}"
        )
    try:
        ast.parse(code)
    except SyntaxError as error:
        raise BadInputError(f"falsifier {name}: code: got {error}, expected Python") from error
    return InjectFault(name=name, change=change, options=options, code=code)
