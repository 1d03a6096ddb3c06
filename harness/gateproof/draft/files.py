"""Reads the files of a project: its interpreter, app, migrations, provisioning and variables.

Reads files only. Owns the guesses about their names; each guess names the file that it is from.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SKIPPED = frozenset((
    ".git", ".hg", ".tox", ".nox", ".venv", "venv", "env", "node_modules", "__pycache__", "build",
    "dist", "site-packages", ".mypy_cache", ".pytest_cache", ".ruff_cache", "tests", "test", "docs",
    "examples",
))  # fmt: skip
"""Folders in which no part of the running system is looked for."""
INTERPRETERS = (".venv/bin/python", "venv/bin/python", "env/bin/python")
READ = (".py", ".sql")
"""The names of files that are read end like this."""
MOST_FILES = 20_000
"""No more of these are read. Others do not count: a folder of reports has thousands of files."""
LARGEST = 1_000_000
"""Files of more bytes are not read."""
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|DSN")
"""The form of the name of a variable."""
DATABASE_VARIABLE = re.compile(
    r"(DATABASE|POSTGRES|PG|DB)_?(URL|DSN|URI)|(^|_)(DB|DATABASE)$|^(DSN|SQLALCHEMY_URL)$"
)
CREATES_ROLES = re.compile(r"\bCREATE\s+(ROLE|USER)\b", re.IGNORECASE)
PER_DATABASE = re.compile(
    r"\bCREATE\s+EXTENSION\b|\bON\s+DATABASE\b|\bcurrent_database\(\)", re.IGNORECASE
)
STARTS_WORKER = re.compile(r"\bworker_main\b|\bWorkController\b|bin\.worker|\.Worker\(")
DSN_FORM = re.compile(r"(postgresql(?:\+(?:asyncpg|psycopg2|psycopg))?)://")
"""The scheme of a DSN, such as that of a default in the sources."""
PATH = re.compile(r"/[a-z_]+/?")
"""The form of the path of an endpoint."""
UVICORN = ("-m", "uvicorn", "{app}", "--port={port}")
FRAMEWORKS = {
    "Flask": ("-m", "flask", "--app", "{app}", "run", "--port={port}"),
    "FastAPI": UVICORN,
    "Starlette": UVICORN,
    "Litestar": UVICORN,
}
"""Classes of web applications, and the words after the interpreter that serve one."""
SERVES = re.compile(
    r"^\s*(?:from|import) +(?:uvicorn|hypercorn|granian|waitress|cheroot|http\.server|aiohttp\.web"
    r"|werkzeug\.serving|wsgiref\.simple_server)\b",
    re.MULTILINE,
)
"""Modules that serve HTTP."""
CHECKS = re.compile(r"^\s*(from|import) +gateproof\b", re.MULTILINE)
"""Files with checks describe no part of the running system."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A value and the file that it was found in."""

    value: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class WebProcess:
    """A command that seems to start a process which answers requests."""

    command: tuple[str, ...]
    """Its words, with ``{python}``, and ``{port}`` where the command takes one."""
    origin: str
    """The file that it was found in."""


