"""The request of a check to a fixture, in a form that is the same in each run.

Owns leaving out what differs between two machines and two runs: the system's folder, the
interpreters and the values of secrets. Requests are compared by their digest, so that nothing of a
request is written down.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateproof.description.sut import Sut
from gateproof.probes.answers.value import KIND, NotAValueError, encode
from gateproof.probes.parameter import parameter_names
from gateproof_evidence.redaction.redactor import Redactor

DIGITS = 16
"""How many hexadecimal digits of a digest are kept."""

_TEMPORARY = re.compile(r"(?:/[^/\s\"'=:]+)*/pytest-of-[^/\s\"]+/pytest-\d+/(?:popen-\w+/)?")
"""The folder of pytest's temporary folders, whose names are the same in each run."""
_PLACEHOLDER = re.compile(r"\[redacted:[^\]]*\]")


def places_of(sut: Sut) -> Mapping[str, str]:
    """Return the paths that differ between two machines, with a name for each."""
    found = {str(sut.interpreter): "{python}", sys.executable: "{harness}"}
    return {**found, str(sut.folder): "{root}"}


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Makes the digests of one run's requests.

    Args:
        places: paths and their names; see `places_of`.
        redactor: removes secrets.
        number: returns the number of an object that a fixture gave to the check; None for others.

    """

    places: Mapping[str, str]
    redactor: Redactor
    number: Callable[[Any], int | None]

    def digest(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the digest of the arguments of a call."""
        asked = [self._plain(self._without_secrets(args)), self._plain(dict(kwargs))]
        clean, _ = self.redactor.redact_json(asked)
        text = json.dumps(clean, sort_keys=True)
        for path in sorted(self.places, key=len, reverse=True):
            text = text.replace(path, self.places[path])
        text = _TEMPORARY.sub("{temporary}/", text)
        text = _PLACEHOLDER.sub("[redacted]", text)
        return hashlib.sha256(text.encode("utf-8", errors="backslashreplace")).hexdigest()[:DIGITS]

    def _without_secrets(self, args: Sequence[Any]) -> Sequence[Any]:
        """Return the arguments of a statement without the values for columns of secrets."""
        match args:
            case [str() as statement, list() | tuple() as params, *rest]:
                names = parameter_names(statement, len(params))
                [clean], _ = self.redactor.redact_rows(names, [params])
                return [statement, list(clean), *rest]
        return args

    def _plain(self, value: Any) -> Any:
        """Return an argument as JSON; what has none is named by its kind."""
        number = self.number(value)
        if number is not None:
            return {KIND: "object", "is": number}
        if isinstance(value, Mapping):
            return {str(name): self._plain(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(one) for one in value]
        try:
            return encode(value)
        except NotAValueError:
            return {KIND: "other", "is": type(value).__qualname__}
