"""The output of a whole run and of the commands: safe to print, and clear about what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof import wait_until
from gateproof_evidence.model.text import visible
from gates.taxonomy.miniature import COMMAND, Miniature, read_miniature
from tests.acceptance.conftest import GATEPROOF, run_command
from tests.acceptance.test_exit_status import CLAIM, NEEDS_NO_DATABASE, PROVEN, falsifier

Run = Callable[..., Miniature]
HOSTILE = "\x1b[31mred \x1b]0;title\x07 \u202eturned \u2028line \u200bzero \x9b1m \U000e0041tag"
FAILS = f"""
@criterion("MIN-01")
def test_hostile(commands, sut):
    observe(commands, sut)
    raise AssertionError({HOSTILE!r})
"""
COMMANDS = (
    ["show", "{}"],
    ["show", "{}", "--phase"],
    ["show", "{}", "--markdown"],
    ["show", "{}", "--proofs"],
    ["show", "{}", "--gate", "miniature"],
    ["show", "{}", "--criterion", "MIN-01"],
    ["show", "{}", "--criterion", "MIN-01", "--full"],
    ["show", "{}", "--json"],
    ["diff", "{}", "{}"],
    ["verify", "{}"],
    ["export", "{}", "--format", "gaps-md"],
    ["export", "{}", "--format", "gaps-csv"],
    ["export", "{}", "--format", "junit"],
    ["render", "{}"],
)
PRINTS = """
import os

@criterion("MIN-01")
def test_prints(commands, sut):
    code = "import os; [print(key, value) for key, value in sorted(os.environ.items())]"
    commands.run([sys.executable, "-c", code], env=sut.worker.env, folder=sut.folder)
    raise AssertionError(f"environment: got {dict(sut.worker.env)}, expected none")
"""
SECRETS = {
    "SMTP_PASSWORD": "Tr0ub4dor-and-3",
    "STRIPE_API_KEY": "a/b+c=d%e f",
    "CUSTOMER_NUMBER": "sehr-geheim-4711",
    "CACHE_URL": "redis://:hunter2-and-more@localhost:6379/0",
}


def gateproof(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of gateproof."""
    return run_command([*GATEPROOF, *arguments], folder=folder)


def test_output_has_no_hidden_character_of_a_message(run_gates: Run, tmp_path: Path) -> None:
    """Colours, titles and direction marks in a message are escaped by every command."""
    ran = run_gates(FAILS, ("MIN-01",), "--no-falsify", "-q", "--tb=no", "-rN")
    assert ran.exit_status == 1, ran.output
    assert visible(ran.verdict("MIN-01")["message"]) != ran.verdict("MIN-01")["message"]
    bundle = str((tmp_path / "reports" / "latest").resolve())
    assert visible(ran.output) == ran.output
    phases = gateproof("show", bundle, "--phase", folder=tmp_path).stdout
    assert "red \\u009d" in phases or "[31mred" in phases
    for command in COMMANDS:
        done = gateproof(*(word.format(bundle) for word in command), folder=tmp_path)
        assert done.stdout, command
        assert visible(done.stdout) == done.stdout, command


def described(folder: Path, *, secrets: list[str]) -> None:
    """Add variables and the list of secrets to the description of a miniature."""
    path = folder / "sut.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in SECRETS.items()]
    text = path.read_text(encoding="utf-8")
    text = text.replace("[worker]\n", f"[worker]\nsecrets = {json.dumps(secrets)}\n", 1)
    assert "\n[worker.env]\n" not in text
    text = text.replace("\n[ping]\n", "\n[worker.env]\n" + "\n".join(lines) + "\n\n[ping]\n", 1)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("processes", ["0", "2"])
def test_secrets_of_the_environment_are_in_no_file(
    write_gates: Callable[..., None], run_gates: Run, tmp_path: Path, processes: str
) -> None:
    """Values under secret names, in the list of secrets, and in URLs are redacted everywhere."""
    write_gates(PRINTS, ("MIN-01",))
    described(tmp_path, secrets=["CUSTOMER_NUMBER"])
    ran = run_gates("", (), "--no-falsify", "-n", processes)
    assert ran.exit_status == 1, ran.output
    bundle = tmp_path / "reports" / "latest"
    hidden = [SECRETS[name] for name in ("SMTP_PASSWORD", "STRIPE_API_KEY", "CUSTOMER_NUMBER")]
    for path in bundle.rglob("*"):
        content = path.read_text(encoding="utf-8") if path.is_file() else ""
        found = [one for one in (*hidden, "hunter2-and-more") if one in content]
        assert not found, f"{path.relative_to(bundle)}: {found}"
    captures = "".join(one.read_text() for one in (bundle / "data/transcripts").rglob("*.txt"))
    assert captures.count("[redacted:") >= len(SECRETS)