@dataclass(frozen=True, kw_only=True)
class ProjectFiles:
    """The facts that files show; every list has the likeliest candidate first."""

    python: Found | None
    apps: tuple[Found, ...]
    """``module:attribute`` of Celery apps."""
    worker_modules: tuple[Found, ...]
    """Modules that are programs and start a worker."""
    alembic: Found | None
    """The configuration file of Alembic."""
    manage: Found | None
    """Django's ``manage.py``."""
    server_sql: tuple[str, ...]
    """SQL files that create roles, relative to the project."""
    database_sql: tuple[str, ...]
    """SQL files that set up one database, relative to the project."""
    variables: tuple[Found, ...]
    """Environment variables that the code seems to read."""
    paths: tuple[Found, ...]
    """Texts of the code with the form of an endpoint's path."""
    dockerfile: Found | None
    web: tuple[WebProcess, ...] = ()
    """Commands that seem to answer requests: web applications first, then programs."""
    dsn_forms: tuple[Found, ...] = ()
    """The schemes of DSNs in texts of the code, each once."""

    def variable(self, pattern: str) -> Found | None:
        """Return the first variable whose name matches a regular expression."""
        return next((one for one in self.variables if re.search(pattern, one.value)), None)

    def path(self, pattern: str) -> Found | None:
        """Return the first path that matches a regular expression."""
        return next((one for one in self.paths if re.search(pattern, one.value)), None)

    @property
    def dsn_form(self) -> Found | None:
        """The scheme of all DSNs in the code; None without any, or with several."""
        return self.dsn_forms[0] if len(self.dsn_forms) == 1 else None

    @property
    def database_variables(self) -> tuple[Found, ...]:
        """The variables that seem to have a DSN of the database."""
        return tuple(one for one in self.variables if DATABASE_VARIABLE.search(one.value))


def read_project(root: Path) -> ProjectFiles:
    """Read the files of a project.

    Args:
        root: its folder. Folders of environments, caches and tests are skipped.

    """
    paths = list(_walk(root))
    sources = [(path, _read(path)) for path in paths if path.suffix == ".py"]
    sources = [(path, text) for path, text in sources if not CHECKS.search(text)]
    texts = [(path, text, _texts(text)) for path, text in sources]
    sql = [(path, _read(path)) for path in paths if path.suffix == ".sql"]
    server = [path for path, text in sql if CREATES_ROLES.search(text)]
    database = [p for p, text in sql if p not in server and PER_DATABASE.search(text)]
    return ProjectFiles(
        python=_interpreter(root),
        apps=tuple(_apps(root, sources)),
        worker_modules=tuple(_worker_modules(root, sources)),
        alembic=_named(root, paths, "alembic.ini"),
        manage=_named(root, paths, "manage.py"),
        server_sql=_relative(root, server),
        database_sql=_relative(root, database),
        variables=tuple(_variables(root, texts)),
        paths=tuple(_matching(root, [(path, inner) for path, _, inner in texts], PATH)),
        dockerfile=_named(root, paths, "Dockerfile"),
        web=(*_web_applications(root, sources), *_web_programs(root, sources)),
        dsn_forms=tuple(_dsn_forms(root, texts)),
    )


def _walk(root: Path) -> Iterator[Path]:
    count = 0
    for top, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if name not in SKIPPED and not _is_environment(Path(top, name))
        )
        for name in sorted(names):
            count += name.endswith(READ)
            if count > MOST_FILES:
                return
            yield Path(top, name)


def _is_environment(folder: Path) -> bool:
    return (folder / "pyvenv.cfg").is_file()


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            return ""
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _interpreter(root: Path) -> Found | None:
    for name in INTERPRETERS:
        if os.access(root / name, os.X_OK):
            return Found(value=name, origin=name)
    return None


def default_python(files: ProjectFiles, root: Path) -> str:
    """Return the interpreter to import the app with: the project's, else this one."""
    return str(root / files.python.value) if files.python else sys.executable


def _apps(root: Path, sources: Sequence[tuple[Path, str]]) -> Iterator[Found]:
    """Yield the names that a module binds to ``Celery(...)``, those called app or celery first."""
    found = [
        Found(value=f"{_module(root, path)}:{name}", origin=_origin(root, path))
        for path, text in sources
        if "Celery" in text
        for name in _bound_to_celery(text)
    ]
    yield from sorted(found, key=lambda one: (_rank(one.value), one.value.count("."), one.value))


def _rank(target: str) -> int:
    return 0 if target.rpartition(":")[2] in ("app", "celery", "celery_app") else 1


