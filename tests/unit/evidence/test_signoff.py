"""Sign-offs by real SSH keys: persons who may sign, statements, and keys that never count."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateproof.base.wait import wait_until
from gateproof_evidence.additions.countersignature import Reviewer, countersign
from gateproof_evidence.additions.reviewer import Policy
from gateproof_evidence.additions.sign_off import (
    NAMESPACE,
    Statement,
    format_signoff,
    parse_signoff,
    place_of,
)
from gateproof_evidence.cli import main
from gateproof_evidence.clients.ssh_keygen import SshSignature
from gateproof_evidence.errors import BadInputError, NotWritableError
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.sealing.bag import TEMPLATES
from gateproof_evidence.sealing.merging.merge import merge
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import Verification, verify
from tests.sample import SEALED, fixed_key, sealed
from tests.sample.shards import sealed_shards

SCRIPT = TEMPLATES / "verify.sh"
WHY = "The index comes with the next migration"


@dataclass(frozen=True, kw_only=True)
class Key:
    """An SSH key of a test."""

    path: Path

    @property
    def public(self) -> str:
        """Return type and base64."""
        return " ".join((self.path.with_suffix(".pub")).read_text().split()[:2])


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    """Provide reviewers' keys of three types."""
    folder = tmp_path_factory.mktemp("keys")
    kinds = {"ada": "ed25519", "ada2": "ecdsa", "bob": "rsa", "eve": "ed25519"}
    for name, kind in kinds.items():
        command = ("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(folder / name))
        subprocess.run(command, check=True)
    return {name: Key(path=folder / name) for name in kinds}


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Provide a blocked and a released bundle to copy."""
    folder = tmp_path_factory.mktemp("bundles")
    return {bad: sealed(_made(folder / str(bad)), failing=bad) for bad in (True, False)}


@pytest.fixture
def released(templates: dict[bool, Path], tmp_path: Path) -> Path:
    """Provide a released bundle."""
    return shutil.copytree(templates[False], tmp_path / "released")


@pytest.fixture
def blocked(templates: dict[bool, Path], tmp_path: Path) -> Path:
    """Provide a blocked bundle."""
    return shutil.copytree(templates[True], tmp_path / "blocked")


def test_signoff_of_a_released_run_is_accepted(released: Path, keys: dict[str, Key]) -> None:
    """A reviewer's statement with its signature is the only thing that may be added."""
    sign(released, keys["ada"])
    found = verify(released, policy=allow(keys["ada"], required=1))
    assert found.findings == ()
    [one] = found.review.signoffs
    assert (one.statement.signer, one.statement.subject) == ("ada@x.org", "whole")
    assert found.review.persons == 1


def test_signoff_verifies_with_ssh_keygen_alone(
    released: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    """Both files can be verified by hand, without this project."""
    path = released / sign(released, keys["ada"])
    allowed = tmp_path / "allowed"
    allowed.write_text(f"ada@x.org {keys['ada'].public}\n")
    command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "ada@x.org"]
    command += ["-n", NAMESPACE, "-s", f"{path}.sig"]
    done = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text())["result"] == "released"


def test_signoff_needs_reservations_if_the_run_is_not_released(
    blocked: Path, keys: dict[str, Key]
) -> None:
    """A blocked run is signed only with the reason, which is signed, kept and shown."""
    with pytest.raises(
        BadInputError, match="the run is blocked, expected released; give the reason"
    ):
        sign(blocked, keys["ada"])
    assert not (blocked / "signoffs").exists()
    sign(blocked, keys["ada"], reservations=WHY)
    found = verify(blocked, policy=allow(keys["ada"], required=1))
    assert found.ok
    assert found.review.signoffs[0].statement.reservations == WHY


def test_signoff_of_a_phase_covers_only_that_phase(released: Path, keys: dict[str, Key]) -> None:
    """A phase's sign-off counts only for the phase; the sign-off of the whole run for both."""
    sign(released, keys["ada"], phase="B0.5.1")
    policy = allow(keys["ada"], required=1)
    assert codes(verify(released, policy=policy)) == {"SIGNOFFS_MISSING"}
    assert verify(released, policy=replace(policy, phase="B0.5.1")).ok
    sign(released, keys["ada"])
    assert verify(released, policy=policy).ok
    with pytest.raises(BadInputError, match=r"--phase: got B9\.9, expected one of B0\.5\.1"):
        verify(released, policy=replace(policy, phase="B9.9"))


