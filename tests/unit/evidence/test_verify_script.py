"""verify.sh, which needs only a shell, openssl and sha256sum, agrees with the verifier."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateproof_evidence.sealing.bag import TEMPLATES
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import verify

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
    assert done.stdout.splitlines() == [
        "whole: every file is as it was sealed",
        "signer unknown: this shows integrity, not origin",
        "attested: blocked",
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
    assert "SIGNATURE_INVALID attestation.dsse.json" in bad.stderr


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
        pytest.param(_stripped, "SIGNATURE_INVALID", id="stripped"),
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
