"""The command line: exit statuses, text and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateproof_evidence.cli import main
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.layout import ATTESTATION
from gateproof_evidence.reports.markdown import escape
from gateproof_evidence.sealing.run_key import RunKey

from .support import reseal


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_verify_exits_0_on_a_whole_bundle_of_an_unknown_signer(bundle: Path) -> None:
    """The bundle is whole, but its signer is unknown without a key from outside."""
    done = gateproof("verify", bundle)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == f"{bundle}: whole"
    assert lines[1] == "signer unknown: this shows integrity, not origin"
    assert lines[2].startswith("attested, the unknown signer's claim: blocked (exit status 1), 4 ")


def test_verify_names_the_signer_of_the_key_that_was_given(
    bundle: Path, tmp_path: Path, key: RunKey
) -> None:
    """With the signer's key, the summary names it."""
    (tmp_path / "signer.pem").write_bytes(key.public_pem)
    done = gateproof("verify", bundle, "--key", tmp_path / "signer.pem")
    assert done.exit_code == 0
    assert f"signed by {key.keyid}, the key that was given" in done.output


def test_verify_exits_1_with_a_line_for_each_finding(bundle: Path) -> None:
    """A line has code, path and message; the summary counts the findings."""
    (bundle / "data/run.json").write_text("{}")
    (bundle / "extra").write_text("x")
    done = gateproof("verify", bundle)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert "FILE_UNLISTED extra: present, but not attested" in lines
    assert any(line.startswith("DIGEST_MISMATCH data/run.json: got sha256:") for line in lines)
    summary = next(place for place, line in enumerate(lines) if line.startswith(f"{bundle}: "))
    assert lines[summary] == f"{bundle}: {summary} findings"


def test_verify_escapes_names_that_forge_a_line_or_control_the_terminal(bundle: Path) -> None:
    """A file name with the output of a whole bundle, on its own line, is escaped."""
    forged = f"x\n{bundle.name}: whole\n\x1b[32msigned by you\x1b[0m\u202e"
    (bundle / "data" / forged.replace("/", "")).write_text("x")
    done = gateproof("verify", bundle)
    assert done.exit_code == 1
    assert not any(line.endswith(": whole") for line in done.stdout.splitlines())
    assert not set("\x1b\u202e") & set(done.stdout)
    assert f"x\\n{bundle.name}: whole\\n\\x1b[32msigned by you" in done.stdout


def test_verify_exits_1_on_an_invalid_signature(bundle: Path) -> None:
    """A bundle with an invalid signature has no result and no signer."""
    (bundle / "public-key.pem").write_bytes(RunKey.ephemeral().public_pem)
    done = gateproof("verify", bundle)
    assert done.exit_code == 1
    assert "the signature is not valid, so nothing here can be trusted" in done.output
    assert "attested" not in done.output.replace("attestation", "")


def _remove_attestation(bundle: Path) -> None:
    (bundle / ATTESTATION).unlink()


def _malform_attestation(bundle: Path) -> None:
    (bundle / ATTESTATION).write_text("{}")


def _empty_own_key(bundle: Path) -> None:
    (bundle / "public-key.pem").write_text("")


def _replace_own_key(bundle: Path) -> None:
    (bundle / "public-key.pem").write_bytes(RunKey.ephemeral().public_pem)


def _alter_signature(bundle: Path) -> None:
    envelope = Envelope.from_bytes((bundle / ATTESTATION).read_bytes())
    (bundle / ATTESTATION).write_bytes(replace(envelope, signature=bytes(64)).to_bytes())


def _sign_another_statement(bundle: Path) -> None:
    key = RunKey.ephemeral()
    payload = b"no statement"
    signed = Envelope(payload=payload, keyid=key.keyid, signature=key.sign(pae(payload)))
    (bundle / ATTESTATION).write_bytes(signed.to_bytes())
    (bundle / "public-key.pem").write_bytes(key.public_pem)