def test_signoff_refuses_a_phase_that_no_criterion_names(
    released: Path, keys: dict[str, Key]
) -> None:
    """A phase that does not exist cannot be signed off."""
    with pytest.raises(BadInputError, match=r"got B9\.9, expected one of B0\.5\.1"):
        sign(released, keys["ada"], phase="B9.9")


def test_signoff_refuses_a_bundle_that_does_not_verify(
    released: Path, keys: dict[str, Key]
) -> None:
    """An altered bundle cannot be signed off."""
    (released / "data/report.html").write_text("<p>all is well</p>")
    with pytest.raises(BadInputError, match=r"DIGEST_MISMATCH data/report\.html"):
        sign(released, keys["ada"])


def test_signoff_refuses_a_bundle_that_is_swapped_after_verification(
    released: Path, blocked: Path, keys: dict[str, Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signed bundle must be the verified one, even if files are swapped in between."""

    def verify_then_swap(bundle: Source, **options: Any) -> Verification:
        found = verify(bundle, **options)
        for name in ("attestation.dsse.json", "data/run.json", "data/report.html"):
            shutil.copy(blocked / name, bundle.path / name)
        return found

    monkeypatch.setattr("gateproof_evidence.additions.countersignature.verify", verify_then_swap)
    with pytest.raises(BadInputError, match="got a bundle that changed after its verification"):
        sign(released, keys["ada"])
    assert not (released / "signoffs").exists()


def test_signoff_refuses_a_run_of_another_signer(released: Path, keys: dict[str, Key]) -> None:
    """With the run's key from outside, a bundle of another signer is refused."""
    with pytest.raises(BadInputError, match="WRONG_SIGNER"):
        sign(released, keys["ada"], run_key=fixed_key(2).public_pem)
    sign(released, keys["ada"], run_key=fixed_key().public_pem)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signer": "ada lovelace"}, "sign-off: signer: got 'ada lovelace'"),
        ({"signer": "*@x.org"}, "sign-off: signer"),
        ({"reservations": "short"}, "sign-off: reservations: got 'short'"),
        ({"reservations": "two\nlines of reservations"}, "sign-off: reservations"),
    ],
)
def test_signoff_refuses_invalid_text(
    released: Path, keys: dict[str, Key], change: dict[str, Any], message: str
) -> None:
    """A name must be one name, and reservations one line of text."""
    with pytest.raises(BadInputError, match=message.replace("*", r"\*")):
        sign(released, keys["ada"], **change)


