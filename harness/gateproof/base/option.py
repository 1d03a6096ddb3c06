"""The command-line options of the plugin, and the search for the gates folder.

Every pytest imports this module where the package is installed, so it imports little. Leaves
checking the options to `gateproof.run.option`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

import pytest

from gateproof.base.compiled import drop_compiled, drop_compiled_of
from gateproof_evidence.errors import BadInputError

CATALOGUE = "criteria.toml"
WAIVERS = "waivers.toml"
DEFAULT_SUT = "system/sut.toml"
DEFAULT_POSTGRES_IMAGE = "postgres:15-bookworm"
DEFAULT_EVIDENCE = "reports"
KEY_VARIABLE = "GATEPROOF_SIGNING_KEY"
PASSPHRASE_VARIABLE = "GATEPROOF_SIGNING_KEY_PASSPHRASE"  # noqa: S105 (a variable's name)
READY_DEADLINE_S = 60.0
POSTGRES_VERSIONS = ("16", "18")
"""Major versions that the environment `embedded` offers."""

FALSIFY_HELP = (
    "which proofs to run: all (default), thorough (all, and each runs its check before the fault "
    "too, instead of once for each kind of copy, and under the fault to its end), none, matrix "
    "(every check of a gate against every falsifier of that gate), or names of criteria, "
    "gates or falsifiers, separated by commas"
)

PROCESSES_PER_CORE = 2
"""A check spends about half of its time waiting for workers and the database."""

PATH_OPTIONS = (
    *("--sut", "--evidence-out", "--signing-key", "--postgres-bin", "--durations-json"),
    *("--proofs-from", "--proofs-key", "--baseline", "--baseline-key", "--shard-durations"),
)
"""The options of this plugin whose value is a path."""

AUTO_VARIABLE = "PYTEST_XDIST_AUTO_NUM_WORKERS"
"""The variable of xdist that sets the number of processes for `-n auto`."""


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
        help="where the system runs: containers needs a container engine; embedded runs PostgreSQL "
        "from a wheel and workers as child processes, without root or Docker; auto "
        "(default) uses containers when an engine answers",
    )
    group.addoption(
        "--system-image",
        metavar="IMAGE",
        default=None,
        help="prebuilt image of the system (default: built when its inputs changed)",
    )
    _add_postgres(group)
    group.addoption(
        "--ready-deadline",
        type=float,
        metavar="SECONDS",
        default=READY_DEADLINE_S,
        help="time for a worker to answer its first ping; raise it on a slow machine "
        f"(default: {READY_DEADLINE_S:g})",
    )
    group.addoption(
        "--signing-key",
        metavar="FILE",
        default=None,
        help="Ed25519 private key that signs the bundle; also "
        f"{KEY_VARIABLE}, with {PASSPHRASE_VARIABLE} (default: a key generated for this run)",
    )
    _add_proof_reuse(group)
    _add_baseline(group)
    _add_shard(group)
    group.addoption("--falsify", metavar="WHICH", default="all", help=FALSIFY_HELP)
    group.addoption(
        "--no-falsify",
        action="store_const",
        const="none",
        dest="falsify",
        help="run the checks without proving that they can fail, like --falsify=none; the result "
        "is then incomplete",
    )
    group.addoption("--mutation", metavar="FOLDER", default=None, help=argparse.SUPPRESS)
    group.addoption("--playback", metavar="FOLDER", default=None, help=argparse.SUPPRESS)
    group.addoption(
        "--durations-json",
        metavar="FILE",
        default=None,
        help="write the time of every check and proof to this file, by step (copy, database, "
        "processes, baseline, fault, ...), and print the sums",
    )


def _add_postgres(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--postgres-image",
        metavar="IMAGE",
        default=DEFAULT_POSTGRES_IMAGE,
        help=f"PostgreSQL image for containers (default: {DEFAULT_POSTGRES_IMAGE})",
    )
    group.addoption(
        "--postgres-version",
        choices=POSTGRES_VERSIONS,
        default="18",
        help="PostgreSQL major version for embedded (default: 18)",
    )
    group.addoption(
        "--postgres-bin",
        metavar="DIR",
        default=None,
        help="folder with the programs of a PostgreSQL of your own for embedded, such as "
        "/usr/lib/postgresql/16/bin, for extensions that the wheel lacks (default: the wheel)",
    )
    group.addoption(
        "--postgres-port",
        type=int,
        metavar="N",
        default=0,
        help="port of the first PostgreSQL server of the run (default: a free one)",
    )


def _add_proof_reuse(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--proofs-from",
        metavar="BUNDLE",
        default=None,
        help="earlier bundle whose proofs are reused where nothing that they depend on has "
        "changed; it must verify with --proofs-key",
    )
    group.addoption(
        "--proofs-key",
        metavar="FILE",
        default=None,
        help="public key, stored outside the bundle, that must verify --proofs-from",
    )
    group.addoption(
        "--fresh",
        action="store_true",
        default=False,
        help="run every check and proof again, even with --proofs-from",
    )
    group.addoption(
        "--changed",
        action="store_true",
        default=False,
        help="run only the checks and proofs that depend on something that has changed since the "
        "bundle of --proofs-from; the others are taken over from it",
    )
    group.addoption(
        "--changed-since",
        metavar="REV",
        default=None,
        help="without a bundle: select the checks and proofs that a change since a git commit may "
        "concern; the result is partial",
    )
    group.addoption(
        "--no-watch",
        action="store_true",
        default=False,
        help="do not record which modules and functions of the system its processes use; each "
        "check and proof then depends on all its files",
    )
    group.addoption(
        "--proofs-max-age",
        metavar="AGE",
        default=None,
        help="with --proofs-from, run again what ran longer ago, such as 7d (default: any age)",
    )


def _add_baseline(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--baseline",
        metavar="BUNDLE",
        default=None,
        help="earlier bundle to compare this run with: a regression blocks; it must verify with "
        "--baseline-key",
    )
    group.addoption(
        "--baseline-key",
        metavar="FILE",
        default=None,
        help="public key, stored outside the bundle, that must verify --baseline",
    )


def _add_shard(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--shard",
        metavar="K/N",
        default=None,
        help="judge only the checks of shard K of N, with all their proofs; gateproof merge makes "
        "one bundle of the N bundles. Needs --nonce",
    )
    group.addoption(
        "--shard-durations",
        metavar="FILE",
        action="append",
        default=[],
        help="file that --durations-json wrote in an earlier run: shards are balanced by its times "
        "(default: every check and proof counts the same); repeat it for the files of several "
        "shards, and give all shards the same files",
    )
    group.addoption(
        "--nonce",
        metavar="HEX",
        default=None,
        help="16 to 64 hexadecimal digits that identify this run; all shards of a run need the "
        "same (default: random)",
    )


def auto_processes(config: pytest.Config) -> int | None:
    """Return how many processes `-n auto` starts for a run of gates.

    None leaves the choice to xdist: in other runs, and when its own variable is set.
    """
    if find_gates(config) is None or os.environ.get(AUTO_VARIABLE):
        return None
    return PROCESSES_PER_CORE * len(os.sched_getaffinity(0))


def sut_file(config: pytest.Config) -> Path:
    """Return the path of the description of the system; the file need not exist."""
    return Path(config.getoption("--sut") or config.rootpath / DEFAULT_SUT).absolute()


def named_paths(config: pytest.Config) -> tuple[Path, ...]:
    """Return the paths that the command names as a whole: no single check of a file."""
    return tuple(_path(config, argument) for argument in config.args if "::" not in argument)


def _path(config: pytest.Config, argument: str) -> Path:
    """Return the path of an argument; with ``--pyargs`` it can be the name of a package."""
    path = (config.invocation_params.dir / argument.split("::")[0]).resolve()
    if path.exists() or not config.getoption("pyargs"):
        return path
    try:
        spec = importlib.util.find_spec(argument.split("::")[0])
    except (ImportError, ValueError):  # not the name of a module: pytest reports it
        return path
    if spec is None or spec.origin is None:
        return path
    origin = Path(spec.origin).resolve()
    return origin.parent if spec.submodule_search_locations else origin


def find_gates(config: pytest.Config) -> Path | None:
    """Return the folder of the catalogue: the nearest one in or above a path that was named."""
    for argument in config.args:
        path = _path(config, argument)
        for folder in (path, *path.parents):
            if (folder / CATALOGUE).is_file():
                return folder
            if folder == config.rootpath:
                break
    return None


def drop_early(config: pytest.Config, arguments: list[str]) -> None:
    """Remove compiled files of the gates that a command or the settings name.

    Args:
        config: pytest's configuration, before it has read all arguments.
        arguments: options and their values too; only paths in or above a catalogue matter.

    """
    root = config.rootpath
    for name in (*arguments, *config.getini("testpaths")):
        path = Path(config.invocation_params.dir, name.split("::")[0]).absolute()
        for folder in (path, *path.parents):
            if _has_catalogue(folder):
                drop_compiled([folder])
                drop_compiled_of(root)
            if folder == root:
                break


def _has_catalogue(folder: Path) -> bool:
    """Return whether a folder has a catalogue; an option may be too long for a name."""
    try:
        return (folder / CATALOGUE).is_file()
    except OSError:
        return False


def refuse_unused(config: pytest.Config) -> None:
    """Refuse options of this plugin where no catalogue was found: they would have no effect."""
    for name in ("--evidence-out", "--sut", "--signing-key", "--durations-json", "--shard"):
        if config.getoption(name):
            raise BadInputError(
                f"{name}: got no {CATALOGUE} in or above {', '.join(config.args)}, expected "
                "the folder of a catalogue among the paths; name it, such as gates/"
            )
