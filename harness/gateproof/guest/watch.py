"""Records which code of the system a process runs: which of its modules, functions and files.

An interpreter imports it when it starts, before any code of the system. It imports nothing from the
harness, and runs on Python 3.8 and later. The system's files are not changed: each function of a
module notes its first run in this process, by a call that is added when the module is compiled. It
adds no line, so that tracebacks stay as they are.

Variables: ``GATEPROOF_WATCH`` names the file for the notes, ``GATEPROOF_WATCH_ROOT`` the folder of
the system, ``GATEPROOF_WATCH_CODE`` a folder for compiled modules, ``GATEPROOF_WATCH_START`` the
start that this process or one of its parents comes from, and ``GATEPROOF_WATCH_PARENT`` the process
that makes this start.

A note is a line: its kind, a space, and a name.

- ``start``: a process of this start was watched; ``inner`` if something else started it, for
  example a shell of which nothing is known.
- ``module``: a module was imported, by its path in the folder.
- ``function``: a function was run, as ``path:name``, see `functions_of`.
- ``file``: a file was opened for reading, by its path in the folder.
- ``program``: another program was started, of which nothing is known.

A file that is read through a symbolic link from outside of the folder is not noted.
"""

from __future__ import annotations

import _imp
import builtins
import marshal
import os
import sys
from _thread import _local
from importlib.machinery import PathFinder, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:  # to import these takes longer than all the rest
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec
    from typing import Any

WATCH, ROOT, CODE = "GATEPROOF_WATCH", "GATEPROOF_WATCH_ROOT", "GATEPROOF_WATCH_CODE"
START, PARENT = "GATEPROOF_WATCH_START", "GATEPROOF_WATCH_PARENT"
MARK = "__gateproof_ran__"
"""The name, among the builtins, of the function that notes the run of another."""
HASH_KEY = 0x67617465
INSTALLED = ("site-packages", "dist-packages")
"""Folders inside the root of which the files belong to installed packages."""
COMPILED = "__pycache__"
STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn")
"""Audit events of a process that starts another program."""


class Watch:
    """The notes of one process and of those that it forks."""

    def __init__(self, log: str, root: str, code: str) -> None:
        self.log = log
        self.root = root.rstrip("/") + "/"
        self.code = code
        self.seen: set[str] = set()
        self.compiling = _local()

    def install(self) -> None:
        """Watch this process from now on."""
        setattr(builtins, MARK, self.ran)
        index = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0
        sys.meta_path.insert(index, Finder(self))
        sys.addaudithook(self.audit)

    def note(self, kind: str, name: str) -> None:
        """Write a note once; processes that run at the same time append to one file.

        If that fails, the file is removed: without the notes of its start, nothing is known of a
        process.
        """
        line = f"{kind} {name}\n"
        if line in self.seen:
            return
        self.seen.add(line)
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(log, line.encode("utf-8", "surrogateescape"))
            finally:
                os.close(log)
        except OSError:
            try:
                os.unlink(self.log)
            except OSError:
                pass

    def ran(self, name: str) -> None:
        """Note the run of a function; called at each of its runs."""
        if name not in self.seen:
            self.seen.add(name)
            self.note("function", name)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note the files that are read and the programs that are started."""
        if event == "open":
            if not getattr(self.compiling, "now", False):
                name = read_file(self.root, *arguments)
                if name:
                    self.note("file", name)
        elif event in STARTS and not (event == "subprocess.Popen" and watches_itself(*arguments)):
            self.note("program", str(arguments[0])[:200].replace("\n", " "))

    def compiled(self, path: str, source: bytes) -> Any:
        """Return the code of a module whose functions note their runs."""
        inner = inside(self.root, path)
        digest = _imp.source_hash(HASH_KEY, inner.encode() + b"\0" + source).hex()
        name = f"{digest}-{sys.implementation.cache_tag}-{sys.flags.optimize}"
        kept = os.path.join(self.code, name)
        try:
            with open(kept, "rb") as file:
                code = marshal.loads(file.read())
        except OSError:
            code = compile(marked(source, path, inner), path, "exec", dont_inherit=True)
            keep(kept, marshal.dumps(code))
        _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]
        return code


class Finder:
    """Finds modules as `PathFinder` does, and lets those of the system be watched."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the specification of a module."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not spec.has_location:
            return spec
        inner = inside(self.watch.root, spec.origin)
        if not inner:
            return spec
        if type(spec.loader) is SourceFileLoader:
            spec.loader = Loader(spec.loader.name, spec.loader.path, self.watch)
        else:
            self.watch.note("file", inner)
        return spec