def test_signoff_refuses_a_key_that_cannot_sign(
    released: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    """The error has ssh-keygen's message; nothing is left in the bundle."""
    open_key = Key(path=tmp_path / "open")
    shutil.copy(keys["ada"].path, open_key.path)
    open_key.path.chmod(0o644)
    for key, message in (
        (Key(path=tmp_path / "gone"), "No such file"),
        (open_key, "UNPROTECTED PRIVATE KEY FILE"),
    ):
        with pytest.raises(BadInputError, match=message):
            sign(released, key)
    assert verify(released).ok
    assert not (released / "signoffs").exists()


def test_signoff_uses_a_key_that_only_an_agent_has(
    released: Path, keys: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public key names it: a private key on a token or with a passphrase is never read here."""
    path = tmp_path / "held"
    make = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(path))
    subprocess.run(make, check=True)
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        assert wait_until(socket.exists, deadline_s=10)
        asking = tmp_path / "ask"
        asking.write_text("#!/bin/sh\necho a passphrase\n")
        asking.chmod(0o700)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        askpass = {"SSH_ASKPASS": str(asking), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(
            ["ssh-add", "-q", str(path)],
            check=True,
            env={**os.environ, **askpass},
            capture_output=True,
        )
        path.unlink()
        sign(released, Key(path=path.with_suffix(".pub")))
    finally:
        agent.terminate()
        agent.wait()
    held = Key(path=path)
    assert verify(released, policy=allow(held, required=1)).ok
    assert not verify(released, policy=allow(keys["ada"], required=1)).ok


def test_signoff_overwrites_nothing(released: Path, keys: dict[str, Key]) -> None:
    """The same statement twice is refused, and the first is kept."""
    sign(released, keys["ada"])
    with pytest.raises(NotWritableError, match="File exists"):
        sign(released, keys["ada"])
    found = verify(released)
    assert found.ok
    assert len(found.review.signoffs) == 1


def test_signoff_by_the_runs_own_key_never_counts(
    templates: dict[bool, Path], tmp_path: Path
) -> None:
    """The run's own key is refused both for signing and in verification."""
    run_key, by_ssh = own_key(tmp_path)
    own = sealed(_made(tmp_path / "run"), failing=False, key=run_key)
    with pytest.raises(BadInputError, match="got the key that sealed the run"):
        sign(own, by_ssh)
    plant(own, by_ssh, statement(own))
    found = verify(own, policy=allow(by_ssh, required=1))
    assert codes(found) == {"SIGNOFF_OWN_KEY", "SIGNOFFS_MISSING"}
    other = shutil.copytree(templates[False], tmp_path / "other")
    plant(other, by_ssh, statement(other))
    assert verify(other, policy=allow(by_ssh, required=1)).ok


def test_signoff_by_the_key_of_a_shard_never_counts(tmp_path: Path) -> None:
    """In a merged run, no key of a shard is a reviewer's, whichever key signed the merge."""
    run_key, by_ssh = own_key(tmp_path)
    bundles = sealed_shards(_made(tmp_path / "shards"), key=run_key)
    out, key = tmp_path / "merged", fixed_key(9)
    own = merge(bundles, out, keys={}, key=key, clock=lambda: SEALED).bundle
    with pytest.raises(BadInputError, match="got the key that sealed the run"):
        sign(own, by_ssh)
    plant(own, by_ssh, statement(own))
    found = verify(own, policy=allow(by_ssh, required=1))
    assert codes(found) == {"SIGNOFF_OWN_KEY", "SIGNOFFS_MISSING"}


# --- allowed signers ---------------------------------------------------------------------------


def test_signoffs_are_counted_by_person_and_by_key(released: Path, keys: dict[str, Key]) -> None:
    """Two keys of one person, or one key under two names, count as one person."""
    lines = [
        ("ada@x.org", "ada"),
        ("ada@x.org", "ada2"),
        ("zoe@x.org", "ada"),
        ("bob@x.org", "bob"),
    ]
    policy = Policy(
        required=2,
        allowed_signers="".join(f"{who} {keys[key].public}\n" for who, key in lines).encode(),
    )
    sign(released, keys["ada"], signer="ada@x.org")
    sign(released, keys["ada2"], signer="ada@x.org")
    sign(released, keys["ada"], signer="zoe@x.org")
    found = verify(released, policy=policy)
    assert codes(found) == {"SIGNOFFS_MISSING"}
    assert found.findings[0].message.endswith("the whole run off: got 1, expected 2 or more")
    sign(released, keys["bob"], signer="bob@x.org")
    assert verify(released, policy=policy).review.persons == 2
    assert verify(released, policy=policy).ok


def test_signoffs_by_names_of_one_line_are_one_person(released: Path, keys: dict[str, Key]) -> None:
    """Names on one line of the allowed signers, in any case, are one person."""
    sign(released, keys["ada"], signer="ada@x.org")
    sign(released, keys["bob"], signer="Ada@Home.org")
    own = f"ada@x.org {keys['ada'].public}\nAda@Home.org {keys['bob'].public}\n"
    aliases = f'"ADA@x.org,ada@home.org" {keys["eve"].public}\n'
    apart = Policy(allowed_signers=own.encode())
    assert verify(released, policy=apart).review.persons == 2
    together = Policy(allowed_signers=(own + aliases).encode())
    assert verify(released, policy=together).review.persons == 1


def test_signoffs_cannot_be_required_without_allowed_signers(released: Path) -> None:
    """Without a list from outside no person can be counted."""
    with pytest.raises(BadInputError, match="--allowed-signers: got none"):
        Policy(required=1)
    with pytest.raises(BadInputError, match="--allowed-signers: got none"):
        Policy(revoked=b"")
    assert verify(released).review.persons is None


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("ada@x.org {eve}", "SIGNOFF_NOT_ALLOWED"),
        ("bob@x.org {ada}", "SIGNOFF_WRONG_IDENTITY"),
        ('ada@x.org valid-before="20260301" {ada}', "SIGNOFF_KEY_EXPIRED"),
        ('ada@x.org valid-after="20260302" {ada}', "SIGNOFF_KEY_EXPIRED"),
        ('ada@x.org namespaces="git" {ada}', "SIGNOFF_NOT_ALLOWED"),
        ("ada@x.org no-key-at-all", "SIGNOFF_NOT_ALLOWED"),
        ("", "SIGNOFF_NOT_ALLOWED"),
    ],
)
def test_signoff_that_the_allowed_signers_exclude_is_refused(
    released: Path, keys: dict[str, Key], line: str, code: str
) -> None:
    """A key, name, time or purpose that is not allowed is a finding, and counts no person."""
    sign(released, keys["ada"])
    text = line.format(**{name: key.public for name, key in keys.items()})
    found = verify(released, policy=Policy(required=1, allowed_signers=text.encode()))
    assert codes(found) == {code, "SIGNOFFS_MISSING"}
    assert found.review.signoffs == ()


