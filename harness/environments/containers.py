"""The environment `containers`: PostgreSQL and the system's own image on a private network.

Owns one engine connection, one network and what runs on it. PostgreSQL is kept by a small loop in
its container, so that the server can be halted and started again while its container, and with it
its addresses, stay.

Source: docs/decisions/0005-containers.md.
"""

from __future__ import annotations

import platform
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from evidence.model import EnvironmentReport
from harness.environments.container_launcher import ContainerLauncher
from harness.environments.engine import Engine, engine_problems, remove_container
from harness.environments.image import system_image
from harness.environments.interface import Address, Launcher, Login, Server
from harness.environments.postgres import LOOPBACK, THROW_AWAY, refuse_taken_port
from harness.environments.process import LocalLauncher
from harness.errors import EnvironmentProblemError
from harness.leftovers import ENGINE_MARK, LABEL, hold, new_folder
from harness.sut import Sut
from harness.wait import wait_until
from harness.watchdog import Watchdog

PORT = 5432
START_DEADLINE_S = 60.0
DATA, TEMPLATE = "/var/lib/postgresql/data", "/template"
SETTINGS = ("max_connections=200", "max_locks_per_transaction=128", "listen_addresses=*")

LIMITS = {"mem_limit": "2g", "pids_limit": 512, "shm_size": "128m"}
CAPABILITIES = {
    "cap_drop": ["ALL"],
    "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "KILL"],
}
"""What the image's entry point needs to hand the data over and to become `postgres`."""

WRITABLE = {
    "read_only": True,
    "tmpfs": {"/tmp": "rw,mode=1777", "/run": "rw,mode=0755"},  # noqa: S108 (the container's own)
}

KEEP = f"""
trap 'exit 0' TERM
if [ -d {TEMPLATE} ] && [ ! -s {DATA}/PG_VERSION ]; then
    cp -a {TEMPLATE}/. {DATA}/ && rm -f {DATA}/postmaster.pid
fi
while docker-entrypoint.sh postgres "$@"; do
    : > /tmp/halted
    while [ -e /tmp/halted ]; do sleep 0.02; done
done
"""
"""Runs the image's own entry point, again whenever it was halted; a server that fails ends it."""


