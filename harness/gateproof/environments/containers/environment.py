"""The environment `containers`: PostgreSQL and the system's own image on a private network.

Owns one connection to the engine, one network and the containers on it.

Source: docs/decisions/0005-containers.md.
"""

from __future__ import annotations

import platform
import secrets
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from gateproof.description.sut import Sut
from gateproof.environments.containers.image import system_image
from gateproof.environments.containers.launcher import ContainerLauncher
from gateproof.environments.containers.server import ContainerServer
from gateproof.environments.engine import Engine
from gateproof.environments.interface import Launcher, Server
from gateproof.environments.leftover import ENGINE_MARK, LABEL, acquire_lock, new_folder
from gateproof.environments.postgres import refuse_taken_port
from gateproof.environments.process import PYTEST_NEEDS, LocalLauncher
from gateproof.environments.watchdog import Watchdog
from gateproof_evidence.model import EnvironmentReport


class Containers:
    """Runs servers and processes in containers of one engine.

    Args:
        reason: why this environment was chosen.
        sut: the system, for its image.
        postgres_image: PostgreSQL's image.
        image: a prebuilt image of the system; None builds it.
        port: loopback port of this machine for the first server; 0 takes a free one.
        learn_secret: called with each generated password before its first use.

    """

    def __init__(
        self,
        *,
        reason: str,
        sut: Sut,
        postgres_image: str,
        image: str | None = None,
        port: int = 0,
        learn_secret: Callable[[str, str], None],
    ) -> None:
        self._reason = reason
        self._sut = sut
        self._postgres_image = postgres_image
        self._system_image = image
        self._port = port
        self._learn_secret = learn_secret
        self.folder = new_folder()
        """Holds the output of the processes; its name labels everything that is started."""
        self._lock = acquire_lock(self.folder)
        self._watchdog = Watchdog(self.folder)
        self.files = self.folder / "files"
        """Copies of the system's files, mounted in every container."""
        self.files.mkdir(mode=0o755)
        label = {LABEL: str(self.folder)}
        self.machine = LocalLauncher(self.folder, label=label)
        self.warm_machine = LocalLauncher(
            self.folder, label=label, warm=PYTEST_NEEDS, prefix="machine-"
        )
        self._connected: Engine | None = None
        self._launcher: ContainerLauncher | None = None
        self._servers: list[ContainerServer] = []
        self._images: dict[str, str] = {}
        self._version = ""
        self._python = ""

    @property
    def watched_files(self) -> None:
        """Return None: the system's account in a container cannot write to the files of the run."""

    @property
    def images(self) -> Mapping[str, str]:
        """Maps the name of every image that was used to its digest."""
        return dict(self._images)

    @property
    def warm(self) -> Launcher:
        """Return the same launcher: forked processes would share one container."""
        return self.launcher

    @property
    def launcher(self) -> Launcher:
        """The launcher of the system's commands; the first use builds the image.

        Raises:
            EnvironmentProblemError: no engine answers, or the image is not available.

        """
        if self._launcher is None:
            self._launcher = self._new_launcher()
        return self._launcher

    def new_server(self, name: str, *, durable: bool = False) -> Server:
        """Start an empty server."""
        password = secrets.token_urlsafe(18)
        self._learn_secret(f"superuser-{name}", password)
        return self._server(password=password, durable=durable)

    def copy_server(self, template: Server, name: str) -> Server:  # noqa: ARG002 (a protocol)
        """Start a server with the data of a stopped one."""
        assert isinstance(template, ContainerServer)
        return self._server(password=template.superuser.password, template=template)

    def report(self) -> EnvironmentReport:
        """Return the description of this environment for the bundle."""
        return EnvironmentReport(
            kind="containers",
            reason=self._reason,
            postgres=self._version or self._postgres_image,
            python=self._python or "unknown",
            platform=platform.platform(terse=True),
        )

    def dispose(self) -> None:
        """Stop and remove everything that this environment started.

        Raises:
            EnvironmentProblemError: the engine refused; the watchdog retries after this process.

        """
        if self._lock.closed:
            return
        self._lock.close()
        self.machine.dispose()
        self.warm_machine.dispose()
        if self._connected is not None:
            self._connected.remove_all()
            if self._launcher is not None:
                self._launcher.release()
            self._connected.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._watchdog.dismiss()

    @property
    def _engine(self) -> Engine:
        if self._connected is None:
            self._connected = Engine(run=self.folder.name)
            (self.folder / ENGINE_MARK).touch()
        return self._connected

    def _server(self, **options: Any) -> ContainerServer:
        image = self._engine.have_image(self._postgres_image, "--postgres-image")
        self._images[self._postgres_image] = image.id
        port = self._port if not self._servers and self._port else None
        if port:
            refuse_taken_port(port)
        number = len(self._servers) + 1
        server = ContainerServer(
            self._engine, image.id, name=f"postgres-{number}", port=port, **options
        )
        self._servers.append(server)
        self._version = server.wait_ready()
        return server

    def _new_launcher(self) -> ContainerLauncher:
        if self._system_image is not None:
            image = self._engine.have_image(self._system_image, "--system-image")
        else:
            image = system_image(self._engine, self._sut)
        names = image.tags or [self._system_image or image.id]
        self._images[names[0]] = image.id
        described = self._sut.image if self._sut.describes("image") else None
        launcher = ContainerLauncher(
            self._engine,
            image=image.id,
            volumes=described.volumes if described else (),
            root=self._sut.folder,
            folder=described.folder
            if described
            else str(image.attrs["Config"].get("WorkingDir") or "/"),
            python=described.python if described else "python",
            interpreter=self._sut.interpreter,
            shared=(self.files,),
            output=self.machine.output,
            variables=dict(
                one.split("=", 1) for one in image.attrs["Config"].get("Env") or () if "=" in one
            ),
        )
        self._python = launcher.python_version()
        return launcher