@pytest.mark.parametrize(
    "line",
    [
        "ada@x.org {ada}",
        "*@x.org {ada}",
        'ada@x.org valid-after="20260301",valid-before="20260302" {ada}',
        f'ada@x.org namespaces="{NAMESPACE}" {{ada}}',
        'ada@x.org valid-before="20260301" {eve}\nada@x.org {ada}',
    ],
)
def test_signoff_that_the_allowed_signers_include_is_accepted(
    released: Path, keys: dict[str, Key], line: str
) -> None:
    """Patterns, times, purposes and successor keys work as in ssh-keygen(1)."""
    sign(released, keys["ada"])
    text = line.format(**{name: key.public for name, key in keys.items()})
    assert verify(released, policy=Policy(required=1, allowed_signers=text.encode())).ok


@pytest.mark.parametrize("kind", ["krl", "list"])
def test_signoff_by_a_revoked_key_is_refused(
    released: Path, keys: dict[str, Key], kind: str, tmp_path: Path
) -> None:
    """A key on a KRL of ssh-keygen, or on a list of keys, no longer counts; others do."""
    sign(released, keys["ada"])
    sign(released, keys["bob"], signer="bob@x.org")
    both = f"ada@x.org {keys['ada'].public}\nbob@x.org {keys['bob'].public}\n".encode()
    found = verify(
        released,
        policy=Policy(
            required=2, allowed_signers=both, revoked=revoke(kind, keys["ada"], tmp_path)
        ),
    )
    assert codes(found) == {"SIGNOFF_KEY_REVOKED", "SIGNOFFS_MISSING"}
    assert [one.statement.signer for one in found.review.signoffs] == ["bob@x.org"]
    unused = revoke(kind, keys["eve"], tmp_path)
    assert verify(released, policy=Policy(required=2, allowed_signers=both, revoked=unused)).ok


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"SSHKRL\n\0cut", "got a KRL that cannot be read"),
        (b"# comment\nssh-ed25519 nonsense\n", "line 2: key: got"),
        (b"SHA256:abc\n", "line 1: key: got"),
    ],
)
def test_revocation_list_that_cannot_be_read_is_bad_input(content: bytes, message: str) -> None:
    """A broken list must not count as an empty one."""
    with pytest.raises(BadInputError, match=message):
        Policy(allowed_signers=b"", revoked=content)


