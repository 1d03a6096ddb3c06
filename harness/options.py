"""The command-line options of the plugin, and what they say once they are checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from evidence.errors import BadInputError
from evidence.outside import refuse_inside
from harness.environments.postgres import INSTALLATIONS
from harness.selection import HELP, Selection

CATALOGUE = "criteria.toml"
WAIVERS = "waivers.toml"
DEFAULT_SUT = "system/sut.toml"
DEFAULT_POSTGRES_IMAGE = "postgres:15-bookworm"
DEFAULT_EVIDENCE = "reports"
KEY_VARIABLE = "GATEPROOF_SIGNING_KEY"
PASSPHRASE_VARIABLE = "GATEPROOF_SIGNING_KEY_PASSPHRASE"  # noqa: S105 (a variable's name)
READY_DEADLINE_S = 60.0


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


def add_options(parser: pytest.Parser) -> None:
    """Declare the plugin's options."""
    group = parser.getgroup("gateproof", "gateproof: judge a system and seal the evidence")
    group.addoption(
        "--evidence-out",
        metavar="DIR",
        default=None,
        help=f"folder that receives the sealed bundle (default: {DEFAULT_EVIDENCE})",
    )
    group.addoption(
        "--sut",
        metavar="FILE",
        default=None,
        help=f"description of the system under test (default: {DEFAULT_SUT})",
    )
    group.addoption(
        "--environment",
        choices=("auto", "containers", "embedded"),
        default="auto",
        help="where the system runs: containers needs a container engine; embedded, PostgreSQL "
        "from a wheel and workers as child processes, needs neither root nor Docker; auto "
        "(default) takes containers where an engine answers",
    )
    group.addoption(
        "--postgres-image",
        metavar="IMAGE",
        default=DEFAULT_POSTGRES_IMAGE,
        help=f"PostgreSQL's image, in containers (default: {DEFAULT_POSTGRES_IMAGE})",
    )
    group.addoption(
        "--system-image",
        metavar="IMAGE",
        default=None,
        help="a ready image of the system (default: built when its inputs changed)",
    )
    group.addoption(
        "--postgres-version",
        choices=tuple(INSTALLATIONS),
        default="18",
        help="PostgreSQL's major version, embedded (default: 18)",
    )
    group.addoption(
        "--postgres-port",
        type=int,
        metavar="N",
        default=0,
        help="port of the run's first PostgreSQL (default: a free one)",
    )
    group.addoption(
        "--ready-deadline",
        type=float,
        metavar="SECONDS",
        default=READY_DEADLINE_S,
        help="how long a worker may take until it answers a ping; raise it on a slow machine "
        f"(default: {READY_DEADLINE_S:g})",
    )
    group.addoption(
        "--signing-key",
        metavar="FILE",
        default=None,
        help="Ed25519 private key that signs the bundle; also "
        f"{KEY_VARIABLE}, with {PASSPHRASE_VARIABLE} (default: a key made for this run)",
    )
    _add_takeover(group)
    _add_baseline(group)
    group.addoption("--falsify", metavar="WHICH", default="all", help=HELP)
    group.addoption(
        "--no-falsify",
        action="store_const",
        const="none",
        dest="falsify",
        help="run the checks without showing that they can fail, as --falsify=none; the result is "
        "then incomplete",
    )


def _add_takeover(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--proofs-from",
        metavar="BUNDLE",
        default=None,
        help="earlier bundle whose proofs are taken over where nothing that they depend on has "
        "changed; it must verify with --proofs-key",
    )
    group.addoption(
        "--proofs-key",
        metavar="FILE",
        default=None,
        help="public key, from outside the bundle, that --proofs-from must be signed with",
    )
    group.addoption(
        "--fresh",
        action="store_true",
        default=False,
        help="repeat every proof, whatever --proofs-from says (without it, too, all are repeated)",
    )


def _add_baseline(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--baseline",
        metavar="BUNDLE",
        default=None,
        help="earlier bundle that this run must not fall behind: a regression blocks; it must "
        "verify with --baseline-key",
    )
    group.addoption(
        "--baseline-key",
        metavar="FILE",
        default=None,
        help="public key, from outside the bundle, that --baseline must be signed with",
    )


def read_options(config: pytest.Config) -> Options | None:
    """Return the checked options, or None in a project without a catalogue.

    Raises:
        BadInputError: the folder for evidence is a file or cannot be written; or evidence is asked
            for where there is nothing to judge.

    """
    gates = find_gates(config)
    if gates is None:
        _refuse_idle(config)
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


def _refuse_idle(config: pytest.Config) -> None:
    """Refuse options of ours where no catalogue was found: they would do nothing, silently."""
    for name in ("--evidence-out", "--sut", "--signing-key"):
        if config.getoption(name):
            raise BadInputError(
                f"{name}: got no {CATALOGUE} beside or above {', '.join(config.args)}, expected "
                "the folder of a catalogue among the paths; name it, such as gates/"
            )


def find_gates(config: pytest.Config) -> Path | None:
    """Return the folder of the catalogue: the nearest one above the first path that was named."""
    for argument in config.args:
        path = (config.invocation_params.dir / argument.split("::")[0]).resolve()
        for folder in (path, *path.parents):
            if (folder / CATALOGUE).is_file():
                return folder
            if folder == config.rootpath:
                break
    return None


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
