"""Watched processes: the notes name each module, function and file that a process uses.

Each test runs a real interpreter on a small package, by the environment `embedded`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateproof.environments.process import LocalLauncher
from gateproof.stack.watched import Notes, Used, Watches, watched

FILES = {
    "shop/__init__.py": "",
    "shop/price.py": '''
"""Prices."""
RATES = {"a": 1}

def rate(name):
    """Return a rate."""
    return RATES[name]

def unused():
    return rate("b")

class Basket:
    def __init__(self, *names):
        self.names = names

    def total(self):
        return sum(rate(name) for name in self.names)

    def empty(self):
        return not self.names
''',
    "shop/never.py": "def nothing(): pass\n",
    "data/rates.txt": "a 1\n",
    "data/other.txt": "b 2\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a small system."""
    folder = tmp_path / "root"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def watches(root: Path, tmp_path: Path) -> Watches:
    """The watches of one pytest process."""
    (tmp_path / "files").mkdir()
    found = Watches(folder=tmp_path / "files/watch", root=root)
    found.begin_item()
    return found


def run(
    watches: Watches, root: Path, words: Sequence[str], *, warm: bool = False
) -> tuple[str, Used]:
    """Run the interpreter in the folder of the system; return its output and what it used."""
    notes = watches.open()
    assert isinstance(notes, Notes)
    folder = root.parent / f"run-{len(watches.opened)}"
    folder.mkdir()
    launcher = LocalLauncher(folder, label={}, warm=("json",) if warm else ())
    try:
        done = watched(launcher, notes).run(
            [sys.executable, *words], env={}, folder=root, deadline_s=30
        )
    finally:
        launcher.dispose()
    return done.output, notes.used()


TOTAL = "from shop.price import Basket; print(Basket('a', 'a').total())"
OF_TOTAL = {
    "shop/__init__.py:",
    "shop/price.py:",
    "shop/price.py:rate",
    "shop/price.py:Basket.__init__",
    "shop/price.py:Basket.total",
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "forked"])
def test_modules_and_functions_that_run_are_noted(warm: bool, watches: Watches, root: Path) -> None:
    """Those that ran are named, also of a second process and a compiled module; no other is."""
    for _ in range(2):
        output, used = run(watches, root, ["-c", TOTAL], warm=warm)
        assert output == "2\n"
        assert used == Used(units=frozenset(OF_TOTAL))


def test_processes_and_threads_are_noted_with_the_first_one(watches: Watches, root: Path) -> None:
    """A fork, a thread, a spawned interpreter, and a process that is killed at once count too."""
    code = """
import multiprocessing, os, signal, threading
from shop.price import Basket, rate
def last():
    rate("a"); os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    thread = threading.Thread(target=Basket("a").total); thread.start(); thread.join()
    child = multiprocessing.get_context("fork").Process(target=last); child.start(); child.join()
    spawned = multiprocessing.get_context("spawn").Process(target=Basket().empty)
    spawned.start(); spawned.join()
    print(child.exitcode, spawned.exitcode)
"""
    (root / "many.py").write_text(code)
    output, used = run(watches, root, ["-m", "many"])
    assert output == "-9 0\n"
    assert used.units >= OF_TOTAL | {"shop/price.py:Basket.empty", "many.py:", "many.py:last"}
    assert "shop/price.py:unused" not in used.units


LOADED_BY_PATH = """
import importlib.util as u
spec = u.spec_from_file_location('x', 'shop/price.py')
spec.loader.exec_module(u.module_from_spec(spec))
"""


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("open('data/rates.txt').read()", "data/rates.txt"),
        ("import os; os.chdir('data'); open('../data/rates.txt').read()", "data/rates.txt"),
        ("import os; os.read(os.open('data/rates.txt', os.O_RDONLY), 9)", "data/rates.txt"),
        ("from pathlib import Path; Path('data/rates.txt').read_text()", "data/rates.txt"),
        ("open('data/rates.txt', 'r+').close()", "data/rates.txt"),
        ("import inspect, shop.price; inspect.getsource(shop.price)", "shop/price.py"),
        (LOADED_BY_PATH, "shop/price.py"),
    ],
)
def test_files_that_are_read_are_noted(code: str, name: str, watches: Watches, root: Path) -> None:
    """By whatever way a process reads a file, its whole content counts; the second time too."""
    for _ in range(2):  # then a compiled copy of a module may be read instead
        _, used = run(watches, root, ["-c", code])
        assert {unit for unit in used.units if ":" not in unit} == {name}
        assert not used.unknown


def test_script_counts_as_a_whole(watches: Watches, root: Path) -> None:
    """A script that is started by its path is noted as a file that was read."""
    (root / "script.py").write_text("print(1)\n")
    output, used = run(watches, root, ["script.py"])
    assert (output, set(used.units)) == ("1\n", {"script.py"})


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import subprocess; subprocess.run(['true'])", "true was started"),
        ("import os; os.system('true')", "was started"),
        ("import os; os.execv('/bin/true', ['true'])", "/bin/true was started"),
        ("import os; os.posix_spawn('/bin/true', ['true'], {})", "/bin/true was started"),
    ],
)
def test_program_that_cannot_be_watched_is_named(
    code: str, why: str, watches: Watches, root: Path
) -> None:
    """A process that starts another program may use any file."""
    _, used = run(watches, root, ["-c", code])
    assert len(used.unknown) == 1
    assert why in next(iter(used.unknown))


