"""Read tables of cases, and have programs run on them in the interpreter of the system."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gateproof import Stack, premise

ROWS = Path(__file__).with_name("rows.py")
_MODULE = "{name} = types.ModuleType({module!r}); sys.modules[{module!r}] = {name}"
_RUN = "exec(compile({text!r}, {file!r}, 'exec'), {name}.__dict__)"
_PROGRAM = "exec(compile({text!r}, {file!r}, 'exec'), {{'__name__': '__main__'}})"


@cache
def cases_of(table: Path) -> list[dict[str, Any]]:
    """Return the cases of a table, which is read once."""
    found: list[dict[str, Any]] = YAML(typ="safe").load(table)
    return found


def sorted_lines(lines: list[str]) -> list[str]:
    """Return rows by their number or name, as a program has them."""
    return sorted(lines, key=lambda line: (len(word := line.split()[0]), word))


@cache
def joined(program: Path, *modules: Path) -> str:
    """Return the text of a program with modules of the gates, which an image does not have.

    Args:
        program: imports the modules as `system.gates.FOLDER.MODULE`.
        modules: in an order in which each imports earlier ones only.

    """
    lines = ["import sys, types"]
    for one in modules:
        name = f"system.gates.{one.parent.name}.{one.stem}"
        lines.append(_MODULE.format(name=one.stem, module=name))
        lines.append(_RUN.format(name=one.stem, text=one.read_text("utf-8"), file=one.name))
    lines.append(_PROGRAM.format(text=program.read_text("utf-8"), file=program.name))
    return "\n".join(lines)


def answer_of(stack: Stack, program: str, asked: str) -> str:
    """Run a program with the URL of the worker's database and what is asked; return its answer."""
    url = f"postgresql+psycopg2://{stack.inner_dsn(stack.sut.worker.role).partition('://')[2]}"
    done = stack.process.run(
        [stack.sut.interpreter, "-c", program, url, asked],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
    premise("exit status of the program", got=done.exit_status, expected=0)
    return done.output.strip().splitlines()[-1]