@pytest.mark.parametrize(
    ("change", "given", "state", "expected"),
    [
        (None, "other", "other_key", "the bundle's own key signed, which is not the key that was"),
        (_remove_attestation, "", "not_checked", "the signature was not checked"),
        (_malform_attestation, "signer", "not_checked", "the signature was not checked"),
        (
            _empty_own_key,
            "",
            "not_checked",
            "no key to check the signature with; name the signer's",
        ),
        (_empty_own_key, "other", "invalid", "whether another key signed cannot be checked"),
        (_replace_own_key, "", "invalid", "not valid by public-key.pem"),
        (_replace_own_key, "other", "invalid", "valid neither by the given key sha256:"),
        (_alter_signature, "signer", "invalid", "the statement or its signature was altered"),
        (_sign_another_statement, "", "valid", "the statement under it cannot be read"),
    ],
)
def test_verify_states_why_a_signature_is_not_trusted(
    bundle: Path,
    tmp_path: Path,
    key: RunKey,
    change: Callable[[Path], None] | None,
    given: str,
    state: str,
    expected: str,
) -> None:
    """Another key, an altered signature and one that was not checked have different messages."""
    (tmp_path / "signer.pem").write_bytes(key.public_pem)
    (tmp_path / "other.pem").write_bytes(RunKey.ephemeral().public_pem)
    if change:
        change(bundle)
    options = ("--key", tmp_path / f"{given}.pem") if given else ()
    done = gateproof("verify", bundle, *options)
    assert done.exit_code == 1
    assert expected in done.output
    if state != "invalid":
        assert "not valid" not in done.output
        assert "SIGNATURE_INVALID" not in done.output
    assert json.loads(gateproof("verify", bundle, *options, "--json").output)["signature"] == state


def test_verify_exits_1_when_a_release_is_required_of_a_blocked_run(bundle: Path) -> None:
    """A whole bundle of a blocked run is a finding if a release is required."""
    done = gateproof("verify", bundle, "--require-released")
    assert done.exit_code == 1
    assert done.output.startswith("NOT_RELEASED attestation.dsse.json: got blocked (exit status 1)")


