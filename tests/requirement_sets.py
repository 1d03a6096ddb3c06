"""Whether hash-locked sets of pinned packages are complete.

Sets are installed with ``--no-deps``, so nothing but this says that a package was forgotten. Owns
reading a set and walking the requirements of its distributions, extras and markers included, once
for each Python that the project supports. Leaves making the sets to ``.ci/lock``.

Not checked: requirements of a distribution that is not installed here (one that is pinned for
another operating system alone), and wheels whose metadata differs from that of the installed one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""Versions of Python that the project supports."""

MACHINES = ("x86_64", "aarch64")

INSTALLS = re.compile(r"\bpip3?\b[^\n]*?\b(?:install|download)\b[^\n]*")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One entry of a set."""

    name: str
    version: str
    marker: str
    """Environments that it is for; empty for all."""
    hashes: int
    """How many files it allows."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The requirements in the metadata of an installed distribution."""

    requires: tuple[str, ...] = ()
    requires_python: str = ""


def read_set(text: str) -> tuple[Pin, ...]:
    """Return the entries of a requirements file.

    Raises:
        ValueError: an entry is not a single exact version.

    """
    return tuple(_pin(line) for line in _joined(text) if line and not line.startswith("#"))


@cache
def installed(name: str) -> Distribution | None:
    """Return what an installed distribution requires; None where it is not installed."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    named = "Requires-Python" in found.metadata
    requires_python = found.metadata["Requires-Python"] if named else ""
    return Distribution(requires=tuple(found.requires or ()), requires_python=requires_python)


def environments(pythons: Iterable[str] = PYTHONS) -> tuple[dict[str, str], ...]:
    """Return the marker environments that a set has to serve: Linux, on each Python and machine."""
    return tuple(
        {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{python}.0",
            "python_version": python,
            "sys_platform": "linux",
        }
        for python in pythons
        for machine in MACHINES
    )


def findings(
    pins: Iterable[Pin],
    roots: Iterable[str],
    *,
    metadata: Callable[[str], Distribution | None],
    pythons: Iterable[str] = PYTHONS,
) -> list[str]:
    """Return what a set lacks or holds for nothing, a line each; none when it is complete.

    Args:
        pins: the entries of the set.
        roots: requirements that the set is for, as in pyproject.toml.
        metadata: what a distribution requires, by its normalised name.
        pythons: versions that the set is for, as ``3.11``.

    """
    pins, roots = tuple(pins), tuple(roots)
    found: dict[str, None] = {}
    needed: set[str] = set()
    for environment in environments(pythons):
        active = {pin.name: pin for pin in pins if _applies(pin.marker, environment, "")}
        walk = _Walk(active, metadata, environment)
        found |= dict.fromkeys(walk.run(roots))
        needed |= walk.seen.keys()
        found |= dict.fromkeys(walk.refusals())
    everywhere = {pin.name for pin in pins if not pin.marker}
    unneeded = [f"{name}: nothing needs it; remove it" for name in sorted(everywhere - needed)]
    return [*found, *unneeded]


def installs_with_dependencies(text: str) -> list[str]:
    """Return the install lines of a script or a Dockerfile that let pip choose packages itself."""
    lines = (INSTALLS.search(line) for line in _joined(text) if not line.startswith("#"))
    return [found.group() for found in lines if found and "--no-deps" not in found.group()]


class _Walk:
    """All that some requirements come to, in one environment."""

    def __init__(
        self,
        active: Mapping[str, Pin],
        metadata: Callable[[str], Distribution | None],
        environment: dict[str, str],
    ) -> None:
        self._active, self._metadata, self._environment = active, metadata, environment
        self.seen: dict[str, set[str]] = {}
        """Distributions that were reached, each with the extras that it was wanted with."""

    def run(self, roots: Iterable[str]) -> list[str]:
        """Follow the requirements; returns those that no pin meets."""
        unmet = []
        waiting = deque(("pyproject.toml", Requirement(root), "") for root in roots)
        while waiting:
            wanted_by, requirement, extra = waiting.popleft()
            if not _applies(str(requirement.marker or ""), self._environment, extra):
                continue
            problem = self._problem(requirement)
            if problem:
                unmet.append(f"{wanted_by} needs {requirement} {self._where}: {problem}")
            else:
                waiting.extend(self._further(requirement))
        return unmet

    def refusals(self) -> list[str]:
        """Return the reached distributions that are not for this Python."""
        python = self._environment["python_version"]
        known = ((name, self._metadata(name)) for name in self.seen)
        return [
            f"{name} {self._where}: it is for Python {one.requires_python}"
            for name, one in known
            if one and not SpecifierSet(one.requires_python).contains(f"{python}.99")
        ]

    @property
    def _where(self) -> str:
        return "(Python {python_version}, {platform_machine})".format_map(self._environment)

    def _problem(self, requirement: Requirement) -> str:
        pin = self._active.get(canonicalize_name(requirement.name))
        if pin is None:
            return "got no pin; run .ci/lock"
        if not requirement.specifier.contains(Version(pin.version), prereleases=True):
            return f"got {pin.version}; run .ci/lock"
        return ""

    def _further(self, requirement: Requirement) -> Iterable[tuple[str, Requirement, str]]:
        name = canonicalize_name(requirement.name)
        new = {"", *requirement.extras} - self.seen.get(name, set())
        self.seen[name] = self.seen.get(name, set()) | new
        own = self._metadata(name)
        for line in own.requires if own and new else ():
            yield from ((name, Requirement(line), extra) for extra in new)


def _applies(marker: str, environment: dict[str, str], extra: str) -> bool:
    return not marker or Marker(marker).evaluate({**environment, "extra": extra})


def _joined(text: str) -> list[str]:
    """Return the lines, those that end with a backslash joined with the next."""
    return [line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines()]


def _pin(line: str) -> Pin:
    spelt, *hashes = re.split(r"\s--hash=", line)
    requirement = Requirement(spelt)
    exact = [one.version for one in requirement.specifier if one.operator == "=="]
    odd = requirement.extras or len(requirement.specifier) != 1
    if odd or len(exact) != 1 or exact[0].endswith("*"):
        raise ValueError(f"pinned set: got {spelt!r}, expected name==version")
    return Pin(
        name=canonicalize_name(requirement.name),
        version=exact[0],
        marker=str(requirement.marker or ""),
        hashes=len(hashes),
    )
