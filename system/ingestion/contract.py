"""Check what a vendor sends against its released contract.

Owns how the service reads `system/contracts`: the newest released version of a vendor's document,
which is one JSON file with all of its parts. So the service needs no YAML, and a draft of the next
version changes nothing until it is released. Findings name places and rules, and never a value.

Source: OpenAPI 3.1.0; JSON Schema 2020-12, "Validation", section 7.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from system.errors import ConfigurationError

CONTRACTS = Path(__file__).parents[1] / "contracts" / "webhooks"
MOST_FINDINGS = 5

_INT64 = 2**63
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The headers and the body that one vendor may send."""

    headers: Mapping[str, tuple[bool, Any]]
    """Lower-case names of headers: whether it is required, and the validator of its value."""
    body: Any
    """The validator of the body."""

    def findings(self, headers: Mapping[str, str], value: Any) -> list[str]:
        """Return the first rules that a delivery breaks, as *place: rule*.

        Args:
            headers: by lower-case names.
            value: the body, as parsed JSON.

        """
        return [*self._of_headers(headers), *self.body_findings(value)]

    def body_findings(self, value: Any) -> list[str]:
        """Return the first rules that a body breaks."""
        errors = islice(self.body.iter_errors(value), MOST_FINDINGS)
        return [_words("body", error) for error in errors]

    def _of_headers(self, headers: Mapping[str, str]) -> Iterator[str]:
        for name, (is_required, validator) in self.headers.items():
            if name in headers:
                yield from (_words(name, one) for one in validator.iter_errors(headers[name]))
            elif is_required:
                yield f"{name}: missing"


@cache
def contract_of(vendor: str) -> Contract:
    """Return the released contract of a vendor.

    Raises:
        ConfigurationError: there is none.

    """
    document = _newest(vendor)
    item = document["paths"][f"/webhooks/{vendor}/{{endpoint}}"]
    operation = item["post"]
    given = [_inlined(document, one) for one in (*item.get("parameters", ()), *_of(operation))]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    return Contract(
        headers={
            one["name"].lower(): (one.get("required", False), _validator(one["schema"]))
            for one in given
            if one["in"] == "header" and one["name"] != "X-Correlation-ID"
        },
        body=_validator(_inlined(document, body)),
    )


def _of(operation: Mapping[str, Any]) -> list[Any]:
    return list(operation.get("parameters", ()))


def _newest(vendor: str) -> Any:
    found = sorted((CONTRACTS / vendor / "baselines").glob("v*/openapi.json"), key=_version)
    if not found:
        raise ConfigurationError(
            f"contract: got no released version of {vendor} in {CONTRACTS}, expected one"
        )
    return json.loads(found[-1].read_text(encoding="utf-8"))


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.parent.name[1:].split("."))


def _inlined(document: Mapping[str, Any], node: Any) -> Any:
    """Return a part of a document with the parts that it refers to in their places."""
    if isinstance(node, list):
        return [_inlined(document, one) for one in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        part: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            part = part[step.replace("~1", "/").replace("~0", "~")]
        rest = {name: value for name, value in node.items() if name != "$ref"}
        return {**_inlined(document, part), **_inlined(document, rest)}
    return {name: _inlined(document, value) for name, value in node.items()}


def _validator(schema: Any) -> Any:
    # (imported here: a worker needs it only when it retries a dead event)
    from jsonschema import Draft202012Validator, FormatChecker

    formats = FormatChecker(formats=())
    formats.checks("int64")(lambda one: not isinstance(one, int) or -_INT64 <= one < _INT64)
    formats.checks("date-time")(lambda one: not isinstance(one, str) or _is_moment(one))
    return Draft202012Validator(schema, format_checker=formats)


def _is_moment(text: str) -> bool:
    if not _MOMENT.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def _words(where: str, error: Any) -> str:
    """Return a finding in words; a missing key is named by the rule, and no value is quoted."""
    path = "".join(f"/{step}" for step in error.absolute_path)[:200]
    rule = f"{error.validator} {json.dumps(error.validator_value)}"[:200]
    return f"{where}{path}: {rule}"
