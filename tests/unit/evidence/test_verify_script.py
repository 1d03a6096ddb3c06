"""verify.sh, which needs only a shell, OpenSSL 3 and sha256sum, agrees with the verifier."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof_evidence.sealing.bag import TEMPLATES
from gateproof_evidence.sealing.run_key import RunKey, generate
from gateproof_evidence.verification.bundle import verify
from tests.sample import sealed

SCRIPT = TEMPLATES / "verify.sh"


def script(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script of this checkout on a bundle."""
    return subprocess.run(
        ["sh", str(SCRIPT), str(bundle), *arguments], capture_output=True, text=True, check=False
    )


def test_script_accepts_a_whole_bundle_from_anywhere(bundle: Path, tmp_path: Path) -> None:
    """The bundle's own copy needs no argument, and reports an unknown signer."""
    done = subprocess.run(
        ["sh", str(bundle / "verify.sh")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == [
        "whole: every file is as it was sealed",
        "signer unknown: this shows integrity, not origin",
        "the unknown signer claims: blocked",
    ]
    assert done.stderr == ""


def test_script_requires_the_signer_of_the_given_key(
    bundle: Path, tmp_path: Path, key: RunKey
) -> None:
    """The signer's key is accepted, and another key is not."""
    (tmp_path / "signer.pem").write_bytes(key.public_pem)
    (tmp_path / "other.pem").write_bytes(RunKey.ephemeral().public_pem)
    good = script(bundle, str(tmp_path / "signer.pem"))
    assert good.returncode == 0, good.stderr
    assert "signed by the key in" in good.stdout
    bad = script(bundle, str(tmp_path / "other.pem"))
    assert bad.returncode == 1
    expected = "signed by the key in the bundle, expected the key in "
    assert f"WRONG_SIGNER attestation.dsse.json: {expected}" in bad.stderr
    assert "not valid" not in bad.stderr
    assert "that signed" not in bad.stderr


def test_both_verifiers_name_the_file_with_a_changed_byte(bundle: Path) -> None:
    """One changed byte in any file is found by both, under the same name."""
    names = sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file())
    for name in names:
        path = bundle / name
        original = path.read_bytes()
        path.write_bytes(original[:10] + bytes([original[10] ^ 1]) + original[11:])
        done = script(bundle)
        assert done.returncode == 1, name
        assert name in done.stderr, done.stderr
        assert name in {finding.path for finding in verify(bundle).findings}
        path.write_bytes(original)
    assert script(bundle).returncode == 0


def _added(bundle: Path) -> None:
    (bundle / "data/extra.txt").write_text("x")


def _dotfile(bundle: Path) -> None:
    (bundle / ".hidden").write_text("x")


def _newline(bundle: Path) -> None:
    (bundle / "data/a\nb").write_text("x")


def _removed(bundle: Path) -> None:
    (bundle / "data/tests/junit.xml").unlink()


def _no_attestation(bundle: Path) -> None:
    (bundle / "attestation.dsse.json").unlink()


def _no_key(bundle: Path) -> None:
    (bundle / "public-key.pem").write_text("")


def _empty_folder(bundle: Path) -> None:
    (bundle / "data/none").mkdir()


def _link(bundle: Path) -> None:
    path = bundle / "data/tests/junit.xml"
    path.rename(bundle.parent / "junit.xml")
    path.symlink_to(bundle.parent / "junit.xml")


def _pipe(bundle: Path) -> None:
    os.mkfifo(bundle / "data/pipe")


def _emptied_manifest(bundle: Path) -> None:
    (bundle / "manifest-sha256.txt").write_text("")


def _second_line(bundle: Path) -> None:
    path = bundle / "attestation.dsse.json"
    path.write_bytes(path.read_bytes() + b"\n{}")


def _stripped(bundle: Path) -> None:
    path = bundle / "attestation.dsse.json"
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps({**value, "signatures": []}, separators=(",", ":")))


