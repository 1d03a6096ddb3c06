"""One PostgreSQL server in a container, with operations to stop, pause, disconnect and copy it.

A small loop in the container restarts the server after a halt. So the container, and with it the
addresses of the server, stay the same.
"""

from __future__ import annotations

import psycopg

from gateproof.base.errors import EnvironmentProblemError
from gateproof.base.wait import wait_until
from gateproof.environments.engine import (
    Engine,
    engine_problems,
    loopback_port,
    remove_container,
)
from gateproof.environments.interface import Address, Login
from gateproof.environments.postgres import LOOPBACK, NOT_DURABLE, ask_version

PORT = 5432
START_DEADLINE_S = 60.0
DATA, TEMPLATE = "/var/lib/postgresql/data", "/template"
SETTINGS = ("max_connections=200", "max_locks_per_transaction=128", "listen_addresses=*")

LIMITS = {"mem_limit": "2g", "pids_limit": 512, "shm_size": "128m"}
CAPABILITIES = {
    "cap_drop": ["ALL"],
    "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "KILL"],
}
"""Capabilities with which the entry point changes the owner of the data and the user."""

WRITABLE = {
    "read_only": True,
    "tmpfs": {"/tmp": "rw,mode=1777", "/run": "rw,mode=0755"},  # noqa: S108 (the container's own)
}

SERVICE_LOOP = f"""
trap 'exit 0' TERM
if [ -d {TEMPLATE} ] && [ ! -s {DATA}/PG_VERSION ]; then
    cp -a {TEMPLATE}/. {DATA}/ && rm -f {DATA}/postmaster.pid
fi
while docker-entrypoint.sh postgres "$@"; do
    : > /tmp/halted
    while [ -e /tmp/halted ]; do sleep 0.02; done
done
"""
"""Runs the image's own entry point, and again after each halt; exits when the server fails."""


class ContainerServer:
    """One PostgreSQL server in a container.

    Args:
        engine: the engine that it runs on.
        image: PostgreSQL's image.
        name: its host name, unique on the network.
        password: the password of the superuser.
        durable: whether data must survive a crash.
        port: loopback port of this machine; None takes a free one.
        template: the stopped server whose data is copied.

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
        """The volume with the data."""
        volumes = {self.volume.name: {"bind": DATA, "mode": "rw"}}
        if template is not None:
            volumes[template.volume.name] = {"bind": TEMPLATE, "mode": "ro"}
        settings = (*SETTINGS, *([] if durable else NOT_DURABLE))
        words = [word for one in settings for word in ("-c", one.replace(" ", ""))]
        self._container = engine.start(
            image,
            ["-c", SERVICE_LOOP, "service-loop", *words],
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
        outer = loopback_port(self._container, PORT)
        self._outside = Address(host=LOOPBACK, port=outer)

    @property
    def outside(self) -> Address:
        """The address for the harness: a loopback port of this machine."""
        return self._outside

    @property
    def inside(self) -> Address:
        """The address for the system's processes: its name on the private network."""
        return self._inside

    @property
    def superuser(self) -> Login:
        """The superuser's login."""
        return self._superuser

    def wait_ready(self) -> str:
        """Wait until it accepts connections, and return its exact version.

        Raises:
            EnvironmentProblemError: the deadline passed; the message has the last line of its log.

        """
        if not wait_until(self._ready_or_gone, deadline_s=START_DEADLINE_S) or not self.answers():
            with engine_problems("PostgreSQL's log"):
                lines = self._container.logs(tail=1).decode(errors="replace").strip().splitlines()
            raise EnvironmentProblemError(
                f"PostgreSQL in a container: got no answer, expected one within "
                f"{START_DEADLINE_S:g} s; its last line: {(lines or ['none'])[-1][:200]}; check "
                "its image (--postgres-image)"
            )
        return ask_version(self._superuser.dsn(self._outside, "postgres"))

    def answers(self) -> bool:
        """Return whether it answers a query within two seconds."""
        try:
            dsn = self._superuser.dsn(self._outside, "postgres")
            with psycopg.connect(dsn, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def halt(self) -> None:
        """Stop it in PostgreSQL's fast mode; keep its data, container and addresses."""
        self._exec("pg_ctl", "-D", DATA, "-m", "fast", "-w", "stop", user="postgres")
        # The loop must have noticed the halt before it can start the server again.
        wait_until(self._has_halted, deadline_s=10.0, interval_s=0.02)

    def resume_service(self) -> None:
        """Start it again with the same addresses."""
        self._exec("rm", "-f", "/tmp/halted")  # noqa: S108 (the container's own)
        self.wait_ready()

    def pause(self) -> None:
        """Pause the postmaster and every back-end: connections hang, none is refused."""
        with engine_problems("pausing PostgreSQL"):
            self._container.pause()

    def resume(self) -> None:
        """Resume the postmaster and every back-end."""
        with engine_problems("resuming PostgreSQL"):
            self._container.unpause()

    def disconnect(self) -> None:
        """Disconnect it from the network: packets are lost, no connection is refused."""
        self._engine.disconnect(self._container)

    def reconnect(self) -> None:
        """Connect it to the network again, with the same name."""
        self._engine.reconnect(self._container, self._inside.host)

    def stop(self) -> None:
        """Kill it and delete its data."""
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
            raise EnvironmentProblemError(
                f"PostgreSQL's {command[0]}: got {lines[-1]}, expected exit 0"
            )
