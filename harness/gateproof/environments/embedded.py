"""The environment `embedded`: PostgreSQL from a wheel, the system's processes as children."""

from __future__ import annotations

import platform
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateproof.base.errors import EnvironmentProblemError
from gateproof.environments.interface import Launcher, Server
from gateproof.environments.leftover import LABEL, acquire_lock, new_folder
from gateproof.environments.postgres import (
    INSTALLATIONS,
    Installation,
    PostgresServer,
    ask_version,
    find_installation,
    free_port,
    own_installation,
    refuse_taken_port,
)
from gateproof.environments.process import PYTEST_NEEDS, LocalLauncher
from gateproof.environments.watchdog import Watchdog
from gateproof_evidence.model import EnvironmentReport

DEFAULT_VERSION = "18"


class Embedded:
    """Runs servers and processes on this machine, as the current user.

    Args:
        reason: why this environment was chosen.
        version: PostgreSQL's major version, ``16`` or ``18``.
        programs: the folder of a server's programs; None for those of the wheel.
        port: port of the first server; 0 takes a free one.
        learn_secret: called with each generated password before its first use.
        warm: packages that are already imported in the forked processes of proofs.

    """

    def __init__(
        self,
        *,
        reason: str,
        version: str = DEFAULT_VERSION,
        programs: Path | None = None,
        port: int = 0,
        learn_secret: Callable[[str, str], None],
        warm: Sequence[str] = (),
    ) -> None:
        self._reason = reason
        self._version = "of --postgres-bin" if programs else version
        self._programs = programs
        self._exact_version = ""
        self._port = port
        self._learn_secret = learn_secret
        self.folder = new_folder()
        """Holds all files of this environment; its path labels all processes."""
        self._lock = acquire_lock(self.folder)
        self._watchdog = Watchdog(self.folder)
        self.files = self.folder / "files"
        """Copies of the system's files."""
        self.files.mkdir(mode=0o755)
        label = {LABEL: str(self.folder)}
        self.launcher = LocalLauncher(self.folder, label=label)
        self.warm = LocalLauncher(self.folder, label=label, warm=warm, prefix="warm-")
        self.warm_machine = LocalLauncher(
            self.folder, label=label, warm=PYTEST_NEEDS, prefix="machine-"
        )
        self._servers: list[PostgresServer] = []
        self._installation: Installation | None = None

    @property
    def machine(self) -> Launcher:
        """The same launcher: the system runs on the machine of the harness."""
        return self.launcher

    @property
    def watched_files(self) -> Path:
        """The same folder: all processes run as this account."""
        return self.files

    @property
    def images(self) -> Mapping[str, str]:
        """Return an empty mapping: this environment uses no images."""
        return {}

    def new_server(self, name: str, *, durable: bool = False) -> Server:
        """Start an empty server."""
        server = self._server(name, durable=durable)
        server.create()
        server.start()
        self._exact_version = ask_version(server.superuser.dsn(server.outside, "postgres"))
        return server

    def copy_server(self, template: Server, name: str) -> Server:
        """Start a server with the data of a stopped one."""
        assert isinstance(template, PostgresServer)
        server = self._server(name, password=template.superuser.password)
        server.copy_data(template)
        server.start()
        return server

    def report(self) -> EnvironmentReport:
        """Return the description of this environment for the bundle."""
        return EnvironmentReport(
            kind="embedded",
            reason=self._reason,
            postgres=self._exact_version or self._version,
            python=platform.python_version(),
            platform=platform.platform(terse=True),
        )

    def dispose(self) -> None:
        """Stop everything that this environment started, and remove its files."""
        if self._lock.closed:
            return
        self.launcher.dispose()
        self.warm.dispose()
        self.warm_machine.dispose()
        for server in self._servers:
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()
        self._watchdog.dismiss()

    def _server(
        self, name: str, *, password: str | None = None, durable: bool = False
    ) -> PostgresServer:
        port = self._port if not self._servers and self._port else 0
        if port:
            refuse_taken_port(port)
        if password is None:
            password = secrets.token_urlsafe(18)
            self._learn_secret(f"superuser-{name}", password)
        server = PostgresServer(
            self._binaries(),
            self.folder / f"s{len(self._servers)}",
            password=password,
            port=port or free_port(),
            durable=durable,
        )
        self._servers.append(server)
        return server

    def _binaries(self) -> Installation:
        if self._programs is not None:
            return own_installation(self._programs, label={LABEL: str(self.folder)})
        if self._version not in INSTALLATIONS:
            raise EnvironmentProblemError(
                f"PostgreSQL version: got {self._version}, expected one of "
                f"{', '.join(INSTALLATIONS)}; see --postgres-version"
            )
        if self._installation is None:
            self._installation = find_installation(
                self._version, scratch=self.folder, label={LABEL: str(self.folder)}
            )
        return self._installation
