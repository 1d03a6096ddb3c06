"""The container engine: found like the docker command finds it; everything is labelled by run.

Owns the connection, the label, and the messages for errors of the engine. No reaper container is
used: leftovers of a run are found by their label.

Source: docs/decisions/0005-containers.md.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

import requests.exceptions
from docker import DockerClient
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env

from gateproof.base.errors import EnvironmentProblemError
from gateproof.environments.postgres import LOOPBACK, free_port

RUN_LABEL = "gateproof.run"
HEALTHCHECK_OFF = {"test": ["NONE"]}
"""The image's health check would make requests that a check counts."""

CALL_TIMEOUT_S = 120
REMOVERS = 4
PORT_TRIES = 5
PORT_TAKEN = ("port is already allocated", "address already in use")
"""Errors of an engine when a port was taken between our choice and its use."""
FOUND_TIMEOUT_S = 5
LOCAL = "unix://"
DEFAULT_HOST = "unix:///var/run/docker.sock"


@contextmanager
def engine_problems(what: str) -> Iterator[None]:
    """Turn errors of the engine into an environment problem with a message of one line.

    Args:
        what: the failed operation, in a few words.

    """
    try:
        yield
    except (DockerException, requests.exceptions.RequestException) as error:
        message = getattr(error, "explanation", None) or str(error)
        line = " ".join(str(message).split())[:300]
        raise EnvironmentProblemError(f"{what}: {line}; {_advice(line)}") from error


def _advice(message: str) -> str:
    if "no space left" in message:
        return "free space on the engine's disk (docker system df, docker system prune)"
    if "permission denied" in message.lower():
        return "let this account use the engine, or choose --environment embedded"
    return "check that the engine runs (docker info), or choose --environment embedded"


def engine_options() -> dict[str, Any]:
    """Return the address of the engine, and its TLS configuration if there is one.

    The order is that of the docker command: ``DOCKER_HOST``, the context that ``DOCKER_CONTEXT``
    names, the current context, the default socket.
    """
    named = kwargs_from_env()
    if "base_url" in named:
        return dict(named)
    return {"base_url": DEFAULT_HOST, **ContextAPI.kwargs_from_context(), **named}


def _connect(timeout_s: float) -> Any:
    """Return a client of the engine.

    The socket of a local engine is tried first: docker-py leaves a socket open for each refused
    connection, which shows up as a ResourceWarning in an unrelated test.
    """
    options = engine_options()
    host = options["base_url"]
    if host.startswith(LOCAL):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(FOUND_TIMEOUT_S)
            try:
                probe.connect(host.removeprefix(LOCAL))
            except OSError as error:
                raise DockerException(f"no engine answers at {host} ({error.strerror})") from error
    return DockerClient(timeout=timeout_s, **options)


def find_engine() -> str:
    """Return the name and version of the engine.

    Raises:
        EnvironmentProblemError: no engine answers.

    """
    with engine_problems("container engine"), closing(_connect(FOUND_TIMEOUT_S)) as client:
        answer = client.version()
    name = answer.get("Platform", {}).get("Name") or "Docker"
    return f"{name} {answer['Version']}"


