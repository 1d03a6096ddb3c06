"""Full and broken disks: evidence that cannot be written is 103, a full temporary folder is 102.

The disks are real: a small tmpfs in a mount namespace of its own, which root or, where the kernel
allows it, any user can make. Limits of a process (of files and their sizes) need no privilege.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateproof.description.sut import Sut
from gates.taxonomy.miniature import COMMAND, NO_PROOFS, Miniature, read_miniature, write_miniature
from tests.acceptance.conftest import FORKED_WORKERS, run_command, run_piped

Start = Callable[..., Miniature]
TWO = ("MIN-01", "MIN-02")
DISTRIBUTED = pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["one", "distributed"])

AS_ANYBODY = ("unshare", "--user", "--map-root-user", "--mount")
IN_NAMESPACE = """
import contextlib, ctypes, os, subprocess, sys
from pathlib import Path

size, disk, state, kept, program, *words = sys.argv[1:]
new_mounts, new_users = 0x00020000, 0x10000000
root, user, group = os.geteuid() == 0, os.geteuid(), os.getegid()
if ctypes.CDLL(None).unshare(new_mounts if root else new_mounts | new_users):
    sys.exit(99)
if not root:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
small = ["-t", "tmpfs", "-o", f"size={size},mode=1777", "small", disk]
for words_of_mount in (["--make-rprivate", "/"], small):
    if subprocess.run(["mount", *words_of_mount]).returncode:
        sys.exit(99)
if state == "full":
    with contextlib.suppress(OSError), open(f"{disk}/ballast", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
pid = os.fork()
if pid == 0:
    sys.argv = ["-c", *words]
    exec(program, {"__name__": "__main__"})
    sys.exit()
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
subprocess.run(["cp", "-r", f"{disk}/.", kept])
sys.exit(status)
"""
"""Makes a mount namespace and a disk, and runs pytest there. The interpreter that is forked for the
command does so itself: `unshare` as a program would start a cold one."""

HELPERS = """
import contextlib, os, resource, subprocess
from pathlib import Path
from gateproof.run.writer import WRITER

DISK = Path(os.environ["DISK"])

def fill():
    with contextlib.suppress(OSError), (DISK / "ballast").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass

def limit(kind, value):
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))

def no_more_files():
    limit(resource.RLIMIT_NOFILE, 3)

def record(request):
    recorder = request.config.stash[WRITER].recorder
    recorder.observe("file", "one more", data=dict(), text="one more " * 1000)
"""

CHECKS = (
    HELPERS
    + """
@criterion("MIN-01")
def test_first(commands, sut, request):
    observe(commands, sut)
    {fault}
    record(request)

@criterion("MIN-02")
def test_second(commands, sut):
    observe(commands, sut)