class Loader(SourceFileLoader):
    """Loads a module of the system from its source."""

    def __init__(self, name: str, path: str, watch: Watch) -> None:
        super().__init__(name, path)
        self.watch = watch

    def get_code(self, fullname: str) -> Any:
        """Return the code of the module, with notes in its functions."""
        path = self.get_filename(fullname)
        watch = self.watch
        watch.compiling.now = True
        try:
            source = self.get_data(path)
        finally:
            watch.compiling.now = False
        watch.note("module", inside(watch.root, path))
        return watch.compiled(path, source)


def watches_itself(program: Any, arguments: Any, _folder: Any, variables: Any) -> bool:
    """Return whether a started program is this interpreter, and is watched like this one.

    Args:
        program: the first argument of the audit event ``subprocess.Popen``.
        arguments: its second: the words of the command.
        _folder: its third.
        variables: its fourth; None for those of this process.

    """
    words = arguments if isinstance(arguments, (list, tuple)) else ()
    first = str(words[1]) if len(words) > 1 else ""
    known = os.environ if variables is None else variables
    same = [known.get(name) == os.environ.get(name) for name in (WATCH, "PYTHONPATH")]
    return str(program) == sys.executable and all(same) and first in ("-c", "-m")


def inside(root: str, path: Any) -> str:
    """Return the path of a file of the system in its folder; empty for any other file.

    Args:
        root: the folder, with a slash at its end.
        path: of the file, from the present folder or whole.

    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""  # a descriptor of a file that was opened before
    whole = os.path.abspath(os.fsdecode(path))
    if not whole.startswith(root):
        return ""
    parts = whole[len(root) :].split("/")
    if any(one in parts for one in INSTALLED):
        return ""
    if COMPILED in parts[:-1]:  # the path of the source, which is not read then
        return "/".join([*parts[:-2], f"{parts[-1].partition('.')[0]}.py"])
    return "/".join(parts)


def read_file(root: str, path: Any, mode: Any = None, flags: Any = 0) -> str:
    """Return the path in its folder of a file of the system that is opened for reading.

    Args:
        root: the folder, with a slash at its end.
        path: the first argument of the audit event ``open``.
        mode: its second; None if the file is opened with flags.
        flags: its third.

    Returns:
        The path; empty for a folder, a file that is not there, and any other file.

    """
    if isinstance(mode, str):
        reads = "r" in mode or "+" in mode
    else:
        reads = not isinstance(flags, int) or (flags & os.O_ACCMODE) != os.O_WRONLY
    name = inside(root, path) if reads else ""
    return name if name and os.path.isfile(root + name) else ""


def keep(path: str, content: bytes) -> None:
    """Write a file at once, if that is possible."""
    part = f"{path}.{os.getpid()}"
    try:
        with open(part, "wb") as file:
            file.write(content)
        os.replace(part, path)
    except OSError:
        pass


def marked(source: bytes, path: str, inner: str) -> Any:
    """Return the syntax tree of a module of which each outer function begins with a note."""
    import ast

    tree = ast.parse(source, path)
    for name, function in functions_of(tree):
        first = function.body[0]
        call = ast.Call(
            func=ast.Name(id=MARK, ctx=ast.Load()),
            args=[ast.Constant(value=f"{inner}:{name}")],
            keywords=[],
        )
        statement = ast.copy_location(ast.Expr(value=call), first)
        ast.fix_missing_locations(statement)
        at = 0 if ast.get_docstring(function, clean=False) is None else 1
        function.body.insert(at, statement)
    return tree


def functions_of(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the outer functions of a module, with names that are unique in it.

    A function inside of another one, and a lambda expression, belong to what they are written in.
    A method has its class before its name; a second function of a name has its number behind it.
    """
    import ast

    counts: dict[str, int] = {}

    def visit(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = prefix + child.name
                counts[name] = counts.get(name, 0) + 1
                yield (name if counts[name] == 1 else f"{name}#{counts[name]}"), child
            elif not isinstance(child, ast.expr):
                inner = f"{prefix}{child.name}." if isinstance(child, ast.ClassDef) else prefix
                yield from visit(child, inner)

    return visit(tree, "")


WATCHED: list[Watch] = []
"""The watch of this process, if it is watched."""


def begin() -> None:
    """Watch this process if its variables ask for it; a process that cannot be is not stopped."""
    variables = os.environ
    if WATCH not in variables or WATCHED:
        return
    watch = Watch(variables[WATCH], variables[ROOT], variables[CODE])
    WATCHED.append(watch)
    direct = variables.get(PARENT) == str(os.getppid())
    watch.note("start" if direct else "inner", variables.get(START, ""))
    watch.install()