def test_rotation_keeps_earlier_signoffs_of_a_retired_key(
    released: Path, keys: dict[str, Key]
) -> None:
    """A retired key still counts for sign-offs before its end, and not after."""
    sign(released, keys["ada"])
    after = SEALED + dt.timedelta(days=30)
    retired = f"{SEALED + dt.timedelta(days=1):%Y%m%d}"
    text = f'ada@x.org valid-before="{retired}" {keys["ada"].public}\n'
    text += f"ada@x.org {keys['ada2'].public}\n"
    policy = Policy(required=1, allowed_signers=text.encode())
    assert verify(released, policy=policy).ok
    sign(released, keys["ada"], at=after, reservations="Signed by the old key")
    assert codes(verify(released, policy=policy)) == {"SIGNOFF_KEY_EXPIRED"}


# --- statements --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"attestation": f"sha256:{'0' * 64}"}, "SIGNOFF_OTHER_BUNDLE"),
        ({"report": f"sha256:{'0' * 64}"}, "SIGNOFF_OTHER_BUNDLE"),
        ({"result": "blocked", "reservations": WHY}, "SIGNOFF_RESULT"),
        ({"phase": "B9.9"}, "SIGNOFF_RESULT"),
        ({"at": "2026-02-28T12:00:00Z"}, "SIGNOFF_TIME"),
        ({"at": "2999-01-01T00:00:00Z"}, "SIGNOFF_TIME"),
    ],
)
def test_signoff_that_contradicts_the_bundle_is_refused(
    released: Path, keys: dict[str, Key], change: dict[str, Any], code: str
) -> None:
    """A statement for another bundle, another result or another time does not count."""
    plant(released, keys["ada"], statement(released, **change))
    found = verify(released, policy=allow(keys["ada"], required=1))
    assert codes(found) == {code, "SIGNOFFS_MISSING"}
    assert code in codes(verify(released))


def test_signoff_without_required_reservations_is_refused(
    blocked: Path, keys: dict[str, Key]
) -> None:
    """A sign-off of a blocked run without a reason is refused, whatever tool signed it."""
    plant(blocked, keys["ada"], statement(blocked, result="blocked"))
    assert codes(verify(blocked)) == {"SIGNOFF_RESULT"}


def test_signoff_for_another_purpose_is_refused(released: Path, keys: dict[str, Key]) -> None:
    """A signature for mail or commits does not count for a release."""
    plant(released, keys["ada"], statement(released), namespace="git")
    found = verify(released, policy=allow(keys["ada"]))
    assert codes(found) == {"SIGNOFF_NAMESPACE"}


def test_signoff_whose_statement_was_altered_is_refused(
    released: Path, keys: dict[str, Key]
) -> None:
    """Removing the reservations from a statement invalidates its signature."""
    signed = statement(released, reservations=WHY)
    content = format_signoff(signed.model_copy(update={"reservations": None}))
    plant(released, keys["ada"], signed, shown=content)
    assert codes(verify(released)) == {"SIGNOFF_INVALID"}


def test_signoff_of_another_bundle_is_refused(
    released: Path, blocked: Path, keys: dict[str, Key]
) -> None:
    """A sign-off that is copied to another bundle is refused."""
    sign(released, keys["ada"])
    shutil.copytree(released / "signoffs", blocked / "signoffs")
    assert codes(verify(blocked)) == {"SIGNOFF_OTHER_BUNDLE", "SIGNOFF_RESULT"}


def _other_name(folder: Path, path: Path) -> None:
    path.rename(folder / f"other{path.name}")
    Path(f"{path}.sig").rename(folder / f"other{path.name}.sig")


def _reformat(folder: Path, path: Path) -> None:  # noqa: ARG001 (all changes have one signature)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))


def _twice(folder: Path, path: Path) -> None:  # noqa: ARG001 (all changes have one signature)
    path.write_text(path.read_text().replace('{"at"', '{"phase":null,"at"', 1))


def _link(folder: Path, path: Path) -> None:
    target = folder.parent.parent / "elsewhere.json"
    path.rename(target)
    path.symlink_to(target)