def _web_applications(root: Path, sources: Sequence[tuple[Path, str]]) -> Iterator[WebProcess]:
    """Yield the commands for names that a module binds to an application of a known framework."""
    for path, text in sources:
        for name, maker in _bound(text):
            if maker in FRAMEWORKS:
                words = [
                    word.format(app=f"{_module(root, path)}:{name}", port="{port}")
                    for word in FRAMEWORKS[maker]
                ]
                yield WebProcess(command=("{python}", *words), origin=_origin(root, path))


def _web_programs(root: Path, sources: Sequence[tuple[Path, str]]) -> Iterator[WebProcess]:
    """Yield the commands for packages with ``__main__`` of which a module serves HTTP."""
    for path, _ in sources:
        if path.name == "__main__.py" and path.parent != root:
            own = [text for other, text in sources if path.parent in other.parents]
            if any(map(SERVES.search, own)):
                words = ("{python}", "-m", _module(root, path.parent / "__init__.py"))
                yield WebProcess(command=words, origin=_origin(root, path))


def _bound(text: str) -> Iterator[tuple[str, str]]:
    """Yield each name that a module binds to a call, with the name of what is called."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else ([node.target] if isinstance(node, ast.AnnAssign) else [])
        )
        value = getattr(node, "value", None)
        if isinstance(value, ast.Call):
            yield from ((one.id, _called(value)) for one in targets if isinstance(one, ast.Name))


def _bound_to_celery(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    makers = {"Celery"} | {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and _returns_celery(node)
    }
    yield from (name for name, maker in _bound(text) if maker in makers)


def _returns_celery(function: ast.FunctionDef) -> bool:
    return isinstance(function.returns, ast.Name) and function.returns.id == "Celery"


def _called(call: ast.Call) -> str:
    function = call.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _worker_modules(root: Path, sources: Sequence[tuple[Path, str]]) -> Iterator[Found]:
    for path, text in sources:
        is_program = "__main__" in text and "__name__" in text
        if is_program and STARTS_WORKER.search(text):
            yield Found(value=_module(root, path), origin=_origin(root, path))


def _texts(source: str) -> tuple[str, ...]:
    """Return the texts in a module, in their order, without those of its docstrings."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    nodes = [one for one in ast.walk(tree) if isinstance(one, ast.Constant)]
    nodes.sort(key=lambda one: (one.lineno, one.col_offset))
    return tuple(one.value for one in nodes if isinstance(one.value, str))


def _variables(root: Path, sources: Sequence[tuple[Path, str, tuple[str, ...]]]) -> Iterator[Found]:
    """Yield the texts with the form of a variable's name, in modules that know the environment."""
    inner = [(path, texts) for path, text, texts in sources if "environ" in text or "env(" in text]
    yield from _matching(root, inner, VARIABLE)


def _dsn_forms(root: Path, sources: Sequence[tuple[Path, str, tuple[str, ...]]]) -> Iterator[Found]:
    """Yield each scheme once, with the first file that has it, and never the rest of a DSN."""
    seen: set[str] = set()
    for path, _, texts in sources:
        for found in filter(None, map(DSN_FORM.match, texts)):
            if found[1] not in seen:
                seen.add(found[1])
                yield Found(value=found[1], origin=_origin(root, path))


def _matching(
    root: Path, sources: Sequence[tuple[Path, tuple[str, ...]]], form: re.Pattern[str]
) -> Iterator[Found]:
    """Yield each text of a form once, with the first file that has it."""
    seen: set[str] = set()
    for path, texts in sources:
        for text in texts:
            if text not in seen and form.fullmatch(text):
                seen.add(text)
                yield Found(value=text, origin=_origin(root, path))


def _named(root: Path, paths: Sequence[Path], name: str) -> Found | None:
    found = sorted(
        (path for path in paths if path.name == name), key=lambda path: (len(path.parts), path)
    )
    return Found(value=_origin(root, found[0]), origin=_origin(root, found[0])) if found else None


def _relative(root: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(_origin(root, path) for path in paths)


def _module(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _origin(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
