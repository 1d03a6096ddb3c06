"""The command-line options of the plugin, and whether there is anything to judge.

Every pytest imports this module where the package is installed, so it imports little. Leaves what
the options mean together to `gateproof.run.option`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
"""Major versions that the environment `embedded` has."""

FALSIFY_HELP = (
    "which proofs to run: all (default), none, matrix (every check of a gate against every "
    "falsifier of that gate), or names, separated by commas: of criteria, gates, falsifiers"
)

PROCESSES_PER_CORE = 2
"""A check waits for its workers and its database about as long as it computes."""

AUTO_VARIABLE = "PYTEST_XDIST_AUTO_NUM_WORKERS"
"""Says what `-n auto` means; xdist's own."""


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
        choices=POSTGRES_VERSIONS,
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
    group.addoption("--falsify", metavar="WHICH", default="all", help=FALSIFY_HELP)
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


def auto_processes(config: pytest.Config) -> int | None:
    """Return how many processes `-n auto` starts for a run of gates.

    None leaves the choice to xdist: in other runs, and where its variable names a number.
    """
    if find_gates(config) is None or os.environ.get(AUTO_VARIABLE):
        return None
    return PROCESSES_PER_CORE * len(os.sched_getaffinity(0))


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


def refuse_idle(config: pytest.Config) -> None:
    """Refuse options of ours where no catalogue was found: they would do nothing, silently."""
    for name in ("--evidence-out", "--sut", "--signing-key"):
        if config.getoption(name):
            raise BadInputError(
                f"{name}: got no {CATALOGUE} beside or above {', '.join(config.args)}, expected "
                "the folder of a catalogue among the paths; name it, such as gates/"
            )
