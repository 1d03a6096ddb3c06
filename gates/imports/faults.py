"""Faults at the end of the module with the described app, whatever the system calls it.

Owns finding the file of that module among the described sources. Each fault adds a few lines to a
copy of it, so that its import does what no import may do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from gateproof import Fault, Sut, falsified_by_each, source

Expect = tuple[str, str, str]


def app_files(sut: Sut) -> list[str]:
    """Return the file of the app's module, relative to the root; none if it is no source file."""
    names = sut.celery.app.partition(":")[0].split(".")
    places = ("/".join(names) + ".py", "/".join((*names, "__init__")) + ".py")
    for source_ in sut.sources:
        top = sut.folder / source_
        for path in [top] if top.is_file() else sorted(top.rglob("*.py")):
            inner = path.relative_to(sut.folder).as_posix()
            if any(f"/{inner}".endswith(f"/{place}") for place in places):
                return [inner]
    return []


def app_module(sut: Sut) -> str:
    """Return the name of the app's module."""
    return sut.celery.app.partition(":")[0]


def app_name(sut: Sut) -> str:
    """Return the name of the app in its module."""
    return sut.celery.app.partition(":")[2]


def falsified_in_app(
    name: str,
    lines: Callable[[Sut], Sequence[str]],
    expect: Callable[[Sut], Expect],
    *,
    imports: bool = True,
) -> pytest.MarkDecorator:
    """Declare a falsifier that adds lines to the end of the app's module.

    Args:
        name: a slug.
        lines: returns the lines of Python; there is no falsifier without any.
        expect: returns the claim that must not hold then, its object, and a part of its values.
        imports: whether the module can be imported afterwards.

    """

    def make(sut: Sut, file: str) -> tuple[Fault, Expect]:
        text = "\n".join(lines(sut))
        return source(name, file, append=text, imports=imports), expect(sut)

    return falsified_by_each(lambda sut: app_files(sut) if lines(sut) else [], make)


def connecting(sut: Sut) -> list[str]:
    """Return lines that connect to the server in the first described DSN, if it is set."""
    return [
        line
        for variable in list(sut.worker.dsn)[:1]
        for line in (
            "import os, socket, urllib.parse",
            f"_url = urllib.parse.urlsplit(os.environ.get({variable!r}, ''))",
            "_made = _url.hostname and socket.create_connection((_url.hostname, _url.port))",
        )
    ]


def starting_a_thread(_: Sut) -> list[str]:
    """Return lines that start a thread."""
    return [
        "import threading",
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
    ]


def listening(_: Sut) -> list[str]:
    """Return lines that serve HTTP."""
    return [
        "from http.server import BaseHTTPRequestHandler, HTTPServer",
        "_server = HTTPServer(('127.0.0.1', 0), BaseHTTPRequestHandler)",
    ]


def demanding_a_setting(_: Sut) -> list[str]:
    """Return lines that raise where a variable is not set."""
    return ["import os", "os.environ['GATEPROOF_SETTING_THAT_IS_NOT_SET']"]


def demanding_a_home(_: Sut) -> list[str]:
    """Return lines that raise where no variable names the user's folder."""
    return ["import os", "_state = os.environ['HOME'] + '/state'"]


def demanding_a_variable(_: Sut) -> list[str]:
    """Return lines that raise where no variable names a folder of programs."""
    return ["import os", "_programs = [one for one in os.environ if one == 'PATH'][0]"]


def eager(sut: Sut) -> list[str]:
    """Return a line that switches eager mode on."""
    return [f"{app_name(sut)}.conf.task_always_eager = True"]


def forgetting_a_task(sut: Sut) -> list[str]:
    """Return lines that remove the last described task."""
    return [
        line
        for task in sut.tasks[-1:]
        for line in (
            f"@{app_name(sut)}.on_after_finalize.connect(weak=False)",
            "def _forget(sender, **_):",
            f"    sender.tasks.pop({task!r}, None)",
        )
    ]


def adding_a_task(sut: Sut) -> list[str]:
    """Return lines that add a task next to the last described one."""
    return [
        line
        for task in sut.tasks[-1:]
        for line in (
            f"@{app_name(sut)}.task(name={f'{task}_more'!r})",
            "def _added():",
            "    return None",
        )
    ]