"""
)


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A small disk, on which a run can have its evidence or its temporary files."""

    folder: Path
    kept: Path
    """A copy of what it held at the end of the run."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Give the place of a small disk, which exists only while a run uses it."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL enters it as another account, if root runs the test
        made = Disk(folder=Path(folder) / "disk", kept=tmp_path / "kept")
        made.folder.mkdir()
        made.kept.mkdir()
        yield made


def need_a_namespace() -> None:
    """Skip the test where this account may not make a mount namespace."""
    if os.geteuid() == 0:
        return
    if subprocess.run([*AS_ANYBODY, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel lets only root make a mount namespace")


@pytest.fixture
def start(tmp_path: Path, sut: Sut, disk: Disk) -> Start:
    """Return a function that runs miniature gates next to a small disk."""

    def run(
        checks: str,
        *arguments: str,
        evidence: Path | None = None,
        temporary: Path | None = None,
        size: str = "1m",
        full: bool = False,
        conftest: str = "",
    ) -> Miniature:
        write_miniature(sut, tmp_path, checks=checks, ids=TWO)
        (tmp_path / "gates" / "conftest.py").write_text(conftest, encoding="utf-8")
        state = "full" if full else "empty"
        need_a_namespace()
        small = [size, str(disk.folder), state, str(disk.kept)]
        out = ["--evidence-out", str(evidence or tmp_path / "reports")]
        env = {"DISK": str(disk.folder), "PYTEST_XDIST_WORKER": ""}
        env |= {"TMPDIR": str(temporary)} if temporary else {}
        python, _, _, *options = COMMAND
        small += [FORKED_WORKERS.read_text(encoding="utf-8"), *options]
        command = [python, "-c", IN_NAMESPACE, *small, *out, *arguments]
        done = run_command(command, folder=tmp_path, env=env)
        assert done.returncode != 99, f"premise: the disk is mounted\n{done.stdout}"
        return read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)

    return run


def lost(ran: Miniature, *parts: str) -> None:
    """Assert that a run ended with 103 and one clear message, and sealed nothing."""
    assert ran.exit_status == 103, ran.output
    assert "INTERNALERROR" not in ran.output
    assert "Traceback" not in ran.output.rpartition("gateproof: no bundle")[2]
    assert ran.run == {}
    for part in (*parts, "expected to write it"):
        assert part in ran.output


@DISTRIBUTED
def test_full_disk_at_the_start_is_103_with_one_line(
    start: Start, disk: Disk, processes: tuple[str, ...]
) -> None:
    """The message names the folder, what is free there and what to do; nothing is left behind."""
    checks = CHECKS.format(fault="pass")
    ran = start(checks, *NO_PROOFS, *processes, evidence=disk.folder, full=True)
    lost(ran, f"{disk.folder}: evidence folder: got No space left on device", "(0 bytes and ")
    assert "free space there, or name another folder with --evidence-out" in ran.output
    assert "Traceback" not in ran.output
    assert [path.name for path in disk.kept.iterdir()] == ["ballast"]


@DISTRIBUTED
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with-temporary-files"])
def test_disk_that_fills_in_mid_run_is_103_and_keeps_the_journal(
    start: Start, disk: Disk, processes: tuple[str, ...], shared: bool
) -> None:
    """The records so far stay readable, also where the temporary folder is on the same disk."""
    temporary = disk.folder if shared else None
    checks = CHECKS.format(fault="fill()")
    ran = start(checks, *NO_PROOFS, *processes, evidence=disk.folder, temporary=temporary)
    lost(ran, "No space left on device", "(0 bytes and ", " bytes are needed)")
    [folder] = disk.kept.glob(".unsealed-*")
    [journal] = (folder / "journals").iterdir()
    records = journal.read_bytes().splitlines(keepends=True)
    assert records, "premise: something was recorded before"
    assert all(line.startswith(b"{") and line.endswith(b"}\n") for line in records)


AT_THE_END = """
from test_miniature import fill

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        fill()
"""


@DISTRIBUTED
def test_disk_that_is_full_at_sealing_is_103(
    start: Start, disk: Disk, processes: tuple[str, ...]
) -> None:
    """All checks have passed, and still there is no bundle: the status must not be 0 or 1."""
    conftest = HELPERS + AT_THE_END.replace("from test_miniature import fill\n", "")
    checks = CHECKS.format(fault="pass")
    ran = start(checks, *NO_PROOFS, *processes, evidence=disk.folder, conftest=conftest)
    lost(ran, "gateproof: no bundle: ", "No space left on device", "the records so far are in ")


READ_ONLY = """folder = next(DISK.glob(".unsealed-*/data/transcripts"))
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)"""


def test_disk_that_becomes_read_only_is_103(start: Start, disk: Disk) -> None:
    """Linux mounts a disk with errors read-only: the message says that, and what to do."""
    ran = start(CHECKS.format(fault=READ_ONLY), *NO_PROOFS, evidence=disk.folder)
    lost(ran, "got Read-only file system", "mount it for writing, or name another folder")


@DISTRIBUTED
@pytest.mark.parametrize(
    ("fault", "reason", "remedy"),
    [
        ("limit(resource.RLIMIT_FSIZE, 512)", "File too large", "ulimit -f"),
        ("no_more_files(); record(request)", "Too many open files", "ulimit -n"),
        ("[one.chmod(0) for one in DISK.parent.glob('reports/.un*/data/transcripts/miniature')]",
         "", ""),
    ],
    ids=["file-size", "open-files", "permission"],
)  # fmt: skip
def test_limit_that_is_met_in_mid_run_is_103(
    tmp_path: Path, sut: Sut, fault: str, reason: str, remedy: str, processes: tuple[str, ...]
) -> None:
    """Evidence that any limit or right keeps from the disk is missing, whatever the checks say."""
    if not reason and os.geteuid() == 0:
        fault, reason, remedy = _replaced("transcripts"), "Not a directory", "--evidence-out"
    reason, remedy = reason or "Permission denied", remedy or "allow this user to write there"
    write_miniature(sut, tmp_path, checks=CHECKS.format(fault=fault), ids=TWO)
    command = [*COMMAND, *NO_PROOFS, *processes]
    scratch = tmp_path / "scratch"  # without open files a run cannot remove its folder
    scratch.mkdir()
    env = {"DISK": str(tmp_path / "disk"), "TMPDIR": str(scratch)}
    done = run_piped(command, folder=tmp_path, env=env)
    ran = read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)
    assert ran.exit_status == 103, ran.output
    assert reason in ran.output
    assert remedy in ran.output


def _replaced(name: str) -> str:
    """Return a fault that not even root can write through: a file in the place of a folder."""
    folder = f"next(DISK.parent.glob('reports/.un*/data/{name}'))"
    return f"f = {folder}; f.rename(f.with_name('gone')); f.touch()"


SWALLOWS = """
@criterion("MIN-01")
def test_first(commands, sut, request):
    observe(commands, sut)
    fill()
    with contextlib.suppress(Exception):
        record(request)
    (DISK / "ballast").unlink()

