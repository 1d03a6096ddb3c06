"""Sign-offs through the commands: keys that count, persons, lists, previews and warnings."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import dsa

from gateproof_evidence.additions.sign_off import parse_signoff, place_of
from gateproof_evidence.cli import main
from gateproof_evidence.clients.ssh_key import read_key
from gateproof_evidence.clients.ssh_keygen import SshSignature
from tests.sample import fixed_key, sealed

WHY = "The index comes with the next migration"
MARK = b"\xef\xbb\xbf"
KINDS = {
    "ada": ("ed25519",),
    "ada2": ("ecdsa", "-b", "256"),
    "bob": ("rsa", "-b", "2048"),
    "eve": ("ed25519",),
    "short": ("rsa", "-b", "1024"),
    "odd": ("rsa", "-b", "2047"),
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a folder of reviewers' keys."""
    folder = tmp_path_factory.mktemp("keys")
    for name, kind in KINDS.items():
        words = ("ssh-keygen", "-q", "-t", *kind, "-N", "", "-C", name, "-f", str(folder / name))
        subprocess.run(words, check=True)
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a released bundle to copy."""
    return sealed(tmp_path_factory.mktemp("released"), failing=False)


@pytest.fixture
def released(template: Path, tmp_path: Path) -> Path:
    """Provide a released bundle."""
    return Path(shutil.copytree(template, tmp_path / "bundle"))


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """Provide a blocked bundle."""
    (tmp_path / "blocked").mkdir()
    return sealed(tmp_path / "blocked")


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def sign(bundle: Path, key: Path, who: str, *more: object) -> Result:
    """Sign a bundle off by command."""
    return gateproof("sign-off", bundle, "--key", key, "--identity", who, *more)


def public(key: Path) -> str:
    """Return type and base64 of a key."""
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def fingerprint(key: Path) -> str:
    """Return what ssh-keygen prints as the fingerprint of a key."""
    command = ("ssh-keygen", "-l", "-f", str(key))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def asked(bundle: Path, folder: Path, allowed: str | bytes, *more: object) -> Result:
    """Verify a bundle with a list of allowed signers."""
    path = folder / "allowed"
    path.write_bytes(allowed if isinstance(allowed, bytes) else allowed.encode())
    return gateproof("verify", bundle, "--allowed-signers", path, *more)


# --- revocation lists ---------------------------------------------------------------------------


def _krl(folder: Path, *words: str) -> bytes:
    command = ("ssh-keygen", "-q", "-k", "-f", str(folder / "krl"), *words)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return (folder / "krl").read_bytes()


def _empty_krl(folder: Path, _: Path) -> bytes:
    return _krl(folder)


def _krl_of_certificates(folder: Path, keys: Path) -> bytes:
    (folder / "serials").write_text("serial: 7\n")
    return _krl(folder, "-s", str(keys / "eve.pub"), str(folder / "serials"))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda *_: b"", id="no-bytes"),
        pytest.param(lambda *_: b"\n \n", id="blank"),
        pytest.param(lambda *_: b"# no keys yet\n  # none\n", id="comments"),
        pytest.param(lambda *_: MARK, id="byte-order-mark"),
        pytest.param(_empty_krl, id="krl"),
        pytest.param(_krl_of_certificates, id="krl-of-certificates"),
    ],
)
def test_verify_refuses_a_revocation_list_without_keys(
    released: Path, keys: Path, tmp_path: Path, make: Callable[[Path, Path], bytes]
) -> None:
    """A list that revokes no key is bad input: it may be a failed download."""
    (tmp_path / "revoked").write_bytes(make(tmp_path, keys))
    done = asked(released, tmp_path, "", "--revoked", tmp_path / "revoked")
    assert (done.exit_code, done.stdout) == (4, "")
    assert "--revoked: revocation list: got no key" in done.stderr
    assert "leave --revoked out if no key is revoked" in done.stderr


@pytest.mark.parametrize("form", ["key", "sha1", "sha256", "list", "marked-list"])
def test_verify_applies_each_form_of_revocation_list(
    released: Path, keys: Path, tmp_path: Path, form: str
) -> None:
    """A key that is revoked by itself, by a digest, or on a list does not count."""
    assert sign(released, keys / "ada", "ada@x.org").exit_code == 0
    text = (keys / "ada.pub").read_bytes()
    (tmp_path / "spec").write_bytes(text if form == "key" else f"{form}: ".encode() + text)
    listed = {"list": text, "marked-list": MARK + text}
    content = listed.get(form) or _krl(tmp_path, str(tmp_path / "spec"))
    (tmp_path / "revoked").write_bytes(content)
    line = f"ada@x.org {public(keys / 'ada')}\n"
    done = asked(released, tmp_path, line, "--revoked", tmp_path / "revoked")
    assert done.exit_code == 1, done.output
    assert f"key {fingerprint(keys / 'ada')} of ada@x.org is revoked" in done.output


# --- persons ------------------------------------------------------------------------------------

TWO_LINES = "ada@x.org {ada}\nada@x.org {ada2}\nada@home.org {ada2}\n"
"""Two names, each with a key, and one line that ties the second key to the first name."""


@pytest.mark.parametrize(
    ("allowed", "persons"),
    [
        pytest.param(TWO_LINES, 1, id="two-lines"),
        pytest.param("ada@x.org {ada}\nada@x.org,ada@home.org {ada2}\n", 1, id="one-line"),
        pytest.param("ada@x.org,ada@home.org {ada2}\nada@x.org {ada}\n", 1, id="other-order"),
        pytest.param('"ada@x.org,ADA@HOME.ORG" {ada2}\nada@*  {ada}\n' + TWO_LINES, 1, id="quoted"),
        pytest.param("ada@x.org {ada}\nada@home.org {ada2}\n", 2, id="apart"),
        pytest.param(
            'ada@x.org {ada}\nada@home.org namespaces="gateproof-signoff@v1" {ada2}\n'
            'ada@x.org namespaces="git",valid-before="20270101" {ada2}\n',
            1,
            id="options",
        ),
        pytest.param("ada@x.org {ada}\nada@home.org {ada2}\n*@x.org {ada2}\n", 2, id="pattern"),
        pytest.param(
            "ada@x.org {ada}\nada@home.org {ada2}\n"
            'ada@x.org,ada@home.org cert-authority,namespaces="a b" {eve}\n',
            2,
            id="authority",
        ),
        pytest.param("ada@x.org {ada}\nada@home.org {ada2}\nada@x.org,ada@home.org ?\n", 1, id="x"),
    ],
)
def test_verify_counts_persons_by_names_and_keys_of_the_list(
    released: Path, keys: Path, tmp_path: Path, allowed: str, persons: int
) -> None:
    """Names and keys that a line ties are one person, on one line or on several."""
    assert sign(released, keys / "ada", "ada@x.org").exit_code == 0
    assert sign(released, keys / "ada2", "ada@home.org").exit_code == 0
    text = allowed.format(**{name: public(keys / name) for name in KINDS})
    done = asked(released, tmp_path, text, "--require-signoffs", 2, "--json")
    document = json.loads(done.output)
    assert document["review"]["persons"] == persons
    assert done.exit_code == (0 if persons == 2 else 1), done.output


# --- keys that count, and their fingerprints ----------------------------------------------------


@pytest.mark.parametrize(("name", "bits"), [("short", 1024), ("odd", 2047)])
def test_signoff_by_a_short_rsa_key_does_not_count(
    released: Path, keys: Path, tmp_path: Path, name: str, bits: int
) -> None:
    """RSA under 2048 bits is refused for signing, and a finding where another tool signed."""
    done = sign(released, keys / name, "ada@x.org")
    expected = f"got RSA of {bits} bits, expected 2048 or more"
    assert done.exit_code == 4
    assert expected in done.stderr
    assert not (released / "signoffs").exists()
    _plant(released, keys / name, "ada@x.org")
    line = f"ada@x.org {public(keys / name)}\n"
    done = asked(released, tmp_path, line, "--require-signoffs", 1)
    assert done.exit_code == 1
    assert f"key {fingerprint(keys / name)} does not count: {expected}" in done.output
    assert re.search(r"^SIGNOFF_WEAK_KEY signoffs/", done.output, re.MULTILINE)
    assert re.search(r"^SIGNOFFS_MISSING .* got 0, expected 1", done.output, re.MULTILINE)


def test_signoff_key_of_type_dsa_does_not_count() -> None:
    """DSA is read and refused by its name, also where ssh-keygen no longer makes such keys."""
    numbers = dsa.generate_private_key(1024).public_key().public_numbers()
    own = numbers.parameter_numbers
    blob = _string(b"ssh-dss") + b"".join(
        _string(one.to_bytes(one.bit_length() // 8 + 1, "big").removeprefix(b"\0\0"))
        for one in (own.p, own.q, own.g, numbers.y)
    )
    line = f"ssh-dss {base64.b64encode(blob).decode()}"
    assert read_key(line, name="line 1").weakness == "got DSA, expected Ed25519, ECDSA or RSA"


@pytest.mark.parametrize("name", ["ada", "ada2", "bob"])
def test_verify_prints_the_fingerprints_of_ssh_keygen(
    released: Path, keys: Path, tmp_path: Path, name: str
) -> None:
    """The fingerprint is what ssh-keygen -l prints, in text, JSON, preview and findings."""
    printed = fingerprint(keys / name)
    done = sign(released, keys / name, "ada@x.org")
    assert f"signed as    ada@x.org, key {printed} ({keys / name})" in done.output
    line = f"ada@x.org {public(keys / name)}\n"
    assert f", key {printed}\n" in asked(released, tmp_path, line).output
    document = json.loads(asked(released, tmp_path, line, "--json").output)
    assert [one["fingerprint"] for one in document["review"]["signoffs"]] == [printed]
    other = asked(released, tmp_path, f"eve@x.org {public(keys / name)}\n")
    assert f"key {printed} is known, but not for ada@x.org" in other.output
    assert printed in gateproof("verify", released).output


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _plant(bundle: Path, key: Path, who: str) -> None:
    """Sign with ssh-keygen what `gateproof sign-off` would sign, and store it."""
    helper = key.parent / "ada"
    made = json.loads(sign(bundle, helper, who, "--json").stdout)
    path = bundle / made["path"]
    content = path.read_bytes()
    shutil.rmtree(bundle / "signoffs")
    work = bundle.parent / "statement"
    work.write_bytes(content)
    name = ("-n", "gateproof-signoff@v1")
    subprocess.run(("ssh-keygen", "-Y", "sign", "-q", "-f", key, *name, work), check=True)
    armour = Path(f"{work}.sig").read_bytes()
    place = bundle / f"{_place(content, armour)}.json"
    place.parent.mkdir()
    place.write_bytes(content)
    Path(f"{place}.sig").write_bytes(armour)


def _place(content: bytes, armour: bytes) -> str:
    """Return the path that a sign-off must have."""
    return place_of(content, parse_signoff(content), SshSignature.from_bytes(armour).keyid)


# --- preview, confirmation and warnings ---------------------------------------------------------


def test_sign_off_prints_what_it_will_sign(blocked: Path, keys: Path, tmp_path: Path) -> None:
    """The preview has bundle, phase, result, criteria, bindings, report and key; none is made."""
    (tmp_path / "run.pem").write_bytes(fixed_key().public_pem)
    options = ("--phase", "B0.5.1", "--with-reservations", WHY, "--run-key", tmp_path / "run.pem")
    done = sign(blocked, keys / "ada", "ada@x.org", *options, "--dry-run")
    assert done.exit_code == 0, done.output
    assert not (blocked / "signoffs").exists()
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1] == "dry run: nothing was signed"
    digest = re.search(
        r"^report +data/report.html (sha256:[0-9a-f]{64}): ", done.stdout, re.MULTILINE
    )
    shown = subprocess.run(("sha256sum", blocked / "data/report.html"), capture_output=True)
    assert digest is not None
    assert digest[1] == f"sha256:{shown.stdout.split()[0].decode()}"
    for expected in (
        f"bundle       {blocked}, sealed 2026-03-01 12:00:30 UTC",
        f"sealed by    {fixed_key().keyid} (the key that --run-key names)",
        "signs off    phase B0.5.1: blocked",
        "criteria     4: 1 pass, 2 fail, 1 not selected; 1 proven, 1 with a waiver",
        f"commit       {'c' * 40}, clean",
        f"signed as    ada@x.org, key {fingerprint(keys / 'ada')} ({keys / 'ada'})",
        f"reservations {WHY}",
    ):
        assert expected in lines
    for label in ("open", "judged by", "attestation"):
        assert any(line.startswith(label) for line in lines)


def test_sign_off_warns_without_the_key_of_the_run(
    released: Path, keys: Path, tmp_path: Path
) -> None:
    """Without --run-key it names what is not checked; with it there is no warning."""
    done = sign(released, keys / "ada", "ada@x.org")
    assert done.exit_code == 0
    assert "warning: no --run-key: it is not checked who sealed this bundle" in done.stderr
    assert "(not checked: no --run-key)" in done.stdout
    (tmp_path / "run.pem").write_bytes(fixed_key().public_pem)
    done = sign(released, keys / "bob", "bob@x.org", "--run-key", tmp_path / "run.pem")
    assert done.exit_code == 0
    assert "warning" not in done.stderr


def test_sign_off_prints_one_json_object(released: Path, keys: Path) -> None:
    """With --json standard output is one object with preview, statement and path."""
    done = sign(released, keys / "ada", "ada@x.org", "--json", "--dry-run")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["path"]) == (0, None)
    assert document["preview"]["signs off"] == "the whole run: released"
    assert not (released / "signoffs").exists()
    document = json.loads(sign(released, keys / "ada", "ada@x.org", "--json").stdout)
    assert (released / document["path"]).exists()


@pytest.mark.parametrize(
    ("answer", "more", "status"), [("n", (), 1), ("", (), 1), ("y", (), 0), (None, ("--yes",), 0)]
)
def test_sign_off_asks_a_person_and_no_script(
    released: Path, keys: Path, answer: str | None, more: tuple[str, ...], status: int
) -> None:
    """At a terminal it asks after the preview, with no as the default; --yes answers before."""
    answers = {"Sign this off?": answer} if answer is not None else {}
    words = ("--key", str(keys / "ada"), "--identity", "ada@x.org", *more)
    output, code = at_terminal(("sign-off", str(released), *words), answers)
    assert code == status, output
    assert output.index("signs off    the whole run: released") >= 0
    assert (released / "signoffs").exists() is (status == 0)
    assert ("Sign this off?" in output) is (answer is not None)
    if status:
        assert "nothing was signed" in output


def test_sign_off_names_the_key_before_its_passphrase_is_asked(
    released: Path, tmp_path: Path
) -> None:
    """The prompt of ssh-keygen names no key, so a line before it does."""
    key = tmp_path / "locked"
    command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(key))
    subprocess.run(command, check=True)
    words = ("sign-off", str(released), "--key", str(key), "--identity", "ada@x.org")
    answers = {"Sign this off?": "y", "Enter passphrase": "a passphrase"}
    output, code = at_terminal(words, answers)
    assert code == 0, output
    before = output.partition("Enter passphrase")[0].splitlines()
    assert before[-1] == f"{key}: signing; ssh-keygen may ask for the passphrase of it"
    assert gateproof("verify", released).exit_code == 0


def at_terminal(arguments: tuple[str, ...], answers: dict[str, str]) -> tuple[str, int]:
    """Run gateproof at a terminal, and type an answer after each text that is waited for."""
    command = (sys.executable, "-m", "gateproof_evidence", *arguments)
    child, terminal = pty.fork()
    if child == 0:
        os.environ.pop("SSH_ASKPASS", None)
        os.execv(sys.executable, command)
    output, left = "", dict(answers)
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # Linux reports the end of the child so
            break
        if not read:
            break
        output += read.decode()
        for text in [text for text in left if text in output]:
            os.write(terminal, f"{left.pop(text)}\n".encode())
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return output.replace("\r\n", "\n"), os.waitstatus_to_exitcode(status)


# --- files that an editor or a mistake has changed ----------------------------------------------


def test_verify_accepts_allowed_signers_with_a_byte_order_mark(
    released: Path, keys: Path, tmp_path: Path
) -> None:
    """A mark at the start of UTF-8, or in the middle of joined files, changes no name."""
    for name in ("ada", "bob"):
        assert sign(released, keys / name, f"{name}@x.org").exit_code == 0
    lines = [f"{name}@x.org {public(keys / name)}\r\n".encode() for name in ("ada", "bob")]
    content = MARK + MARK.join(lines)
    done = asked(released, tmp_path, content, "--require-signoffs", 2)
    assert done.exit_code == 0, done.output
    (tmp_path / "run.pem").write_bytes(MARK + fixed_key().public_pem)
    done = gateproof("verify", released, "--key", tmp_path / "run.pem")
    assert done.exit_code == 0, done.output
    assert "signed by sha256:" in done.output


@pytest.mark.parametrize("option", ["--key", "--allowed-signers", "--revoked", "--timestamp-ca"])
def test_verify_refuses_utf_16_by_name(
    released: Path, keys: Path, tmp_path: Path, option: str
) -> None:
    """A file that PowerShell wrote as UTF-16 is one clear line of bad input."""
    path = tmp_path / "wide"
    path.write_text(f"ada@x.org {public(keys / 'ada')}\n", encoding="utf-16")
    others = ("--allowed-signers", keys / "ada.pub") if option == "--revoked" else ()
    done = gateproof("verify", released, *others, option, path)
    assert (done.exit_code, done.stdout) == (4, "")
    assert f"{path}: " in done.stderr
    assert "got UTF-16, expected text in UTF-8; save it as UTF-8" in done.stderr


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("option", ["--key", "--allowed-signers", "--revoked"])
def test_verify_refuses_wide_text_without_a_mark(
    released: Path, keys: Path, tmp_path: Path, option: str, encoding: str
) -> None:
    """A list in which ssh-keygen would find no signer is bad input too."""
    path = tmp_path / "wide"
    path.write_text(f"ada@x.org {public(keys / 'ada')}\n", encoding=encoding)
    others = ("--allowed-signers", keys / "ada.pub") if option == "--revoked" else ()
    done = gateproof("verify", released, *others, option, path)
    assert (done.exit_code, done.stdout) == (4, "")


@pytest.mark.parametrize("mark", [MARK, b"\xff\xfe"])
def test_sign_off_refuses_a_key_with_a_byte_order_mark(
    released: Path, keys: Path, tmp_path: Path, mark: bytes
) -> None:
    """ssh-keygen would report a missing public key; the message names the mark."""
    path = tmp_path / "marked"
    path.write_bytes(mark + (keys / "ada").read_bytes())
    path.chmod(0o600)
    done = sign(released, path, "ada@x.org")
    assert done.exit_code == 4
    assert f"{path}: sign-off: got a byte-order mark before the key" in done.stderr


def test_verify_names_a_byte_order_mark_in_a_signoff(released: Path, keys: Path) -> None:
    """A sign-off is signed bytes, so a mark before either file is a finding that names it."""
    made = json.loads(sign(released, keys / "ada", "ada@x.org", "--json").stdout)
    armour = Path(f"{released / made['path']}.sig")
    armour.write_bytes(MARK + armour.read_bytes())
    output = gateproof("verify", released).output
    assert "signature: got a byte-order mark before it, expected an armoured SSH" in output
    armour.write_bytes(armour.read_bytes()[3:])
    (released / made["path"]).write_bytes(MARK + (released / made["path"]).read_bytes())
    assert "BOM" in gateproof("verify", released).output


def _private_pem(folder: Path, _: Path) -> Path:
    gateproof("keygen", folder / "own")
    return folder / "own"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(_private_pem, "got a private key", id="private-pem"),
        pytest.param(lambda _, keys: keys / "eve", "got a private key", id="private-ssh"),
        pytest.param(lambda folder, _: _text(folder, ""), "got an empty file", id="empty"),
        pytest.param(
            lambda folder, keys: _text(folder, f"a@x.org {public(keys / 'eve')}\n"),
            "got a list of allowed signers",
            id="allowed-signers",
        ),
        pytest.param(lambda _, keys: keys / "bob.pub", "got RSAPublicKey", id="rsa"),
        pytest.param(lambda _, keys: keys / "ada2.pub", "got an SSH key of another", id="ecdsa"),
        pytest.param(lambda folder, _: folder, "got Is a directory", id="folder"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "sign-off"])
def test_commands_name_what_was_given_as_a_public_key(
    released: Path,
    keys: Path,
    tmp_path: Path,
    make: Callable[[Path, Path], Path],
    expected: str,
    command: str,
) -> None:
    """A private key and other files are named as what they are, and so is the option."""
    (tmp_path / "files").mkdir()
    path = make(tmp_path / "files", keys)
    if command == "verify":
        done = gateproof("verify", released, "--key", path)
    else:
        done = sign(released, keys / "ada", "ada@x.org", "--run-key", path)
    assert (done.exit_code, done.stdout) == (4, "")
    assert expected in done.stderr
    assert "something else" not in done.stderr
    option = "--key" if command == "verify" else "--run-key"
    assert option in done.stderr or f"{path}: public key" in done.stderr
    if expected == "got a private key":
        assert "openssl pkey -in KEY -pubout" in done.stderr
        assert base64.b64encode(b"openssh-key-v1")[:10].decode() not in done.stderr


def _text(folder: Path, text: str) -> Path:
    (folder / "text").write_text(text)
    return folder / "text"


@pytest.mark.parametrize(
    "command",
    [
        ("verify",),
        ("show",),
        ("show", "--phase", ""),
        ("render",),
        ("export", "--format", "gaps-md"),
        ("timestamp", "--timestamp-url", "http://127.0.0.1:9"),
        ("sign-off", "--key", "none", "--identity", "ada@x.org"),
    ],
)
@pytest.mark.parametrize("form", ["gztar", "tar"])
def test_commands_name_an_archive_that_is_given_as_a_bundle(
    released: Path, tmp_path: Path, command: tuple[str, ...], form: str
) -> None:
    """A tar file is named as an archive, with the advice to unpack it; a ZIP file is read."""
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), form, released))
    done = gateproof(command[0], archive, *command[1:])
    assert done.exit_code == 4
    assert f"{archive}: bundle: got a " in done.stderr
    assert "archive (unpack it first: " in done.stderr
    assert "Not a directory" not in done.stderr


def test_verify_names_an_archive_that_is_given_as_the_previous_bundle(
    released: Path, tmp_path: Path
) -> None:
    """--previous names a tar file too, and diff either of its two."""
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "tar", released))
    done = gateproof("verify", released, "--previous", archive)
    assert (done.exit_code, "a tar or compressed archive" in done.stderr) == (4, True)
    assert "--previous: got" in done.stderr
    for pair in ((archive, released), (released, archive)):
        done = gateproof("diff", *pair)
        assert (done.exit_code, "bundle: got a tar" in done.stderr) == (4, True)