def _certificate(folder: Path, path: Path) -> None:
    armour = Path(f"{path}.sig")
    lines = armour.read_text().splitlines()
    body = "".join(lines[1:-1]).encode()
    kind = b"ssh-ed25519-cert-v01@openssh.com"
    blob = base64.b64decode(body).replace(b"\0\0\0\x0bssh-ed25519", b"\0\0\0\x20" + kind, 1)
    blob = blob.replace(b"\0\0\0\x33", (0x33 + 0x15).to_bytes(4, "big"), 1)
    armour.write_text("\n".join([lines[0], base64.b64encode(blob).decode(), lines[-1], ""]))
    del folder


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda _, path: path.unlink(), "SIGNOFF_MALFORMED"),
        (lambda _, path: Path(f"{path}.sig").unlink(), "SIGNOFF_MALFORMED"),
        (lambda _, path: Path(f"{path}.sig").write_text("no signature\n"), "SIGNOFF_MALFORMED"),
        (lambda _, path: Path(f"{path}.sig").write_bytes(b"x" * 65537), "SIGNOFF_MALFORMED"),
        (lambda folder, _: (folder / "README").write_text("hello"), "SIGNOFF_MALFORMED"),
        (lambda folder, _: (folder / ".hidden.json").write_text("{}"), "SIGNOFF_MALFORMED"),
        (lambda folder, _: (folder / "empty").mkdir(), "EMPTY_FOLDER"),
        (lambda folder, _: os.mkfifo(folder / "pipe.json"), "SPECIAL_FILE"),
        (_other_name, "SIGNOFF_MALFORMED"),
        (_reformat, "SIGNOFF_MALFORMED"),
        (_twice, "JSON_DUPLICATE_KEY"),
        (_link, "LINK"),
        (_certificate, "SIGNOFF_MALFORMED"),
    ],
)
def test_signoffs_are_a_closed_world(
    released: Path, keys: dict[str, Key], change: Callable[[Path, Path], object], code: str
) -> None:
    """signoffs/ may contain only pairs of a canonical statement and a signature."""
    path = released / sign(released, keys["ada"])
    assert verify(released).ok, "premise: it was accepted before"
    change(released / "signoffs", path)
    found = verify(released)
    assert code in codes(found)
    assert all(one.path.startswith("signoffs/") for one in found.findings)


def test_signoffs_are_allowed_only_in_their_folder(released: Path, keys: dict[str, Key]) -> None:
    """The same files in another folder are unlisted."""
    sign(released, keys["ada"])
    (released / "signoffs").rename(released / "Signoffs")
    assert codes(verify(released)) == {"FILE_UNLISTED"}


def test_signoff_with_an_additional_field_is_refused(released: Path) -> None:
    """Unknown fields are refused where a statement is read."""
    content = format_signoff(statement(released))
    with pytest.raises(Exception, match="sign-off: approved: Extra inputs"):
        parse_signoff(content.replace(b"{", b'{"approved":true,', 1))