def _another_signature(bundle: Path) -> None:
    path = bundle / "attestation.dsse.json"
    value = json.loads(path.read_bytes())
    value["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    path.write_text(json.dumps(value, separators=(",", ":")))


def _spaced(bundle: Path) -> None:
    path = bundle / "attestation.dsse.json"
    path.write_bytes(path.read_bytes().replace(b":", b": ", 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_added, "FILE_UNLISTED data/extra.txt", id="added"),
        pytest.param(_dotfile, "FILE_UNLISTED .hidden", id="dotfile"),
        pytest.param(_newline, "FILE_UNLISTED data/a", id="newline"),
        pytest.param(_removed, "DIGEST_MISMATCH data/tests/junit.xml", id="removed"),
        pytest.param(_no_attestation, "FILE_MISSING attestation.dsse.json", id="no-attestation"),
        pytest.param(_no_key, "KEY_UNREADABLE public-key.pem", id="no-key"),
        pytest.param(_empty_folder, "ODD ./data/none", id="empty-folder"),
        pytest.param(_link, "ODD ./data/tests/junit.xml", id="link"),
        pytest.param(_pipe, "ODD ./data/pipe", id="pipe"),
        pytest.param(
            _emptied_manifest,
            "DIGEST_MISMATCH manifest-sha256.txt: not the signed file",
            id="manifest",
        ),
        pytest.param(_second_line, "ATTESTATION_MALFORMED", id="second-line"),
        pytest.param(_stripped, "SIGNATURE_NOT_CHECKED", id="stripped"),
        pytest.param(_another_signature, "SIGNATURE_INVALID", id="another-signature"),
        pytest.param(_spaced, "ATTESTATION_MALFORMED", id="spaced"),
    ],
)
def test_both_verifiers_refuse_the_same_alterations(
    bundle: Path, change: Callable[[Path], None], message: str
) -> None:
    """The script refuses what the verifier refuses, with a line that names the file."""
    change(bundle)
    done = script(bundle)
    assert done.returncode == 1
    assert message in done.stderr
    assert not verify(bundle).ok


def test_script_requires_a_readable_key(bundle: Path) -> None:
    """A missing key is bad input."""
    done = script(bundle, "no-such-key.pem")
    assert done.returncode == 4
    assert "no-such-key.pem: public key: cannot be read" in done.stderr


@pytest.mark.parametrize("name", ["\x1b[2Jwhole", "\\033[2Jwhole", "\x07whole"])
def test_script_lets_no_name_control_the_terminal(bundle: Path, name: str) -> None:
    """Control characters in a name are not printed, and escape sequences are not expanded."""
    (bundle / "data" / name).write_text("x")
    (bundle / "data" / f"{name}-link").symlink_to("nowhere")
    done = script(bundle)
    assert done.returncode == 1
    assert len(re.findall(r"(?:FILE_UNLISTED|ODD) .*whole", done.stderr)) == 2
    assert not set("\x1b\x07") & set(done.stderr)


def test_script_requires_a_key_from_outside(bundle: Path, tmp_path: Path) -> None:
    """The bundle's own key is refused by any path."""
    (tmp_path / "link").symlink_to(bundle)
    for path in (bundle / "public-key.pem", tmp_path / "link" / "public-key.pem"):
        done = script(bundle, str(path))
        assert done.returncode == 4
        assert "got one inside the bundle, expected one from outside" in done.stderr


@pytest.mark.parametrize("name", ["absent", "file", "empty", "home"])
def test_script_requires_a_bundle(tmp_path: Path, key: RunKey, name: str) -> None:
    """A folder that is not a bundle is bad input for the script too, not a list of findings."""
    (tmp_path / "signer.pem").write_bytes(key.public_pem)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "home" / ".git").mkdir(parents=True)
    done = script(tmp_path / name, str(tmp_path / "signer.pem"))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


UNCHECKED = ("verdicts", "report.html", "exports", "signed off", "timestamp", "catalogue")


