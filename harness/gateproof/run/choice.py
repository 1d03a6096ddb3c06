"""The choice of the environment: what was asked for, or what this machine can do.

Nothing is started here. The engine's libraries are imported only where an engine is asked.
"""

from __future__ import annotations

from collections.abc import Callable

from gateproof.base.errors import EnvironmentProblemError
from gateproof.base.sut import Sut
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
    """Return the environment of one writer; nothing of it runs yet.

    Args:
        options: which environment was asked for, and what it needs to know.
        sut: the system under test.
        learn_secret: told every password that is made up, before it is used.

    """
    kind, reason = decide(options.environment, has_image=bool(options.system_image or sut.image))
    if kind == EMBEDDED:
        return Embedded(
            reason=reason,
            version=options.postgres_version,
            port=options.postgres_port,
            learn_secret=learn_secret,
            warm=sut.worker.warm,
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


def decide(asked: str, *, has_image: bool) -> tuple[str, str]:
    """Return which environment it is to be, and why, in one line.

    Args:
        asked: ``auto``, ``containers`` or ``embedded``.
        has_image: whether there is an image of the system, or a way to build one.

    """
    if asked != AUTO:
        return asked, f"asked for with --environment {asked}"
    if not has_image:
        return EMBEDDED, "chosen by auto: the description of the system has no section [image]"
    from gateproof.environments.engine import find_engine

    try:
        engine = find_engine()
    except EnvironmentProblemError as error:
        return EMBEDDED, f"chosen by auto: {error}"
    return CONTAINERS, f"chosen by auto: {engine} answers"