class Engine:
    """The containers, volumes and network of one environment on the engine.

    Args:
        run: id of the run: the label of everything, and the name of the network.

    Raises:
        EnvironmentProblemError: no engine answers.

    """

    def __init__(self, *, run: str) -> None:
        with engine_problems("container engine"):
            self.client: Any = _connect(CALL_TIMEOUT_S)
            self.client.ping()
        self.labels = {RUN_LABEL: run}
        self.name = run
        self._network: Any = None

    @property
    def network(self) -> Any:
        """The private network of all containers; created at the first use."""
        if self._network is None:
            with engine_problems("private network"):
                self._network = self.client.networks.create(
                    self.name, driver="bridge", labels=self.labels
                )
        return self._network

    def start(
        self,
        image: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        alias: str | None = None,
        ports: Mapping[int, int | None] | None = None,
        share_network: Any = None,
        **options: Any,
    ) -> Any:
        """Start a container on the private network and return it.

        Args:
            image: its image, which must be present.
            command: its words; they run without a shell.
            env: environment variables.
            alias: its host name on the network.
            ports: maps ports inside to loopback ports of this machine; None takes a free one.
            share_network: a container whose network and ports it uses instead.
            **options: further keyword arguments for docker-py.

        Raises:
            EnvironmentProblemError: the engine refused.

        """
        for _ in range(PORT_TRIES):
            if share_network is not None:
                network = _network_of(share_network)
            else:
                network = self._network_options(alias, ports or {})
            with engine_problems(f"container of {image}"):
                container = self.client.containers.create(
                    image,
                    list(command),
                    environment=dict(env),
                    labels=self.labels,
                    security_opt=["no-new-privileges"],
                    healthcheck=HEALTHCHECK_OFF,
                    detach=True,
                    **network,
                    **options,
                )
                try:
                    container.start()
                except APIError as error:
                    remove_container(container)
                    if not any(one in str(error) for one in PORT_TAKEN):
                        raise
                else:
                    return container
        raise EnvironmentProblemError(
            f"container of {image}: its loopback ports on this machine were taken "
            f"{PORT_TRIES} times; stop the processes that listen there"
        )

    def disconnect(self, container: Any) -> None:
        """Disconnect a container from the private network, its only one."""
        with engine_problems("disconnecting a container from the network"):
            self.network.disconnect(container, force=True)

    def reconnect(self, container: Any, alias: str | None = None) -> None:
        """Connect a container to the private network again, with the same name and ports."""
        with engine_problems("reconnecting a container to the network"):
            self.network.connect(container, aliases=[alias] if alias else None)

    def address_of(self, container: Any) -> str:
        """Return a container's address on the private network."""
        with engine_problems("reading a container's address"):
            container.reload()
        return str(container.attrs["NetworkSettings"]["Networks"][self.network.name]["IPAddress"])

    def new_volume(self) -> Any:
        """Create an empty volume."""
        with engine_problems("volume"):
            return self.client.volumes.create(labels=self.labels)

    def have_image(self, name: str, option: str) -> Any:
        """Return an image, and pull it if it is missing.

        Args:
            name: name of the image.
            option: the command-line option that selects another image.

        Raises:
            EnvironmentProblemError: it is missing and cannot be pulled.

        """
        with engine_problems(f"image {name}"):
            with suppress(ImageNotFound):
                return self.client.images.get(name)
            try:
                return self.client.images.pull(name)
            except APIError as error:
                message = " ".join(str(error.explanation or error).split())[:200]
                if error.response is not None:
                    error.response.close()  # docker-py leaves it open
                raise EnvironmentProblemError(
                    f"image {name}: is not present and cannot be pulled ({message}); add it with "
                    f"docker pull or docker load, or name another with {option}"
                ) from error

    def remove_all(self) -> int:
        """Remove every container, volume and network of this run.

        Returns:
            The number of removed objects. The engine may still be creating others.

        Raises:
            EnvironmentProblemError: the engine refused.

        """
        filters = {"label": [f"{name}={value}" for name, value in self.labels.items()]}
        with engine_problems("clean-up"):
            containers = self.client.containers.list(all=True, filters=filters, sparse=True)
            with ThreadPoolExecutor(max_workers=REMOVERS) as pool:
                list(pool.map(remove_container, containers))
            volumes = self.client.volumes.list(filters=filters)
            for volume in volumes:
                with suppress(NotFound):
                    volume.remove(force=True)
            networks = self.client.networks.list(filters=filters)
            for network in networks:
                with suppress(NotFound):
                    network.remove()
        self._network = None
        return len(containers) + len(volumes) + len(networks)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def _network_options(
        self, alias: str | None, ports: Mapping[int, int | None]
    ) -> dict[str, Any]:
        """Return options for the private network, with ports published on loopback only."""
        name = self.network.name
        endpoint = self.client.api.create_endpoint_config(aliases=[alias] if alias else None)
        return {
            "network": name,
            "networking_config": {name: endpoint},
            # Chosen here: the engine would choose other ports when the container is reconnected.
            "ports": {
                f"{inner}/tcp": (LOOPBACK, outer or free_port()) for inner, outer in ports.items()
            },
        }


def loopback_port(container: Any, inner: int) -> int:
    """Return the loopback port of this machine that is mapped to a container's port.

    Return 0, at which nothing answers, for a container that shares the ports of another.
    """
    bound = container.attrs["HostConfig"].get("PortBindings") or {}
    return int(bound[f"{inner}/tcp"][0]["HostPort"]) if bound else 0


def _network_of(container: Any) -> dict[str, Any]:
    return {"network": None, "network_mode": f"container:{container.id}"}


def remove_container(container: Any) -> None:
    """Kill and remove a container with its anonymous volumes; ignore one that is already gone."""
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # it is already being removed
            raise
