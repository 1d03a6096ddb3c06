"""Chooses the environment: the requested one, or one that this machine supports.

Starts nothing. The libraries of the engine are imported only when an engine is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from gateproof.base.errors import EnvironmentProblemError
from gateproof.description.sut import Sut
from gateproof.environments.embedded import Embedded
from gateproof.environments.interface import Environment
from gateproof.run.option import Options

AUTO, CONTAINERS, EMBEDDED = "auto", "containers", "embedded"


def choose_environment(
    options: Options,
    sut: Sut,
    *,
    learn_secret: Callable[[str, str], None],
) -> Environment:
    """Return the environment of one writer, not yet started.

    Args:
        options: the requested environment and its settings.
        sut: the system under test.
        learn_secret: called with each generated password before its first use.

    """
    requested, reason = options.environment, ""
    if options.postgres_bin is not None and requested == AUTO:
        requested, reason = EMBEDDED, "chosen by auto: --postgres-bin names a server's programs"
    kind, found = decide(requested, has_image=bool(options.system_image or sut.describes("image")))
    reason = reason or found
    if kind == EMBEDDED:
        return Embedded(
            reason=reason,
            version=options.postgres_version,
            programs=options.postgres_bin,
            port=options.postgres_port,
            learn_secret=learn_secret,
            warm=_warm(sut),
        )
    from gateproof.environments.containers.environment import Containers

    return Containers(
        reason=reason,
        sut=sut,
        postgres_image=options.postgres_image,
        image=options.system_image,
        port=options.postgres_port,
        learn_secret=learn_secret,
    )


def _warm(sut: Sut) -> tuple[str, ...]:
    """Return the modules that forked processes share; another interpreter cannot be forked."""
    same = sut.interpreter == sys.executable
    return sut.worker.warm if same and sut.describes("worker") else ()


def decide(requested: str, *, has_image: bool) -> tuple[str, str]:
    """Return the kind of environment to use, and the reason in one line.

    Args:
        requested: ``auto``, ``containers`` or ``embedded``.
        has_image: whether the system has an image, or a description of how to build one.

    """
    if requested != AUTO:
        return requested, f"requested with --environment {requested}"
    if not has_image:
        return EMBEDDED, "chosen by auto: the description of the system has no section [image]"
    from gateproof.environments.engine import find_engine

    try:
        engine = find_engine()
    except EnvironmentProblemError as error:
        return EMBEDDED, f"chosen by auto: {error}"
    return CONTAINERS, f"chosen by auto: {engine} answers"
