"""What the options of the plugin say, once they are checked.

Leaves declaring them to `gateproof.base.option`, which every pytest imports.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateproof.base.option import (
    CATALOGUE,
    DEFAULT_EVIDENCE,
    DEFAULT_SUT,
    KEY_VARIABLE,
    WAIVERS,
    find_gates,
    refuse_idle,
)
from gateproof.run.selection import Selection
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.verification.outside import refuse_inside


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for, checked."""

    gates: Path
    """The folder that holds the catalogue."""
    sut: Path
    evidence_out: Path
    environment: str
    postgres_version: str
    postgres_image: str
    system_image: str | None
    postgres_port: int
    ready_deadline_s: float
    signing_key: Path | None
    falsify: Selection
    proofs_from: Path | None
    """An earlier bundle whose proofs need not be repeated; None repeats all."""
    proofs_key: Path | None
    baseline: Path | None
    """An earlier bundle that the run must not fall behind."""
    baseline_key: Path | None

    @property
    def catalogue(self) -> Path:
        """The file of the criteria."""
        return self.gates / CATALOGUE

    @property
    def waivers(self) -> Path:
        """The file of the waivers; it need not exist."""
        return self.gates / WAIVERS


def read_options(config: pytest.Config) -> Options | None:
    """Return the checked options, or None in a project without a catalogue.

    Raises:
        BadInputError: the folder for evidence is a file or cannot be written; or evidence is asked
            for where there is nothing to judge.

    """
    gates = find_gates(config)
    if gates is None:
        refuse_idle(config)
        return None
    root = config.rootpath
    key = config.getoption("--signing-key") or os.environ.get(KEY_VARIABLE)
    out = Path(config.getoption("--evidence-out") or root / DEFAULT_EVIDENCE).absolute()
    earlier, earlier_key = _takeover(config)
    baseline, baseline_key = _vouched(
        config,
        "--baseline",
        "--baseline-key",
        "a run is held against a bundle only where a key from outside vouches for it",
    )
    refuse_unwritable(out)
    return Options(
        gates=gates,
        sut=Path(config.getoption("--sut") or root / DEFAULT_SUT).absolute(),
        evidence_out=out,
        environment=config.getoption("--environment"),
        postgres_version=config.getoption("--postgres-version"),
        postgres_image=config.getoption("--postgres-image"),
        system_image=config.getoption("--system-image"),
        postgres_port=config.getoption("--postgres-port"),
        ready_deadline_s=config.getoption("--ready-deadline"),
        signing_key=Path(key) if key else None,
        falsify=Selection.parse(config.getoption("falsify")),
        proofs_from=earlier,
        proofs_key=earlier_key,
        baseline=baseline,
        baseline_key=baseline_key,
    )


def _takeover(config: pytest.Config) -> tuple[Path | None, Path | None]:
    """Return the earlier bundle and the key that it must be signed with, or neither."""
    found = _vouched(
        config,
        "--proofs-from",
        "--proofs-key",
        "proofs are taken over from a bundle only where a key from outside vouches for it",
    )
    return (None, None) if config.getoption("--fresh") else found


def _vouched(
    config: pytest.Config, option: str, key_option: str, why: str
) -> tuple[Path | None, Path | None]:
    """Return a bundle and the key that it must be signed with, or neither."""
    bundle, key = config.getoption(option), config.getoption(key_option)
    if bool(bundle) != bool(key):
        raise BadInputError(f"{option}: got one of {option} and {key_option}, expected both: {why}")
    if not bundle:
        return None, None
    for path in (Path(bundle), Path(key)):
        if not path.exists():
            raise BadInputError(f"{path}: {option}: got no such file, expected one; name it")
    refuse_inside(Path(key), Path(bundle), key_option)
    return Path(bundle).resolve(), Path(key).absolute()


def refuse_unwritable(out: Path) -> None:
    """Check that bundles can be written to a folder, making it where it is missing.

    Raises:
        BadInputError: it is a file, or cannot be made or written.

    """
    if out.exists() and not out.is_dir():
        raise BadInputError(f"{out}: --evidence-out: got a file, expected a folder; name another")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInputError(
            f"{out}: --evidence-out: cannot be written ({error.strerror}); name a folder that can"
        ) from error
