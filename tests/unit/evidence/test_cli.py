"""The command line: exit statuses, words and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateproof_evidence.cli import main
from gateproof_evidence.reports.markdown import escape
from gateproof_evidence.sealing.run_key import RunKey


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_verify_exits_0_on_a_whole_bundle_and_says_that_nobody_vouches(bundle: Path) -> None:
    """Whole is about integrity; the signer stays unknown without a key from outside."""
    done = gateproof("verify", bundle)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == f"{bundle}: whole"
    assert lines[1] == "signer unknown: this shows integrity, not origin"
    assert lines[2].startswith("attested: blocked (exit status 1), 4 criteria, ")


def test_verify_names_the_signer_of_the_key_that_was_given(
    bundle: Path, tmp_path: Path, key: RunKey
) -> None:
    """With the signer's key, the summary names it."""
    (tmp_path / "signer.pem").write_bytes(key.public_pem)
    done = gateproof("verify", bundle, "--key", tmp_path / "signer.pem")
    assert done.exit_code == 0
    assert f"signed by {key.keyid}, the key that was given" in done.output


def test_verify_exits_1_with_one_line_a_finding(bundle: Path) -> None:
    """Each finding is code, path and message; the summary counts them."""
    (bundle / "data/run.json").write_text("{}")
    (bundle / "extra").write_text("x")
    done = gateproof("verify", bundle)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert "FILE_UNLISTED extra: there, but not attested" in lines
    assert any(line.startswith("DIGEST_MISMATCH data/run.json: got sha256:") for line in lines)
    assert any(line.endswith(f"{bundle}: {len(lines) - 4} findings") for line in lines)


def test_verify_lets_no_name_forge_a_line_or_command_the_terminal(bundle: Path) -> None:
    """A name that holds the words of a whole bundle, on a line of their own, is spelt out."""
    forged = f"x\n{bundle.name}: whole\n\x1b[32msigned by you\x1b[0m\u202e"
    (bundle / "data" / forged.replace("/", "")).write_text("x")
    done = gateproof("verify", bundle)
    assert done.exit_code == 1
    assert not any(line.endswith(": whole") for line in done.stdout.splitlines())
    assert not set("\x1b\u202e") & set(done.stdout)
    assert f"x\\n{bundle.name}: whole\\n\\x1b[32msigned by you" in done.stdout


def test_verify_exits_1_when_the_signature_does_not_hold(bundle: Path) -> None:
    """A bundle whose signature is broken has no result and no signer."""
    (bundle / "public-key.pem").write_bytes(RunKey.ephemeral().public_pem)
    done = gateproof("verify", bundle)
    assert done.exit_code == 1
    assert "the signature is not valid, so nothing here can be trusted" in done.output
    assert "attested:" not in done.output


def test_verify_exits_1_when_a_release_is_asked_of_a_blocked_run(bundle: Path) -> None:
    """Integrity and verdict are two questions."""
    done = gateproof("verify", bundle, "--require-released")
    assert done.exit_code == 1
    assert done.output.startswith("NOT_RELEASED attestation.dsse.json: got blocked (exit status 1)")