@criterion("MIN-02")
def test_second(commands, sut):
    observe(commands, sut)
"""


def test_evidence_that_a_check_loses_silently_blocks_the_run(start: Start, disk: Disk) -> None:
    """The disk has room again at sealing: the bundle names the file that is missing, with 103."""
    ran = start(HELPERS + SWALLOWS, *NO_PROOFS, evidence=disk.folder)
    assert ran.exit_status == 103, ran.output
    assert "transcript: got No space left on device" in ran.output.replace("\n", " ")
    [bundle] = [path for path in disk.kept.glob("2*") if (path / "bagit.txt").exists()]
    assert (bundle / "data/run.json").exists()


FALSE = 'fill(); assert False, "rows: got 0, expected 3"'
"""An assertion: the record of a claim has no room either."""


@DISTRIBUTED
def test_failure_on_a_full_temporary_folder_is_an_environment_problem(
    start: Start, disk: Disk, processes: tuple[str, ...]
) -> None:
    """A system that meets a full disk gives a false claim: the environment is named, with 102."""
    ran = start(CHECKS.format(fault=FALSE), *NO_PROOFS, *processes, temporary=disk.folder)
    assert ran.exit_status == 102, ran.output
    assert ran.judged("MIN-01") == ("error", "environment_problem")
    message = ran.verdict("MIN-01")["message"]
    assert "temporary folder: got 0 bytes" in message
    assert message.endswith("rows: got 0, expected 3")


@pytest.mark.parametrize(
    "fault",
    [
        'raise OSError(errno.ENOSPC, "No space left on device")',
        'raise OSError(errno.EDQUOT, "Disk quota exceeded")',
        'raise shutil.Error([("a", "b", "[Errno 28] No space left on device: b")])',
        'raise ExceptionGroup("two", [ValueError("x"), OSError(errno.EIO, "Input/output error")])',
    ],
    ids=["full", "quota", "copy", "group"],
)
def test_error_of_a_full_machine_is_an_environment_problem(
    tmp_path: Path, sut: Sut, fault: str
) -> None:
    """The cause is read from the error, too: the space may be free again when it is judged."""
    checks = f"import errno, shutil\n{CHECKS.format(fault=fault)}"
    write_miniature(sut, tmp_path, checks=checks, ids=TWO)
    done = run_command([*COMMAND, *NO_PROOFS], folder=tmp_path, env={"DISK": str(tmp_path)})
    ran = read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)
    assert ran.exit_status == 102, ran.output
    assert ran.judged("MIN-01") == ("error", "environment_problem")
    assert ran.judged("MIN-02") == ("pass", None)


NO_MORE_NAMES = """
import os
from pathlib import Path