def test_secret_that_the_description_does_not_set_is_bad_input(
    write_gates: Callable[..., None], run_gates: Run, tmp_path: Path
) -> None:
    """A misspelt name in the list of secrets is refused: its value would be in clear."""
    write_gates(PRINTS, ("MIN-01",))
    described(tmp_path, secrets=["CUSTOMER_NUMBR"])
    ran = run_gates("", ())
    assert ran.exit_status == 4, ran.output
    assert "worker.secrets: got CUSTOMER_NUMBR, expected names of variables" in ran.output


@pytest.mark.parametrize(
    ("name", "message"),
    [("x" * 260, "got 260 characters"), ("aux", "got aux, expected no name of a device")],
)
def test_falsifier_name_that_is_no_file_name_is_refused_at_once(
    run_gates: Run, name: str, message: str
) -> None:
    """A name that is too long, or a device of Windows, stops the collection with the reason."""
    checks = PROVEN.format(falsifiers=falsifier().replace("put-one-in", name), claim=CLAIM)
    ran = run_gates(checks)
    assert (ran.exit_status, ran.run) == (2, {}), ran.output
    assert message in " ".join(ran.output.split())


def test_selection_of_nothing_is_reported_once(run_gates: Run) -> None:
    """A selection that no check matches is status 5, without defects of the harness."""
    ran = run_gates(NEEDS_NO_DATABASE, ("MIN-01",), "-k", "nothing")
    assert ran.exit_status == 5, ran.output
    assert "self-proof" not in ran.output
    assert ran.run["defects"] == []
    assert "not selected: MIN-01" in ran.output


def test_first_baseline_that_is_red_is_reported_as_that(run_gates: Run) -> None:
    """A check that is red on the copy says so, and not that it never ran twice."""
    checks = NEEDS_NO_DATABASE.replace(
        "def test_worker_file(files):",
        "def test_worker_file(files, recorder):\n"
        "    assert 'baseline' not in recorder.scope.part, 'red on the copy'",
    )
    ran = run_gates(checks)
    assert ran.exit_status == 100, ran.output
    result, message = ran.proven("MIN-01")["marked"]
    assert result == "void"
    assert message.startswith("baseline was not green: red on the copy")


def test_messages_name_what_is_wrong(run_gates: Run, tmp_path: Path) -> None:
    """Wrong calls of the commands are refused with the reason, and nothing is overwritten."""
    ran = run_gates(NEEDS_NO_DATABASE, ("MIN-01",), "--junit-xml", str(tmp_path / "own.xml"))
    assert ran.exit_status == 0, ran.output
    assert "own.xml" in ran.output
    bundle = str((tmp_path / "reports" / "latest").resolve())
    old = ["verify", bundle, "--max-age", "1s"]
    assert wait_until(lambda: gateproof(*old, folder=tmp_path).returncode, deadline_s=30)
    for arguments, message in (
        (["show", "--phase", "reports/latest"], "expected the name of a phase; the bundle comes"),
        (["keygen", "missing/signer"], "got no folder missing, expected an existing one"),
        (["render", bundle, "--out", "own.xml"], "got a file that exists, expected a new one"),
        (["export", bundle, "--format", "junit", "--out", "own.xml"], "got a file that exists"),
        (old, "got an age of 0:0"),
    ):
        content = (tmp_path / "own.xml").read_bytes()
        done = gateproof(*arguments, folder=tmp_path)
        assert done.returncode in (1, 4), done.stdout
        assert message in " ".join(done.stdout.split()), done.stdout
        assert (tmp_path / "own.xml").read_bytes() == content
    assert "1 criterion" in gateproof("show", bundle, "--phase", folder=tmp_path).stdout
    age = gateproof(*old, folder=tmp_path).stdout
    assert not [word for word in age.split() if word.count(":") >= 2 and "." in word], age


def test_output_names_no_path_that_sealing_renames(run_gates: Run) -> None:
    """The lines of the plugins for JUnit and HTML do not name the folder before sealing."""
    ran = run_gates(NEEDS_NO_DATABASE)
    assert ran.exit_status == 0, ran.output
    assert ".unsealed-" not in ran.output


def test_short_text_in_the_catalogue_is_refused_by_its_field(
    write_gates: Callable[..., None], tmp_path: Path
) -> None:
    """A statement that is too short is named by file, criterion and field."""
    write_gates(NEEDS_NO_DATABASE, ("MIN-01",))
    path = tmp_path / "gates" / "criteria.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("The claim of the miniature holds.", "Too short"))
    done = run_command([sys.executable, *COMMAND[1:]], folder=tmp_path)
    ran = read_miniature(tmp_path, exit_status=done.returncode, output=done.stdout)
    assert ran.exit_status == 4, ran.output
    line = "criterion MIN-01: statement: got 'Too short', it should have at least 10 characters"
    assert line in " ".join(ran.output.split())
