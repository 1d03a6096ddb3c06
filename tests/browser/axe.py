"""The rules of axe-core, on a page whose content security policy allows no script.

Source: axe-core's API, `axe.run`; the Chrome DevTools Protocol, `Page.createIsolatedWorld`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Page


def ask_axe(page: Page, *, only: Sequence[str] = ()) -> Any:
    """Run the rules in an isolated world, where the policy of the page does not apply.

    Args:
        page: the page to inspect.
        only: names of rules; all rules when empty.

    """
    client = page.context.new_cdp_session(page)
    frame = client.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
    world = client.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "axe"})
    where = {"contextId": world["executionContextId"]}
    client.send("Runtime.evaluate", {**where, "expression": AXE_FILE_PATH.read_text()})
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = list(only)
    expression = f"axe.run(document, {json.dumps(options)}).then(JSON.stringify)"
    answer = client.send(
        "Runtime.evaluate",
        {**where, "expression": expression, "awaitPromise": True, "returnByValue": True},
    )
    assert "exceptionDetails" not in answer, answer
    return json.loads(answer["result"]["value"])


def violations(found: Any) -> list[tuple[str, list[str]]]:
    """Return the rules that a page violates, each with the first elements that violate it."""
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:5])
        for one in found["violations"]
    ]
