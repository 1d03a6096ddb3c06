"""One PostgreSQL server in a container: halted, paused, cut off, copied, thrown away.

A small loop in the container keeps the server, so that it can be halted and started again while the
container, and with it its addresses, stay.
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
from gateproof.environments.postgres import LOOPBACK, THROW_AWAY, ask_version

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
        outer = loopback_port(self._container, PORT)
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
        return ask_version(self._superuser.dsn(self._outside, "postgres"))

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

    def cut(self) -> None:
        """Take it from the network: nothing is refused, and nothing arrives."""
        self._engine.cut(self._container)

    def mend(self) -> None:
        """Bring it back under its name."""
        self._engine.mend(self._container, self._inside.host)

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