def test_verify_prints_json(bundle: Path) -> None:
    """The JSON has the same findings, with the same exit status."""
    (bundle / "extra").write_text("x")
    done = gateproof("verify", bundle, "--json")
    document = json.loads(done.output)
    assert done.exit_code == 1
    assert (document["ok"], document["signer"], document["result"]) == (False, "unknown", "blocked")
    assert {"code": "FILE_UNLISTED", "path": "extra"}.items() <= document["findings"][0].items()
    assert document["attested"]["criteria"] == ["RLS-01", "RLS-02", "DLQ-01", "DLQ-02"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "no-such-bundle"), "no-such-bundle: bundle: got no such path"),
        (("verify", "{bundle}/bagit.txt"), "bagit.txt: bundle: got a file"),
        (("verify", "{bundle}", "--key", "gone.pem"), "gone.pem: public key: got No such file"),
        (
            ("verify", "{bundle}", "--key", "{bundle}/../none.pem"),
            "--key: public key: got something else",
        ),
        (("verify", "{bundle}/data"), "data: bundle: got a folder without attestation.dsse.json"),
        (("show", "no-such-bundle"), "no-such-bundle: bundle: got no such path"),
        (("keygen", "{bundle}/bagit.txt"), "bagit.txt: new key: got a file of that name"),
        (("show", "{bundle}", "--json", "--markdown"), "expected one"),
        (("verify",), "Missing argument 'BUNDLE'"),
        (("verify", "{bundle}", "--frobnicate"), "No such option"),
        (("frobnicate",), "No such command"),
    ],
)
def test_bad_input_exits_4_with_a_message(
    bundle: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Bad input is reported on standard error, findings are not."""
    (bundle.parent / "none.pem").write_text("no key")
    done = gateproof(*(argument.format(bundle=bundle) for argument in arguments))
    assert done.exit_code == 4
    assert message in done.stderr
    if "--json" not in arguments:
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "no-such-bundle"), "bundle: got no such path"),
        (("verify", "{bundle}", "--max-age", "soon"), "--max-age"),
        (("verify", "{bundle}", "--frobnicate"), "No such option"),
        (("show", "no-such-bundle"), "no-such-bundle: bundle: got no such path"),
    ],
)
def test_bad_input_is_a_json_object_with_the_json_option(
    bundle: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Standard output has the message of standard error as JSON."""
    done = gateproof(*(argument.format(bundle=bundle) for argument in arguments), "--json")
    assert done.exit_code == 4
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert message in document["error"]
    assert document["error"] in " ".join(done.stderr.split())


def test_show_prints_the_gates_and_what_is_open(bundle: Path) -> None:
    """The output has the table, the reasons, and a note that nothing was verified."""
    done = gateproof("show", bundle)
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "rls 2 1 1 · · 1/1 blocked" in lines
    assert "RLS-02 fail (gate_violation): tenant A: got 5 rows, expected 3" in lines
    assert lines[-1] == "blocked (exit status 1); not verified by this command"


def test_show_prints_json(bundle: Path) -> None:
    """The JSON has the same rows."""
    document = json.loads(gateproof("show", bundle, "--json").output)
    assert document["result"] == "blocked"
    assert [row["gate"] for row in document["gates"]] == ["rls", "dlq", "all"]
    assert document["gates"][0]["counts"]["fail"] == 1


def test_show_prints_markdown(bundle: Path) -> None:
    """The Markdown has a row for each gate, and a list of open criteria."""
    lines = gateproof("show", bundle, "--markdown").output.splitlines()
    assert lines[0] == "**blocked** (exit status 1), not verified"
    assert "| rls | 2 | 1 | 1 | · | · | 1/1 | blocked |" in lines
    assert "- RLS-02 fail (gate\\_violation): tenant A: got 5 rows, expected 3" in lines
    heading = next(line for line in lines if line.startswith("| gate"))
    first = lines[: lines.index("| slowest proofs | seconds |")]
    assert {line.count(" |") for line in first if line.startswith("|")} == {heading.count(" |")}
    assert lines[-1].startswith("| ")
    assert lines[-1].count(" |") == 2


def test_markdown_shows_markup_as_text() -> None:
    """A check's message is escaped, so that it cannot break the table or open a tag."""
    message = "a|b <img src=x> `c`\n| *d* | [e](javascript:f) @all"
    shown = escape(message)
    assert "\n" not in shown
    assert shown == (r"a\|b \<img src=x\> \`c\` \| \*d\* \| \[e\](javascript:f) \@all")


def test_show_refuses_an_invalid_run(bundle: Path) -> None:
    """A run.json with duplicate keys is not shown."""
    (bundle / "data/run.json").write_text('{"result":"blocked","result":"released"}')
    done = gateproof("show", bundle)
    assert done.exit_code == 4
    assert "data/run.json: run: got JSON object: got the key 'result' twice" in done.stderr
    assert done.stderr.count("\n") == 1


def test_keygen_makes_a_valid_key(tmp_path: Path) -> None:
    """The private key can be loaded, and the printed id is its id."""
    done = gateproof("keygen", tmp_path / "key")
    assert done.exit_code == 0
    assert RunKey.load(tmp_path / "key", None).keyid in done.output


def test_keygen_prints_json(tmp_path: Path) -> None:
    """The JSON has both files, and the id that verification prints."""
    document = json.loads(gateproof("keygen", tmp_path / "key", "--json").output)
    assert (
        RunKey.load(Path(document["private"]), None).public_pem
        == Path(document["public"]).read_bytes()
    )
    assert document["keyid"] == RunKey.load(tmp_path / "key", None).keyid


def test_module_runs_as_a_program(bundle: Path) -> None:
    """`python -m` runs the same command line, with its exit status."""
    (bundle / ".hidden").write_text("x")
    done = subprocess.run(
        [sys.executable, "-m", "gateproof_evidence", "verify", str(bundle)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("FILE_UNLISTED .hidden: ")


def test_verify_names_a_script_that_is_not_ours(bundle: Path, key: RunKey) -> None:
    """A signed verify.sh with other bytes is reported: it could print anything."""
    assert "do not use it" not in gateproof("verify", bundle).output
    (bundle / "verify.sh").write_text("echo whole\n", encoding="utf-8")
    reseal(bundle, key)
    assert "verify.sh is not the one of gateproof" in gateproof("verify", bundle).output


def test_command_imports_no_other_command() -> None:
    """A command starts without the modules of the others, which take a part of its time."""
    program = (
        "import sys\n"
        "from gateproof_evidence.cli import main\n"
        "main(['verify', '--help'], standalone_mode=False)\n"
        "print(*(name for name in sys.modules if name.startswith('gateproof_evidence.cli.')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert "gateproof_evidence.cli.verify" in imported
    assert not imported & {f"gateproof_evidence.cli.{name}" for name in ("merge", "diff", "export")}