def test_verify_prints_json(bundle: Path) -> None:
    """The same for machines, with the same exit status."""
    (bundle / "extra").write_text("x")
    done = gateproof("verify", bundle, "--json")
    told = json.loads(done.output)
    assert done.exit_code == 1
    assert (told["ok"], told["signer"], told["result"]) == (False, "unknown", "blocked")
    assert {"code": "FILE_UNLISTED", "path": "extra"}.items() <= told["findings"][0].items()
    assert told["attested"]["criteria"] == ["RLS-01", "RLS-02", "DLQ-01", "DLQ-02"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "no-such-bundle"), "no-such-bundle: bundle: got nothing of that name"),
        (("verify", "{bundle}/bagit.txt"), "bagit.txt: bundle: got a file"),
        (("verify", "{bundle}", "--key", "gone.pem"), "gone.pem: public key: got No such file"),
        (
            ("verify", "{bundle}", "--key", "{bundle}/../none.pem"),
            "--key: public key: got something else",
        ),
        (("verify", "{bundle}/data"), "data: bundle: got a folder without attestation.dsse.json"),
        (("show", "no-such-bundle"), "run.json: bundle: got No such file"),
        (("keygen", "{bundle}/bagit.txt"), "bagit.txt: new key: got File exists"),
        (("show", "{bundle}", "--json", "--markdown"), "expected one"),
        (("verify",), "Missing argument 'BUNDLE'"),
        (("verify", "{bundle}", "--frobnicate"), "No such option"),
        (("frobnicate",), "No such command"),
    ],
)
def test_bad_input_exits_4_and_says_what(
    bundle: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Bad input is told on standard error, apart from findings."""
    (bundle.parent / "none.pem").write_text("no key")
    done = gateproof(*(argument.format(bundle=bundle) for argument in arguments))
    assert done.exit_code == 4
    assert message in done.stderr
    if "--json" not in arguments:
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "no-such-bundle"), "bundle: got nothing of that name"),
        (("verify", "{bundle}", "--max-age", "soon"), "--max-age"),
        (("verify", "{bundle}", "--frobnicate"), "No such option"),
        (("show", "no-such-bundle"), "run.json: bundle: got No such file"),
    ],
)
def test_bad_input_is_an_object_where_json_is_asked_for(
    bundle: Path, arguments: tuple[str, ...], message: str
) -> None:
    """A program reads on standard output what a person reads on standard error."""
    done = gateproof(*(argument.format(bundle=bundle) for argument in arguments), "--json")
    assert done.exit_code == 4
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert message in told["error"]
    assert told["error"] in " ".join(done.stderr.split())


def test_show_prints_the_gates_and_what_is_open(bundle: Path) -> None:
    """The table and the reasons, and that this was no verification."""
    done = gateproof("show", bundle)
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "rls 2 1 1 · · 1/1 blocked" in lines
    assert "RLS-02 fail (gate_violation): tenant A: got 5 rows, expected 3" in lines
    assert lines[-1] == "blocked (exit status 1); not verified by this command"


def test_show_prints_json(bundle: Path) -> None:
    """The same rows for machines."""
    told = json.loads(gateproof("show", bundle, "--json").output)
    assert told["result"] == "blocked"
    assert [row["gate"] for row in told["gates"]] == ["rls", "dlq", "all"]
    assert told["gates"][0]["counts"]["fail"] == 1


def test_show_prints_markdown(bundle: Path) -> None:
    """The same table for a job's summary: a row for each gate, and what is open as a list."""
    lines = gateproof("show", bundle, "--markdown").output.splitlines()
    assert lines[0] == "**blocked** (exit status 1), as the bundle says"
    assert "| rls | 2 | 1 | 1 | · | · | 1/1 | blocked |" in lines
    assert "- RLS-02 fail (gate\\_violation): tenant A: got 5 rows, expected 3" in lines
    heading = next(line for line in lines if line.startswith("| gate"))
    assert {line.count(" |") for line in lines if line.startswith("|")} == {heading.count(" |")}


def test_markdown_shows_markup_as_text() -> None:
    """What a check said is no markup of ours, and cannot break the table or open a tag."""
    said = "a|b <img src=x> `c`\n| *d* | [e](javascript:f) @all"
    shown = escape(said)
    assert "\n" not in shown
    assert shown == (r"a\|b \<img src=x\> \`c\` \| \*d\* \| \[e\](javascript:f) \@all")


def test_show_refuses_a_run_that_is_none(bundle: Path) -> None:
    """A run.json with duplicate keys is not shown."""
    (bundle / "data/run.json").write_text('{"result":"blocked","result":"released"}')
    done = gateproof("show", bundle)
    assert done.exit_code == 4
    assert "data/run.json: run: got JSON object: got the key 'result' twice" in done.stderr
    assert done.stderr.count("\n") == 1


def test_keygen_makes_a_key_that_loads(tmp_path: Path) -> None:
    """The private key loads, and the printed id is its own."""
    done = gateproof("keygen", tmp_path / "key")
    assert done.exit_code == 0
    assert RunKey.load(tmp_path / "key", None).keyid in done.output


def test_keygen_prints_json(tmp_path: Path) -> None:
    """The same for machines: both files, and the id that verification will name."""
    told = json.loads(gateproof("keygen", tmp_path / "key", "--json").output)
    assert RunKey.load(Path(told["private"]), None).public_pem == Path(told["public"]).read_bytes()
    assert told["keyid"] == RunKey.load(tmp_path / "key", None).keyid


def test_module_runs_as_a_program(bundle: Path) -> None:
    """The module run by its name is the same command line, and its status reaches the shell."""
    (bundle / ".hidden").write_text("x")
    done = subprocess.run(
        [sys.executable, "-m", "gateproof_evidence", "verify", str(bundle)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("FILE_UNLISTED .hidden: ")