def test_script_accepts_only_signoffs_of_this_attestation(
    released: Path, blocked: Path, keys: dict[str, Key]
) -> None:
    """verify.sh accepts a sign-off of this bundle, and no other file in its folder."""
    path = released / sign(released, keys["ada"])
    done = subprocess.run(["sh", str(SCRIPT), str(released)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.copytree(released / "signoffs", blocked / "signoffs")
    Path(f"{path}.sig").unlink()
    (released / "signoffs/README").write_text("hello")
    for bundle, message in (
        (released, "FILE_UNLISTED signoffs/README"),
        (released, f"SIGNOFF_MALFORMED signoffs/{path.name}"),
        (blocked, f"SIGNOFF_MALFORMED signoffs/{path.name}.sig"),
    ):
        command = ["sh", str(SCRIPT), str(bundle)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, message.encode() in done.stderr) == (1, True), done.stderr


def test_release_can_be_required_of_one_phase(released: Path, blocked: Path) -> None:
    """With --phase, --require-released is about that phase."""
    asked = ("--require-released", "--phase", "B0.5.1")
    assert gateproof("verify", released, *asked).exit_code == 0
    done = gateproof("verify", blocked, *asked)
    assert done.exit_code == 1
    assert "NOT_RELEASED data/run.json: phase B0.5.1: got blocked, expected released" in done.output
    done = gateproof("verify", blocked, "--require-released", "--phase", "B9.9")
    assert (done.exit_code, done.stdout) == (4, "")


# --- the command line --------------------------------------------------------------------------


def test_sign_off_and_verify_by_command(
    blocked: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    """sign-off prints the signed statement; verify prints the signer and the reservations."""
    arguments = ("--key", keys["ada"].path, "--identity", "ada@x.org", "--phase", "B0.5.1")
    done = gateproof("sign-off", blocked, *arguments)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "B0.5.1 is blocked, expected released" in done.stderr
    done = gateproof("sign-off", blocked, *arguments, "--with-reservations", WHY)
    assert done.exit_code == 0, done.output
    assert f"B0.5.1, blocked, as ada@x.org\nwith reservations: {WHY}" in done.output
    (tmp_path / "allowed").write_text(f"ada@x.org {keys['ada'].public}\n")
    asked = ("--require-signoffs", 1, "--allowed-signers", tmp_path / "allowed")
    done = gateproof("verify", blocked, *asked, "--phase", "B0.5.1")
    assert done.exit_code == 0, done.output
    assert "signed off: B0.5.1 (blocked) by ada@x.org at " in done.output
    assert f"; with reservations: {WHY}, key SHA256:" in done.output
    done = gateproof("verify", blocked, *asked, "--json")
    document = json.loads(done.output)
    assert (done.exit_code, document["review"]["persons"]) == (1, 0)
    assert document["review"]["signoffs"][0]["reservations"] == WHY


def test_verify_names_no_person_that_it_did_not_check(
    released: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    """A stranger's sign-off under any name is unverified, in text and JSON, without a list."""
    sign(released, keys["eve"], signer="cfo@x.org")
    done = gateproof("verify", released)
    assert done.exit_code == 0, done.output
    [line] = [line for line in done.output.splitlines() if "cfo@x.org" in line]
    assert line.startswith("unverified sign-off: whole (released) claims to be by cfo@x.org at ")
    assert "signed off" not in done.output
    assert "no sign-off is verified: name the persons who may sign" in done.output
    document = json.loads(gateproof("verify", released, "--json").output)["review"]
    assert (document["signoffs"], document["persons"]) == ([], None)
    assert [one["signer"] for one in document["unverified_signoffs"]] == ["cfo@x.org"]
    (tmp_path / "allowed").write_text(f"cfo@x.org {keys['eve'].public}\n")
    done = gateproof("verify", released, "--allowed-signers", tmp_path / "allowed")
    assert "\nsigned off: whole (released) by cfo@x.org at " in done.output
    assert "unverified" not in done.output
    assert "\nthe whole run (released): signed off by 1 person\n" in done.output


def test_show_phase_lists_signoffs_as_unverified(blocked: Path, keys: dict[str, Key]) -> None:
    """Each phase has its sign-offs, with the claimed signer and the reservations."""
    sign(blocked, keys["ada"], phase="B0.5.1", reservations=WHY)
    sign(blocked, keys["bob"], signer="bob@x.org", reservations=WHY)
    lines = gateproof("show", blocked, "--phase").output.splitlines()
    claim = "  unverified sign-off: {} (blocked) claims to be by {}@x.org at {}{}"
    assert claim.format("B0.5.1", "ada", SIGNED, KEPT) in lines
    assert claim.format("whole", "bob", SIGNED, KEPT) in lines
    document = json.loads(gateproof("show", blocked, "--phase", "--json").output)
    signers = [one["signer"] for one in document["phases"][0]["unverified_signoffs"]]
    assert sorted(signers) == ["ada@x.org", "bob@x.org"]


def test_sign_off_uses_the_address_of_git(
    released: Path, keys: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default of --identity is git's user.email; without that it is bad input."""
    config = tmp_path / "gitconfig"
    config.write_text("")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(config))
    monkeypatch.chdir(tmp_path)
    done = gateproof("sign-off", released, "--key", keys["ada"].path)
    assert (done.exit_code, "--identity: got none" in done.stderr) == (4, True)
    config.write_text("[user]\n\temail = ada@x.org\n")
    done = gateproof("sign-off", released, "--key", keys["ada"].path)
    assert done.exit_code == 0, done.output
    assert verify(released).review.signoffs[0].statement.signer == "ada@x.org"


@pytest.mark.parametrize("option", ["--key", "--allowed-signers", "--revoked", "--timestamp-ca"])
def test_verify_takes_no_trust_anchor_from_the_bundle(
    released: Path, tmp_path: Path, option: str
) -> None:
    """Keys and lists of signers must come from outside the bundle."""
    (tmp_path / "allowed").write_text("")
    others = ("--allowed-signers", tmp_path / "allowed") if option == "--revoked" else ()
    named = released / ("public-key.pem" if option == "--key" else "bagit.txt")
    done = gateproof("verify", released, *others, option, named)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "got a file inside the bundle, expected one from outside" in done.stderr


def test_sign_off_takes_no_run_key_from_the_bundle(released: Path, keys: dict[str, Key]) -> None:
    """With the bundle's own key, a reviewer could sign a bundle of an unknown signer."""
    options = ("--identity", "ada@x.org", "--run-key", released / "public-key.pem")
    done = gateproof("sign-off", released, "--key", keys["ada"].path, *options)
    assert done.exit_code == 4
    assert "got a file inside the bundle, expected one from outside" in done.stderr
    assert not (released / "signoffs").exists()


# --- helpers -----------------------------------------------------------------------------------

SIGNED = SEALED + dt.timedelta(hours=1)
KEPT = f"; with reservations: {WHY}"


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def sign(
    bundle: Path,
    key: Key,
    *,
    signer: str = "ada@x.org",
    phase: str | None = None,
    reservations: str | None = None,
    run_key: bytes | None = None,
    at: dt.datetime = SIGNED,
) -> str:
    """Sign off a bundle and return the statement's path inside it."""
    return countersign(
        bundle,
        Reviewer(signer=signer, key=key.path),
        phase=phase,
        reservations=reservations,
        run_key=run_key,
        clock=lambda: at,
    )[1]


def statement(bundle: Path, **changes: Any) -> Statement:
    """Return the statement of a reviewer of a released bundle, with changes."""
    fields: dict[str, Any] = {
        "attestation": digest(bundle / "attestation.dsse.json"),
        "report": digest(bundle / "data/report.html"),
        "phase": None,
        "result": "released",
        "signer": "ada@x.org",
        "at": SIGNED,
        "reservations": None,
        **changes,
    }
    return Statement.model_validate(fields)


def plant(
    bundle: Path,
    key: Key,
    signed: Statement,
    *,
    namespace: str = NAMESPACE,
    shown: bytes | None = None,
) -> None:
    """Write any statement into a bundle, signed by hand; `shown` replaces the signed content."""
    content = format_signoff(signed)
    work = bundle.parent / "statement"
    work.write_bytes(content)
    command = ("ssh-keygen", "-Y", "sign", "-q", "-f", str(key.path), "-n", namespace, str(work))
    subprocess.run(command, check=True)
    content = shown or content
    signature = work.with_name("statement.sig")
    keyid = SshSignature.from_bytes(signature.read_bytes()).keyid
    place = bundle / place_of(content, parse_signoff(content), keyid)
    place.parent.mkdir(exist_ok=True)
    Path(f"{place}.json").write_bytes(content)
    signature.rename(f"{place}.json.sig")


def allow(key: Key, *, required: int = 0) -> Policy:
    """Return a policy with one key for Ada."""
    line = f"ada@x.org {key.public}\n"
    return Policy(required=required, allowed_signers=line.encode())


def revoke(kind: str, key: Key, folder: Path) -> bytes:
    """Return a revocation list with one key."""
    public = folder / "revoked.pub"
    public.write_text(f"{key.public}\n")
    if kind == "list":
        return public.read_bytes()
    subprocess.run(("ssh-keygen", "-q", "-k", "-f", str(folder / "krl"), str(public)), check=True)
    return (folder / "krl").read_bytes()


def own_key(folder: Path) -> tuple[RunKey, Key]:
    """Return one key in two forms: a run's and a reviewer's."""
    path = folder / "own"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)), check=True)
    return RunKey.load(path, None), Key(path=path)


def codes(found: Verification) -> set[str]:
    """Return the code of every finding."""
    return {finding.code.value for finding in found.findings}


def digest(path: Path) -> str:
    """Return a file's digest."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
