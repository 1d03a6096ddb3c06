"""Sign-offs of phases of the reference system, on the bundle of a whole run of its gates.

A whole run takes as long as all tests, so the bundle is one that `make gates` has sealed: `make
signoffs` and `.ci/run` name it in `GATEPROOF_BUNDLE`. The test signs a copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import GATEPROOF, ROOT, run_command

PHASES = ("B0.1", "B0.2", "B0.4")
PEOPLE = ("ada", "bob")
BUNDLE = os.environ.get("GATEPROOF_BUNDLE", "")

pytestmark = pytest.mark.skipif(
    not BUNDLE, reason="needs the bundle of a whole run: make gates signoffs"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a copy of the bundle."""
    return Path(shutil.copytree(BUNDLE, tmp_path_factory.mktemp("signed") / "bundle"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a folder with a key of each person, and the list of allowed signers."""
    folder = tmp_path_factory.mktemp("keys")
    allowed = []
    for name in PEOPLE:
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        subprocess.run(command, check=True)
        allowed.append(f"{name} {(folder / name).with_suffix('.pub').read_text()}")
    (folder / "allowed").write_text("".join(allowed), encoding="utf-8")
    return folder


def gateproof(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a person would."""
    return run_command([*GATEPROOF, *map(str, words)], folder=ROOT)


def sign(bundle: Path, keys: Path, who: str, phase: str) -> None:
    """Sign a phase off."""
    done = gateproof(
        "sign-off", bundle, "--key", keys / who, "--identity", who, "--phase", phase, "--json"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def verified(bundle: Path, keys: Path, phase: str) -> subprocess.CompletedProcess[str]:
    """Verify that two persons have signed a released phase off."""
    return gateproof(
        *("verify", bundle, "--require-signoffs", 2, "--allowed-signers", keys / "allowed"),
        *("--require-released", "--phase", phase),
    )


def test_phases_of_ingestion_are_released_and_signed_off_by_two(bundle: Path, keys: Path) -> None:
    """Each phase counts as signed off when two persons have signed it, and not before."""
    for phase in PHASES:
        sign(bundle, keys, PEOPLE[0], phase)
    assert verified(bundle, keys, PHASES[0]).returncode == 1, "one key is enough"
    for phase in PHASES:
        sign(bundle, keys, PEOPLE[1], phase)
        done = verified(bundle, keys, phase)
        assert done.returncode == 0, done.stdout + done.stderr