def use_up_all_names():
    try:
        for number in range(1000):
            (Path(os.environ["DISK"]) / f"{number}").touch()
    except OSError:
        pass

if os.environ.get("PYTEST_XDIST_WORKER") or not DISTRIBUTED:
    use_up_all_names()
"""


@DISTRIBUTED
def test_full_temporary_folder_at_the_start_is_102(
    start: Start, disk: Disk, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    """The files of the run cannot be made: one line, no bundle, and not a defect of the harness."""
    ran = start(
        CHECKS.format(fault="pass"),
        *NO_PROOFS,
        *processes,
        temporary=disk.folder,
        size="1m,nr_inodes=40",
        conftest=NO_MORE_NAMES.replace("DISTRIBUTED", str(bool(processes))),
    )
    assert ran.exit_status == 102, ran.output
    assert "temporary folder: got No space left on device" in ran.output
    assert "Traceback" not in ran.output
    assert list((tmp_path / "reports").iterdir()) == []


def test_proofs_on_a_full_temporary_folder_are_an_environment_problem(
    start: Start, disk: Disk
) -> None:
    """The self-proof needs files: without room it shows no defect of the harness."""
    conftest = f"{HELPERS}\ndef pytest_runtestloop():\n    fill()\n"
    ran = start(CHECKS.format(fault="pass"), temporary=disk.folder, conftest=conftest)
    assert ran.exit_status == 102, ran.output
    assert not [one for one in ran.run["reasons"] if one.startswith("harness defect")]
    assert ran.run["problems"], ran.run["reasons"]


LACKS_A_FILE = """
from pathlib import Path
from gateproof.environments import embedded

def find_no_installation(*arguments, **options):
    return Path("/no/such/file").open()

embedded.find_installation = find_no_installation
"""
NEEDS_THE_SERVER = """
@criterion("MIN-01")
def test_first(stack):
    claim("answer of the database", got=stack.sql.query("SELECT 1").scalar(), expected=1)

@criterion("MIN-02")
def test_second(commands, sut):
    observe(commands, sut)
"""


def test_bring_up_without_a_file_is_no_full_disk(start: Start) -> None:
    """An error of the bring-up that has nothing to do with the disk is a defect of the harness."""
    ran = start(NEEDS_THE_SERVER, *NO_PROOFS, conftest=LACKS_A_FILE)
    assert ran.exit_status == 103, ran.output
    assert ran.judged("MIN-01") == ("error", "harness_defect")
    assert ran.judged("MIN-02") == ("pass", None)
    message = ran.verdict("MIN-01")["message"]
    assert "FileNotFoundError" in message
    assert "temporary folder" not in message


FILLS_POSTGRES = """
FILL = '''CREATE TEMP TABLE large AS
SELECT repeat(md5(n::text), 20) FROM generate_series(1, 2000000) n'''

@criterion("MIN-01")
def test_first(own_stack):
    made = own_stack.sql.{how}(FILL)
    claim("rows that were made", got=made.count, expected=2000000)

@criterion("MIN-02")
def test_second(commands, sut):
    observe(commands, sut)
"""


@pytest.mark.parametrize("how", ["query", "attempt"])
def test_postgresql_without_room_is_an_environment_problem(
    start: Start, disk: Disk, how: str
) -> None:
    """The error disk_full of PostgreSQL is neither a refusal nor a defect."""
    if os.geteuid() != 0:
        pytest.skip("in a user namespace PostgreSQL has no account to run as")
    ran = start(FILLS_POSTGRES.format(how=how), *NO_PROOFS, temporary=disk.folder, size="400m")
    assert ran.exit_status == 102, ran.output
    assert ran.judged("MIN-01") == ("error", "environment_problem")
    assert "No space left on device" in ran.verdict("MIN-01")["message"]
    assert ran.judged("MIN-02") == ("pass", None)
