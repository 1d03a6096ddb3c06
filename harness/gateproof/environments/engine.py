"""The container engine: found as the docker command finds it, everything on it labelled by run.

Owns the connection, the label, and the words in which an engine's troubles are told. No reaper
container is used; what a run made is found again by its label.

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
"""A look every 30 s would disturb what a check counts."""

CALL_TIMEOUT_S = 120
REMOVERS = 4
PORT_TRIES = 5
PORT_TAKEN = ("port is already allocated", "address already in use")
"""What an engine says when a port was taken between our choice and its use."""
FOUND_TIMEOUT_S = 5
LOCAL = "unix://"
DEFAULT_HOST = "unix:///var/run/docker.sock"


@contextmanager
def engine_problems(what: str) -> Iterator[None]:
    """Turn what the engine refuses into an environment problem of one line.

    Args:
        what: what was tried, in a few words.

    """
    try:
        yield
    except (DockerException, requests.exceptions.RequestException) as error:
        told = getattr(error, "explanation", None) or str(error)
        line = " ".join(str(told).split())[:300]
        raise EnvironmentProblemError(f"{what}: {line}; {_advice(line)}") from error


def _advice(told: str) -> str:
    if "no space left" in told:
        return "free space on the engine's disk (docker system df, docker system prune)"
    if "permission denied" in told.lower():
        return "let this account use the engine, or choose --environment embedded"
    return "see that the engine runs (docker info), or choose --environment embedded"


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

    A local engine's socket is tried first: docker-py leaves one open for each refusal, and an open
    socket is a warning in whatever test is running when it is found.
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
    """Return name and version of the engine that answers.

    Raises:
        EnvironmentProblemError: none does.

    """
    with engine_problems("container engine"), closing(_connect(FOUND_TIMEOUT_S)) as client:
        told = client.version()
    name = told.get("Platform", {}).get("Name") or "Docker"
    return f"{name} {told['Version']}"


class Engine:
    """What one environment starts on the engine.

    Args:
        run: its id, which everything is labelled with; also the name of its network.

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
        """The private network that everything is on."""
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
        beside: Any = None,
        **options: Any,
    ) -> Any:
        """Start a container on the private network and return it.

        Args:
            image: its image, which is there already.
            command: words; no shell reads them.
            env: environment variables.
            alias: its name on the network.
            ports: port inside to one of this machine's loopback; None takes a free one.
            beside: a container whose network and ports it shares instead.
            **options: as docker-py takes them.

        Raises:
            EnvironmentProblemError: the engine refused.

        """
        for _ in range(PORT_TRIES):
            place = _beside(beside) if beside is not None else self._place(alias, ports or {})
            with engine_problems(f"container of {image}"):
                container = self.client.containers.create(
                    image,
                    list(command),
                    environment=dict(env),
                    labels=self.labels,
                    security_opt=["no-new-privileges"],
                    healthcheck=HEALTHCHECK_OFF,
                    detach=True,
                    **place,
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
            f"container of {image}: its ports of this machine's loopback were taken "
            f"{PORT_TRIES} times; end what listens there"
        )

    def cut(self, container: Any) -> None:
        """Take a container from the private network, and so from everything."""
        with engine_problems("cutting a container from the network"):
            self.network.disconnect(container, force=True)

    def mend(self, container: Any, alias: str | None = None) -> None:
        """Bring a container back to the private network, under the same name and ports."""
        with engine_problems("bringing a container back to the network"):
            self.network.connect(container, aliases=[alias] if alias else None)

    def address_of(self, container: Any) -> str:
        """Return a container's address on the private network."""
        with engine_problems("looking at a container's address"):
            container.reload()
        return str(container.attrs["NetworkSettings"]["Networks"][self.network.name]["IPAddress"])

    def new_volume(self) -> Any:
        """Make an empty volume."""
        with engine_problems("volume"):
            return self.client.volumes.create(labels=self.labels)

    def have_image(self, name: str, option: str) -> Any:
        """Return an image, pulled where it is missing.

        Args:
            name: of the image.
            option: the command-line option that names another.

        Raises:
            EnvironmentProblemError: it is missing and cannot be pulled.

        """
        with engine_problems(f"image {name}"):
            with suppress(ImageNotFound):
                return self.client.images.get(name)
            try:
                return self.client.images.pull(name)
            except APIError as error:
                told = " ".join(str(error.explanation or error).split())[:200]
                if error.response is not None:
                    error.response.close()  # a stream that docker-py leaves open
                raise EnvironmentProblemError(
                    f"image {name}: is not here and cannot be pulled ({told}); bring it with "
                    f"docker pull or docker load, or name another with {option}"
                ) from error

    def remove_all(self) -> int:
        """Remove every container, volume and network of this run.

        Returns:
            How many there were. What the engine is still making may come after.

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
        """Let go of the connection."""
        self.client.close()

    def _place(self, alias: str | None, ports: Mapping[int, int | None]) -> dict[str, Any]:
        """Return a place of its own on the private network, ports open to loopback alone."""
        name = self.network.name
        endpoint = self.client.api.create_endpoint_config(aliases=[alias] if alias else None)
        return {
            "network": name,
            "networking_config": {name: endpoint},
            # Chosen here and not by the engine, which would choose anew when it was cut and mended.
            "ports": {
                f"{inner}/tcp": (LOOPBACK, outer or free_port()) for inner, outer in ports.items()
            },
        }


def loopback_port(container: Any, inner: int) -> int:
    """Return the port of this machine's loopback that leads to a container's port.

    0, at which nobody ever answers, where it has none: it shares the ports of another.
    """
    bound = container.attrs["HostConfig"].get("PortBindings") or {}
    return int(bound[f"{inner}/tcp"][0]["HostPort"]) if bound else 0


def _beside(container: Any) -> dict[str, Any]:
    return {"network": None, "network_mode": f"container:{container.id}"}


def remove_container(container: Any) -> None:
    """Kill and remove a container with its anonymous volumes; one that has gone is no trouble."""
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # its removal is under way already
            raise