@pytest.mark.parametrize(
    ("start", "known"),
    [
        ("subprocess.run([sys.executable, '-c', code], check=True)", True),
        ("subprocess.run([sys.executable, '-c', code], env=dict(os.environ), check=True)", True),
        ("subprocess.run([sys.executable, '-c', code], env={}, check=True)", False),
        ("subprocess.run([sys.executable, '-I', '-c', code], check=True)", False),
        ("subprocess.run([sys.executable, '-'], input=code, text=True, check=True)", False),
    ],
)
def test_interpreter_that_a_process_starts_is_watched_if_it_can_be(
    start: str, known: bool, watches: Watches, root: Path
) -> None:
    """A second interpreter notes what it uses; any other is a program that cannot be watched."""
    code = "import sys; sys.path.insert(0, '.'); from shop.price import rate; rate('a')"
    _, used = run(watches, root, ["-c", f"import os, subprocess, sys; code = {code!r}; {start}"])
    assert bool(used.unknown) is not known
    assert "shop/price.py:rate" in used.units or not known


def test_program_whose_files_are_described_is_known(watches: Watches, root: Path) -> None:
    """A program of the key `reads` depends on its files, as a command and below a process."""
    watches.reads = {"cat": ["data"], "true": []}
    notes = watches.open()
    assert notes is not None
    (root.parent / "run").mkdir()
    launcher = LocalLauncher(root.parent / "run", label={})
    watched(launcher, notes).run(["cat", "/dev/null"], env={}, folder=root, deadline_s=30)
    assert notes.used() == Used(units=frozenset({"data/rates.txt", "data/other.txt"}))
    code = "import subprocess; subprocess.run(['/bin/true'], check=True)"
    watched(launcher, notes).run([sys.executable, "-c", code], env={}, folder=root, deadline_s=30)
    assert not notes.used().unknown
    watched(launcher, notes).run(["echo"], env={}, folder=root, deadline_s=30)
    launcher.dispose()
    assert notes.used().unknown == {"echo cannot be watched"}


@pytest.mark.parametrize(
    "words",
    [["-I", "-c", TOTAL], ["-S", "-c", "pass"]],
    ids=["isolated", "without site"],
)
def test_interpreter_that_is_not_watched_is_unknown(
    words: list[str], watches: Watches, root: Path
) -> None:
    """Without a note of its start, nothing is known of a process."""
    _, used = run(watches, root, words)
    assert len(used.unknown) == 1
    assert "cannot be watched" in next(iter(used.unknown))


def test_shell_between_is_unknown(watches: Watches, root: Path) -> None:
    """A watched interpreter under a shell says nothing of what the shell did."""
    notes = watches.open()
    assert notes is not None
    (root.parent / "run").mkdir()
    launcher = LocalLauncher(root.parent / "run", label={})
    command = ["sh", "-c", f"cat data/rates.txt; {sys.executable} -c pass"]
    done = watched(launcher, notes).run(command, env={}, folder=root, deadline_s=30)
    launcher.dispose()
    assert done.output == "a 1\n"
    assert notes.used().unknown == {"sh cannot be watched"}


def test_notes_that_cannot_be_written_are_no_knowledge(watches: Watches, root: Path) -> None:
    """A process that removes the notes, as one does that cannot write, is not known."""
    code = f"import os, glob; os.unlink(os.environ['GATEPROOF_WATCH']); {TOTAL}"
    output, used = run(watches, root, ["-c", code])
    assert output == "2\n"
    assert used.unknown


def test_watched_modules_behave_as_before(watches: Watches, root: Path) -> None:
    """Lines of tracebacks, docstrings, signatures, generators and the source stay as they are."""
    (root / "shop/all.py").write_text(
        '''
from __future__ import annotations
import inspect, traceback
def documented(x: int, *, y=2):
    """A docstring."""
def numbers():
    yield 1
async def later():
    return 2
def uses_global():
    global SEEN
    SEEN = 1
def fails():
    raise ValueError("at line 14")
print(documented.__doc__, inspect.signature(documented), list(numbers()))
print(inspect.iscoroutinefunction(later), inspect.isgeneratorfunction(numbers))
print(inspect.getsource(uses_global).count("SEEN"), documented.__code__.co_firstlineno)
try:
    fails()
except ValueError as error:
    print([frame.lineno for frame in traceback.extract_tb(error.__traceback__)])
'''
    )
    output, used = run(watches, root, ["-m", "shop.all"])
    plain = subprocess.run(
        [sys.executable, "-m", "shop.all"], cwd=root, capture_output=True, text=True, check=True
    )
    assert output == plain.stdout
    assert "[19, 14]" in output
    assert "shop/all.py:fails" in used.units
    assert "shop/all.py:later" not in used.units


def test_system_keeps_its_own_module_for_the_start(watches: Watches, root: Path) -> None:
    """A `sitecustomize` of the system is run as without the watch."""
    (root / "start").mkdir()
    (root / "start/sitecustomize.py").write_text("print('own')\n")
    notes = watches.open()
    assert notes is not None
    (root.parent / "run").mkdir()
    launcher = LocalLauncher(root.parent / "run", label={})
    done = watched(launcher, notes).run(
        [sys.executable, "-c", "print('then')"],
        env={"PYTHONPATH": str(root / "start")},
        folder=root,
        deadline_s=30,
    )
    launcher.dispose()
    assert done.output == "own\nthen\n"
    assert not notes.used().unknown


def test_files_that_the_harness_reads_count(watches: Watches, root: Path) -> None:
    """A file that a check reads is noted until the next item; copies and other files are not."""
    (root / "data/rates.txt").read_text()
    with watches.paused():
        (root / "data/other.txt").read_text()
    (root.parent / "outside.txt").write_text("")
    (root.parent / "outside.txt").read_text()
    (root / "written.txt").write_text("")
    assert watches.used() == Used(units=frozenset({"data/rates.txt"}))
    watches.begin_item()
    assert watches.used() == Used()
