"""Builds the system's own image when its inputs changed, and reuses it otherwise.

The tag contains the digest of the build context and of the label values, but not that of the base
image: the same inputs give the same tag, and no state is kept between runs. A new commit with the
same context builds quickly, because the labels are the last layer.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from docker.errors import APIError, BuildError, ImageNotFound

from gateproof.base.errors import EnvironmentProblemError
from gateproof.base.git import git
from gateproof.description.sut import Sut
from gateproof.environments.engine import Engine, engine_problems

REPOSITORY = "gateproof-system"
INDEX_VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
)
"""Variables with which this machine reaches its package index; passed to the build where set."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY")
"""Predefined build arguments; the builder itself keeps them out of the image."""

LEFT_OUT = {"__pycache__"}


def system_image(engine: Engine, sut: Sut) -> Any:
    """Return the image of the system, and build it if there is none for these inputs.

    Raises:
        EnvironmentProblemError: the description names no Dockerfile, or the build failed.

    """
    if not sut.describes("image"):
        raise EnvironmentProblemError(
            f"{sut.path}: image: got no section [image], expected how to build the system's "
            "image; add it, or name a prebuilt one with --system-image"
        )
    context, labels = read_context(sut), read_labels(sut)
    tag = f"{REPOSITORY}:{inputs_digest(context, labels)[:16]}"
    with _lock(sut.folder / sut.image.dockerfile), engine_problems("image of the system"):
        try:
            return engine.client.images.get(tag)
        except ImageNotFound:
            return _build(engine, sut, context, labels, tag)


def read_context(sut: Sut) -> Mapping[str, bytes]:
    """Return the files that the image is built from: name to content, in order."""
    files: dict[str, bytes] = {}
    for name in (sut.image.dockerfile, *sut.image.context):
        for path in _files(sut.folder / name):
            files[path.relative_to(sut.folder).as_posix()] = path.read_bytes()
    return dict(sorted(files.items()))


def read_labels(sut: Sut) -> Mapping[str, str]:
    """Return the build arguments for the labels: the commit and the version."""
    return {
        "COMMIT": git(sut.folder, "rev-parse", "HEAD") or "unknown",
        "VERSION": version("gateproof"),
    }


def inputs_digest(context: Mapping[str, bytes], labels: Mapping[str, str]) -> str:
    """Return the hexadecimal digest over the names and contents of the context and the labels."""
    digest = hashlib.sha256()
    for name, content in context.items():
        digest.update(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode())
    for name, value in labels.items():
        digest.update(f"{name}={value}\n".encode())
    return digest.hexdigest()


def build_arguments(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the build arguments for reaching the package index."""
    names = (*INDEX_VARIABLES, *PROXIES, *(name.lower() for name in PROXIES))
    return {name: environment[name] for name in names if environment.get(name)}


def _build(
    engine: Engine, sut: Sut, context: Mapping[str, bytes], labels: Mapping[str, str], tag: str
) -> Any:
    try:
        image, _ = engine.client.images.build(
            fileobj=_tar(context),
            custom_context=True,
            dockerfile=sut.image.dockerfile,
            tag=tag,
            buildargs={**build_arguments(os.environ), **labels},
            rm=True,
            forcerm=True,
        )
    except (BuildError, APIError) as error:
        message = " ".join(_build_message(error).split())[-300:]
        raise EnvironmentProblemError(
            f"image of the system: {sut.image.dockerfile} cannot be built: {message}; build it by "
            f"hand to see more (docker build -f {sut.image.dockerfile} .), or name a prebuilt one "
            "with --system-image"
        ) from error
    return image


def _build_message(error: BuildError | APIError) -> str:
    if isinstance(error, APIError):
        return str(error.explanation or error)
    printed = [str(line.get("stream", "")) for line in error.build_log if isinstance(line, dict)]
    return f"{error.msg}: {''.join(printed)[-200:]}"


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for inner in sorted(path.rglob("*")):
        if inner.is_file() and not LEFT_OUT & set(inner.parts):
            yield inner


def _tar(context: Mapping[str, bytes]) -> io.BytesIO:
    """Pack the context; files are readable in the image whatever the umask of this machine is."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in context.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    packed.seek(0)
    return packed


@contextmanager
def _lock(dockerfile: Path) -> Iterator[None]:
    """Let one process build the image while other processes wait for it.

    The lock is on the Dockerfile, so that no lock file is left behind.
    """
    with dockerfile.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