@pytest.mark.parametrize("with_key", [False, True])
def test_script_states_what_it_does_not_check(
    bundle: Path, tmp_path: Path, key: RunKey, with_key: bool
) -> None:
    """A whole bundle's result is printed as a claim, next to the list of what is not checked."""
    (tmp_path / "signer.pem").write_bytes(key.public_pem)
    done = script(bundle, *([str(tmp_path / "signer.pem")] if with_key else []))
    assert done.returncode == 0, done.stderr
    [claim] = [line for line in done.stdout.splitlines() if "blocked" in line]
    assert claim == f"the {'' if with_key else 'unknown '}signer claims: blocked"
    unchecked = done.stdout.partition("Not checked by this script")[2]
    assert [word for word in UNCHECKED if word not in unchecked] == []


def test_script_names_released_only_as_a_claim(tmp_path: Path) -> None:
    """The word released stands in no line but that of the claim."""
    done = script(sealed(tmp_path, failing=False))
    lines = [line for line in done.stdout.splitlines() if "released" in line]
    assert lines == ["the unknown signer claims: released"]


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_script_prints_its_usage(tmp_path: Path, word: str) -> None:
    """The usage names the arguments, the exit statuses, and what is not checked; status 0."""
    command = ["sh", str(SCRIPT), word]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sh verify.sh [BUNDLE [PUBLIC-KEY.pem]]\n")
    for part in ("Not checked by this script", "Exit status: 0 whole, 1 not whole, 4 bad input,"):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json"], "--json: option: got an unknown one, expected --help, or a bundle"),
        (["a", "b", "c"], "arguments: got 3, expected at most a bundle and a public key"),
        (["bundle.zip"], "bundle.zip: bundle: got a ZIP archive, expected the folder"),
        (["absent"], "absent: bundle: got no such path, expected the folder"),
        (["-v"], "-v: option: got an unknown one"),
        ([""], ": bundle: got no such path"),
        (["bundle", "private.pem"], "private.pem: public key: got a private key, expected its"),
        (["bundle", "bundle.zip"], "KEY_UNREADABLE"),
    ],
)
def test_script_names_what_is_wrong_with_its_arguments(
    bundle: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Wrong arguments are one clear line, and never a message of the shell."""
    shutil.make_archive(str(tmp_path / "bundle"), "zip", bundle)
    generate(tmp_path / "private.pem")
    command = ["sh", str(SCRIPT), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if message == "KEY_UNREADABLE" else 4)
    assert message in done.stderr
    assert "not valid" not in done.stderr
    assert not re.search(r"Illegal|can't cd|verify\.sh: ", done.stderr)


SHELLS = [("dash",), ("bash", "--posix"), ("busybox", "sh"), ("ksh",), ("mksh",)]


@pytest.mark.parametrize("shell", [one for one in SHELLS if shutil.which(one[0])], ids=" ".join)
def test_script_runs_in_several_shells(bundle: Path, shell: tuple[str, ...]) -> None:
    """The output is the same in each POSIX shell that is installed."""
    done = subprocess.run([*shell, str(SCRIPT), str(bundle)], capture_output=True, check=False)
    assert done.stdout.decode() == script(bundle).stdout


NEEDED = (
    *("cat", "cmp", "cut", "dirname", "find", "grep", "head", "ls", "mktemp", "openssl"),
    *("rm", "sed", "sh", "sha256sum", "sort", "tail", "tr", "uniq", "wc"),
)
"""The programs that the script runs; it needs one of two for digests."""


def with_programs(folder: Path, *names: str) -> str:
    """Return a PATH with links to these programs only; one that is not installed is left out."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    return str(folder)


def script_with(path: str, bundle: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with another PATH."""
    shell = shutil.which("sh")
    assert shell
    command = [shell, str(SCRIPT), str(bundle)]
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_script_needs_these_programs_only(bundle: Path, tmp_path: Path) -> None:
    """With nothing else on the PATH, a bundle is whole."""
    done = script_with(with_programs(tmp_path / "bin", *NEEDED), bundle)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("shasum"), reason="shasum, a part of Perl, is not installed")
def test_script_takes_shasum_where_there_is_no_sha256sum(bundle: Path, tmp_path: Path) -> None:
    """As on older macOS: a bundle is whole; one with a changed and a missing file is not."""
    names = {*NEEDED, "shasum", "perl"} - {"sha256sum"}
    path = with_programs(tmp_path / "bin", *names)
    done = script_with(path, bundle)
    assert (done.returncode, done.stderr) == (0, "")
    (bundle / "data/run.json").write_text("{}")
    (bundle / "data/tests/junit.xml").unlink()
    done = script_with(path, bundle)
    assert done.returncode == 1
    for name in ("data/run.json", "data/tests/junit.xml"):
        assert f"DIGEST_MISMATCH {name}: not the file that" in done.stderr


@pytest.mark.parametrize("missing", sorted({*NEEDED} - {"sh", "sha256sum"}))
def test_script_leaves_no_check_out_because_a_program_is_missing(
    bundle: Path, tmp_path: Path, missing: str
) -> None:
    """Each program that is not there is named, and nothing is judged."""
    path = with_programs(tmp_path / "bin", *({*NEEDED} - {missing}))
    done = script_with(path, bundle)
    assert (done.returncode, done.stdout) == (4, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{missing}: got none on the PATH, expected it; install it")


def test_script_asks_for_a_program_for_digests(bundle: Path, tmp_path: Path) -> None:
    """Without both it names both, and judges nothing."""
    path = with_programs(tmp_path / "bin", *({*NEEDED} - {"sha256sum"}))
    done = script_with(path, bundle)
    assert (done.returncode, done.stdout) == (4, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("sha256sum: got neither it nor shasum, expected one of them; install")


def with_openssl(folder: Path, version: str) -> str:
    """Return a PATH whose openssl states a version, and is the installed one in all else."""
    path = with_programs(folder, *({*NEEDED} - {"openssl"}))
    stub = folder / "openssl"
    real = shutil.which("openssl")
    stub.write_text(
        f'#!/bin/sh\n[ "$1" = version ] && echo "{version}" && exit\nexec {real} "$@"\n'
    )
    stub.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "version",
    ["LibreSSL 3.3.6", "LibreSSL 4.0.0", "OpenSSL 1.1.1w  11 Sep 2023", "OpenSSL 0.9.8zg"],
)
def test_script_asks_for_openssl_3(bundle: Path, tmp_path: Path, version: str) -> None:
    """An older one or LibreSSL is named as it is, and no signature is called invalid."""
    done = script_with(with_openssl(tmp_path / "bin", version), bundle)
    assert (done.returncode, done.stdout) == (4, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"openssl: got {version}, expected OpenSSL 3 or later; install")


@pytest.mark.parametrize(
    "version", ["OpenSSL 3.0.2 15 Mar 2022", "OpenSSL 4.1.0", "OpenSSL 10.0.0"]
)
def test_script_accepts_openssl_3_and_later(bundle: Path, tmp_path: Path, version: str) -> None:
    """The first number decides."""
    done = script_with(with_openssl(tmp_path / "bin", version), bundle)
    assert (done.returncode, done.stderr) == (0, "")


def test_script_prints_its_usage_without_any_of_them(tmp_path: Path) -> None:
    """--help says what is needed, also where it is missing."""
    path = with_programs(tmp_path / "bin", "cat")
    shell = shutil.which("sh")
    assert shell
    done = subprocess.run(
        [shell, str(SCRIPT), "--help"], env={"PATH": path}, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert b"OpenSSL 3 and sha256sum (or shasum)" in done.stdout


def test_script_is_not_led_elsewhere_by_the_environment(bundle: Path, tmp_path: Path) -> None:
    """A relative path is that of this folder, and not of one that CDPATH names."""
    (tmp_path / "other" / bundle.name).mkdir(parents=True)
    done = subprocess.run(
        ["sh", str(SCRIPT), bundle.name],
        cwd=bundle.parent,
        env={**os.environ, "CDPATH": str(tmp_path / "other")},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