class ContainerServer:
    """One PostgreSQL server in a container: halted, paused, copied, thrown away.

    Args:
        engine: where.
        image: PostgreSQL's image.
        name: its name on the network, unique on it.
        password: the superuser's.
        durable: whether data must survive a crash.
        port: of this machine's loopback; None takes a free one.
        template: the halted server whose data it takes over.

    """

    def __init__(
        self,
        engine: Engine,
        image: str,
        *,
        name: str,
        password: str,
        durable: bool = False,
        port: int | None = None,
        template: ContainerServer | None = None,
    ) -> None:
        self._engine = engine
        self._superuser = Login(role="postgres", password=password)
        self._inside = Address(host=name, port=PORT)
        self.volume = engine.new_volume()
        """Holds the data."""
        volumes = {self.volume.name: {"bind": DATA, "mode": "rw"}}
        if template is not None:
            volumes[template.volume.name] = {"bind": TEMPLATE, "mode": "ro"}
        settings = (*SETTINGS, *([] if durable else THROW_AWAY))
        words = [word for one in settings for word in ("-c", one.replace(" ", ""))]
        self._container = engine.start(
            image,
            ["-c", KEEP, "keep", *words],
            entrypoint=["/bin/sh"],
            env={
                "POSTGRES_PASSWORD": password,
                "POSTGRES_INITDB_ARGS": "-N -E UTF8 --locale=C",
                "PGDATA": DATA,
            },
            alias=name,
            ports={PORT: port},
            volumes=volumes,
            init=True,
            **LIMITS,
            **CAPABILITIES,
            **WRITABLE,
        )
        outer = engine.loopback_port(self._container, PORT)
        self._outside = Address(host=LOOPBACK, port=outer)

    @property
    def outside(self) -> Address:
        """Where the harness reaches it: a port of this machine's loopback."""
        return self._outside

    @property
    def inside(self) -> Address:
        """Where the system's processes reach it: its name on the private network."""
        return self._inside

    @property
    def superuser(self) -> Login:
        """The superuser's login."""
        return self._superuser

    def wait_ready(self) -> str:
        """Wait until it accepts connections, and return its exact version.

        Raises:
            EnvironmentProblemError: it does not within the deadline; the message has its last line.

        """
        if not wait_until(self._ready_or_gone, deadline_s=START_DEADLINE_S) or not self.answers():
            with engine_problems("PostgreSQL's log"):
                lines = self._container.logs(tail=1).decode(errors="replace").strip().splitlines()
            raise EnvironmentProblemError(
                f"PostgreSQL in a container: got no answer, expected one within "
                f"{START_DEADLINE_S:g} s; its last line: {(lines or ['none'])[-1][:200]}; look at "
                "its image (--postgres-image)"
            )
        dsn = self._superuser.dsn(self._outside, "postgres")
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        return str(row[0]).split()[0] if row else ""

    def answers(self) -> bool:
        """Tell whether it answers a query now, within two seconds."""
        try:
            dsn = self._superuser.dsn(self._outside, "postgres")
            with psycopg.connect(dsn, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def halt(self) -> None:
        """Stop it fast, keeping its data, its container and its addresses."""
        self._exec("pg_ctl", "-D", DATA, "-m", "fast", "-w", "stop", user="postgres")
        # Only once the loop has seen the end may it be told to go on.
        wait_until(self._has_halted, deadline_s=10.0, interval_s=0.02)

    def resume_service(self) -> None:
        """Start it again on the same addresses."""
        self._exec("rm", "-f", "/tmp/halted")  # noqa: S108 (the container's own)
        self.wait_ready()

    def pause(self) -> None:
        """Freeze the postmaster and every back-end: connections hang, none is refused."""
        with engine_problems("pausing PostgreSQL"):
            self._container.pause()

    def resume(self) -> None:
        """Let them go on."""
        with engine_problems("resuming PostgreSQL"):
            self._container.unpause()

    def stop(self) -> None:
        """End it at once and throw its data away."""
        with engine_problems("removing PostgreSQL"):
            remove_container(self._container)
            self.volume.remove(force=True)

    def _ready_or_gone(self) -> bool:
        self._container.reload()
        return self._container.status != "running" or self.answers()

    def _has_halted(self) -> bool:
        return bool(self._container.exec_run(["test", "-e", "/tmp/halted"]).exit_code == 0)  # noqa: S108

    def _exec(self, *command: str, user: str = "") -> None:
        with engine_problems(f"PostgreSQL's {command[0]}"):
            done = self._container.exec_run(list(command), user=user)
        if done.exit_code != 0:
            lines = done.output.decode(errors="replace").strip().splitlines() or ["nothing"]
            raise EnvironmentProblemError(f"PostgreSQL's {command[0]}: said {lines[-1]}")


class Containers:
    """Servers and processes in containers of one engine.

    Args:
        reason: why this environment was chosen.
        sut: the system, for its image.
        gates: the gates folder, which falsifiers bring files from.
        postgres_image: PostgreSQL's image.
        image: a ready image of the system; None builds it.
        port: of this machine's loopback, for the first server; 0 takes a free one.
        learn_secret: told every password that is made up here, before it is used.

    """

    def __init__(
        self,
        *,
        reason: str,
        sut: Sut,
        gates: Path,
        postgres_image: str,
        image: str | None = None,
        port: int = 0,
        learn_secret: Callable[[str, str], None],
    ) -> None:
        self._reason = reason
        self._sut = sut
        self._gates = gates
        self._postgres_image = postgres_image
        self._system_image = image
        self._port = port
        self._learn_secret = learn_secret
        self.folder = new_folder()
        """Where the processes' output is kept; its name labels all that is started."""
        self._lock = hold(self.folder)
        self._watchdog = Watchdog(self.folder)
        (self.folder / "out").mkdir(mode=0o700)
        self.machine = LocalLauncher(self.folder / "out", label={LABEL: str(self.folder)})
        self._open: Engine | None = None
        self._launcher: ContainerLauncher | None = None
        self._servers: list[ContainerServer] = []
        self._images: dict[str, str] = {}
        self._version = ""
        self._python = ""

    @property
    def images(self) -> Mapping[str, str]:
        """Name to digest of every image that was used."""
        return dict(self._images)

    @property
    def launcher(self) -> Launcher:
        """Starts the system's commands; the first use builds the image.

        Raises:
            EnvironmentProblemError: no engine answers, or there is no image.

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
        """Start a server with the data of a halted one."""
        assert isinstance(template, ContainerServer)
        return self._server(password=template.superuser.password, template=template)

    def report(self) -> EnvironmentReport:
        """Return what the bundle says of this environment."""
        return EnvironmentReport(
            kind="containers",
            reason=self._reason,
            postgres=self._version or self._postgres_image,
            python=self._python or "unknown",
            platform=platform.platform(terse=True),
        )

    def dispose(self) -> None:
        """End and remove everything that was started here.

        Raises:
            EnvironmentProblemError: the engine refused; the watchdog tries again when we end.

        """
        if self._lock.closed:
            return
        self._lock.close()
        self.machine.dispose()
        if self._open is not None:
            self._open.remove_all()
            self._open.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._watchdog.dismiss()

    @property
    def _engine(self) -> Engine:
        if self._open is None:
            self._open = Engine(run=self.folder.name)
            (self.folder / ENGINE_MARK).touch()
        return self._open

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
        how = self._sut.image
        launcher = ContainerLauncher(
            self._engine,
            image=image.id,
            root=self._sut.folder,
            folder=how.folder if how else str(image.attrs["Config"].get("WorkingDir") or "/"),
            python=how.python if how else "python",
            gates=self._gates,
            output=self.folder / "out",
        )
        self._python = launcher.python_version()
        return launcher
